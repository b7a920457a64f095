//! `GET /v1/events`: the journal, and what is added to it, as server-sent events, or page by page as JSON.
//!
//! A reader that falls behind loses nothing that the journal still keeps: what the broadcast dropped is read from the
//! journal, and only what is gone there too is told as `missed` (C8). Nothing is kept for a reader that does not read but
//! one page: the connection asks for more when it has room. A reader is no task of its own: with the connection it is
//! gone, all of it.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use seawall_control::ControlError;
use seawall_store::{Event, EventFilter};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::Api;
use super::event_query::{EventQuery, Parameters};
use super::extract::{Query, accepts};
use super::sse;
use crate::problem::{Kind, Problem};

/// So many events are read from the journal at once.
const PAGE: usize = 500;

/// The data of a `missed` event.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Missed {
    /// How many events are no longer kept.
    pub(crate) missed: u64,
}

/// A page of the journal.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventPage)]
struct Page {
    /// Oldest first.
    events: Vec<Event>,
    /// The `since` of the next page.
    next: u64,
    /// There is more by now.
    more: bool,
    /// So many events of any kind, later than the one that was asked with, are no longer kept.
    missed: u64,
}

/// What happened, and what happens.
///
/// Server-sent events, or with `Accept: application/json` a page. See "Events" in the description of the API.
#[utoipa::path(
    get, path = "/v1/events", operation_id = "events", tag = "events",
    params(
        Parameters,
        ("Last-Event-ID" = Option<u64>, Header, description = "Goes before `since`: everything up to there was seen"),
    ),
    responses((
        status = 200, description = "The events",
        content((String = "text/event-stream"), (Page = "application/json"))
    ))
)]
pub(super) async fn open(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let mut query = EventQuery::read(&pairs)?;
    if let Some(id) = headers.get("last-event-id") {
        query.resume(&String::from_utf8_lossy(id.as_bytes()))?;
    }
    if wants_json(&headers) {
        return Ok(([(CACHE_CONTROL, "no-store")], axum::Json(page(&api, query).await?)).into_response());
    }
    if query.limit.is_some() {
        let message = "is for pages: send `Accept: application/json`, or leave it out";
        return Err(Problem::field(Kind::Invalid, "limit", message));
    }
    let feed = Feed::begin(api, query).await?;
    Ok(sse::answer(stream::unfold(feed, |mut feed| async move {
        let bytes = feed.next().await?;
        Some((bytes, feed))
    })))
}

/// JSON only for those who ask for it, and not for an event stream besides.
fn wants_json(headers: &HeaderMap) -> bool {
    accepts(headers, "application/json") && !accepts(headers, "text/event-stream")
}

async fn page(api: &Api, query: EventQuery) -> Result<Page, Problem> {
    if query.follow {
        let message = "a page has an end: ask for an event stream, or for the next page";
        return Err(Problem::field(Kind::Invalid, "follow", message));
    }
    let after = begin(api, &query).await?;
    let limit = query.limit.unwrap_or(PAGE);
    let page = api.control.event_page(after, limit, query.filter).await?;
    let missed = if query.after.is_some_and(|id| id > 0) { page.missed } else { 0 };
    Ok(Page { events: page.events, next: page.after, more: page.more, missed })
}

/// The id after which to read.
async fn begin(api: &Api, query: &EventQuery) -> Result<u64, ControlError> {
    let after = query.after.unwrap_or(0);
    match query.tail {
        Some(count) => Ok(api.control.before_last_events(count, query.filter.clone()).await?.max(after)),
        None => Ok(after),
    }
}

struct Feed {
    api: Api,
    filter: EventFilter,
    live: Option<broadcast::Receiver<Arc<Event>>>,
    /// Everything up to this id was told or is not meant.
    after: u64,
    /// The reader has seen what was before `after`: what the journal has lost since is told.
    seen: bool,
    /// There is more in the journal than was read.
    behind: bool,
    queue: VecDeque<Bytes>,
    quiet_since: Instant,
    ended: bool,
}

impl Feed {
    async fn begin(api: Api, query: EventQuery) -> Result<Self, Problem> {
        // Who asks for nothing but what comes hears from now on. Subscribed before the journal is read: nothing falls
        // between the two.
        let replay = !query.follow || query.after.is_some() || query.tail.is_some() || query.filter.since.is_some();
        let now = api.control.last_event();
        let live = query.follow.then(|| api.control.subscribe());
        let after = if replay { begin(&api, &query).await? } else { now };
        let mut feed = Self {
            api,
            filter: query.filter,
            live,
            after,
            seen: !replay || query.after.is_some_and(|id| id > 0),
            behind: replay,
            queue: VecDeque::new(),
            quiet_since: Instant::now(),
            ended: false,
        };
        if feed.behind {
            // A journal that cannot be read is an answer of its own, not the end of a stream.
            feed.read().await?;
        }
        Ok(feed)
    }

    /// Queues a page of the journal.
    async fn read(&mut self) -> Result<(), ControlError> {
        let page = self.api.control.event_page(self.after, PAGE, self.filter.clone()).await?;
        if self.seen && page.missed > 0 {
            self.queue.push_back(sse::message("missed", &Missed { missed: page.missed }));
        }
        self.queue.extend(page.events.iter().map(message));
        self.after = page.after;
        self.behind = page.more;
        self.seen |= !page.more;
        Ok(())
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.queue.pop_front() {
                self.quiet_since = Instant::now();
                return Some(bytes);
            }
            if self.ended {
                return None;
            }
            if self.behind {
                if let Err(error) = self.read().await {
                    self.end(&crate::exit::chain(&error));
                }
                continue;
            }
            let live = self.live.as_mut()?;
            tokio::select! {
                biased;
                // Cancel-safe, all three: a receiver loses nothing by being dropped.
                () = self.api.drain.cancelled() => self.end("the daemon is shutting down"),
                received = live.recv() => match received {
                    Ok(event) if event.id <= self.after => {}
                    Ok(event) => {
                        self.after = event.id;
                        if self.filter.matches(&event) {
                            self.queue.push_back(message(&event));
                        }
                    }
                    // They are in the journal, unless they are older than what it keeps.
                    Err(RecvError::Lagged(_)) => self.behind = true,
                    Err(RecvError::Closed) => self.end("the journal is closed"),
                },
                () = tokio::time::sleep_until(self.quiet_since + sse::ALIVE) => self.queue.push_back(sse::COMMENT),
            }
        }
    }

    fn end(&mut self, why: &str) {
        self.queue.push_back(sse::message("end", &serde_json::json!({ "message": why })));
        self.ended = true;
    }
}

fn message(event: &Event) -> Bytes {
    sse::numbered(event.id, &event.kind, event)
}
