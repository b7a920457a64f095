//! Entity tags (RFC 9110): a session's is a hash of what is shown of it, so that it outlives the daemon and is another one
//! whenever anything else is shown.

use axum::extract::FromRequestParts;
use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use seawall_model::Session;

use crate::problem::{Kind, Problem};

/// A session as an answer, with its tag.
pub(super) struct Tagged(pub(super) StatusCode, pub(super) Session);

impl IntoResponse for Tagged {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.1).unwrap_or_default();
        let tag = HeaderValue::from_str(&of(&body)).ok();
        let mut response = (self.0, [("content-type", "application/json")], body).into_response();
        if let Some(tag) = tag {
            response.headers_mut().insert(ETAG, tag);
        }
        response
    }
}

/// The tag of what is shown.
fn of(shown: &[u8]) -> String {
    let hash = blake3::hash(shown).to_hex();
    format!("\"{}\"", hash.get(..32).unwrap_or_default())
}

fn tag(session: &Session) -> String {
    of(&serde_json::to_vec(session).unwrap_or_default())
}

/// `If-Match`: carried out only if the session is still as the client saw it.
pub(super) struct IfMatch(Option<Tags>);

/// `If-None-Match`: given only if it is another one than the client has.
pub(super) struct IfNoneMatch(Option<Tags>);

enum Tags {
    Any,
    Of(Vec<String>),
}

/// Nobody has seen more of one session.
const MOST_TAGS: usize = 100;

impl IfMatch {
    /// Does `work` under the condition.
    pub(super) async fn hold<T>(self, work: impl Future<Output = T>) -> T {
        match self.0 {
            None | Some(Tags::Any) => work.await,
            Some(Tags::Of(tags)) => {
                let expected = move |session: &Session| tags.contains(&tag(session));
                seawall_control::expecting(expected, work).await
            }
        }
    }
}

impl IfNoneMatch {
    /// Whether the client has it as it is.
    pub(super) fn has(&self, session: &Session) -> bool {
        match &self.0 {
            None => false,
            Some(Tags::Any) => true,
            // The weak comparison: what a proxy marked as weak is meant all the same.
            Some(Tags::Of(tags)) => {
                let now = tag(session);
                tags.iter().any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == now)
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        read(&parts.headers, &IF_MATCH).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        read(&parts.headers, &IF_NONE_MATCH).map(Self)
    }
}

fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Problem> {
    let field = if *name == IF_MATCH { "If-Match" } else { "If-None-Match" };
    let wrong =
        || Problem::field(Kind::Malformed, field, "`*`, or tags as an answer's `ETag` has them, with their quotes");
    let mut tags = Vec::new();
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| wrong())?.trim();
        if text == "*" {
            return Ok(Some(Tags::Any));
        }
        for tag in text.split(',').map(str::trim) {
            let opaque = tag.strip_prefix("W/").unwrap_or(tag);
            let inner = opaque.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(wrong)?;
            if inner.contains('"') || tags.len() >= MOST_TAGS {
                return Err(wrong());
            }
            tags.push(tag.to_owned());
        }
    }
    Ok((!tags.is_empty()).then_some(Tags::Of(tags)))
}
