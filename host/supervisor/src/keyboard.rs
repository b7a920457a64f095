//! A client that gives input. What comes on its connection is read only while there is room for it.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use seawall_supervisor::protocol::{Malformed, Request};

use crate::stdin::Stdin;

/// How much is read of one client before the others have their turn.
const TURN: usize = 4;
/// Read at once.
const PIECE: usize = 16 << 10;

/// A connection on which input comes. Memory: less than two messages.
pub(crate) struct Keyboard {
    pub(crate) connection: UnixStream,
    received: Vec<u8>,
}

impl Keyboard {
    /// `received` has come on it already.
    pub(crate) fn new(connection: UnixStream, received: Vec<u8>) -> Self {
        Self { connection, received }
    }

    /// Passes on what can be passed on now: input to `stdin`, and the rest to `obey`. `false`: all was read, and nobody is
    /// there any more.
    pub(crate) fn turn(&mut self, stdin: &mut Stdin, mut obey: impl FnMut(Request)) -> bool {
        let mut piece = [0; PIECE];
        stdin.turn();
        // What came before and found no room goes first.
        let mut there = self.pass_on(stdin, &mut obey);
        for _ in 0..TURN {
            if !there || !stdin.has_room() {
                break;
            }
            match self.connection.read(&mut piece) {
                Ok(0) => return false,
                Ok(length) => {
                    self.received.extend_from_slice(piece.get(..length).unwrap_or_default());
                    there = self.pass_on(stdin, &mut obey);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        there
    }

    /// `false`: what comes cannot be understood any more.
    fn pass_on(&mut self, stdin: &mut Stdin, obey: &mut impl FnMut(Request)) -> bool {
        while stdin.has_room()
            && let Some(request) = Request::decode(&mut self.received)
        {
            match request {
                Ok(Request::Write(bytes)) => stdin.give(&bytes),
                Ok(Request::CloseStdin) => stdin.close(),
                Ok(request) => obey(request),
                Err(Malformed::Length(_)) => return false,
                // Of a newer client.
                Err(_) => {}
            }
        }
        true
    }

    /// Whether the other side is gone, though what it gave may not be read yet.
    pub(crate) fn hung_up(&self) -> bool {
        let mut polled = [PollFd::new(&self.connection, PollFlags::empty())];
        let looked = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        looked.is_ok_and(|ready| ready > 0)
    }
}
