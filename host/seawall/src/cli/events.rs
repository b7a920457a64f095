//! `seawall events`: what happened, and with `--follow` what happens.

use clap::Args;
use futures_util::StreamExt as _;
use reqwest::Method;
use seawall_model::Timestamp;
use seawall_store::Event;

use super::logs::{is_moment, moment};
use super::{Global, printable, say};
use crate::api::Missed;
use crate::client::Client;
use crate::exit::Failure;

/// `events`.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Go on with what happens later
    #[arg(short, long)]
    follow: bool,
    /// Only what came after: the id of an event, a time (RFC 3339), or how long ago (10m)
    #[arg(long, value_name = "ID|TIME", value_parser = since)]
    since: Option<String>,
    /// Only what came before: a time (RFC 3339), or how long ago (10m)
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "follow")]
    until: Option<Timestamp>,
    /// Only the last so many of what happened
    #[arg(short = 'n', long, value_name = "NUMBER")]
    tail: Option<usize>,
    /// Only about this session: its id, the beginning of it (4 digits or more), or its name; may be repeated
    #[arg(long = "session", value_name = "SESSION")]
    sessions: Vec<String>,
    /// Only on this backend; may be repeated
    #[arg(long = "backend", value_name = "NAME")]
    backends: Vec<String>,
    /// Only of a kind that begins so, such as session. or backend.breaker; may be repeated
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
}

impl Events {
    /// Prints events until there are no more.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        let mut query = vec![("follow", self.follow.to_string())];
        query.extend(self.since.map(|since| ("since", since)));
        query.extend(self.until.map(|until| ("until", until.to_string())));
        query.extend(self.tail.map(|tail| ("tail", tail.to_string())));
        for (key, values) in [("session", self.sessions), ("backend", self.backends), ("kind", self.kinds)] {
            query.extend(values.into_iter().map(|value| (key, value)));
        }
        let response = client.send(Method::GET, &["events"], &query).await?;
        let mut body = response.bytes_stream();
        let mut lines = Lines::default();
        while let Some(bytes) = body.next().await {
            lines.feed(&bytes.map_err(|error| client.broken(error))?);
            while let Some(message) = lines.next() {
                show(global, &message)?;
            }
        }
        Ok(0)
    }
}

fn show(global: &Global, message: &Message) -> Result<(), Failure> {
    if global.json {
        return say(&format!("{}\n", message.data));
    }
    match message.event.as_str() {
        "missed" => {
            let missed: Missed = serde_json::from_str(&message.data).map_err(anyhow::Error::from)?;
            say(&format!("({} events are no longer kept)\n", missed.missed))
        }
        "end" => {
            let end: serde_json::Value = serde_json::from_str(&message.data).map_err(anyhow::Error::from)?;
            let words = end.get("message").and_then(serde_json::Value::as_str).unwrap_or("the stream ended");
            Err(Failure::Other(anyhow::anyhow!("{words}")))
        }
        _ => {
            let event: Event = serde_json::from_str(&message.data).map_err(anyhow::Error::from)?;
            say(&line(&event))
        }
    }
}

fn line(event: &Event) -> String {
    let whom = match (&event.session, &event.name, &event.backend) {
        (Some(id), Some(name), _) => format!("{} {name}", id.short()),
        (Some(id), None, _) => id.short().to_owned(),
        (None, _, Some(backend)) => backend.to_string(),
        (None, _, None) => "-".to_owned(),
    };
    printable(&format!("{} {:<20} {whom}: {}", event.at, event.kind, event.message)).replace('\n', " ") + "\n"
}

fn since(text: &str) -> Result<String, String> {
    if text.parse::<u64>().is_ok() {
        return Ok(text.to_owned());
    }
    if !is_moment(text) {
        return Err(format!("{text:?} is neither the id of an event nor a time"));
    }
    moment(text).map(|time| time.to_string())
}

/// One message of a server-sent event stream.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Message {
    pub(super) event: String,
    pub(super) data: String,
}

/// The part of the event stream format that the daemon writes.
#[derive(Default)]
pub(super) struct Lines {
    buffer: Vec<u8>,
    message: Message,
}

impl Lines {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    pub(super) fn next(&mut self) -> Option<Message> {
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            match line.split_once(':') {
                _ if line.is_empty() => {
                    let message = std::mem::take(&mut self.message);
                    if !message.data.is_empty() {
                        return Some(message);
                    }
                }
                Some(("event", value)) => value.trim_start().clone_into(&mut self.message.event),
                Some(("data", value)) => self.message.data.push_str(value.trim_start()),
                // Comments keep the connection alive; ids are in the data as well.
                _ => {}
            }
        }
        None
    }
}

/// The messages of a stream that comes in these pieces: name and data of each.
pub(crate) fn messages<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<(String, String)> {
    let (mut lines, mut messages) = (Lines::default(), Vec::new());
    for piece in pieces {
        lines.feed(piece);
        messages.extend(std::iter::from_fn(|| lines.next()).map(|message| (message.event, message.data)));
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_however_they_are_cut() {
        let text = b": alive\n\nid: 7\nevent: session.started\ndata: {\"a\":1}\n\ndata: {}\n\n";
        for size in 1..text.len() {
            let read = messages(text.chunks(size));
            let expected = [("session.started".to_owned(), "{\"a\":1}".to_owned()), (String::new(), "{}".to_owned())];
            assert_eq!(read, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn since_takes_an_id_or_a_time() {
        assert_eq!(since("17").unwrap(), "17");
        assert!(since("5m").unwrap().starts_with("20"));
        assert!(since("-1").is_err());
    }
}
