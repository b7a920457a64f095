//! The daemon's own log: standard error, text on a terminal and one JSON object a line elsewhere. A line that is written
//! within a trace carries its id.

use std::fmt;
use std::io::IsTerminal as _;

use anyhow::{Context as _, anyhow};
use seawall_backend::trace;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat, Settings};
use crate::exit::Failure;
use crate::telemetry::{self, Telemetry};

/// Starts it, once a process, and the export of spans where one is configured. Within the daemon's executor.
///
/// # Errors
/// There is one already.
pub(crate) fn start(settings: &Settings, json: bool) -> Result<Option<Telemetry>, Failure> {
    let Log { filter, format } = &settings.log;
    let targets: Targets = filter.parse().map_err(|error| anyhow!("failed to read the log filter: {error}"))?;
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => json || !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let mut layers = vec![layer(json, terminal, std::io::stderr).with_filter(targets).boxed()];
    let exported = telemetry::start(&settings.telemetry.otlp).context("failed to set up the export of spans")?;
    let telemetry = exported.map(|(telemetry, layer)| {
        layers.push(layer);
        telemetry
    });
    let started = tracing_subscriber::registry().with(layers).try_init();
    started.map_err(|error| anyhow!("failed to start the log: {error}"))?;
    Ok(telemetry)
}

fn layer<S, W>(json: bool, terminal: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(terminal);
    if json {
        layer.json().flatten_event(true).with_current_span(false).map_event_format(Traced).boxed()
    } else {
        layer.with_target(false).compact().map_event_format(|format| Traced(format.with_ansi(terminal))).boxed()
    }
}

/// A format with the id of the trace at the end of each line.
struct Traced<F>(F);

impl<S, N, F> FormatEvent<S, N> for Traced<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(id) = trace::current() else { return self.0.format_event(context, writer, event) };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end();
        match line.strip_suffix('}').filter(|_| line.starts_with('{')) {
            Some(object) => writeln!(writer, "{object},\"trace_id\":\"{id}\"}}"),
            None => writeln!(writer, "{line} trace_id={id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use seawall_model::TraceId;
    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is logged without a trace, and then within one.
    async fn logged(json: bool, id: TraceId) -> Vec<String> {
        let kept = Kept::default();
        let writer = kept.clone();
        let log = tracing_subscriber::registry().with(layer(json, false, move || writer.clone()));
        let _log = tracing::subscriber::set_default(log);
        let say = async || tracing::info_span!("sweep", backend = "mock").in_scope(|| tracing::info!(n = 1, "hi"));
        say().await;
        trace::scope(id, say()).await;
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn a_line_within_a_trace_carries_its_id() {
        let id = TraceId::random();
        let lines: Vec<Value> = logged(true, id).await.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["message"], lines[0].get("trace_id")), (&"hi".into(), None));
        assert_eq!(lines[1]["trace_id"], id.to_string());
        assert_eq!((&lines[1]["n"], &lines[1]["spans"][0]["backend"]), (&1.into(), &"mock".into()));

        let lines = logged(false, id).await;
        assert!(!lines[0].contains("trace_id"), "{}", lines[0]);
        assert!(lines[1].contains("hi") && lines[1].ends_with(&format!(" trace_id={id}")), "{}", lines[1]);
    }
}
