//! Problems as HTTP answers.

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use seawall_backend::trace;
use seawall_control::ControlError;

use crate::problem::{Kind, Problem};

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        self.trace_id = self.trace_id.or_else(trace::current);
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.kind == Kind::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"seawall\""));
        }
        if let Some(millis) = self.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(millis.div_ceil(1000)));
        }
        response
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        let text = error.to_string();
        match error {
            ControlError::NoSuchSession(_) | ControlError::NoSuchLog(_) | ControlError::NoSuchBackend(_) => {
                Self::new(Kind::NotFound, text)
            }
            ControlError::Ambiguous { .. } => Self::new(Kind::Ambiguous, text),
            ControlError::NameTaken { .. } => Self {
                problems: vec![seawall_model::Problem { field: "name".to_owned(), message: text.clone() }],
                ..Self::new(Kind::Conflict, text)
            },
            ControlError::Invalid(invalid) => invalid.into(),
            ControlError::Changed(_) => Self::new(Kind::Changed, text),
            ControlError::KeyReused(_) => Self::field(Kind::Invalid, "Idempotency-Key", text),
            ControlError::Conflict(_) => Self::new(Kind::Conflict, text),
            ControlError::BackendUnhealthy { .. } => Self::new(Kind::Unhealthy, text),
            ControlError::Store(_) => Self::new(Kind::Store, crate::exit::chain(&error)),
            ControlError::Backend(error) => error.into(),
            ControlError::ShuttingDown => Self::new(Kind::ShuttingDown, text),
        }
    }
}

/// In characters; a message of ours that repeats a name fits in.
const MOST_SHOWN: usize = 400;

/// Nothing stands there.
pub(super) async fn no_such_address(method: Method, uri: Uri) -> Problem {
    Problem::new(Kind::NotFound, format!("there is no {method} {}: the API begins with /v1/", shown(uri.path())))
}

/// Something stands there that knows other methods.
pub(super) async fn no_such_method(method: Method, uri: Uri) -> Problem {
    Problem::new(Kind::MethodNotAllowed, format!("{method} means nothing at {}", shown(uri.path())))
}

/// As much of what was sent as an answer repeats.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(MOST_SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
    }
}
