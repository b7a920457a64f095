//! The protocol of the control socket.
//!
//! A message is a length (u32, little-endian, of what follows), a kind (u16, little-endian) and a body. The first
//! request is [`Request::Hello`] with the range of versions the client speaks, and the answer is the version used. What
//! a supervisor does not know it answers with [`Reply::Unsupported`] and reads on, so a newer daemon can ask an older
//! supervisor and learn from the answer. Requests are answered in order.
//!
//! A connection on which [`Request::Run`] was answered with [`Reply::Done`] belongs to that command from then on:
//! [`Reply::Output`] comes any number of times, then [`Reply::Ended`]. Closing it ends the command. One on which
//! [`Request::Attach`] was answered so belongs to the session's own standard input and terminal; closing it ends nothing.
//!
//! On both, [`Request::Write`], [`Request::CloseStdin`], [`Request::Resize`] and, to a command, [`Request::Signal`] may
//! come at any time. None of them is answered, and anything else is passed over. While what was written is not read, the
//! connection is not either. [`Reply::InputClosed`] says that nothing more will be.
//!
//! A command that needs neither terminal nor input is asked for as it always was, so that an older supervisor runs it.

use serde::{Deserialize, Serialize};

use crate::log::Stream;
use crate::record::{self, Command, Interactive, Size};

/// The version spoken here.
pub const VERSION: u16 = 1;

/// A message is at most this long.
pub const MAX_MESSAGE: usize = 64 << 10;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Which versions the client speaks.
    Hello {
        /// The oldest.
        min: u16,
        /// The newest.
        max: u16,
    },
    /// What is going on?
    Status,
    /// Send this signal to the process group.
    Signal(u8),
    /// Kill the whole tree.
    Kill,
    /// Close its standard input.
    CloseStdin,
    /// Give it this to read.
    Write(Vec<u8>),
    /// Change the size of its terminal.
    Resize(Size),
    /// Run a command in the session.
    Run(Box<Interactive>),
    /// What comes on this connection is for the session's own standard input and terminal.
    Attach,
}

/// What a supervisor answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The version that will be spoken.
    Hello(u16),
    /// Done.
    Done,
    /// What is going on.
    Status(Report),
    /// No such request, version or signal.
    Unsupported(String),
    /// It was tried and failed.
    Failed(String),
    /// The command wrote this.
    Output(Stream, Vec<u8>),
    /// The command ended.
    Ended(CommandEnd),
    /// Its standard input takes nothing, or nothing any more.
    InputClosed,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandEnd {
    /// With this exit code.
    Code(u8),
    /// By this signal.
    Signal(u8),
    /// It was killed at its timeout.
    TimedOut,
}

/// What a supervisor says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The supervisor's version.
    pub version: String,
    /// The first process, while it is there.
    pub pid: Option<i32>,
    /// Bytes of output dropped because the disk was full.
    pub dropped: u64,
}

/// Why bytes are no message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Longer than allowed. Nothing after it can be understood.
    #[error("a message of {0} bytes is too long")]
    Length(usize),
    /// A kind that is not known. The messages after it can be.
    #[error("messages of kind {0} are not known here")]
    Kind(u16),
    /// A known kind with a body that is not.
    #[error("the body of a message of kind {0} is damaged")]
    Body(u16),
}

trait Message: Sized {
    fn kind(&self) -> u16;
    fn body(&self) -> Vec<u8>;
    fn parse(kind: u16, body: &[u8]) -> Result<Self, Malformed>;
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Message for Request {
    fn kind(&self) -> u16 {
        match self {
            Self::Hello { .. } => 1,
            Self::Status => 2,
            Self::Signal(_) => 3,
            Self::Kill => 4,
            Self::CloseStdin => 5,
            Self::Write(_) => 6,
            Self::Resize(_) => 7,
            Self::Run(interactive) if interactive.terminal.is_none() && !interactive.stdin => 8,
            Self::Run(_) => 9,
            Self::Attach => 10,
        }
    }

    fn body(&self) -> Vec<u8> {
        match self {
            Self::Hello { min, max } => [min.to_le_bytes(), max.to_le_bytes()].concat(),
            Self::Signal(number) => vec![*number],
            Self::Status | Self::Kill | Self::CloseStdin | Self::Attach => Vec::new(),
            Self::Write(bytes) => bytes.clone(),
            Self::Resize(size) => [size.columns.to_le_bytes(), size.rows.to_le_bytes()].concat(),
            Self::Run(interactive) if self.kind() == 8 => record::encode(&interactive.command).unwrap_or_default(),
            Self::Run(interactive) => record::encode(&**interactive).unwrap_or_default(),
        }
    }

    fn parse(kind: u16, body: &[u8]) -> Result<Self, Malformed> {
        match (kind, body) {
            (1, [a, b, c, d, ..]) => {
                Ok(Self::Hello { min: u16::from_le_bytes([*a, *b]), max: u16::from_le_bytes([*c, *d]) })
            }
            (2, _) => Ok(Self::Status),
            (3, [number, ..]) => Ok(Self::Signal(*number)),
            (4, _) => Ok(Self::Kill),
            (5, _) => Ok(Self::CloseStdin),
            (6, bytes) => Ok(Self::Write(bytes.to_vec())),
            (7, [a, b, c, d, ..]) => {
                Ok(Self::Resize(Size { columns: u16::from_le_bytes([*a, *b]), rows: u16::from_le_bytes([*c, *d]) }))
            }
            (8, body) => record::decode::<Command>(body)
                .map(|command| Self::Run(Box::new(command.into())))
                .map_err(|_| Malformed::Body(kind)),
            (9, body) => record::decode(body)
                .map(|interactive| Self::Run(Box::new(interactive)))
                .map_err(|_| Malformed::Body(kind)),
            (10, _) => Ok(Self::Attach),
            (1 | 3 | 7, _) => Err(Malformed::Body(kind)),
            _ => Err(Malformed::Kind(kind)),
        }
    }
}

impl Message for Reply {
    fn kind(&self) -> u16 {
        match self {
            Self::Hello(_) => 1,
            Self::Done => 2,
            Self::Status(_) => 3,
            Self::Unsupported(_) => 4,
            Self::Failed(_) => 5,
            Self::Output(..) => 6,
            Self::Ended(_) => 7,
            Self::InputClosed => 8,
        }
    }

    fn body(&self) -> Vec<u8> {
        match self {
            Self::Hello(version) => version.to_le_bytes().to_vec(),
            Self::Done | Self::InputClosed => Vec::new(),
            Self::Status(report) => postcard::to_stdvec(report).unwrap_or_default(),
            Self::Unsupported(message) | Self::Failed(message) => message.clone().into_bytes(),
            Self::Output(stream, bytes) => [&[stream.number()], bytes.as_slice()].concat(),
            Self::Ended(CommandEnd::Code(code)) => vec![0, *code],
            Self::Ended(CommandEnd::Signal(signal)) => vec![1, *signal],
            Self::Ended(CommandEnd::TimedOut) => vec![2],
        }
    }

    fn parse(kind: u16, body: &[u8]) -> Result<Self, Malformed> {
        match (kind, body) {
            (1, [a, b, ..]) => Ok(Self::Hello(u16::from_le_bytes([*a, *b]))),
            (2, _) => Ok(Self::Done),
            (3, body) => postcard::from_bytes(body).map(Self::Status).map_err(|_| Malformed::Body(kind)),
            (4, body) => Ok(Self::Unsupported(text(body))),
            (5, body) => Ok(Self::Failed(text(body))),
            (6, [stream, bytes @ ..]) => match Stream::from_number(*stream) {
                Some(stream) => Ok(Self::Output(stream, bytes.to_vec())),
                None => Err(Malformed::Body(kind)),
            },
            (7, [0, code, ..]) => Ok(Self::Ended(CommandEnd::Code(*code))),
            (7, [1, signal, ..]) => Ok(Self::Ended(CommandEnd::Signal(*signal))),
            (7, [2, ..]) => Ok(Self::Ended(CommandEnd::TimedOut)),
            (8, _) => Ok(Self::InputClosed),
            (1 | 6 | 7, _) => Err(Malformed::Body(kind)),
            _ => Err(Malformed::Kind(kind)),
        }
    }
}

fn encode(message: &impl Message) -> Vec<u8> {
    let body = message.body();
    let length = u32::try_from(body.len() + 2).unwrap_or(u32::MAX);
    [&length.to_le_bytes()[..], &message.kind().to_le_bytes()[..], &body].concat()
}

/// Takes the first message off `buffer`, if it is there whole.
fn decode<M: Message>(buffer: &mut Vec<u8>) -> Option<Result<M, Malformed>> {
    let (length, rest) = buffer.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if !(2..=MAX_MESSAGE).contains(&length) {
        return Some(Err(Malformed::Length(length)));
    }
    let (kind, body) = rest.get(..length)?.split_first_chunk::<2>()?;
    let message = M::parse(u16::from_le_bytes(*kind), body);
    buffer.drain(..4 + length);
    Some(message)
}

impl Request {
    /// The bytes of it.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Takes the first request off `buffer`, if it is there whole.
    pub fn decode(buffer: &mut Vec<u8>) -> Option<Result<Self, Malformed>> {
        decode(buffer)
    }
}

impl Reply {
    /// The bytes of it.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Takes the first reply off `buffer`, if it is there whole.
    pub fn decode(buffer: &mut Vec<u8>) -> Option<Result<Self, Malformed>> {
        decode(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        Command {
            file: "/bin/true".into(),
            arguments: vec!["true".into()],
            env: vec![("A".into(), "hunter2".into())],
            working_dir: Some("/".into()),
            user: None,
            timeout: Some(1000),
        }
    }

    #[test]
    fn a_command_of_a_newer_version_is_refused_and_its_secrets_are_not_shown() {
        let mut wire = Request::Run(Box::new(command().into())).encode();
        assert!(!format!("{:?}", Request::decode(&mut wire.clone())).contains("hunter2"));
        wire[6] = 9;
        assert_eq!(Request::decode(&mut wire), Some(Err(Malformed::Body(8))));
    }

    #[test]
    fn a_command_without_a_keyboard_is_asked_for_as_older_supervisors_know_it() {
        let wire = Request::Run(Box::new(command().into())).encode();
        assert_eq!(wire[4..6], [8, 0]);
        assert_eq!(wire[6..], record::encode(&command()).unwrap());
    }

    #[test]
    fn every_message_reads_back() {
        let terminal = Interactive { terminal: Some(Size { columns: 300, rows: 7 }), ..command().into() };
        let requests = [
            Request::Hello { min: 1, max: 700 },
            Request::Status,
            Request::Signal(15),
            Request::Kill,
            Request::CloseStdin,
            Request::Write(vec![0, 0xff]),
            Request::Write(Vec::new()),
            Request::Resize(Size { columns: 300, rows: 7 }),
            Request::Run(Box::new(command().into())),
            Request::Run(Box::new(terminal)),
            Request::Run(Box::new(Interactive { stdin: true, ..command().into() })),
            Request::Attach,
        ];
        let mut buffer: Vec<u8> = requests.iter().flat_map(Request::encode).collect();
        for request in requests {
            assert_eq!(Request::decode(&mut buffer), Some(Ok(request)));
        }
        assert_eq!(Request::decode(&mut buffer), None);

        let report = Report { version: "1.2.3".into(), pid: Some(7), dropped: 1 << 40 };
        let replies = [
            Reply::Hello(1),
            Reply::Done,
            Reply::Status(report),
            Reply::Unsupported("a".into()),
            Reply::Failed(String::new()),
            Reply::Output(Stream::Stderr, vec![0, 0xff]),
            Reply::Ended(CommandEnd::Code(3)),
            Reply::Ended(CommandEnd::Signal(9)),
            Reply::Ended(CommandEnd::TimedOut),
            Reply::InputClosed,
        ];
        let mut buffer: Vec<u8> = replies.iter().flat_map(Reply::encode).collect();
        for reply in replies {
            assert_eq!(Reply::decode(&mut buffer), Some(Ok(reply)));
        }
    }

    #[test]
    fn an_unknown_request_does_not_spoil_the_next() {
        let mut buffer = vec![5, 0, 0, 0, 0xff, 0, 1, 2, 3];
        buffer.extend(Request::Kill.encode());
        assert_eq!(Request::decode(&mut buffer), Some(Err(Malformed::Kind(0xff))));
        assert_eq!(Request::decode(&mut buffer), Some(Ok(Request::Kill)));
    }

    #[test]
    fn half_a_message_is_none_and_a_huge_one_is_refused() {
        let whole = Request::Signal(9).encode();
        for cut in 0..whole.len() {
            assert_eq!(Request::decode(&mut whole[..cut].to_vec()), None);
        }
        assert!(matches!(Request::decode(&mut vec![0xff; 8]), Some(Err(Malformed::Length(_)))));
        assert!(matches!(Request::decode(&mut vec![0; 8]), Some(Err(Malformed::Length(0)))));
    }
}
