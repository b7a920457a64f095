//! The control socket: connections, and the requests that come in whole on them.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use seawall_supervisor::protocol::{Malformed, Reply, Request, VERSION};
use seawall_supervisor::record::Interactive;

/// More connections than this at once are closed as they come.
const MAX_CONNECTIONS: usize = 16;

/// One client. Reading and writing never block; a client that does not read its answers is dropped.
pub(crate) struct Connection {
    stream: UnixStream,
    buffer: Vec<u8>,
    greeted: bool,
}

/// Takes in those who wait.
pub(crate) fn accept(listener: &UnixListener, connections: &mut Vec<Connection>) {
    while let Ok((stream, _)) = listener.accept() {
        if connections.len() < MAX_CONNECTIONS && stream.set_nonblocking(true).is_ok() {
            connections.push(Connection { stream, buffer: Vec::new(), greeted: false });
        }
    }
}

impl std::os::fd::AsFd for Connection {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// What is to become of a connection.
pub(crate) enum Served {
    /// It goes on.
    Open,
    /// It is at its end.
    Over,
    /// It belongs to this command from now on.
    Run(Box<Interactive>),
    /// It belongs to the session's own input from now on.
    Attach,
}

impl Connection {
    /// The connection itself, and what came in on it and was not looked at yet.
    pub(crate) fn into_parts(self) -> (UnixStream, Vec<u8>) {
        (self.stream, self.buffer)
    }

    /// Reads what is there and answers it.
    pub(crate) fn serve(&mut self, mut answer: impl FnMut(Request) -> Reply) -> Served {
        let mut piece = [0; 512];
        let open = loop {
            match self.stream.read(&mut piece) {
                Ok(0) => break false,
                Ok(length) => self.buffer.extend_from_slice(piece.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error.kind() == io::ErrorKind::WouldBlock,
            }
        };
        while let Some(request) = Request::decode(&mut self.buffer) {
            let reply = match request {
                Ok(Request::Run(command)) if self.greeted => return Served::Run(command),
                Ok(Request::Attach) if self.greeted => return Served::Attach,
                Ok(request) => self.gate(request, &mut answer),
                Err(error @ Malformed::Length(_)) => {
                    self.reply(&Reply::Unsupported(error.to_string()));
                    return Served::Over;
                }
                Err(error) => Reply::Unsupported(error.to_string()),
            };
            if !self.reply(&reply) {
                return Served::Over;
            }
        }
        if open { Served::Open } else { Served::Over }
    }

    /// A version must be agreed on before anything is done.
    fn gate(&mut self, request: Request, answer: &mut impl FnMut(Request) -> Reply) -> Reply {
        match request {
            Request::Hello { min, max } if (min..=max).contains(&VERSION) => {
                self.greeted = true;
                Reply::Hello(VERSION)
            }
            Request::Hello { .. } => Reply::Unsupported(format!("this supervisor speaks version {VERSION} only")),
            _ if !self.greeted => Reply::Unsupported("the first request must be hello".to_owned()),
            request => answer(request),
        }
    }

    /// `false`: nobody reads it.
    pub(crate) fn reply(&mut self, reply: &Reply) -> bool {
        self.stream.write_all(&reply.encode()).is_ok()
    }
}
