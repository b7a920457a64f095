//! W3C Trace Context: a request goes on with the trace of its caller, or begins one, and the answer says which.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use seawall_backend::trace;
use seawall_model::TraceId;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// Answers a request within its trace.
pub(super) async fn follow(request: Request, next: Next) -> Response {
    let id = parent(request.headers()).unwrap_or_else(TraceId::random);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    trace::scope(id, async {
        let mut response = next.run(request).await;
        tracing::debug!(%method, path, status = response.status().as_u16(), "answered");
        let answer = format!("00-{id}-{:016x}-00", rand::random::<u64>().max(1));
        if let Ok(answer) = HeaderValue::from_str(&answer) {
            response.headers_mut().insert(TRACERESPONSE, answer);
        }
        response
    })
    .await
}

/// The trace in the one `traceparent`. As the recommendation has it, one that is not valid is as good as none.
fn parent(headers: &HeaderMap) -> Option<TraceId> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let (Some(header), None) = (all.next(), all.next()) else { return None };
    let mut parts = header.to_str().ok()?.split('-');
    let (version, id, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    // A later version may have more behind the flags.
    let version = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
    let span = hex(span, 16) && span.bytes().any(|digit| digit != b'0');
    if version && span && hex(flags, 2) { id.parse().ok() } else { None }
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
        parent(&headers).map(|id| id.to_string())
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
