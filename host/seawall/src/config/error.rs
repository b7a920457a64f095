//! What is wrong with a configuration, and where.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A place in a file, both counted from 1; columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Line.
    pub(crate) line: usize,
    /// Column.
    pub(crate) column: usize,
}

impl Place {
    /// Where a byte of a text lies.
    pub(crate) fn of(text: &str, byte: usize) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column }
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {} cannot be read", .file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something in the file is wrong.
    #[error("{}", At { file, place: *place, message })]
    Wrong {
        /// Which file.
        file: PathBuf,
        /// Where in it, if it is known.
        place: Option<Place>,
        /// The key, dotted, if it is known.
        key: Option<String>,
        /// What, and what was meant.
        message: String,
    },
    /// A variable or a flag is wrong.
    #[error("{name}: {message}")]
    Given {
        /// The variable or the flag.
        name: String,
        /// What it must be.
        message: String,
    },
    /// Nowhere to keep anything.
    #[error("there is no place for the data directory: {0}; name one with --data-dir or SEAWALL_DATA_DIR")]
    NoHome(&'static str),
}

/// Something wrong that did not come from the file.
pub(super) fn given(name: impl Into<String>, message: impl Into<String>) -> ConfigError {
    ConfigError::Given { name: name.into(), message: message.into() }
}

struct At<'a> {
    file: &'a Path,
    place: Option<Place>,
    message: &'a str,
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(Place { line, column }) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl ConfigError {
    /// What is wrong, by the name that the file has for it.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Self::Wrong { key, .. } => key.as_deref(),
            Self::Given { name, .. } => Some(name),
            Self::Read { .. } | Self::NoHome(_) => None,
        }
    }

    /// From the reader's own error, with what was probably meant.
    pub(crate) fn from_toml(file: &Path, text: &str, error: &toml::de::Error) -> Self {
        let place = error.span().map(|Range { start, .. }| Place::of(text, start));
        Self::Wrong { file: file.to_owned(), place, key: None, message: suggest(error.message()) }
    }
}

/// serde's "unknown field `x`, expected one of `a`, `b`" in Seawall's words, with the nearest known word.
pub(crate) fn suggest(message: &str) -> String {
    let (what, rest) = if let Some(rest) = message.strip_prefix("unknown field `") {
        ("key", rest)
    } else if let Some(rest) = message.strip_prefix("unknown variant `") {
        ("value", rest)
    } else if message.trim_end().ends_with("expected a duration") {
        return format!("{}: write a number with its unit, as in 10s, 500ms or 1m 30s", message.trim_end());
    } else {
        return message.to_owned();
    };
    let Some((given, expected)) = rest.split_once('`') else { return message.to_owned() };
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let mut said = format!("unknown {what} `{given}`");
    if let Some(near) = nearest(given, known.iter().copied()) {
        said.push_str(&format!("; did you mean `{near}`?"));
    }
    if known.is_empty() {
        said.push_str("; nothing may stand here");
    } else {
        said.push_str(&format!(" (known: {})", known.join(", ")));
    }
    said
}

/// The known word that is near enough to have been meant.
pub(crate) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A config key of a megabyte is compared no further than this.
    let given: String = given.chars().take(64).collect::<String>().replace('_', "-");
    known
        .into_iter()
        .map(|word| (strsim::jaro_winkler(&given, word), word))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_word_meets_the_one_that_was_meant() {
        assert_eq!(
            suggest("unknown field `sokcet`, expected one of `data-dir`, `socket`"),
            "unknown key `sokcet`; did you mean `socket`? (known: data-dir, socket)"
        );
        assert_eq!(
            suggest("unknown field `data_dir`, expected `data-dir` or `socket`"),
            "unknown key `data_dir`; did you mean `data-dir`? (known: data-dir, socket)"
        );
        assert_eq!(
            suggest("unknown variant `go`, expected `leave` or `stop`"),
            "unknown value `go` (known: leave, stop)"
        );
        assert_eq!(suggest("unknown field `x`, there are no fields"), "unknown key `x`; nothing may stand here");
        assert_eq!(suggest("invalid type: integer"), "invalid type: integer");
    }

    #[test]
    fn places_are_counted_as_editors_count() {
        assert_eq!(Place::of("a = 1\nü = 2", 9), Place { line: 2, column: 3 });
        assert_eq!(Place::of("", 0), Place { line: 1, column: 1 });
        assert_eq!(Place::of("a", 99), Place { line: 1, column: 2 });
    }
}
