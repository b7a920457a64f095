//! `seawall backend ls|inspect`; `gc` is in `gc.rs`, `confirm-lost` in `lost.rs`.

use clap::Subcommand;
use seawall_backend::breaker::BreakerStatus;
use seawall_control::{BackendStatus, Overview, Summary, WatchState, WatchStatus};
use seawall_model::{BackendName, Timestamp};

use super::Global;
use super::format::{age, facts, latency, table};
use super::gc::Gc;
use super::lost::ConfirmLost;
use super::why::{breaker, permits, quarantine, short};
use crate::client::Client;
use crate::exit::Failure;

/// `backend`.
#[derive(Debug, Subcommand)]
pub(crate) enum Backend {
    /// List backends
    Ls,
    /// Show a backend in full
    Inspect {
        /// Its name
        backend: BackendName,
    },
    /// Remove workloads that no session owns, as every sweep does; what is too much needs --confirm
    Gc(Gc),
    /// Say that sessions are gone which a backend leaves out of its answers, and which are too many to be believed
    ConfirmLost(ConfirmLost),
}

impl Backend {
    /// Asks and shows.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        match self {
            Self::Ls => {
                let Overview { summary, backends, .. } = client.get(&["backends"], &[]).await?;
                global.show(&backends, |backends| list(backends, Timestamp::now()) + &in_a_line(&summary))?;
            }
            Self::Inspect { backend } => {
                let status: BackendStatus = client.get(&["backends", backend.as_str()], &[]).await?;
                global.show(&status, |status| describe(status, Timestamp::now()))?;
            }
            Self::Gc(gc) => return gc.run(global, client).await,
            Self::ConfirmLost(confirm) => return confirm.run(global, client).await,
        }
        Ok(0)
    }
}

fn list(backends: &[BackendStatus], now: Timestamp) -> String {
    let header = ["NAME", "PLUGIN", "HEALTH", "CHECKED", "LATENCY", "BREAKER", "ENGINE", "SESSIONS", "INTERFACES"];
    let rows = backends.iter().map(|status| {
        vec![
            status.name.to_string(),
            format!("{} {}", status.info.name, status.info.version),
            status.health.to_string(),
            status.checked_at.map_or_else(|| "-".to_owned(), |at| age(now, at)),
            status.latency.map_or_else(|| "-".to_owned(), latency),
            state(&status.bulkhead.breaker),
            status.report.as_ref().map_or_else(|| "-".to_owned(), |report| report.version.clone()),
            status.sessions.values().sum::<usize>().to_string(),
            Some(interfaces(status, ",")).filter(|some| !some.is_empty()).unwrap_or_else(|| "-".to_owned()),
        ]
    });
    let mut text = table(&header, rows);
    for status in backends {
        for condition in &status.conditions {
            text.push_str(&super::printable(&format!("! {}: {}\n", status.name, condition.message)));
        }
    }
    text
}

/// What it can do besides the required.
fn interfaces(status: &BackendStatus, between: &str) -> String {
    let interfaces: Vec<&str> = status.info.interfaces.iter().map(|interface| interface.as_str()).collect();
    interfaces.join(between)
}

fn in_a_line(summary: &Summary) -> String {
    if summary.health.is_empty() {
        return "no backend is configured\n".to_owned();
    }
    let counts: Vec<String> = summary.health.iter().map(|(health, count)| format!("{count} {health}")).collect();
    format!("{}: {}\n", summary.phase, counts.join(", "))
}

/// The breaker in a word, and for how long it is open.
fn state(breaker: &BreakerStatus) -> String {
    match breaker.retry_after {
        Some(left) => format!("{} {}", breaker.state.as_str(), short(left)),
        None => breaker.state.as_str().to_owned(),
    }
}

/// How its watch is, and what may be done about it.
fn watch(watch: &WatchStatus, now: Timestamp) -> String {
    let mut text = match watch.state {
        WatchState::Unsupported => "unsupported".to_owned(),
        state => {
            format!("{state} for {}, {} wakes, opened {} times", age(now, watch.since), watch.wakes, watch.openings)
        }
    };
    if let Some(retry_at) = watch.retry_at {
        text += &format!(", tried again in {}", short(retry_at.since(now)));
    }
    if let Some(error) = &watch.error {
        text += &format!("; at last: {error}");
    }
    text
}

fn describe(status: &BackendStatus, now: Timestamp) -> String {
    let sessions: Vec<String> = status.sessions.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let some = |text: String| (!text.is_empty()).then_some(text);
    let mut text = facts(&[
        ("name", Some(status.name.to_string())),
        ("plugin", Some(format!("{} {}", status.info.name, status.info.version))),
        ("description", some(status.info.description.clone())),
        ("interfaces", some(interfaces(status, ", "))),
        ("health", Some(format!("{} for {}", status.health, age(now, status.since)))),
        ("checked", status.checked_at.map(|at| format!("{} ago", age(now, at)))),
        ("latency", status.latency.map(latency)),
        ("error", status.error.clone()),
        ("failures", (status.failures > 0).then(|| format!("{} in a row", status.failures))),
        ("engine", status.report.as_ref().map(|report| report.version.clone())),
        ("watch", Some(watch(&status.watch, now))),
        ("sessions", some(sessions.join(", "))),
        ("breaker", Some(breaker(&status.bulkhead.breaker))),
        ("permits", Some(permits(&status.bulkhead.permits))),
        (
            "host",
            Some(format!("calls {}/{} of all backends", status.bulkhead.host.in_flight, status.bulkhead.host.permits)),
        ),
    ]);
    for (key, value) in status.report.iter().flat_map(|report| &report.attributes) {
        text.push_str(&super::printable(&format!("  {key}: {value}\n")));
    }
    for condition in &status.conditions {
        let line = format!("! {} for {}: {}\n", condition.kind, age(now, condition.since), condition.message);
        text.push_str(&super::printable(&line));
    }
    text.push_str(&quarantine(&status.bulkhead.quarantine));
    text
}
