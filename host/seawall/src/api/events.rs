//! `GET /v1/events`: the journal, and what is added to it, as server-sent events.
//!
//! A reader that falls behind loses nothing that the journal still keeps: what the broadcast dropped is read from the
//! journal, and only what is gone there too is told as `missed` (C8).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use seawall_model::Timestamp;
use seawall_store::Event;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{self, error::RecvError};

use super::Api;
use super::extract::Query;
use super::respond::shown;
use crate::problem::{Kind, Problem};

/// So many events are read from the journal at once.
const PAGE: usize = 500;
/// A comment this often, so that a connection that is gone is noticed.
const ALIVE: Duration = Duration::from_secs(15);

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Options {
    follow: bool,
    since: Option<String>,
    tail: Option<usize>,
}

/// The data of a `missed` event.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Missed {
    /// How many events are no longer kept.
    pub(crate) missed: u64,
}

pub(super) async fn open(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(options): Query<Options>,
) -> Result<Response, Problem> {
    // What an event source sends when it connects again.
    let resumed = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let since = resumed.or(options.since).map(|text| Since::read(&text)).transpose()?;
    // Subscribed before the journal is read: nothing falls between the two.
    let live = options.follow.then(|| api.control.subscribe());
    let mut feed = Feed { api, live, after: None, queue: VecDeque::new(), ended: false };
    if !options.follow || since.is_some() || options.tail.is_some() {
        feed.replay(since.unwrap_or(Since::Id(0)), options.tail.unwrap_or(usize::MAX)).await?;
    }
    let body = stream::unfold(feed, |mut feed| async move {
        let bytes = feed.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), feed))
    });
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(body)).into_response())
}

#[derive(Clone, Copy)]
enum Since {
    Id(u64),
    Time(Timestamp),
}

impl Since {
    fn read(text: &str) -> Result<Self, Problem> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let message = || format!("{:?} is neither the id of an event nor an RFC 3339 time", shown(text));
        text.parse().map(Self::Time).map_err(|_| Problem::field(Kind::Malformed, "since", message()))
    }
}

struct Feed {
    api: Api,
    live: Option<broadcast::Receiver<Arc<Event>>>,
    /// The newest event that was queued.
    after: Option<u64>,
    queue: VecDeque<Bytes>,
    ended: bool,
}

impl Feed {
    /// Queues what the journal has.
    async fn replay(&mut self, since: Since, tail: usize) -> Result<(), Problem> {
        let mut after = match since {
            Since::Id(id) => Some(id),
            Since::Time(_) => None,
        };
        let mut events: VecDeque<Event> = VecDeque::new();
        loop {
            let page = self.api.control.events(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            let more = page.len() == PAGE;
            // 0 is no event: it means all that is kept.
            if let (Some(id @ 1..), Some(first)) = (after, page.first())
                && first.id > id + 1
            {
                self.queue.push_back(missed(first.id - id - 1));
            }
            after = Some(last.id);
            for event in page {
                if matches!(since, Since::Time(time) if event.at < time) {
                    continue;
                }
                if events.len() >= tail {
                    events.pop_front();
                }
                if tail > 0 {
                    events.push_back(event);
                }
            }
            if !more {
                break;
            }
        }
        self.after = after;
        self.queue.extend(events.iter().map(message));
        Ok(())
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.queue.pop_front() {
                return Some(bytes);
            }
            if self.ended {
                return None;
            }
            let live = self.live.as_mut()?;
            tokio::select! {
                biased;
                // Cancel-safe, all three: a receiver loses nothing by being dropped.
                () = self.api.drain.cancelled() => self.end("the daemon is shutting down"),
                received = live.recv() => match received {
                    Ok(event) if self.after.is_some_and(|after| event.id <= after) => {}
                    Ok(event) => {
                        self.after = Some(event.id);
                        self.queue.push_back(message(&event));
                    }
                    Err(RecvError::Lagged(count)) => self.lagged(count).await,
                    Err(RecvError::Closed) => self.end("the journal is closed"),
                },
                () = tokio::time::sleep(ALIVE) => return Some(Bytes::from_static(b":\n\n")),
            }
        }
    }

    /// The broadcast dropped some: they are in the journal, unless they are older than what it keeps.
    async fn lagged(&mut self, count: u64) {
        let Some(after) = self.after else {
            self.queue.push_back(missed(count));
            return;
        };
        if let Err(problem) = self.replay(Since::Id(after), usize::MAX).await {
            self.end(&problem.detail);
        }
    }

    fn end(&mut self, why: &str) {
        let data = serde_json::json!({ "message": why });
        self.queue.push_back(Bytes::from(format!("event: end\ndata: {data}\n\n")));
        self.ended = true;
    }
}

fn message(event: &Event) -> Bytes {
    // JSON has no line breaks outside of strings, and escapes them inside.
    let data = serde_json::to_string(event).unwrap_or_default();
    let kind: String = event.kind.chars().filter(|c| !c.is_control()).collect();
    Bytes::from(format!("id: {}\nevent: {kind}\ndata: {data}\n\n", event.id))
}

fn missed(count: u64) -> Bytes {
    let data = serde_json::to_string(&Missed { missed: count }).unwrap_or_default();
    Bytes::from(format!("event: missed\ndata: {data}\n\n"))
}
