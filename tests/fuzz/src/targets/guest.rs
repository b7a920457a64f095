//! Guests that answer with bytes of the input, and what must be true of every answer.

use std::time::Duration;

use seawall_backend::{Error, FaultKind};
use seawall_model::{Found, Health, Key, Page, Report, Status, Timestamp};
use seawall_runtime::{ClassOverrides, Overrides, Plugin, Pool, Runtime, RuntimeConfig};

use super::assert_readable;

#[path = "../../../../host/runtime/tests/guest/mod.rs"]
#[expect(dead_code, reason = "these targets need less of it than the tests it was written for")]
mod wat;

pub(crate) use wat::{Guest, NOT_FOUND, REPORT, ZERO};

/// A text of a guest is cut at 4 KiB, and says that it was.
const LONGEST_TEXT: usize = (4 << 10) + 3;

/// With a small pool: only one call is made at a time.
pub(crate) fn runtime(config: RuntimeConfig) -> Runtime {
    let pool = Pool { calls: 4, instances_per_call: 8, ..Pool::default() };
    Runtime::new(RuntimeConfig { pool, ..config }).unwrap()
}

/// With little fuel: what loops has said what it has to say.
pub(crate) fn plugin(wasm: Vec<u8>) -> Plugin {
    let all = Overrides { fuel: Some(1_000_000), ..Overrides::default() };
    Plugin { limits: ClassOverrides { all, ..ClassOverrides::default() }, ..Plugin::new("box".parse().unwrap(), wasm) }
}

pub(crate) fn executor() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) fn key(incarnation: u64) -> Key {
    Key { session: "0123456789abcdef".parse().unwrap(), incarnation, handle: Some(b"h".to_vec()) }
}

/// An answer that passes its own check, or an error that says what is wrong.
pub(crate) fn checked<T>(answer: Result<T, Error>, check: impl FnOnce(&T)) {
    match answer {
        Ok(answer) => check(&answer),
        Err(error) => error_is_sound(&error),
    }
}

fn error_is_sound(error: &Error) {
    let soon = |after: &Option<Duration>| assert!(after.is_none_or(|after| after <= Duration::from_secs(3600)));
    match error {
        Error::Fault(fault) => {
            assert_ne!(fault.kind, FaultKind::Internal, "{fault}");
            assert!(fault.message.len() < 16 << 10, "{} bytes", fault.message.len());
            assert!(fault.backtrace.len() <= 64);
        }
        Error::Conflict { message, retry_after }
        | Error::Exhausted { message, retry_after }
        | Error::Unavailable { message, retry_after } => {
            assert_readable("an error", message, LONGEST_TEXT);
            soon(retry_after);
        }
        Error::Invalid(invalid) => {
            assert!((1..=64).contains(&invalid.problems.len()));
            for problem in &invalid.problems {
                assert_readable("a field", &problem.field, LONGEST_TEXT);
                assert_readable("a problem", &problem.message, LONGEST_TEXT);
            }
        }
        Error::NotFound(message) | Error::Denied(message) | Error::Unsupported(message) | Error::Other(message) => {
            assert_readable("an error", message, LONGEST_TEXT);
        }
        Error::Full { .. } | Error::Open { .. } | Error::Quarantined { .. } => panic!("nothing here says {error}"),
    }
}

pub(crate) fn status_is_sound(status: &Status) {
    assert_eq!(status.exit.is_some(), status.state.ended());
    assert!(status.health == Health::Unknown || status.state == seawall_model::State::Running);
    assert!(status.handle.as_ref().is_none_or(|handle| handle.len() <= 4096));
    let exit = status.exit.as_ref();
    assert!(exit.and_then(|exit| exit.signal).is_none_or(|signal| (1..=64).contains(&signal)));
    if let Some(message) = exit.and_then(|exit| exit.message.as_ref()) {
        assert_readable("an exit", message, LONGEST_TEXT);
    }
    for time in [status.created_at, status.started_at, exit.and_then(|exit| exit.at)].into_iter().flatten() {
        assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time, "a time outside of the calendar");
    }
}

pub(crate) fn found_is_sound(found: &[Found], asked: usize) {
    let mut seen = vec![false; asked];
    for one in found {
        assert!(!std::mem::replace(&mut seen[one.position], true), "{} is there twice", one.position);
        status_is_sound(&one.status);
    }
}

pub(crate) fn page_is_sound(page: &Page, cursor: Option<&str>) {
    assert!(page.workloads.len() <= 1000);
    for workload in &page.workloads {
        assert!(workload.incarnation > 0);
        status_is_sound(&workload.status);
    }
    assert!(
        page.next.as_ref().is_none_or(|next| next.len() <= 4096 && !next.is_empty() && Some(next.as_str()) != cursor)
    );
}

pub(crate) fn report_is_sound(report: &Report) {
    assert_readable("a version", &report.version, 1 << 11);
    assert!(report.attributes.len() <= 64);
    for (name, value) in &report.attributes {
        assert_readable("an attribute", name, 1 << 11);
        assert_readable("an attribute", value, 1 << 11);
    }
}
