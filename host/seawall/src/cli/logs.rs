//! `seawall logs`: bytes of a session to the stream they were written to.

use std::io::Write as _;

use clap::Args;
use futures_util::StreamExt as _;
use reqwest::{Method, Response};
use seawall_model::{Incarnation, Timestamp};

use super::Global;
use super::resume::Resumed;
use crate::api::{Frame, FrameReader};
use crate::client::Client;
use crate::exit::Failure;

/// `logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// An id, the beginning of one (4 digits or more), or a name
    #[arg(value_name = "SESSION")]
    session: String,
    /// Go on with what is written later, until the session ends
    #[arg(short, long)]
    follow: bool,
    /// Go on over restarts: with the session's next start when one is over, and where it broke off when the daemon is away
    #[arg(long, requires = "follow", conflicts_with_all = ["incarnation", "until"])]
    follow_restarts: bool,
    /// What this start of it wrote: of an earlier one than the newest the last of it, where it is kept
    #[arg(short, long, value_name = "NUMBER")]
    incarnation: Option<Incarnation>,
    /// What the start before the newest wrote
    #[arg(short, long, conflicts_with_all = ["incarnation", "follow"])]
    previous: bool,
    /// Begin so many lines before the end; all for every line
    #[arg(short = 'n', long, value_name = "LINES", value_parser = lines)]
    tail: Option<Lines>,
    /// Only what was written since: a time (RFC 3339) or how long ago (10m)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Only what was written before: a time (RFC 3339) or how long ago (10m)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Put a time before each line
    #[arg(short, long)]
    timestamps: bool,
    /// Only what it wrote to standard output
    #[arg(long)]
    stdout: bool,
    /// Only what it wrote to standard error
    #[arg(long)]
    stderr: bool,
}

/// The last so many, or all.
#[derive(Clone, Copy, Debug)]
struct Lines(Option<u64>);

fn lines(text: &str) -> Result<Lines, String> {
    match text {
        "all" => Ok(Lines(None)),
        _ => text.parse().map(|lines| Lines(Some(lines))).map_err(|_| format!("{text:?}: write a number, or all")),
    }
}

impl Logs {
    /// Copies the stream until it ends.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        if global.json {
            return Err(Failure::Usage("logs are bytes as the session wrote them: there is no --json of them".into()));
        }
        let both = self.stdout == self.stderr;
        let mut query = vec![
            ("follow", self.follow.to_string()),
            ("stdout", (both || self.stdout).to_string()),
            ("stderr", (both || self.stderr).to_string()),
        ];
        let tail = self.tail.and_then(|Lines(lines)| lines).map(|tail| ("tail", tail.to_string()));
        let since = self.since.map(|since| ("since", since.to_string()));
        if self.follow_restarts {
            let begin = tail.into_iter().chain(since).collect();
            Resumed::new(client, &self.session, query, begin, self.timestamps).follow().await?;
            return Ok(0);
        }
        query.push(("timestamps", self.timestamps.to_string()));
        let incarnation = match self.previous {
            true => Some(client.session(&self.session).await?.incarnation.saturating_sub(1)),
            false => self.incarnation,
        };
        query.extend(incarnation.map(|incarnation| ("incarnation", incarnation.to_string())));
        query.extend(tail);
        query.extend(since);
        query.extend(self.until.map(|until| ("until", until.to_string())));
        let response = client.send(Method::GET, &["sessions", &self.session, "logs"], &query).await?;
        copy(client, response).await?;
        Ok(0)
    }
}

/// Copies a log to the streams that it was written to, until it ends or nobody takes it.
pub(super) async fn copy(client: &Client, response: Response) -> Result<(), Failure> {
    let mut body = response.bytes_stream();
    let mut reader = FrameReader::default();
    while let Some(bytes) = body.next().await {
        reader.feed(&bytes.map_err(|error| client.broken(error))?);
        loop {
            let frame = reader.next().map_err(|error| Failure::Other(anyhow::Error::msg(error)))?;
            let Some(frame) = frame else { break };
            if !write(frame)? {
                return Ok(());
            }
        }
    }
    if reader.is_empty() {
        Ok(())
    } else {
        Err(Failure::Other(anyhow::anyhow!("the log ends in the middle of a frame")))
    }
}

/// `false`: the reader went away, as `head` does.
pub(super) fn write(frame: Frame) -> Result<bool, Failure> {
    let result = match frame {
        Frame::Stdout(bytes) => {
            let mut out = std::io::stdout().lock();
            out.write_all(&bytes).and_then(|()| out.flush())
        }
        Frame::Stderr(bytes) => std::io::stderr().lock().write_all(&bytes),
        Frame::Error(problem) => return Err((*problem).into()),
        other => return Err(Failure::Other(anyhow::anyhow!("a log has no such frame: {other:?}"))),
    };
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::Other(anyhow::Error::new(error).context("failed to print"))),
    }
}

/// A time, or how long ago.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is no time: write 2026-01-31T12:00:00Z, or 10m for ten minutes ago"))?;
    let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
    Ok(Timestamp::from_millis(Timestamp::now().as_millis().saturating_sub(ago)))
}

/// Whether it means the same as [`moment`]; for callers that also take other words.
pub(crate) fn is_moment(text: &str) -> bool {
    text.parse::<Timestamp>().is_ok() || humantime::parse_duration(text).is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        let now = Timestamp::now();
        let then = moment("10m").unwrap();
        assert!(now.since(then) >= Duration::from_secs(595) && now.since(then) <= Duration::from_secs(600));
        assert!(moment("2026-01-31T12:00:00Z").is_ok());
        assert!(moment("yesterday").unwrap_err().contains("10m"));
        assert!(!is_moment("17"));
    }
}
