//! Fetching images: the Engine pulls, and tells how far it is.
//!
//! The Engine goes on for as long as somebody listens: dropping what is given here closes the connection, and it gives
//! the pull up. It answers with the first thing that it has to tell, which a slow registry puts off; so nothing is asked
//! before the first progress is.

use std::sync::Arc;

use bollard::errors::Error as Bollard;
use bytes::{Buf as _, BytesMut};
use futures_util::stream;
use seawall_backend::{Error, Preparation, Progress};
use serde::Deserialize;

use crate::connection::Client;
use crate::fault::{self, contains_any};
use crate::listing::percent_encode;
use crate::wire::{self, Answer};
use crate::{Docker, Inner};

/// No reference is longer.
const LONGEST: usize = 512;
/// The most that one line of progress may take.
const MAX_LINE: usize = 1 << 20;

impl Docker {
    /// Has the Engine fetch an image; with `missing`, only if it has none of that name.
    ///
    /// # Errors
    /// `Invalid` if it is no reference, `Denied` if the grant does not say that images may be fetched, `Unavailable`. The
    /// last item may be `NotFound` if the registry has no such image, `Denied` if it refuses, `Unavailable` if the Engine
    /// cannot reach it.
    pub async fn pull(&self, reference: &str, missing: bool) -> Result<Preparation, Error> {
        let inner = &self.inner;
        let (name, tag) = parts(reference)?;
        if !inner.grant.pull && !missing {
            return Err(ungranted(reference));
        }
        let client = inner.connection.client().await?;
        if missing {
            match client.api.inspect_image(reference).await {
                Ok(_) => return Ok(Box::pin(stream::empty())),
                Err(error) if fault::status(&error) == Some(404) && inner.grant.pull => {}
                Err(error) if fault::status(&error) == Some(404) => return Err(ungranted(reference)),
                Err(error) => {
                    return Err(inner.connection.failed(&client, &format!("look at the image {reference}"), &error));
                }
            }
        }
        let (name, tag) = (percent_encode(name), percent_encode(tag));
        let path = format!("{}/images/create?fromImage={name}&tag={tag}", client.prefix());
        let reference = reference.to_owned();
        let pull = Pull { inner: Arc::clone(inner), client, reference, path, answer: None, received: BytesMut::new() };
        Ok(Box::pin(stream::try_unfold(
            pull,
            |mut pull| async move { Ok(pull.next().await?.map(|told| (told, pull))) },
        )))
    }
}

struct Pull {
    inner: Arc<Inner>,
    client: Arc<Client>,
    reference: String,
    path: String,
    answer: Option<Answer>,
    received: BytesMut,
}

impl Pull {
    async fn next(&mut self) -> Result<Option<Progress>, Error> {
        loop {
            match line(&mut self.received) {
                Ok(Some(Line { error: Some(error), .. })) => return Err(refused(&self.reference, &error)),
                Ok(Some(line)) => return Ok(Some(line.progress())),
                Ok(None) => {}
                Err(error) => return Err(self.failed(&error)),
            }
            let answer = match &mut self.answer {
                Some(answer) => answer,
                None => {
                    let answer = wire::post(&self.client.endpoint, &self.path, "").await;
                    self.answer.insert(answer.map_err(|error| self.failed(&error))?)
                }
            };
            match std::future::poll_fn(|cx| answer.poll_data(cx)).await {
                Some(Ok(data)) => self.received.extend_from_slice(&data),
                Some(Err(error)) => return Err(self.failed(&error.into())),
                None => return Ok(None),
            }
        }
    }

    fn failed(&self, error: &Bollard) -> Error {
        match error {
            Bollard::DockerResponseServerError { message, .. } if fault::is_answer(error) => {
                refused(&self.reference, message)
            }
            error => self.inner.connection.failed(&self.client, &format!("pull {}", self.reference), error),
        }
    }
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    status: String,
    id: Option<String>,
    #[serde(rename = "progressDetail", default)]
    detail: Detail,
    error: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Detail {
    current: Option<u64>,
    total: Option<u64>,
}

impl Line {
    fn progress(self) -> Progress {
        let Detail { current, total } = self.detail;
        // Of this one the id is the tag.
        let part = self.id.filter(|_| !self.status.starts_with("Pulling from "));
        Progress { part, doing: self.status, done: current, total: total.filter(|total| *total > 0) }
    }
}

/// The next line of what was received.
fn line(received: &mut BytesMut) -> Result<Option<Line>, Bollard> {
    let broken = |message: String| Err(Bollard::JsonDataError { message, column: 0 });
    loop {
        let Some(end) = received.iter().position(|byte| *byte == b'\n') else {
            if received.len() > MAX_LINE {
                return broken(format!("a line of more than {MAX_LINE} bytes"));
            }
            return Ok(None);
        };
        let bytes = received.split_to(end);
        received.advance(1);
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        return match serde_json::from_slice(&bytes) {
            Ok(line) => Ok(Some(line)),
            Err(error) => broken(error.to_string()),
        };
    }
}

/// Name and tag, or name and digest. Without a tag the Engine would pull all that there are.
fn parts(reference: &str) -> Result<(&str, &str), Error> {
    let refuse = |message: &str| Err(Error::invalid("reference", message));
    if reference.is_empty() || reference.len() > LONGEST || !reference.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refuse("write an image as busybox:latest or registry:5000/name@sha256:...");
    }
    let (named, digest) = match reference.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (reference, None),
    };
    // A port has a slash somewhere behind it.
    let (name, tag) = match named.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (named, "latest"),
    };
    let tag = digest.unwrap_or(tag);
    if name.is_empty() || tag.is_empty() {
        return refuse("it lacks a name, or a tag behind the colon");
    }
    Ok((name, tag))
}

fn ungranted(reference: &str) -> Error {
    Error::Denied(format!(
        "{reference} would have to be fetched, and the backend may fetch no image: get it with `docker pull {reference}`, or \
         write `pull = true` in its `grants.docker`"
    ))
}

/// What the Engine says of a pull that failed. Its own words are all that there is: the status is the same for most.
fn refused(reference: &str, message: &str) -> Error {
    let said = message.trim();
    let sentence = format!("{reference} cannot be pulled: {said}");
    if contains_any(said, &DENIED) || said == "denied" || said.starts_with("denied:") {
        Error::Denied(format!(
            "{sentence}; the Docker Engine has no credentials of its own: pull it with `docker pull`"
        ))
    } else if contains_any(said, &UNKNOWN) {
        Error::NotFound(sentence)
    } else if contains_any(said, &["invalid reference format", "invalid tag", "must be lowercase"]) {
        Error::invalid("reference", said.to_owned())
    } else if contains_any(said, &["no space left on device", "toomanyrequests", "Too Many Requests"]) {
        Error::Exhausted { message: sentence, retry_after: None }
    } else if contains_any(said, &AWAY) {
        Error::unavailable(format!("{sentence}; see whether the Docker Engine reaches the registry"))
    } else {
        Error::Other(sentence)
    }
}

const DENIED: [&str; 4] =
    ["access denied", "requested access to the resource is denied", "unauthorized", "authentication required"];
const UNKNOWN: [&str; 4] = ["manifest unknown", "name unknown", "not found", "no matching manifest"];
const AWAY: [&str; 10] = [
    "dial tcp",
    "no such host",
    "connection refused",
    "connection reset",
    "timeout",
    "deadline exceeded",
    "proxyconnect",
    "EOF",
    "network is unreachable",
    "Service Unavailable",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_cut_where_docker_cuts_it() {
        let digest = "sha256:0123";
        for (reference, name, tag) in [
            ("busybox", "busybox", "latest"),
            ("busybox:1.36", "busybox", "1.36"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b", "latest"),
            ("127.0.0.1:5000/a/b:x", "127.0.0.1:5000/a/b", "x"),
            ("127.0.0.1:5000/a@sha256:0123", "127.0.0.1:5000/a", digest),
            ("a:1@sha256:0123", "a", digest),
        ] {
            assert_eq!(parts(reference).unwrap(), (name, tag), "{reference}");
        }
        for bad in ["", ":x", "a:", "a@", "a b", "a\n", &"a".repeat(513)] {
            assert_eq!(parts(bad).unwrap_err().kind(), "invalid", "{bad:?}");
        }
    }

    #[test]
    fn what_the_engine_says_has_its_kind() {
        for (said, kind) in [
            ("manifest for busybox:nope not found: manifest unknown: manifest unknown", "not_found"),
            ("pull access denied for a, repository does not exist or may require 'docker login': denied", "denied"),
            ("Get \"https://r/v2/\": unauthorized: authentication required", "denied"),
            ("denied", "denied"),
            ("denied: not yours", "denied"),
            ("Get \"https://r/v2/\": dial tcp: lookup r: no such host", "unavailable"),
            ("Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused", "unavailable"),
            ("write /var/lib/docker/tmp/x: no space left on device", "exhausted"),
            ("toomanyrequests: You have reached your pull rate limit", "exhausted"),
            ("invalid reference format", "invalid"),
            ("filesystem layer verification failed for digest sha256:01", "other"),
        ] {
            assert_eq!(refused("a", said).kind(), kind, "{said}");
        }
    }

    #[test]
    fn progress_is_read_and_an_error_in_it_seen() {
        let text = concat!(
            "{\"status\":\"Pulling from a/b\",\"id\":\"latest\"}\r\n",
            "{\"status\":\"Downloading\",\"progressDetail\":{\"current\":1,\"total\":9},\"progress\":\"[>]\",\"id\":\"ab\"}\r\n",
            "{\"status\":\"Extracting\",\"progressDetail\":{\"current\":3,\"units\":\"s\"},\"id\":\"ab\"}\r\n\r\n",
            "{\"errorDetail\":{\"message\":\"no\"},\"error\":\"no\"}\r\n",
        );
        let mut received = BytesMut::from(text);
        let mut next = || line(&mut received).unwrap();
        assert_eq!(next().unwrap().progress().part, None);
        let Progress { part, doing, done, total } = next().unwrap().progress();
        assert_eq!((part.as_deref(), doing.as_str(), done, total), (Some("ab"), "Downloading", Some(1), Some(9)));
        assert_eq!(next().unwrap().progress().total, None);
        assert_eq!(next().unwrap().error.as_deref(), Some("no"));
        assert!(next().is_none());
        assert!(line(&mut BytesMut::from("<html>\n")).is_err());
    }
}
