//! Commands in a container that runs.
//!
//! The Engine gives the output as frames, as it does logs, and the exit code when asked afterwards. It has no way to end
//! a command: at the timeout `kill` does what can be done.

use std::sync::Arc;
use std::time::Duration;

use bollard::models::{ExecConfig, ExecInspectResponse};
use futures_util::StreamExt as _;
use futures_util::stream::unfold;
use seawall_backend::{Error, ExecEvent, Execution, LogStream};
use seawall_model::{CheckResult, CommandEnd, ExecOptions, InvalidSpec, Key, Problem, State, Timestamp};
use tokio::time::Instant;

use crate::connection::Client;
use crate::logs::output;
use crate::{Inner, kill, status, wire};

/// The output ends a moment before the Engine knows how the command did.
const END_PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);
/// What a health check wrote is told up to here.
const MOST_OUTPUT: usize = 4096;

/// A command that was started.
struct Command {
    inner: Arc<Inner>,
    client: Arc<Client>,
    container: String,
    id: String,
    until: Option<Instant>,
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
    let started = wire::post(&client.endpoint, &path, r#"{"Detach":false,"Tty":false}"#).await;
    let answer = started.map_err(|error| failed("start a command in a container", error))?;
    let until = options.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let (inner, output) = (Arc::clone(inner), output(answer, false));
    let command = Command { inner, client, container, id, until };
    let events = unfold(Some((command, output)), |open| async move {
        let (command, mut output) = open?;
        match command.next(&mut output).await {
            Ok(event @ ExecEvent::Output(_)) => Some((Ok(event), Some((command, output)))),
            last => Some((last, None)),
        }
    });
    Ok(Execution::deaf(Box::pin(events)))
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
    if let Some(field) = options.interactive() {
        return Err(Error::Unsupported(format!(
            "{field}: a command in a container has neither terminal nor input here"
        )));
    }
    Ok(ExecConfig {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(options.command.clone()),
        env: Some(options.env.iter().map(|(name, value)| format!("{name}={}", value.reveal())).collect()),
        working_dir: options.working_dir.clone(),
        user: options.user.clone(),
        ..ExecConfig::default()
    })
}

impl Command {
    async fn next(&self, output: &mut LogStream) -> std::io::Result<ExecEvent> {
        let piece = match self.until {
            Some(until) => tokio::time::timeout_at(until, output.next()).await,
            None => Ok(output.next().await),
        };
        match piece {
            Ok(Some(chunk)) => Ok(ExecEvent::Output(chunk?)),
            Ok(None) => self.end().await.map(ExecEvent::Ended).map_err(std::io::Error::other),
            Err(_) => {
                self.kill().await;
                Ok(ExecEvent::Ended(CommandEnd::TimedOut))
            }
        }
    }

    async fn inspect(&self) -> Result<ExecInspectResponse, Error> {
        let asked = self.client.api.inspect_exec(&self.id).await;
        asked.map_err(|error| self.inner.connection.failed(&self.client, "say how a command ended", &error))
    }

    /// A command may close its output long before it ends: then it is waited for, up to its own timeout.
    async fn end(&self) -> Result<CommandEnd, Error> {
        let patience = self.until.unwrap_or_else(|| Instant::now() + END_PATIENCE);
        loop {
            let asked = self.inspect().await?;
            match (asked.running, asked.exit_code) {
                (Some(false), Some(code)) => {
                    let code = u8::try_from(code);
                    return code.map(CommandEnd::Code).map_err(|_| Error::Other("it has no exit code".to_owned()));
                }
                _ if Instant::now() < patience => tokio::time::sleep(LOOK).await,
                _ if self.until.is_some() => {
                    self.kill().await;
                    return Ok(CommandEnd::TimedOut);
                }
                _ => return Err(Error::Other("the Engine does not say how the command ended".to_owned())),
            }
        }
    }

    async fn kill(&self) {
        let killed = match self.inspect().await {
            Ok(asked) if asked.running == Some(false) => return,
            Ok(asked) => match asked.pid.and_then(|pid| i32::try_from(pid).ok()) {
                Some(pid) => {
                    let container = self.container.clone();
                    let killed = tokio::task::spawn_blocking(move || kill::command(pid, &container)).await;
                    killed.unwrap_or_else(|error| Err(std::io::Error::other(error)))
                }
                None => Err(std::io::Error::other("the Engine does not say which process it is")),
            },
            Err(error) => Err(std::io::Error::other(error)),
        };
        if let Err(error) = killed {
            let (container, reason) = (&self.container, error.to_string());
            tracing::warn!(container, reason, "a command that took too long cannot be killed, and goes on");
        }
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
