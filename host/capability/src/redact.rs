//! Takes the values of a session's environment out of texts that a plugin made (A9).

use seawall_backend::Error;
use seawall_model::{InvalidSpec, Problem, Secret, SessionSpec};

/// Shorter values than this are taken out only where they stand alone: a `1` in every number is no secret.
const SHORT: usize = 4;

/// The values to take out, longest first so that one that contains another goes as a whole.
#[derive(Debug)]
pub struct Redactor {
    secrets: Vec<Secret>,
}

impl Redactor {
    /// For a session's environment. `None` if there is nothing to hide.
    pub fn of(spec: &SessionSpec) -> Option<Self> {
        let mut secrets: Vec<Secret> = spec.env.values().filter(|value| !value.reveal().is_empty()).cloned().collect();
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

impl Redactor {
    /// An error without them: engines like to repeat what they were given.
    pub fn clean_error(&self, error: Error) -> Error {
        match error {
            Error::NotFound(message) => Error::NotFound(self.clean(message)),
            Error::Conflict { message, retry_after } => Error::Conflict { message: self.clean(message), retry_after },
            Error::Invalid(InvalidSpec { problems }) => {
                let clean = |problem: Problem| Problem { message: self.clean(problem.message), ..problem };
                Error::Invalid(InvalidSpec { problems: problems.into_iter().map(clean).collect() })
            }
            Error::Denied(message) => Error::Denied(self.clean(message)),
            Error::Exhausted { message, retry_after } => Error::Exhausted { message: self.clean(message), retry_after },
            Error::Unavailable { message, retry_after } => {
                Error::Unavailable { message: self.clean(message), retry_after }
            }
            Error::Unsupported(message) => Error::Unsupported(self.clean(message)),
            Error::Other(message) => Error::Other(self.clean(message)),
            // Made by the host, of nothing that the guest said.
            Error::Full { .. } | Error::Open { .. } | Error::Quarantined { .. } | Error::Fault(_) => error,
        }
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
    fn nothing_to_hide_makes_no_redactor() {
        assert!(Redactor::of(&SessionSpec::new("mock".parse().unwrap())).is_none());
    }
}
