//! Reads requests, and names the field at fault.

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

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
    fn what_is_no_json_is_malformed() {
        for body in [&b""[..], b"{", b"\xff", b"{} {}", b"nul", b"[]", &b"[".repeat(4000)] {
            assert_eq!(parse::<SessionSpec>(body).unwrap_err().kind, Kind::Malformed);
        }
    }
}
