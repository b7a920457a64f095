//! Spans for an OpenTelemetry collector: OTLP, Protobuf over HTTP. Nothing of this runs where no collector is configured.
//!
//! ```text
//!   tracing spans (debug) --> layer --> batch, in a thread of its own --> one POST at a time, on the daemon's executor
//! ```
//!
//! Exported are the spans of pieces of work (see [`trace`]), with the trace ids that answers, events and the log have. The
//! queue is bounded: with a collector that is away or slow, spans are dropped and nothing waits. The log says once that it
//! is away, and once that it is back.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, Sampler, SdkTracerProvider, SpanData, SpanExporter};
use prost::Message as _;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use seawall_backend::trace::{self, Cause, Exported};
use tokio::runtime::Handle;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::config::Otlp;

/// What sends spans. Dropped without [`shutdown`](Self::shutdown), the last of them are lost.
#[derive(Debug)]
pub(crate) struct Telemetry {
    provider: SdkTracerProvider,
    timeout: Duration,
}

/// The layer that spans come from.
pub(crate) type Spanning<S> = Box<dyn Layer<S> + Send + Sync>;

/// The exporter, and the layer that spans come from. `None` where none is configured. Within the daemon's executor.
///
/// # Errors
/// The HTTP client cannot be made, most often since `ca-file` cannot be used.
pub(crate) fn start<S>(otlp: &Otlp) -> anyhow::Result<Option<(Telemetry, Spanning<S>)>>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let Some(url) = otlp.traces() else { return Ok(None) };
    let mut headers: HeaderMap = HeaderMap::new();
    for (name, value) in &otlp.headers {
        let mut value = HeaderValue::try_from(value.reveal())?;
        value.set_sensitive(true);
        headers.insert(HeaderName::try_from(name)?, value);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    let client = if url.starts_with("https:") {
        crate::place::secured(otlp.ca_file.as_deref()).map_err(|why| anyhow!("telemetry.otlp.ca-file: {why}"))?
    } else {
        crate::place::plain()
    };
    let http = client.default_headers(headers).timeout(otlp.timeout).build()?;
    let resource = Resource::builder_empty()
        .with_service_name("seawall")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())))
        .build();
    let resource = Arc::new(ResourceAttributesWithSchema::from(&resource));
    let exporter = Exporter { http, url, resource, handle: Handle::current(), away: Arc::default() };
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(otlp.sample_ratio))))
        .with_id_generator(Ids::default())
        .with_batch_exporter(exporter)
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("seawall"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false);
    let filter = filter_fn(|of| of.is_span() && *of.level() == Level::DEBUG && of.target().starts_with("seawall"));
    let layer = layer.with_filter(filter.with_max_level_hint(LevelFilter::DEBUG)).boxed();
    // A second one in a process would be that of a test.
    _ = trace::export(Box::new(Spans));
    Ok(Some((Telemetry { provider, timeout: otlp.timeout }, layer)))
}

impl Telemetry {
    /// Sends what is left, within the time that a request may take.
    pub(crate) async fn shutdown(self) {
        let Self { provider, timeout } = self;
        let sent = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(timeout));
        // Its own bound may be late on a busy machine.
        match tokio::time::timeout(timeout.saturating_mul(2), sent).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the last spans were not sent"),
            Ok(Err(_)) | Err(_) => tracing::warn!("the last spans were not sent"),
        }
    }
}

/// The ids that spans are exported with.
#[derive(Debug)]
struct Spans;

impl trace::Exporter for Spans {
    fn current(&self) -> Option<Exported> {
        let context = Span::current().context();
        let span = context.span().span_context().clone();
        let id = NonZeroU64::new(u64::from_be_bytes(span.span_id().to_bytes()))?;
        Some(Exported { id, sampled: span.is_sampled() })
    }

    fn adopt(&self, span: &Span, cause: Cause) {
        let Some(Exported { id, sampled }) = cause.span else { return };
        let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let id = SpanId::from_bytes(id.get().to_be_bytes());
        let parent = SpanContext::new(number(cause.id), id, flags, true, TraceState::NONE);
        // A span that is not exported has no parent either.
        _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

fn number(id: seawall_model::TraceId) -> TraceId {
    TraceId::from_bytes(id.to_bytes())
}

/// A span without a parent begins the trace that it is done within.
#[derive(Debug, Default)]
struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        trace::current().map_or_else(|| self.0.new_trace_id(), number)
    }

    fn new_span_id(&self) -> SpanId {
        self.0.new_span_id()
    }
}

/// Sends batches, each in one request.
#[derive(Debug)]
struct Exporter {
    http: reqwest::Client,
    url: String,
    resource: Arc<ResourceAttributesWithSchema>,
    /// Who asks has a thread without an executor.
    handle: Handle,
    /// The last request failed, and the log says so.
    away: Arc<AtomicBool>,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let request =
            ExportTraceServiceRequest { resource_spans: group_spans_by_resource_and_scope(batch, &self.resource) };
        let request = self.http.post(&self.url).body(request.encode_to_vec());
        let sent = self.handle.spawn(async move { request.send().await?.error_for_status().map(drop) }).await;
        let failure = match sent {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(crate::exit::chain(&error.without_url())),
            Err(_) => Some("the daemon is ending".to_owned()),
        };
        let was_away = self.away.swap(failure.is_some(), Ordering::Relaxed);
        match (failure, was_away) {
            (None, false) => Ok(()),
            (None, true) => {
                tracing::info!(endpoint = self.url, "the collector takes spans again");
                Ok(())
            }
            (Some(error), was_away) => {
                if !was_away {
                    let endpoint = &self.url;
                    tracing::warn!(
                        endpoint,
                        error,
                        spans,
                        "the collector takes no spans: they are dropped until it does"
                    );
                }
                Err(OTelSdkError::InternalFailure(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// A collector for one request, with a certificate that lies in this file.
    async fn collector(folder: &Path) -> (u16, PathBuf, tokio::task::JoinHandle<Option<String>>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let ca = folder.join("ca.pem");
        std::fs::write(&ca, made.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.ok()?;
            let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.ok()?;
            let mut head = vec![0; 20];
            stream.read_exact(&mut head).await.ok()?;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.ok()?;
            stream.shutdown().await.ok()?;
            Some(String::from_utf8_lossy(&head).into_owned())
        });
        (port, ca, asked)
    }

    async fn span_sent_to(port: u16, ca_file: PathBuf) {
        let endpoint = Some(format!("https://localhost:{port}"));
        let otlp = Otlp { endpoint, ca_file: Some(ca_file), ..Otlp::default() };
        let (telemetry, layer) = start(&otlp).unwrap().unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            drop(tracing::debug_span!(target: "seawall", "a piece of work"));
        });
        telemetry.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn spans_go_by_tls_to_a_collector_that_its_ca_vouches_for_and_to_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let (port, ca, asked) = collector(folder.path()).await;
        span_sent_to(port, ca).await;
        assert_eq!(asked.await.unwrap().as_deref(), Some("POST /v1/traces HTTP"));

        let (port, _, asked) = collector(folder.path()).await;
        let stranger = folder.path().join("stranger.pem");
        std::fs::write(&stranger, rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem())
            .unwrap();
        span_sent_to(port, stranger).await;
        assert_eq!(asked.await.unwrap(), None, "nobody vouches for it");
    }

    #[tokio::test]
    async fn a_ca_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("text.pem");
        std::fs::write(&file, "this is no certificate").unwrap();
        for file in [file, folder.path().join("absent.pem")] {
            let endpoint = Some("https://localhost:1".to_owned());
            let otlp = Otlp { endpoint, ca_file: Some(file.clone()), ..Otlp::default() };
            let refused = start::<tracing_subscriber::Registry>(&otlp).err().unwrap().to_string();
            assert!(
                refused.contains("telemetry.otlp.ca-file") && refused.contains(&file.display().to_string()),
                "{refused}"
            );
        }
    }
}
