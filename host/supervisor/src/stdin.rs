//! The writing end of a standard input. What is given is kept until it is taken, up to a bound: nothing is waited for.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::termios::{LocalModes, SpecialCodeIndex, tcgetattr};

/// With this much waiting to be taken, no more is to be given.
const MOST_PENDING: usize = 32 << 10;

/// A standard input, as who writes to it sees it.
pub(crate) struct Stdin {
    /// Absent: there is none, or nobody reads it any more.
    to: Option<File>,
    terminal: bool,
    pending: Vec<u8>,
    /// It is closed once all is taken.
    closing: bool,
    /// What was given last does not end a line.
    in_line: bool,
}

impl Stdin {
    /// Takes nothing.
    pub(crate) fn none() -> Self {
        Self { to: None, terminal: false, pending: Vec::new(), closing: false, in_line: false }
    }

    /// The end of a pipe.
    pub(crate) fn pipe(writer: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&writer, true)?;
        Ok(Self { to: Some(File::from(writer)), ..Self::none() })
    }

    /// A terminal that does not block.
    pub(crate) fn terminal(terminal: File) -> Self {
        Self { to: Some(terminal), terminal: true, ..Self::none() }
    }

    /// Whether more may be given.
    pub(crate) fn has_room(&self) -> bool {
        self.pending.len() < MOST_PENDING
    }

    /// Whether what is given may still be read.
    pub(crate) fn is_open(&self) -> bool {
        self.to.is_some() && !self.closing
    }

    /// To be written as soon as it can be; nothing happens where it is not open.
    pub(crate) fn give(&mut self, bytes: &[u8]) {
        if self.is_open() {
            self.pending.extend_from_slice(bytes);
            self.in_line = bytes.last().map_or(self.in_line, |last| !matches!(last, b'\n' | b'\r'));
            self.turn();
        }
    }

    /// Says that nothing more comes. A terminal stays open: the reader meets the end of a file once, as after ctrl-d.
    pub(crate) fn close(&mut self) {
        if self.terminal {
            let end = self.end_of_file();
            self.give(&end);
            self.in_line = false;
        } else {
            self.closing = true;
            self.turn();
        }
    }

    /// Lets go of it, and of what was not taken.
    pub(crate) fn abandon(&mut self) {
        *self = Self::none();
    }

    /// In the middle of a line the first only ends that.
    fn end_of_file(&self) -> Vec<u8> {
        let Some(modes) = self.to.as_ref().and_then(|terminal| tcgetattr(terminal).ok()) else { return Vec::new() };
        let code = modes.special_codes[SpecialCodeIndex::VEOF];
        let twice = self.in_line && modes.local_modes.contains(LocalModes::ICANON);
        match code {
            // It has none.
            0 => Vec::new(),
            code => vec![code; 1 + usize::from(twice)],
        }
    }

    /// What it waits for.
    pub(crate) fn source(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let to = self.to.as_ref().filter(|_| !self.pending.is_empty())?;
        Some((to.as_fd(), PollFlags::OUT))
    }

    /// Writes what can be written now.
    pub(crate) fn turn(&mut self) {
        while let Some(to) = self.to.as_mut().filter(|_| !self.pending.is_empty()) {
            match to.write(&self.pending) {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Nobody has it open to read.
                Err(_) => return self.abandon(),
            }
        }
        if self.closing {
            self.to = None;
        }
    }
}
