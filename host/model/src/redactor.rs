//! Takes the values of a session's environment out of texts that a plugin or an engine made (A9).
//!
//! It is for what repeats a secret, in an error or a line of log. Who was given a secret and wants to give it away can
//! write it in another form, which nobody finds.

use crate::{Secret, SessionSpec, is_deceptive, one_line};

/// Shorter values than this are taken out only where they stand alone: a `1` in every number is no secret.
const SHORT: usize = 4;

/// Lines of a value that has several, such as a private key, are taken out by themselves too, if they are as long as
/// this: logs are written line by line.
const LINE: usize = 8;

/// The values to take out, longest first so that one that contains another goes as a whole.
#[derive(Debug)]
pub struct Redactor {
    secrets: Vec<Secret>,
}

impl Redactor {
    /// For a session's environment. `None` if there is nothing to hide.
    pub fn of(spec: &SessionSpec) -> Option<Self> {
        Self::of_all([spec])
    }

    /// For the environments of many sessions.
    pub fn of_all<'a>(specs: impl IntoIterator<Item = &'a SessionSpec>) -> Option<Self> {
        Self::of_values(specs.into_iter().flat_map(|spec| spec.env.values()))
    }

    /// For these values.
    pub fn of_values<'a>(values: impl IntoIterator<Item = &'a Secret>) -> Option<Self> {
        let mut secrets = Vec::new();
        for value in values {
            secrets.push(value.clone());
            let text = value.reveal();
            if text.contains('\n') {
                let lines = text.lines().map(str::trim).filter(|line| line.len() >= LINE);
                secrets.extend(lines.map(Secret::new));
            }
            if text.contains(is_deceptive) {
                // As it is where texts were made one line already.
                secrets.push(Secret::new(one_line(text.to_owned(), usize::MAX)));
            }
        }
        secrets.retain(|secret| !secret.reveal().is_empty());
        if secrets.is_empty() {
            return None;
        }
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.reveal().len()));
        Some(Self { secrets })
    }

    /// The text without them.
    pub fn clean(&self, text: String) -> String {
        self.secrets.iter().fold(text, |text, secret| {
            let secret = secret.reveal();
            if !text.contains(secret) {
                text
            } else if secret.len() >= SHORT {
                text.replace(secret, Secret::REDACTED)
            } else {
                replace_alone(&text, secret)
            }
        })
    }
}

/// Replaces what neither begins nor ends within a word.
fn replace_alone(text: &str, secret: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = None;
    while let Some((head, tail)) = rest.split_once(secret) {
        clean.push_str(head);
        let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        if inside(head.chars().next_back().or(before)) || inside(tail.chars().next()) {
            clean.push_str(secret);
        } else {
            clean.push_str(Secret::REDACTED);
        }
        before = secret.chars().next_back();
        rest = tail;
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(values: &[&str]) -> Redactor {
        let mut spec = SessionSpec::new("mock".parse().unwrap());
        for (at, value) in values.iter().enumerate() {
            spec.env.insert(format!("V{at}"), Secret::new(*value));
        }
        Redactor::of(&spec).unwrap()
    }

    #[test]
    fn a_secret_goes_wherever_it_stands() {
        let redactor = redactor(&["hunter2", "hunter2-more"]);
        assert_eq!(redactor.clean("xhunter2y hunter2-more".to_owned()), "x[redacted]y [redacted]");
    }

    #[test]
    fn a_short_secret_goes_only_where_it_stands_alone() {
        let redactor = redactor(&["1"]);
        assert_eq!(redactor.clean("DEBUG=1 of 10 and 21, 1".to_owned()), "DEBUG=[redacted] of 10 and 21, [redacted]");
        assert_eq!(redactor.clean("11".to_owned()), "11");
    }

    #[test]
    fn each_line_of_a_secret_of_several_lines_goes() {
        let redactor = redactor(&["-----BEGIN KEY-----\nMIIEvQIBADAN\n-----END KEY-----\n"]);
        assert_eq!(redactor.clean("key: MIIEvQIBADAN".to_owned()), "key: [redacted]");
        let shown = crate::one_line("-----BEGIN KEY-----\nMIIEvQIBADAN\n-----END KEY-----\n?".to_owned(), 1000);
        assert_eq!(redactor.clean(shown), "[redacted] ?");
    }

    #[test]
    fn nothing_to_hide_makes_no_redactor() {
        assert!(Redactor::of(&SessionSpec::new("mock".parse().unwrap())).is_none());
    }
}
