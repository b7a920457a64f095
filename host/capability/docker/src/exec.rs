//! Commands in a container that runs.
//!
//! The Engine gives the output as frames, as it does logs (a terminal's bytes as they are), takes input on the same
//! connection, and tells the exit code when asked afterwards. It has no way to end a command: at the timeout, and when
//! its client is gone, `kill` does what can be done.
//!
//! A command that nobody waits for any more is ended by a task of its own, which asks the Engine for the process and ends
//! within twice [`END_PATIENCE`]: it is the only task that is started in this crate.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bollard::exec::ResizeExecOptions;
use bollard::models::{ExecConfig, ExecInspectResponse};
use futures_util::StreamExt as _;
use futures_util::stream::unfold;
use seawall_backend::{Error, ExecEvent, Execution, Input, LogStream};
use seawall_model::{
    CheckResult, CommandEnd, ExecOptions, InvalidSpec, Key, Problem, Signal, State, TerminalSize, Timestamp,
};
use tokio::time::Instant;

use crate::connection::Client;
use crate::input::{Hands, Of};
use crate::logs::output;
use crate::{Inner, fault, kill, status, wire};

/// The output ends a moment before the Engine knows how the command did.
const END_PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);
/// An Engine that hangs may come back, and what nobody waits for any more is ended then.
const HUNG_PATIENCE: Duration = Duration::from_secs(600);
/// What a health check wrote is told up to here.
const MOST_OUTPUT: usize = 4096;

/// A command that was started. What nobody has seen the end of is ended when this goes.
struct Command {
    at: Arc<Place>,
    until: Option<Instant>,
    over: bool,
}

/// Where a command is.
#[derive(Debug)]
pub(crate) struct Place {
    inner: Arc<Inner>,
    client: Arc<Client>,
    container: String,
    id: String,
}

pub(crate) async fn run(inner: &Arc<Inner>, key: &Key, options: &ExecOptions) -> Result<Execution, Error> {
    let config = config(options)?;
    let client = inner.connection.client().await?;
    let there = inner.own(&client, key).await?.ok_or_else(|| inner.missing(key))?;
    if status::raw_state(&there) != State::Running {
        return Err(Error::conflict(format!("the container of session {} does not run", key.session)));
    }
    let container = there.id.unwrap_or_default();
    let failed = |doing: &str, error| inner.connection.failed(&client, doing, &error);
    let made = client.api.create_exec(&container, config).await;
    let id = made.map_err(|error| failed("prepare a command in a container", error))?.id;
    let path = format!("{}/exec/{id}/start", client.prefix());
    let at = Arc::new(Place { inner: Arc::clone(inner), client: Arc::clone(&client), container, id });
    let until = options.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let command = Command { at: Arc::clone(&at), until, over: false };
    let (output, input): (LogStream, Box<dyn Input>) = if options.interactive().is_none() {
        let started = wire::post(&client.endpoint, &path, r#"{"Detach":false,"Tty":false}"#).await;
        let answer = started.map_err(|error| failed("start a command in a container", error))?;
        (output(answer, false), Box::new(Hands::new(Of::Command(at), None, false)))
    } else {
        let body = format!(r#"{{"Detach":false,"Tty":{}}}"#, options.tty);
        let started = wire::hijack(&client.endpoint, &path, body).await;
        let (pieces, writer) = started.map_err(|error| failed("start a command in a container", error))?;
        if let Some(size) = options.size.filter(|_| options.tty) {
            at.resize(size).await?;
        }
        let hands = Hands::new(Of::Command(at), Some(writer).filter(|_| options.stdin), options.tty);
        (output(pieces, options.tty), Box::new(hands))
    };
    let events = unfold(Some((command, output)), |open| async move {
        let (mut command, mut output) = open?;
        match command.next(&mut output).await {
            Ok(event @ ExecEvent::Output(_)) => Some((Ok(event), Some((command, output)))),
            last => {
                command.over = last.is_ok();
                Some((last, None))
            }
        }
    });
    Ok(Execution { events: Box::pin(events), input })
}

fn config(options: &ExecOptions) -> Result<ExecConfig, Error> {
    let mut problems = Vec::new();
    let mut refuse = |field: &str, message: &str| {
        problems.push(Problem { field: field.to_owned(), message: message.to_owned() });
    };
    if options.command.first().is_none_or(String::is_empty) {
        refuse("command", "there must be a program to run");
    }
    if options.env.iter().any(|(name, _)| name.is_empty() || name.contains(['=', '\0'])) {
        refuse("env", "the name of a variable is not empty and has no `=`");
    }
    if options.working_dir.as_ref().is_some_and(|dir| !dir.starts_with('/')) {
        refuse("working_dir", "an absolute path");
    }
    if !problems.is_empty() {
        return Err(InvalidSpec { problems }.into());
    }
    Ok(ExecConfig {
        attach_stdin: Some(options.stdin),
        tty: Some(options.tty),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(options.command.clone()),
        env: Some(options.env.iter().map(|(name, value)| format!("{name}={}", value.reveal())).collect()),
        working_dir: options.working_dir.clone(),
        user: options.user.clone(),
        ..ExecConfig::default()
    })
}

impl Drop for Command {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // Without a runtime the daemon is over, and nothing can be asked any more.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let at = Arc::clone(&self.at);
            runtime.spawn(async move {
                let killed = at.kill("nobody waits for any more");
                if tokio::time::timeout(HUNG_PATIENCE, killed).await.is_err() {
                    tracing::warn!(container = at.container, "the Engine does not answer, and a command goes on");
                }
            });
        }
    }
}

impl Command {
    async fn next(&self, output: &mut LogStream) -> std::io::Result<ExecEvent> {
        let piece = match self.until {
            Some(until) => tokio::time::timeout_at(until, output.next()).await,
            None => Ok(output.next().await),
        };
        match piece {
            Ok(Some(chunk)) => Ok(ExecEvent::Output(chunk?)),
            Ok(None) => self.ended().await.map(ExecEvent::Ended).map_err(std::io::Error::other),
            Err(_) => {
                self.at.kill("took too long").await;
                Ok(ExecEvent::Ended(CommandEnd::TimedOut))
            }
        }
    }

    /// A command may close its output long before it ends: then it is waited for, up to its own timeout.
    async fn ended(&self) -> Result<CommandEnd, Error> {
        let patience = self.until.unwrap_or_else(|| Instant::now() + END_PATIENCE);
        loop {
            let asked = self.at.inspect().await?;
            match (asked.running, asked.exit_code) {
                (Some(false), Some(code)) => {
                    let code = u8::try_from(code);
                    return code.map(CommandEnd::Code).map_err(|_| Error::Other("it has no exit code".to_owned()));
                }
                _ if Instant::now() < patience => tokio::time::sleep(LOOK).await,
                _ if self.until.is_some() => {
                    self.at.kill("took too long").await;
                    return Ok(CommandEnd::TimedOut);
                }
                _ => return Err(Error::Other("the Engine does not say how the command ended".to_owned())),
            }
        }
    }
}

impl Place {
    async fn inspect(&self) -> Result<ExecInspectResponse, Error> {
        let asked = self.client.api.inspect_exec(&self.id).await;
        asked.map_err(|error| self.inner.connection.failed(&self.client, "say how a command is", &error))
    }

    /// Its process, which the Engine knows a moment after the command has begun; `None` once it has ended.
    async fn pid(&self) -> io::Result<Option<i32>> {
        let patience = Instant::now() + END_PATIENCE;
        loop {
            let asked = self.inspect().await.map_err(io::Error::other)?;
            if asked.running == Some(false) && asked.exit_code.is_some() {
                return Ok(None);
            }
            match asked.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0) {
                Some(pid) => return Ok(Some(pid)),
                None if Instant::now() < patience => tokio::time::sleep(LOOK).await,
                None => return Err(io::Error::other("the Engine does not say which process it is")),
            }
        }
    }

    /// Sends a signal; one that ended has no use for it.
    pub(crate) async fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(pid) = self.pid().await? else { return Ok(()) };
        let container = self.container.clone();
        tokio::task::spawn_blocking(move || kill::command(pid, &container, signal)).await.map_err(io::Error::other)?
    }

    async fn kill(&self, why: &str) {
        if let Err(error) = self.signal(Signal::KILL).await {
            let (container, reason) = (&self.container, error.to_string());
            tracing::warn!(container, reason, "a command that {why} cannot be killed, and goes on");
        }
    }

    /// Changes the size of its terminal. The Engine may say that a command has begun before there is a terminal to
    /// change; one that ended needs none.
    pub(crate) async fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        let options = ResizeExecOptions { height: size.rows, width: size.columns };
        let patience = Instant::now() + END_PATIENCE;
        while let Err(error) = self.client.api.resize_exec(&self.id, options).await {
            if !fault::is_answer(&error) {
                return Err(self.inner.connection.failed(&self.client, "resize a terminal", &error));
            }
            if self.inspect().await?.exit_code.is_some() {
                break;
            }
            if Instant::now() >= patience {
                let (container, reason) = (&self.container, error.to_string());
                tracing::warn!(container, reason, "a terminal keeps the size it had");
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

impl Inner {
    pub(crate) async fn last_health_check(&self, key: &Key) -> Result<Option<CheckResult>, Error> {
        let client = self.connection.client().await?;
        let there = self.own(&client, key).await?.ok_or_else(|| self.missing(key))?;
        let log = there.state.and_then(|state| state.health).and_then(|health| health.log);
        let newest = log.unwrap_or_default().pop();
        Ok(newest.and_then(|newest| {
            let mut output = newest.output.unwrap_or_default();
            output.truncate(output.floor_char_boundary(MOST_OUTPUT));
            let at: Timestamp = newest.end?.parse().ok()?;
            let code = newest.exit_code.and_then(|code| u8::try_from(code).ok());
            Some(CheckResult { at, code, output })
        }))
    }
}
