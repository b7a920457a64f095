//! W3C Trace Context: a request goes on with the trace of its caller, or begins one, and the answer says which.

use std::num::NonZeroU64;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use seawall_backend::trace::{self, Cause, Exported};
use seawall_model::TraceId;
use tracing::Span;
use tracing::field::Empty;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// Answers a request within its trace.
pub(super) async fn follow(request: Request, next: Next) -> Response {
    let cause = of(request.headers()).unwrap_or_else(|| TraceId::random().into());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let path = request.uri().path().to_owned();
    let span = || {
        let route = route.as_ref().map_or("none", MatchedPath::as_str);
        let (status, failed) = (Empty, Empty);
        tracing::debug_span!("http.request", %method, route, status, otel.kind = "server", otel.status_code = failed)
    };
    let answered = async {
        let mut response = next.run(request).await;
        let status = response.status();
        let span = Span::current();
        span.record("status", status.as_u16());
        if status.is_server_error() {
            span.record("otel.status_code", "ERROR");
        }
        tracing::debug!(%method, path, status = status.as_u16(), "answered");
        if let Ok(answer) = HeaderValue::from_str(&answer(cause.id, trace::exported())) {
            response.headers_mut().insert(TRACERESPONSE, answer);
        }
        response
    };
    trace::piece(cause, span, answered).await
}

/// The value of `traceresponse`. A span that is not exported has an id all the same.
fn answer(id: TraceId, exported: Option<Exported>) -> String {
    let (span, sampled) = match exported {
        Some(Exported { id, sampled }) => (id.get(), sampled),
        None => (rand::random::<u64>().max(1), false),
    };
    format!("00-{id}-{span:016x}-{:02x}", u8::from(sampled))
}

/// The cause in the one `traceparent`.
fn of(headers: &HeaderMap) -> Option<Cause> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let (Some(header), None) = (all.next(), all.next()) else { return None };
    parent(header.to_str().ok()?)
}

/// What a `traceparent` says. As the recommendation has it, one that is not valid is as good as none.
pub(crate) fn parent(text: &str) -> Option<Cause> {
    let mut parts = text.split('-');
    let (version, id, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    // A later version may have more behind the flags.
    let version = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
    if !version || !hex(span, 16) || !hex(flags, 2) {
        return None;
    }
    let span = NonZeroU64::new(u64::from_str_radix(span, 16).ok()?)?;
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    Some(Cause { id: id.parse().ok()?, span: Some(Exported { id: span, sampled }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn read(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        of(&headers).map(|cause| cause.id.to_string())
    }

    #[test]
    fn the_span_of_the_caller_and_whether_it_is_kept_are_gone_on_with() {
        let span = |flags: &str| parent(&format!("00-{ID}-00f067aa0ba902b7-{flags}")).unwrap().span.unwrap();
        assert_eq!((span("01").id.get(), span("01").sampled), (0x00f0_67aa_0ba9_02b7, true));
        assert!(!span("00").sampled && span("03").sampled);
        let id: TraceId = ID.parse().unwrap();
        assert_eq!(answer(id, Some(span("01"))), format!("00-{ID}-00f067aa0ba902b7-01"));
        assert!(answer(id, None).ends_with("-00"));
    }

    #[test]
    fn only_a_valid_traceparent_is_gone_on_with() {
        let good = format!("00-{ID}-00f067aa0ba902b7-01");
        assert_eq!(read(&[&good]).as_deref(), Some(ID));
        assert_eq!(read(&[&format!("01-{ID}-00f067aa0ba902b7-01-more")]).as_deref(), Some(ID));
        for bad in [
            String::new(),
            "nonsense".to_owned(),
            format!("{good}-more"),
            good.to_uppercase(),
            good.replacen("00-", "ff-", 1),
            good.replace("00f067aa0ba902b7", "0000000000000000"),
            good.replace(ID, &"0".repeat(32)),
            good.replace(ID, "4bf9"),
            format!("00-{ID}-00f067aa0ba902b7"),
            "ä".to_owned(),
        ] {
            assert_eq!(read(&[&bad]), None, "{bad}");
        }
        assert_eq!(read(&[&good, &good]), None, "twice");
    }
}
