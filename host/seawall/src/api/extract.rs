//! Reads requests, and names the field at fault.

use std::borrow::Cow;

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize as _, Deserializer};

use super::respond::shown;
use super::{MAX_BODY, patience};
use crate::config::suggest;
use crate::problem::{Kind, Problem};

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let media = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim();
        if !media.eq_ignore_ascii_case("application/json") {
            let detail = format!("the body is {:?}: send application/json", shown(media));
            return Err(Problem::new(Kind::UnsupportedMedia, detail));
        }
        let body = Limited::new(request.into_body(), MAX_BODY).collect();
        let body = tokio::time::timeout(patience::BODY, body).await.map_err(|_| {
            let detail = format!("the body did not come to its end within {} s", patience::BODY.as_secs());
            Problem::new(Kind::TooSlow, detail)
        })?;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                Problem::new(Kind::TooLarge, format!("the body has more than {MAX_BODY} bytes"))
            } else {
                Problem::new(Kind::Malformed, format!("the body could not be read to its end: {error}"))
            }
        })?;
        parse(&body.to_bytes()).map(Self)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde would take an array for a struct, field by field.
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => {}
        Some(_) => return Err(Problem::new(Kind::Malformed, "the body is no JSON object")),
        None => return Err(Problem::new(Kind::Malformed, "the body is empty: send a JSON object")),
    }
    let bytes = &*whole(bytes);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if !inner.is_data() {
            // A number where a word is expected reads as broken JSON, which it need not be.
            if path != "." && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok() {
                return field_at_fault(&path, "something of another kind is expected here");
            }
            return Problem::new(Kind::Malformed, format!("the body is no JSON: {inner}"));
        }
        let text = inner.to_string();
        // The field says more than its line and column.
        let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
        field_at_fault(&path, text)
    })?;
    reader.end().map_err(|error| Problem::new(Kind::Malformed, format!("after the JSON: {error}")))?;
    Ok(value)
}

/// JSON has one kind of number, `5.0` is `5`; serde takes the one for no whole number. All else stays as it is.
fn whole(json: &[u8]) -> Cow<'_, [u8]> {
    if !json.windows(2).any(|two| two == b".0") {
        return Cow::Borrowed(json);
    }
    let mut written = Vec::with_capacity(json.len());
    let (mut rest, mut quoted) = (json, false);
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'.'
            && !quoted
            && ends_in_digits(&written)
            && let Some(beyond) = zeros(after)
        {
            rest = beyond;
            continue;
        }
        written.push(byte);
        rest = after;
        match (byte, quoted) {
            // What is escaped ends no text.
            (b'\\', true) => {
                written.extend(after.first());
                rest = after.get(1..).unwrap_or_default();
            }
            (b'"', _) => quoted = !quoted,
            _ => {}
        }
    }
    Cow::Owned(written)
}

/// No larger number is a whole one here, and no more of a long text is looked at twice.
const MOST_DIGITS: usize = 20;

/// The number that ends here has a sign, perhaps, and nothing but digits.
fn ends_in_digits(text: &[u8]) -> bool {
    let digits = text.iter().rev().take(MOST_DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
    let before = text.len().checked_sub(digits + 1).and_then(|at| text.get(..=at)).unwrap_or_default();
    let before = before.strip_suffix(b"-").unwrap_or(before);
    (1..=MOST_DIGITS).contains(&digits)
        && !matches!(before.last(), Some(b'.' | b'e' | b'E' | b'+' | b'-' | b'0'..=b'9'))
}

/// What follows zeros that end a number.
fn zeros(text: &[u8]) -> Option<&[u8]> {
    let zeros = text.iter().take(MOST_DIGITS).take_while(|byte| **byte == b'0').count();
    let beyond = text.get(zeros..)?;
    let goes_on = matches!(beyond.first(), Some(b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    (zeros > 0 && !goes_on).then_some(beyond)
}

/// serde's words in ours, with the field as clients write it.
fn field_at_fault(path: &str, text: &str) -> Problem {
    let within = |name: &str| if path == "." { name.to_owned() } else { format!("{path}.{name}") };
    match text.strip_prefix("missing field `").and_then(|rest| rest.split_once('`')) {
        Some((name, _)) => Problem::field(Kind::Malformed, within(name), "it must be given"),
        None => Problem::field(Kind::Malformed, shown(path), shown(&suggest(text))),
    }
}

/// Query parameters; unknown ones are refused by the type.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => {
                // axum's own words begin with "Failed to deserialize query string: FIELD: ".
                let text = rejection.body_text();
                let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
                Err(match text.split_once(": ") {
                    Some((field, message)) if !field.contains(' ') => {
                        Problem::field(Kind::Malformed, shown(field), shown(&suggest(message)))
                    }
                    _ => Problem::new(Kind::Malformed, format!("the query cannot be read: {}", shown(text))),
                })
            }
        }
    }
}

/// The largest number of a parameter: it fits into `int64`, as it is described.
const LARGEST: u64 = i64::MAX.unsigned_abs();

/// A number of a parameter.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match u64::deserialize(deserializer)? {
        number if number <= LARGEST => Ok(number),
        _ => Err(D::Error::custom(format_args!("at most {LARGEST}"))),
    }
}

/// A number of a parameter that was given.
pub(super) fn some_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    number(deserializer).map(Some)
}

/// The same, of a parameter that is read by hand.
pub(super) fn read_number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number| *number <= LARGEST)
}

/// Whether a media type is asked for by name.
pub(super) fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let mut listed =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    listed.any(|media| media.split(';').next().unwrap_or(media).trim().eq_ignore_ascii_case(wanted))
}

/// The one parameter of an address: an id, a prefix or a name, as it was written.
pub(super) struct Reference(pub(super) String);

/// Nothing that may be named is longer.
const MAX_REFERENCE: usize = 128;

impl<S: Send + Sync> FromRequestParts<S> for Reference {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::new(Kind::Malformed, format!("the address cannot be read: {rejection}")))?;
        if text.len() > MAX_REFERENCE {
            let detail = format!("{:?} is longer than any id or name", shown(&text));
            return Err(Problem::new(Kind::Malformed, detail));
        }
        Ok(Self(text))
    }
}

#[cfg(test)]
mod tests {
    use seawall_model::SessionSpec;

    use super::*;

    #[test]
    fn the_field_at_fault_is_named() {
        for (body, field) in [
            (r#"{"backend":"mock","resources":{"memory":true}}"#, "resources.memory"),
            (r#"{"backend":"mock","comand":[]}"#, "comand"),
            (r#"{"backend":"Mock"}"#, "backend"),
            (r#"{"backend":"mock","mounts":[{"target":1}]}"#, "mounts[0].target"),
            (r#"{"backend":"mock","mounts":[{"target":"/"}]}"#, "mounts[0].source"),
            (r#"{"backend":"mock","health_check":-1.5}"#, "health_check"),
            (r#"{}"#, "backend"),
        ] {
            let problem = parse::<SessionSpec>(body.as_bytes()).unwrap_err();
            let fields: Vec<_> = problem.problems.iter().map(|problem| problem.field.as_str()).collect();
            assert_eq!((problem.kind, fields), (Kind::Malformed, vec![field]), "{body}");
        }
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_point() {
        for (given, read) in [
            (r#"{"a":5.0,"b":[1.000, 0.0]}"#, r#"{"a":5,"b":[1, 0]}"#),
            (r#"{"5.0":"5.0","a":"\"5.0"}"#, r#"{"5.0":"5.0","a":"\"5.0"}"#),
            (r#"{"a":"\\","b":5.0}"#, r#"{"a":"\\","b":5}"#),
            ("[-5.0, 5.01, 5.0e3, 1e5.0, 5.00.0, .0, 5.]", "[-5, 5.01, 5.0e3, 1e5.0, 5.00.0, .0, 5.]"),
        ] {
            assert_eq!(std::str::from_utf8(&whole(given.as_bytes())).unwrap(), read);
        }
        let read = parse::<SessionSpec>(br#"{"backend":"mock","resources":{"processes":5.0}}"#).ok().unwrap();
        assert_eq!(read.resources.processes, Some(5));
        let half = parse::<SessionSpec>(br#"{"backend":"mock","resources":{"processes":5.5}}"#).unwrap_err();
        assert_eq!(half.problems[0].field, "resources.processes");
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        for body in [&b""[..], b"{", b"\xff", b"{} {}", b"nul", b"[]", &b"[".repeat(4000)] {
            assert_eq!(parse::<SessionSpec>(body).unwrap_err().kind, Kind::Malformed);
        }
    }
}
