//! Clients that are attached to the session itself: what they give goes to its standard input and its terminal. What it
//! writes they read from the log. That one comes or goes is nothing to the session, nor to the others.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::PollFlags;
use seawall_supervisor::protocol::{Reply, Request};

use crate::keyboard::Keyboard;
use crate::spawn;
use crate::stdin::Stdin;

/// More at once are refused.
pub(crate) const MOST: usize = 16;

/// One of them.
pub(crate) struct Attached {
    keyboard: Keyboard,
    /// It knows that nothing it gives is read.
    told: bool,
}

impl Attached {
    /// `None`: it is gone already.
    pub(crate) fn new(mut keyboard: Keyboard) -> Option<Self> {
        keyboard.connection.write_all(&Reply::Done.encode()).ok()?;
        Some(Self { keyboard, told: false })
    }

    /// What it waits for. Nothing, while there is no room: that it hangs up meanwhile is no news, since what it gave
    /// before is still to be read.
    pub(crate) fn source(&self, stdin: &Stdin) -> Option<(BorrowedFd<'_>, PollFlags)> {
        stdin.has_room().then(|| (self.keyboard.connection.as_fd(), PollFlags::IN))
    }

    /// It is gone, and some of what it gave may not be read yet.
    pub(crate) fn hung_up(&self) -> bool {
        self.keyboard.hung_up()
    }

    /// Does what can be done now. `false`: it is gone.
    pub(crate) fn turn(&mut self, stdin: &mut Stdin, terminal: Option<&File>) -> bool {
        let there = self.keyboard.turn(stdin, |request| {
            if let (Request::Resize(size), Some(terminal)) = (request, terminal) {
                // Of a terminal that nobody has open any more the size is nobody's concern.
                let _ = spawn::resize(terminal, size);
            }
        });
        if there && !stdin.is_open() && !self.told {
            self.told = true;
            return self.keyboard.connection.write_all(&Reply::InputClosed.encode()).is_ok();
        }
        there
    }
}
