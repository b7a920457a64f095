//! Telling when a container of this backend changes: the Engine's events, and of each only whose it is.
//!
//! Nothing is taken from an event but the labels of the container, which may be forged: what they say is a hint. The Engine
//! tells of an end or a pause while it is still at it, and its listing shows it a moment later. Until then it keeps the
//! container locked: so we wake when it has answered about that container, whatever it says. There is no task and no second try: a stream that breaks ends with that, and whoever watches opens it anew.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use seawall_backend::{Error, Wake, Wakes};
use seawall_model::Timestamp;
use serde::Deserialize;

use crate::listing::percent_encode;
use crate::wire::{self, Answer};
use crate::{Docker, identity};

/// What changes a container's status. Commands in it, which a health check runs all the time, are left out.
const ACTIONS: [&str; 8] = ["start", "die", "oom", "pause", "unpause", "health_status", "rename", "destroy"];
/// The most that one event may take: it carries all labels of its container.
const MAX_EVENT: usize = 4 << 20;
/// How long one container may keep its own wake waiting.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many are asked about at the same time.
const PARALLEL: usize = 16;

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "Actor", default)]
    actor: Actor,
}

#[derive(Default, Deserialize)]
struct Actor {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(rename = "Attributes", default)]
    attributes: Attributes,
}

#[derive(Default, Deserialize)]
struct Attributes {
    #[serde(rename = "seawall.session")]
    session: Option<String>,
    #[serde(rename = "seawall.incarnation")]
    incarnation: Option<String>,
}

impl Docker {
    /// Wakes when the Engine tells of a change of a container of this backend.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`; once it is open, an error comes as the stream's last item.
    pub async fn watch(&self) -> Result<Wakes, Error> {
        let inner = &self.inner;
        let client = inner.connection.client().await?;
        let filters = serde_json::json!({"type": ["container"], "event": ACTIONS, "label": inner.namespace.filters()});
        // The Engine answers before it listens: what happens in between it tells of all the same if it is asked from when.
        let since = Timestamp::now().as_millis();
        let (seconds, millis) = (since / 1000, since % 1000);
        let query = percent_encode(&filters.to_string());
        let path = format!("{}/events?since={seconds}.{millis:03}000000&filters={query}", client.prefix());
        let answer = wire::get(&client.endpoint, &path).await;
        let answer = answer.map_err(|error| inner.connection.failed(&client, "tell of changes", &error))?;
        let visible = move |Event { actor }: Event| {
            let client = Arc::clone(&client);
            async move {
                let asked = async {
                    if identity::is_id(&actor.id) {
                        let _ = client.api.inspect_container(&actor.id, None).await;
                    }
                };
                // An Engine that does not answer about it will not for a while: the look that follows may say so.
                let _ = tokio::time::timeout(PATIENCE, asked).await;
                Ok(wake(actor.attributes))
            }
        };
        let wakes = events(answer).map_ok(visible).try_buffer_unordered(PARALLEL);
        // An error is the last item.
        let until_broken = wakes.scan(false, |broken, item| {
            let over = std::mem::replace(broken, item.is_err());
            std::future::ready((!over).then_some(item))
        });
        Ok(Box::pin(until_broken))
    }
}

fn events(answer: Answer) -> impl Stream<Item = io::Result<Event>> {
    stream::try_unfold((answer, BytesMut::new()), |(mut answer, mut received)| async move {
        loop {
            if let Some(event) = next(&mut received)? {
                return Ok(Some((event, (answer, received))));
            }
            match std::future::poll_fn(|cx| answer.poll_data(cx)).await {
                Some(Ok(data)) => received.extend_from_slice(&data),
                Some(Err(error)) => {
                    let message = format!("the Docker Engine broke off while it told of changes: {error}");
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, message));
                }
                None => {
                    let message = "the Docker Engine tells of no more changes";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
                }
            }
        }
    })
}

/// The next event of what was received, which is a line.
fn next(received: &mut BytesMut) -> io::Result<Option<Event>> {
    let Some(end) = received.iter().position(|byte| *byte == b'\n') else {
        if received.len() > MAX_EVENT {
            let message = format!("an event of the Docker Engine has more than {MAX_EVENT} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        return Ok(None);
    };
    let line = received.split_to(end);
    received.advance(1);
    let event = serde_json::from_slice(&line).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("an event of the Docker Engine is not understood: {error}"))
    })?;
    Ok(Some(event))
}

fn wake(Attributes { session, incarnation }: Attributes) -> Wake {
    let workload =
        session.and_then(|session| session.parse().ok()).zip(incarnation.and_then(|number| number.parse().ok()));
    workload.map_or(Wake::Any, |(session, incarnation)| Wake::Workload(session, incarnation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut_and_of_any_release() {
        let text = concat!(
            r#"{"status":"die","id":"a","Type":"container","Action":"die","Actor":{"ID":"a","Attributes":{"exitCode":"1","#,
            r#""seawall.session":"00000000000000aa","seawall.incarnation":"3"}},"scope":"local","timeNano":1}"#,
            "\n",
            r#"{"Type":"container","Action":"rename","Actor":{"ID":"a","Attributes":{"seawall.session":"no"}}}"#,
            "\n",
            r#"{"Type":"container"}"#,
            "\n",
        );
        let ours = Wake::Workload("00000000000000aa".parse().unwrap(), 3);
        for size in [1, 7, text.len()] {
            let (mut received, mut wakes) = (BytesMut::new(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                received.extend_from_slice(piece);
                while let Some(event) = next(&mut received).unwrap() {
                    wakes.push(wake(event.actor.attributes));
                }
            }
            assert_eq!(wakes, [ours.clone(), Wake::Any, Wake::Any]);
            assert!(received.is_empty());
        }
    }

    #[test]
    fn what_is_no_event_is_an_error_and_takes_no_more_memory() {
        assert!(next(&mut BytesMut::from("<html>\n")).is_err());
        let long = vec![b' '; MAX_EVENT + 1];
        assert!(next(&mut BytesMut::from(&long[..])).is_err());
    }
}
