//! The terminal that a command was called from: its size, its raw mode, and the keys that leave a session.

use std::io::IsTerminal as _;
use std::str::FromStr;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::api::ScreenSize;
use crate::exit::Failure;

/// Whether somebody types there.
pub(super) fn is_interactive() -> bool {
    std::io::stdin().is_terminal()
}

/// How much it shows, if there is one.
pub(super) fn size() -> Option<ScreenSize> {
    let size = tcgetwinsize(std::io::stdout()).or_else(|_| tcgetwinsize(std::io::stdin())).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some(ScreenSize { columns: size.ws_col, rows: size.ws_row })
}

/// A terminal that gives each key as it is pressed and shows none by itself. Dropping this puts it back.
pub(super) struct Raw(Termios);

impl Raw {
    /// Makes it so.
    ///
    /// # Errors
    /// Standard input is no terminal.
    pub(super) fn enter() -> Result<Self, Failure> {
        let failed = |error| Failure::Other(anyhow::Error::new(error).context("failed to set up the terminal"));
        let before = tcgetattr(std::io::stdin()).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // If the terminal is gone there is nothing to put back.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// The keys that leave a session without ending it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DetachKeys(Vec<u8>);

impl Default for DetachKeys {
    /// As in Docker: ctrl-p, ctrl-q.
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

impl FromStr for DetachKeys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let key = |word: &str| match word.as_bytes() {
            [one] => Some(*one),
            _ => match word.strip_prefix("ctrl-").map(str::as_bytes) {
                Some([letter @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]) => Some(letter & 0x1f),
                _ => None,
            },
        };
        let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
        keys.map(Self).ok_or_else(|| {
            "write keys with commas between them, each one character or ctrl- and a letter: ctrl-p,ctrl-q".to_owned()
        })
    }
}

/// Looks for the keys in what is typed.
#[derive(Debug)]
pub(super) struct Leaving {
    keys: Vec<u8>,
    /// So many of them were typed last, and are held back.
    seen: usize,
}

impl Leaving {
    pub(super) fn new(keys: DetachKeys) -> Self {
        Self { keys: keys.0, seen: 0 }
    }

    /// What of this is meant for the session, and whether the keys were typed: what comes after them is dropped.
    pub(super) fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut meant = Vec::with_capacity(typed.len() + self.seen);
        for byte in typed {
            // The longest beginning of the keys that ends here may begin later than the one held back.
            while self.seen > 0 && self.keys.get(self.seen) != Some(byte) {
                let held = self.keys.get(..self.seen).unwrap_or_default();
                let shorter =
                    (0..self.seen).rev().find(|length| held.ends_with(self.keys.get(..*length).unwrap_or_default()));
                let shorter = shorter.unwrap_or_default();
                meant.extend_from_slice(held.get(..self.seen - shorter).unwrap_or_default());
                self.seen = shorter;
            }
            if self.keys.get(self.seen) == Some(byte) {
                self.seen += 1;
            } else {
                meant.push(*byte);
            }
            if self.seen == self.keys.len() {
                self.seen = 0;
                return (meant, true);
            }
        }
        (meant, false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_written_as_in_docker() {
        assert_eq!("ctrl-p,ctrl-q".parse(), Ok(DetachKeys::default()));
        assert_eq!("ctrl-[,x".parse(), Ok(DetachKeys(vec![0x1b, b'x'])));
        for wrong in ["", "ctrl-", "ctrl-P1", "ctrl-1", "ab", "ctrl-p,", ",", "ä"] {
            assert!(wrong.parse::<DetachKeys>().unwrap_err().contains("ctrl-p,ctrl-q"), "{wrong:?}");
        }
    }

    #[test]
    fn what_only_begins_like_the_keys_is_passed_on() {
        let mut leaving = Leaving::new(DetachKeys(b"aab".to_vec()));
        assert_eq!(leaving.pass(b"xa"), (b"x".to_vec(), false));
        assert_eq!(leaving.pass(b"a"), (b"".to_vec(), false));
        assert_eq!(leaving.pass(b"ab!"), (b"a".to_vec(), true));
        assert_eq!(leaving.pass(b"aa!"), (b"aa!".to_vec(), false));
    }

    proptest! {
        #[test]
        fn it_leaves_at_the_keys_wherever_they_are_cut(typed in "[abc]{0,40}", size in 1_usize..7) {
            let keys = "aab";
            let mut leaving = Leaving::new(DetachKeys(keys.as_bytes().to_vec()));
            let (mut meant, mut left) = (Vec::new(), false);
            for piece in typed.as_bytes().chunks(size) {
                let (more, now) = leaving.pass(piece);
                meant.extend(more);
                if now {
                    left = true;
                    break;
                }
            }
            match typed.split_once(keys) {
                Some((before, _)) => prop_assert_eq!((meant.as_slice(), left), (before.as_bytes(), true)),
                None => {
                    prop_assert!(!left && typed.as_bytes().starts_with(&meant));
                    prop_assert!(keys.as_bytes().starts_with(&typed.as_bytes()[meant.len()..]));
                }
            }
        }
    }
}
