//! The daemon's own log: standard error, text on a terminal and one JSON object a line elsewhere.

use std::io::IsTerminal as _;

use anyhow::anyhow;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use crate::config::{Log, LogFormat};
use crate::exit::Failure;

/// Starts it, once a process.
///
/// # Errors
/// There is one already.
pub(crate) fn start(log: &Log, json: bool) -> Result<(), Failure> {
    let targets: Targets = log.filter.parse().map_err(|error| anyhow!("failed to read the log filter: {error}"))?;
    let terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Auto => json || !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(terminal);
    let layer = if json {
        layer.json().flatten_event(true).with_current_span(false).boxed()
    } else {
        layer.with_target(false).compact().boxed()
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(targets))
        .try_init()
        .map_err(|error| anyhow!("failed to start the log: {error}").into())
}
