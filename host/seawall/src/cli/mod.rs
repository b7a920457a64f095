//! The command line. One file a group of commands; each ends with [`Failure`], whose exit code is decided in
//! [`crate::exit`].
//!
//! Deliberately absent: everything about sessions that the daemon knows better. A command reads its arguments, asks,
//! waits and shows.

mod acts;
mod attach;
mod backends;
mod config;
mod conversation;
mod doctor;
mod endpoint;
mod events;
mod exec;
mod fields;
mod format;
mod gc;
mod inspect;
mod logs;
mod lost;
mod plugin;
mod probe;
#[cfg(test)]
mod properties;
mod ps;
mod pull;
mod reattach;
mod reload;
mod resume;
mod run;
mod send;
mod serve;
mod session_file;
mod sessions;
mod stats;
mod template;
mod terminal;
mod token;
mod values;
mod why;

pub(crate) use events::messages;
pub(crate) use logs::moment;

use std::io::Write as _;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches as _, Parser, Subcommand};
use reqwest::Url;
use seawall_model::Secret;
use serde::Serialize;

use crate::client::Client;
use crate::config::default_socket;
use crate::exit::{Code, Failure, TABLE};
use crate::place::{Host, Place, TokenFrom, address};
use crate::problem::Problem;

/// Runs sessions (containers, processes) through WebAssembly backends.
#[derive(Debug, Parser)]
#[command(name = "seawall", version, after_help = TABLE, arg_required_else_help = true, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Global {
    /// The daemon's socket. Default: seawall.sock in SEAWALL_DATA_DIR or in the default data directory
    #[arg(long, global = true, env = "SEAWALL_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The address of a daemon elsewhere, https://HOST:PORT, instead of a socket
    #[arg(long, global = true, env = "SEAWALL_HOST", value_name = "URL", value_parser = address)]
    host: Option<Url>,
    /// A file with the token for --host. Without it: the token in SEAWALL_TOKEN
    #[arg(long, global = true, env = "SEAWALL_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The certificate of the CA that --host is believed by, in PEM. Without it: those that the system believes
    #[arg(long, global = true, env = "SEAWALL_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Print one JSON document (streams: one object a line), and errors as a problem document
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Serve(serve::Serve),
    /// Stop every session; the daemon goes on
    Down(sessions::Down),
    /// Make a session and start it; prints its id
    Run(Box<run::Run>),
    /// Have the engine behind a backend fetch an image
    Pull(pull::Pull),
    /// List sessions
    Ps(ps::Ps),
    /// Show sessions in full
    Inspect(inspect::Inspect),
    /// Show why a session is as it is: what is wanted, what is known, and what stands in the way
    Why(why::Why),
    /// Start sessions that do not run
    Start(sessions::Start),
    /// Stop sessions: their stop signal, then KILL after a grace
    Stop(sessions::Stop),
    /// Send sessions a signal
    Kill(acts::Kill),
    /// Stop sessions and start them again
    Restart(acts::Restart),
    /// Freeze sessions that run
    Pause(acts::Pause),
    /// Let sessions run on that are paused
    Unpause(acts::Unpause),
    /// Remove sessions that are over
    Rm(sessions::Rm),
    /// Show what a session wrote
    Logs(logs::Logs),
    /// Run a command in a session that runs, and end with its exit code
    Exec(exec::Exec),
    /// Attach to a session: its output from now on, its terminal, its standard input
    Attach(attach::Attach),
    /// Send a session bytes on its standard input
    Send(send::Send),
    /// Show what sessions use: processor, memory, network, disk and tasks
    Stats(stats::Stats),
    /// Show where the ports of a session are reached
    Endpoint(endpoint::Endpoint),
    /// Wait until sessions are over, and end with their exit code; or until they are as --for says
    Wait(sessions::Wait),
    /// Show what happened
    Events(events::Events),
    /// Backends of the daemon
    #[command(subcommand)]
    Backend(backends::Backend),
    /// Plugin files; works without a daemon
    #[command(subcommand)]
    Plugin(plugin::Plugin),
    /// Tokens, with which the API is used over TCP
    #[command(subcommand)]
    Token(token::Token),
    /// Have the daemon read its configuration again: backends that changed are added, removed or restarted
    Reload(reload::Reload),
    /// See what this machine has of what Seawall needs, and what to do about the rest; works without a daemon
    Doctor(doctor::Doctor),
    /// The daemon's configuration; works without a daemon
    #[command(subcommand)]
    Config(config::Config),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

impl Global {
    fn client(&self) -> Result<Client, Failure> {
        Client::new(match (&self.host, &self.socket) {
            (Some(url), _) => {
                let variable = std::env::var("SEAWALL_TOKEN").ok().filter(|token| !token.is_empty());
                let token = match &self.token_file {
                    Some(file) => Some(TokenFrom::File(file.clone())),
                    None => variable.map(|token| TokenFrom::Variable(Secret::new(token))),
                };
                Place::Host(Host::new(url.clone(), token, self.ca_file.clone())?)
            }
            (None, Some(socket)) => Place::Socket(socket.clone()),
            (None, None) => Place::Socket(default_socket()?),
        })
    }

    /// A flag is nearer than a variable: a daemon that is named is the one that is meant.
    fn settle(&mut self, matches: &ArgMatches, command: &Command) -> Result<(), Failure> {
        let flag = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
        let alone = matches!(
            command,
            Command::Serve(_)
                | Command::Plugin(_)
                | Command::Config(_)
                | Command::Completions { .. }
                | Command::Doctor(_)
        );
        match (flag("host"), flag("socket")) {
            (true, _) if alone => Err(Failure::Usage("this command asks no daemon: leave --host out".to_owned())),
            (true, true) => {
                Err(Failure::Usage("--host and --socket name two daemons: leave one of them out".to_owned()))
            }
            (false, true) => {
                self.host = None;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Prints a document: JSON if asked for, else as `text` says.
    fn show<T: Serialize>(&self, document: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        if self.json {
            let json = serde_json::to_string_pretty(document).map_err(anyhow::Error::from)?;
            say(&format!("{json}\n"))
        } else {
            say(&text(document))
        }
    }
}

/// Reads the command line, does what it says, and gives the exit code.
pub(crate) fn main() -> u8 {
    let parsed = Cli::command().try_get_matches().and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (mut cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version are asked for and no failure; clap knows.
            let code = if error.use_stderr() { Code::Usage as u8 } else { 0 };
            let _ = error.print();
            return code;
        }
    };
    let settled = cli.global.settle(&matches, &cli.command);
    let global = cli.global.clone();
    match settled.and_then(|()| act(cli)) {
        Ok(code) => code,
        Err(failure) => {
            report(&global, &failure);
            failure.code() as u8
        }
    }
}

fn act(cli: Cli) -> Result<u8, Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Serve(serve) => serve.run(&global),
        Command::Plugin(plugin) => plugin.run(&global),
        Command::Config(config) => config.run(&global),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "seawall", &mut script);
            say_bytes(&script)?;
            Ok(0)
        }
        other => {
            // A client does one thing at a time: one thread is enough, and starts sooner.
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(anyhow::Error::from)?;
            let code = runtime.block_on(ask(global, other));
            // A read from the terminal may still block a thread; the process ends all the same.
            runtime.shutdown_background();
            code
        }
    }
}

async fn ask(global: Global, command: Command) -> Result<u8, Failure> {
    if let Command::Doctor(doctor) = command {
        // It says what stands in the way of a client, too.
        return doctor.run(&global).await;
    }
    let client = global.client()?;
    match command {
        Command::Down(down) => down.run(&global, &client).await,
        Command::Run(run) => run.run(&global, &client).await,
        Command::Pull(pull) => pull.run(&global, &client).await,
        Command::Ps(ps) => ps.run(&global, &client).await,
        Command::Inspect(inspect) => inspect.run(&global, &client).await,
        Command::Why(why) => why.run(&global, &client).await,
        Command::Start(start) => start.run(&global, &client).await,
        Command::Stop(stop) => stop.run(&global, &client).await,
        Command::Kill(kill) => kill.run(&global, &client).await,
        Command::Restart(restart) => restart.run(&global, &client).await,
        Command::Pause(pause) => pause.run(&global, &client).await,
        Command::Unpause(unpause) => unpause.run(&global, &client).await,
        Command::Rm(rm) => rm.run(&global, &client).await,
        Command::Logs(logs) => logs.run(&global, &client).await,
        Command::Exec(exec) => exec.run(&global, &client).await,
        Command::Attach(attach) => attach.run(&global, &client).await,
        Command::Send(send) => send.run(&global, &client).await,
        Command::Stats(stats) => stats.run(&global, &client).await,
        Command::Endpoint(endpoint) => endpoint.run(&global, &client).await,
        Command::Wait(wait) => wait.run(&global, &client).await,
        Command::Events(events) => events.run(&global, &client).await,
        Command::Backend(backend) => backend.run(&global, &client).await,
        Command::Token(token) => token.run(&global, &client).await,
        Command::Reload(reload) => reload.run(&global, &client).await,
        Command::Serve(_)
        | Command::Plugin(_)
        | Command::Config(_)
        | Command::Completions { .. }
        | Command::Doctor(_) => Ok(0),
    }
}

/// Prints on standard output. A reader that went away, as `head` does, is no failure.
fn say(text: &str) -> Result<(), Failure> {
    say_bytes(text.as_bytes())
}

fn say_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(anyhow::Error::new(error).context("failed to print").into()),
    }
}

/// Prints a failure on standard error.
fn report(global: &Global, failure: &Failure) {
    let mut err = std::io::stderr().lock();
    // If standard error is gone there is nobody to tell.
    let _ = if global.json {
        let document = as_document(failure);
        serde_json::to_string(&document).map_or(Ok(()), |json| writeln!(err, "{json}"))
    } else {
        writeln!(err, "seawall: {}", printable(&failure.chain())).and_then(|()| frames(&mut err, failure))
    };
}

/// What helps to find out more about a failure that is not the caller's.
fn frames(err: &mut impl std::io::Write, failure: &Failure) -> std::io::Result<()> {
    let Failure::Daemon(problem) = failure else { return Ok(()) };
    for frame in problem.fault.iter().flat_map(|fault| &fault.backtrace) {
        writeln!(err, "    in {}", printable(frame))?;
    }
    match problem.trace_id {
        Some(id) if problem.status >= 500 => writeln!(err, "    trace {id} in the daemon's log"),
        _ => Ok(()),
    }
}

/// A failure as the API would have said it, with the exit code beside it.
fn as_document(failure: &Failure) -> serde_json::Value {
    let code = failure.code() as u8;
    let mut document = match failure {
        Failure::Daemon(problem) => serde_json::to_value::<&Problem>(problem).unwrap_or_default(),
        other => serde_json::json!({
            "type": "urn:seawall:problem:command",
            "title": "The command failed",
            "detail": other.chain(),
        }),
    };
    if let Some(fields) = document.as_object_mut() {
        fields.insert("exit_code".to_owned(), code.into());
    }
    document
}

/// What others wrote must not steer the terminal.
fn printable(text: &str) -> String {
    let escape = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(escape) {
        return text.to_owned();
    }
    text.chars().map(|c| if escape(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_others_wrote_does_not_steer_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\nc"), "a\\u{1b}[2Jb\nc");
    }
}
