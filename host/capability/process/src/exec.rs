//! Commands in a session that runs. The supervisor starts them, so that they are held and limited as the session is, and
//! sends what they write over the connection that they were asked for on; what they are given goes the other way. When
//! nobody reads their events any more the connection is closed, which ends the command.

use std::io;
use std::sync::Arc;

use crate::Process;
use crate::client::{self, Refused};
use crate::keyboard::{Has, Keyboard, Line};
use crate::runs::{self, Phase};
use bytes::Bytes;
use futures_util::stream::try_unfold;
use seawall_backend::{Error, ExecEvent, Execution, LogChunk, Source};
use seawall_model::{CommandEnd, ExecOptions, Key, State};
use seawall_supervisor::log::Stream;
use seawall_supervisor::protocol::{self, MAX_MESSAGE, Reply, Request};

/// Output that is taken off the socket in one go.
const PIECE: usize = 16 << 10;

impl Process {
    /// Runs a command in a session that runs.
    ///
    /// # Errors
    /// `Conflict` if the session does not run; `Invalid` names the field; `Denied` what is not granted; `Unsupported`
    /// if its supervisor is of an older version.
    pub async fn exec(&self, key: &Key, options: &ExecOptions) -> Result<Execution, Error> {
        let run = self.run(key).await?;
        let options = options.clone();
        let has = Has { stdin: options.stdin, terminal: options.tty, signals: true };
        let plain = options.interactive().is_none();
        let not_running = format!("session {} does not run", key.session);
        let paused = format!("session {} is paused", key.session);
        let (stream, received) = self
            .blocking(move |inner| {
                let unreadable = |error| runs::unreadable(run.dir.path(), &error);
                let (Phase::Running(Some(_)), status) = inner.settle(&run)? else {
                    return Err(Error::conflict(not_running));
                };
                if status.state == State::Paused {
                    return Err(Error::conflict(format!("{paused}: unpause it first")));
                }
                let program = run.program().map_err(unreadable)?;
                let command = inner.granted.check_command(&options, &program, &inner.scope)?;
                let request = Request::Run(Box::new(command));
                if request.encode().len() > MAX_MESSAGE {
                    let message = format!("arguments and environment have more than {} KiB", MAX_MESSAGE >> 10);
                    return Err(Error::invalid("command", message));
                }
                client::begin(&run.dir, request).map_err(|refused| match refused {
                    Refused::Nobody => Error::conflict(not_running),
                    Refused::Unsupported(_) => {
                        older(if plain { "runs no commands" } else { "runs no commands with a terminal or input" })
                    }
                    Refused::Failed(message) => {
                        Error::unavailable(format!("the supervisor in {}: {message}", run.dir.path().display()))
                    }
                })
            })
            .await?;
        let unusable = |error| Error::Other(format!("the connection to a supervisor cannot be used: {error}"));
        let line = Line::new(stream).map_err(unusable)?;
        let input = Box::new(Keyboard::of_command(Arc::clone(&line), has));
        let events = try_unfold(Some((Listener(line), received)), |open| async move {
            let Some((listener, mut buffer)) = open else { return Ok(None) };
            let event = next(&listener.0, &mut buffer).await?;
            let open = (!matches!(event, ExecEvent::Ended(_))).then_some((listener, buffer));
            Ok(Some((event, open)))
        });
        Ok(Execution { events: Box::pin(events), input })
    }
}

/// What a supervisor of an older version cannot do.
pub(crate) fn older(what: &str) -> Error {
    Error::Unsupported(format!(
        "the session's supervisor is of an older version that {what}: a restart of the session gives it this one"
    ))
}

/// Who reads what a command does. When it is gone the command is to end, though somebody may still hold its input.
struct Listener(Arc<Line>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.hang_up();
    }
}

async fn next(line: &Line, buffer: &mut Vec<u8>) -> io::Result<ExecEvent> {
    loop {
        match Reply::decode(buffer) {
            Some(Ok(Reply::Output(source, bytes))) => {
                let source = if source == Stream::Stderr { Source::Stderr } else { Source::Stdout };
                return Ok(ExecEvent::Output(LogChunk { source, bytes: Bytes::from(bytes) }));
            }
            Some(Ok(Reply::Ended(end))) => {
                return Ok(ExecEvent::Ended(match end {
                    protocol::CommandEnd::Code(code) => CommandEnd::Code(code),
                    protocol::CommandEnd::Signal(signal) => CommandEnd::Signal(signal),
                    protocol::CommandEnd::TimedOut => CommandEnd::TimedOut,
                }));
            }
            Some(Ok(Reply::InputClosed)) => line.input_is_closed(),
            Some(Ok(other)) => return Err(broken(format!("the supervisor said {other:?} of a command"))),
            Some(Err(error)) => return Err(broken(error.to_string())),
            None => {
                buffer.reserve(PIECE);
                line.stream.readable().await?;
                match line.stream.try_read_buf(buffer) {
                    Ok(0) => {
                        let message = "the session's supervisor hung up: nobody knows how the command ended";
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
                    }
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    _ => {}
                }
            }
        }
    }
}

fn broken(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
