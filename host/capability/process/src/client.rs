//! Asking a supervisor something over its control socket. Blocking, with a bound on every wait.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use seawall_supervisor::RunDir;
use seawall_supervisor::protocol::{Reply, Request, VERSION};

/// A supervisor does one thing at a time and none of them takes long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a request came to nothing.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Nobody listens: it is not there yet, or not any more.
    Nobody,
    /// The supervisor cannot do that.
    Unsupported(String),
    /// It was tried, or should have been, and failed.
    Failed(String),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Self::Nobody,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                Self::Failed(format!("it has not answered for {} s", PATIENCE.as_secs()))
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// Asks the supervisor of this run directory.
pub(crate) fn ask(dir: &RunDir, request: Request) -> Result<Reply, Refused> {
    connect(dir, request).map(|(reply, ..)| reply)
}

/// Asks for a command, and gives the connection that is its own from then on, with what came in on it already.
pub(crate) fn begin(dir: &RunDir, request: Request) -> Result<(UnixStream, Vec<u8>), Refused> {
    match connect(dir, request)? {
        (Reply::Done, connection, received) => {
            connection.set_nonblocking(true)?;
            Ok((connection, received))
        }
        (other, ..) => Err(Refused::Failed(format!("it answered {other:?}"))),
    }
}

fn connect(dir: &RunDir, request: Request) -> Result<(Reply, UnixStream, Vec<u8>), Refused> {
    // A socket's path has at most 108 bytes; this way it always fits.
    let directory = File::open(dir.path())?;
    let mut stream = UnixStream::connect(format!("/proc/self/fd/{}/ctl", directory.as_raw_fd()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut buffer = Vec::new();
    match exchange(&mut stream, &mut buffer, Request::Hello { min: VERSION, max: VERSION })? {
        Reply::Hello(_) => {}
        Reply::Unsupported(message) => return Err(Refused::Unsupported(message)),
        other => return Err(Refused::Failed(format!("it answered {other:?} to a greeting"))),
    }
    match exchange(&mut stream, &mut buffer, request)? {
        Reply::Unsupported(message) => Err(Refused::Unsupported(message)),
        Reply::Failed(message) => Err(Refused::Failed(message)),
        reply => Ok((reply, stream, buffer)),
    }
}

fn exchange(stream: &mut UnixStream, buffer: &mut Vec<u8>, request: Request) -> Result<Reply, Refused> {
    stream.write_all(&request.encode())?;
    let mut piece = [0; 512];
    loop {
        if let Some(reply) = Reply::decode(buffer) {
            return reply.map_err(|error| Refused::Failed(error.to_string()));
        }
        match stream.read(&mut piece) {
            Ok(0) => return Err(Refused::Nobody),
            Ok(length) => buffer.extend_from_slice(piece.get(..length).unwrap_or_default()),
            // The daemon was stopped and goes on: what has a timeout is not taken up again by itself.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
