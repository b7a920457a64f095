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
/// The HTTP client cannot be made.
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
    let http = crate::place::plain().default_headers(headers).timeout(otlp.timeout).build()?;
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
