//! `Idempotency-Key`: a request to make a session that is sent again, since its answer was lost, makes none again.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use seawall_model::SessionSpec;

use crate::problem::{Kind, Problem};

/// The header, if there is one.
pub(super) struct IdempotencyKey(pub(super) Option<String>);

/// In bytes.
const LONGEST: usize = 128;

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let wrong = |message: &str| Problem::field(Kind::Malformed, "Idempotency-Key", message);
        let mut all = parts.headers.get_all("idempotency-key").iter();
        let Some(key) = all.next() else { return Ok(Self(None)) };
        if all.next().is_some() {
            return Err(wrong("given twice"));
        }
        let key = key.to_str().unwrap_or_default();
        let valid = (1..=LONGEST).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        if valid { Ok(Self(Some(key.to_owned()))) } else { Err(wrong("1 to 128 visible ASCII characters")) }
    }
}

/// A hash of what is asked for: however the body was written, the same wishes have the same.
pub(super) fn request(spec: &SessionSpec) -> [u8; 32] {
    *blake3::hash(&serde_json::to_vec(spec).unwrap_or_default()).as_bytes()
}
