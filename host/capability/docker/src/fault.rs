//! What a failed call to the Engine means in Seawall's words.

use std::error::Error as StdError;
use std::io;

use bollard::errors::Error as Bollard;
use seawall_backend::Error;

use crate::endpoint::Endpoint;

/// The Engine's answer or the want of one. `doing` is the rest of the sentence "the Engine ... cannot".
pub(crate) fn translate(endpoint: &Endpoint, doing: &str, error: &Bollard) -> Error {
    match error {
        Bollard::DockerResponseServerError { status_code, message } => answered(endpoint, doing, *status_code, message),
        Bollard::IOError { err } => unreachable(endpoint, err.kind(), &err.to_string()),
        Bollard::SocketNotFoundError(_) => unreachable(endpoint, io::ErrorKind::NotFound, "there is no such socket"),
        Bollard::JsonDataError { message, .. } => {
            Error::Other(format!("what answers at {endpoint} is no Docker Engine that we understand: {message}"))
        }
        Bollard::APIVersionParseError {} => {
            Error::Other(format!("what answers at {endpoint} is no Docker Engine: it does not say its API version"))
        }
        other => match io_kind(other) {
            Some(kind) => unreachable(endpoint, kind, &chain(other)),
            // The connection ended before the answer did: nobody knows whether the Engine did what was asked.
            None => Error::unavailable(format!(
                "the Docker Engine at {endpoint} broke off while it was asked to {doing}: {}",
                chain(other)
            )),
        },
    }
}

/// Whether the Engine answered: only then is what we negotiated with it still true.
pub(crate) fn is_answer(error: &Bollard) -> bool {
    matches!(error, Bollard::DockerResponseServerError { message, .. } if !message.contains("client version"))
}

/// The HTTP status of an answer that is an error.
pub(crate) fn status(error: &Bollard) -> Option<u16> {
    match error {
        Bollard::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

fn answered(endpoint: &Endpoint, doing: &str, status: u16, message: &str) -> Error {
    let said = message.trim();
    let sentence = format!("the Docker Engine cannot {doing}: {said}");
    match status {
        401 | 403 => Error::Denied(format!("the Docker Engine at {endpoint} refuses to {doing}: {said}")),
        404 => Error::NotFound(sentence),
        409 => Error::conflict(sentence),
        429 => Error::Exhausted { message: sentence, retry_after: None },
        502..=504 => Error::unavailable(sentence),
        400 if said.contains("client version") => Error::unavailable(sentence),
        _ if contains_any(said, &FULL) => Error::Exhausted { message: sentence, retry_after: None },
        // In use already: free when somebody else gives it up.
        _ if contains_any(said, &TAKEN) => Error::conflict(sentence),
        500.. if contains_any(said, &PASSING) => Error::unavailable(sentence),
        _ => Error::Other(sentence),
    }
}

/// Docker wraps what its own parts tell it in a 500. These are the words of passing trouble in them.
const PASSING: [&str; 9] = [
    "i/o timeout",
    "context deadline exceeded",
    "context canceled",
    "connection refused",
    "connection reset",
    "transport is closing",
    "ttrpc: closed",
    "error reading from server: EOF",
    "shutting down",
];
const FULL: [&str; 4] =
    ["no space left on device", "cannot allocate memory", "resource temporarily unavailable", "too many open files"];
const TAKEN: [&str; 2] = ["port is already allocated", "address already in use"];

pub(crate) fn contains_any(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}

fn unreachable(endpoint: &Endpoint, kind: io::ErrorKind, why: &str) -> Error {
    let advice = match kind {
        io::ErrorKind::NotFound => {
            "start Docker, or write its address as `host` in the backend's `grants.docker` or in DOCKER_HOST"
        }
        io::ErrorKind::PermissionDenied => {
            return Error::Denied(format!(
                "no permission to use the Docker Engine at {endpoint}: run the daemon as a user of the socket's group \
                 (usually `docker`)"
            ));
        }
        io::ErrorKind::ConnectionRefused => "nothing listens there; start Docker",
        _ => "see whether Docker runs",
    };
    Error::unavailable(format!("the Docker Engine at {endpoint} cannot be reached: {why}; {advice}"))
}

fn io_kind(error: &Bollard) -> Option<io::ErrorKind> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        next = error.source();
    }
    None
}

/// The last cause says what happened; what wraps it says "client error".
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status_code: u16, message: &str) -> Error {
        let endpoint = Endpoint::parse("unix:///run/docker.sock").unwrap();
        let error = Bollard::DockerResponseServerError { status_code, message: message.to_owned() };
        translate(&endpoint, "start it", &error)
    }

    #[test]
    fn each_answer_has_its_kind() {
        for (status, message, kind) in [
            (400, "bad", "other"),
            (400, "client version 1.53 is too new. Maximum supported API version is 1.41", "unavailable"),
            (401, "who are you", "denied"),
            (404, "No such container: x", "not_found"),
            (409, "in use", "conflict"),
            (429, "slow down", "exhausted"),
            (500, "mkdir /var/lib/docker: no space left on device", "exhausted"),
            (500, "Bind for 127.0.0.1:80 failed: port is already allocated", "conflict"),
            (500, "dial unix /run/containerd/containerd.sock: i/o timeout", "unavailable"),
            (500, "something else", "other"),
            (503, "", "unavailable"),
        ] {
            assert_eq!(answer(status, message).kind(), kind, "{status} {message}");
        }
    }

    #[test]
    fn a_socket_that_is_absent_is_named_with_what_to_do() {
        let endpoint = Endpoint::parse("unix:///no/such.sock").unwrap();
        let error = translate(&endpoint, "list", &Bollard::SocketNotFoundError("/no/such.sock".to_owned()));
        assert_eq!(error.kind(), "unavailable");
        assert!(error.to_string().contains("unix:///no/such.sock") && error.to_string().contains("start Docker"));
        let denied = Bollard::IOError { err: io::Error::from(io::ErrorKind::PermissionDenied) };
        assert_eq!(translate(&endpoint, "list", &denied).kind(), "denied");
    }
}
