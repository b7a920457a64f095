//! `seawall exec`: a command in a session that runs, as `docker exec` has it.

use std::time::Duration;

use clap::Args;

use super::attach::Listeners;
use super::conversation::{Conversation, Outcome};
use super::run::variables_of;
use super::terminal::{self, DetachKeys};
use super::{Global, say};
use crate::api::{Ended, NewCommand};
use crate::client::Client;
use crate::exit::Failure;

/// `exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Send it what is read here, and close its input when that ends
    #[arg(short = 'i', long, visible_alias = "interactive", conflicts_with = "detach")]
    stdin: bool,
    /// Give it a terminal
    #[arg(short, long, conflicts_with = "detach")]
    tty: bool,
    /// Return once it runs. It goes on until it ends, its session does, or the daemon
    #[arg(short, long)]
    detach: bool,
    /// A variable over the session's own; without a value it is the caller's own
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    env: Vec<String>,
    /// A user name or number, and :group. Default: the session's own
    #[arg(short, long)]
    user: Option<String>,
    /// An absolute path in the session. Default: the session's own
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// It is killed so long after it began
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// The keys that leave it, while it goes on; with --tty and --stdin
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,
    /// An id, the beginning of one (4 digits or more), or a name
    #[arg(value_name = "SESSION")]
    session: String,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Exec {
    /// Runs it, and gives its exit code.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        if global.json {
            let message = "what a command writes is bytes: there is no --json of them";
            return Err(Failure::Usage(message.to_owned()));
        }
        if self.tty && self.stdin && !terminal::is_interactive() {
            let message = "standard input is no terminal: leave --tty out, or run this at one";
            return Err(Failure::Usage(message.to_owned()));
        }
        // In a terminal of its own the keys make the signals there.
        let listeners = (!self.tty && !self.detach).then(Listeners::new).transpose()?;
        let new = NewCommand {
            command: self.command,
            env: variables_of(self.env)?,
            working_dir: self.workdir,
            user: self.user,
            timeout: self.timeout,
            tty: self.tty,
            size: if self.tty { terminal::size() } else { None },
            stdin: self.stdin,
            detach: self.detach,
        };
        let path = ["sessions", self.session.as_str(), "exec"];
        let Some(stream) = client.converse(&path, &new).await? else { return Ok(0) };
        let mut stdin = tokio::io::stdin();
        let stdin = self.stdin.then_some(&mut stdin);
        let conversation = Conversation { stdin, tty: self.tty, keys: Some(self.detach_keys), listeners };
        match conversation.hold(global, client, stream).await? {
            Outcome::Ended(ended) => code(&ended, self.timeout),
            Outcome::Detached => {
                say("\n")?;
                Ok(0)
            }
            Outcome::Closed => Ok(0),
        }
    }
}

fn code(ended: &Ended, timeout: Option<Duration>) -> Result<u8, Failure> {
    match *ended {
        Ended { code: Some(code), .. } => Ok(code),
        Ended { signal: Some(signal), .. } => Ok(128_u8.saturating_add(signal)),
        _ => {
            let limit = timeout.map(|timeout| format!(" within {}", humantime::format_duration(timeout)));
            Err(Failure::Timeout(format!("the command did not end{}, and was killed", limit.unwrap_or_default())))
        }
    }
}
