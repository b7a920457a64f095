//! How a command ends: the exit code of each failure, decided in one exhaustive match, and the one formatter that
//! prints a chain of errors.
//!
//! Seawall's own codes lie from 64 to 79, so that `seawall wait` and `run --attach`, which pass on the code of a session,
//! can hardly be misread. [`TABLE`] is what `seawall --help` shows.

use std::path::PathBuf;

use crate::app::StartError;
use crate::config::ConfigError;
use crate::problem::{Kind, Problem};

/// Every exit code of Seawall's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// It failed in a way that has no code of its own.
    Other = 1,
    /// The command line cannot be read. clap's.
    Usage = 2,
    /// The request was refused; the message names the field.
    Invalid = 64,
    /// No such session, backend or file.
    NotFound = 65,
    /// It contradicts what is there.
    Conflict = 66,
    /// Not allowed: a grant or a permission is missing.
    Denied = 67,
    /// The backend cannot do that.
    Unsupported = 68,
    /// The engine or the daemon cannot answer now; later it may.
    Unavailable = 69,
    /// A plugin's call came to no answer.
    Fault = 70,
    /// The session failed, or nobody can say how it ended.
    Session = 71,
    /// No daemon answers at the socket.
    NoDaemon = 72,
    /// Another daemon holds the data directory or the socket.
    Locked = 73,
    /// The data directory cannot be used.
    Storage = 74,
    /// What was waited for did not happen in time.
    Timeout = 75,
    /// A plugin cannot be loaded.
    Plugin = 76,
    /// The configuration is wrong.
    Config = 78,
}

/// What `seawall --help` says of them.
pub(crate) const TABLE: &str = "\
Exit codes:
   0  done
   1  failed in a way that has no code of its own
   2  the command line cannot be read
  64  the request was refused; the message names the field
  65  no such session, backend or file
  66  in conflict with what is there, such as a name that is taken
  67  not allowed: a grant or a permission is missing
  68  the backend cannot do that
  69  the engine or the daemon cannot answer now
  70  a plugin's call came to no answer
  71  the session failed, or nobody can say how it ended
  72  no daemon answers at the socket
  73  another daemon holds the data directory or the socket
  74  the data directory cannot be used
  75  what was waited for did not happen in time
  76  a plugin cannot be loaded
  78  the configuration is wrong
`seawall wait`, `attach` and `run --attach` pass on the code of the session, `exec` that of the command, and each 128 and
the signal where one ended it.";

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The daemon said no.
    #[error("{}", .0.detail)]
    Daemon(Box<Problem>),
    /// There is no daemon.
    #[error("no daemon answers at {}; start one with `seawall serve`, or name its socket with --socket", .socket.display())]
    NoDaemon {
        /// Where it was looked for.
        socket: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no daemon at that address, or it is not believed to be one.
    #[error("no daemon is reached at {host}; {hint}")]
    NoHost {
        /// Its address.
        host: String,
        /// What to do.
        hint: &'static str,
        /// What went wrong.
        source: anyhow::Error,
    },
    /// The connection to the daemon broke.
    #[error("the connection to the daemon at {place} broke")]
    Connection {
        /// Where it is.
        place: String,
        /// How.
        source: anyhow::Error,
    },
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The daemon could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A component file is not what it should be.
    #[error("{} cannot be loaded", .file.display())]
    Plugin {
        /// The file.
        file: PathBuf,
        /// Why.
        source: anyhow::Error,
    },
    /// A session ended otherwise than was waited for.
    #[error("{0}")]
    Session(String),
    /// An attempt failed that the daemon goes on making.
    #[error("{0}")]
    Pending(String),
    /// What was waited for did not happen.
    #[error("{0}")]
    Timeout(String),
    /// A value on the command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// A session that a file describes cannot be as it is.
    #[error("{0}")]
    Spec(String),
    /// A file is not there.
    #[error("{} cannot be read", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Anything else.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Daemon(Box::new(problem))
    }
}

impl Failure {
    /// The exit code: the one place where it is decided.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Daemon(problem) => of_problem(problem.kind),
            Self::NoDaemon { .. } | Self::NoHost { .. } | Self::Connection { .. } => Code::NoDaemon,
            Self::Config(_) => Code::Config,
            Self::Start(error) => of_start(error),
            Self::Plugin { .. } => Code::Plugin,
            Self::Session(_) => Code::Session,
            Self::Pending(_) => Code::Unavailable,
            Self::Timeout(_) => Code::Timeout,
            Self::Usage(_) => Code::Usage,
            Self::Spec(_) => Code::Invalid,
            Self::File { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => Code::NotFound,
                std::io::ErrorKind::PermissionDenied => Code::Denied,
                _ => Code::Other,
            },
            Self::Other(_) => Code::Other,
        }
    }

    /// The failure with everything that led to it, outermost first.
    pub(crate) fn chain(&self) -> String {
        chain(self)
    }
}

fn of_problem(kind: Kind) -> Code {
    match kind {
        Kind::Malformed
        | Kind::Invalid
        | Kind::TooLarge
        | Kind::TooSlow
        | Kind::UnsupportedMedia
        | Kind::MethodNotAllowed
        | Kind::UpgradeRequired
        | Kind::Misdirected => Code::Invalid,
        Kind::Denied | Kind::Unauthenticated => Code::Denied,
        Kind::NotFound => Code::NotFound,
        Kind::Conflict | Kind::Changed | Kind::Ambiguous | Kind::NeedsRestart => Code::Conflict,
        Kind::Config => Code::Config,
        Kind::Plugin => Code::Plugin,
        Kind::Unsupported => Code::Unsupported,
        Kind::Exhausted
        | Kind::Full
        | Kind::Open
        | Kind::Quarantined
        | Kind::Unavailable
        | Kind::Unhealthy
        | Kind::ShuttingDown => Code::Unavailable,
        Kind::Fault | Kind::Deadline => Code::Fault,
        Kind::TimedOut => Code::Timeout,
        Kind::Store => Code::Storage,
        Kind::Internal => Code::Other,
    }
}

fn of_start(error: &StartError) -> Code {
    match error {
        StartError::Locked(_) | StartError::SocketInUse { .. } => Code::Locked,
        StartError::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => Code::Locked,
        StartError::Store(_) | StartError::Storage { .. } | StartError::Tokens(_) => Code::Storage,
        StartError::Config(_)
        | StartError::SocketTooLong { .. }
        | StartError::SocketExposed { .. }
        | StartError::Tls { .. } => Code::Config,
        StartError::Plugin { .. } | StartError::NoPlugin { .. } => Code::Plugin,
        StartError::Socket { .. } | StartError::Listen { .. } | StartError::Runtime(_) | StartError::Control(_) => {
            Code::Other
        }
    }
}

/// An error and its sources, parted by `: `. A source that its error repeats, as transparent wrappers do, is said once.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let words = source.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented() {
        let codes = [
            Code::Other,
            Code::Usage,
            Code::Invalid,
            Code::NotFound,
            Code::Conflict,
            Code::Denied,
            Code::Unsupported,
            Code::Unavailable,
            Code::Fault,
            Code::Session,
            Code::NoDaemon,
            Code::Locked,
            Code::Storage,
            Code::Timeout,
            Code::Plugin,
            Code::Config,
        ];
        for code in codes {
            let number = format!("{:>4}  ", code as u8);
            assert!(TABLE.lines().any(|line| line.starts_with(&number)), "{code:?} is not in the table");
        }
    }

    #[test]
    fn a_chain_says_each_thing_once() {
        let source = std::io::Error::other("the tide is out");
        let failure = Failure::NoDaemon { socket: "/s".into(), source };
        assert!(failure.chain().ends_with("--socket: the tide is out"), "{}", failure.chain());
        let failure = Failure::Other(anyhow::anyhow!("inner").context("outer"));
        assert_eq!(failure.chain(), "outer: inner");
    }
}
