//! What holds for every backend, and what one backend says otherwise, put together key by key: deadlines and bulkhead.
//!
//! The parsed file cannot tell a key that was left out from one that says the default, so the layers are the tables as
//! they are written.

use std::collections::BTreeMap;

use seawall_backend::{BulkheadConfig, Deadlines};
use seawall_model::BackendName;
use serde::de::DeserializeOwned;

use super::error::{ConfigError, given};
use super::settings::Backend;
use super::written::Written;

/// What holds for every backend, as it is written.
pub(super) struct General {
    /// What that comes to.
    pub(super) config: BulkheadConfig,
    deadlines: toml::Table,
    bulkhead: toml::Table,
}

/// Reads and checks what holds for every backend.
///
/// # Errors
/// A setting that cannot be as it is, with its place.
pub(super) fn general(written: &Written) -> Result<General, ConfigError> {
    let (deadlines, bulkhead) = (written.table(&["runtime", "deadlines"]), written.table(&["bulkhead"]));
    let mut general = General { config: BulkheadConfig::default(), deadlines, bulkhead };
    general.config =
        general.with(toml::Table::new(), toml::Table::new()).map_err(|error| unreadable("bulkhead", &error))?;
    check(&general.config, written, |first| match first {
        "deadlines" => vec!["runtime"],
        _ => vec!["bulkhead"],
    })?;
    Ok(general)
}

impl General {
    fn with(&self, deadlines: toml::Table, bulkhead: toml::Table) -> Result<BulkheadConfig, toml::de::Error> {
        let deadlines: Deadlines = layered(&self.deadlines, deadlines)?;
        Ok(BulkheadConfig { deadlines, ..layered(&self.bulkhead, bulkhead)? })
    }

    /// What holds for one backend.
    ///
    /// # Errors
    /// A setting that cannot be as it is, with its place.
    pub(super) fn of(&self, name: &BackendName, written: &Written) -> Result<BulkheadConfig, ConfigError> {
        let table = |key| written.table(&["backend", name.as_str(), key]);
        let config = self
            .with(table("deadlines"), table("bulkhead"))
            .map_err(|error| unreadable(&format!("backend.{name}"), &error))?;
        check(&config, written, |first| match first {
            "deadlines" => vec!["backend", name.as_str()],
            _ => vec!["backend", name.as_str(), "bulkhead"],
        })?;
        Ok(config)
    }
}

/// So many calls of all backends together that none that was let in ever meets a full pool. The probes of every backend
/// are let in besides.
///
/// # Errors
/// The pool is too small for that, or a backend may have more calls than all together.
pub(super) fn ceiling(
    pool: u32,
    backends: &BTreeMap<BackendName, Backend>,
    written: &Written,
) -> Result<usize, ConfigError> {
    let pool = usize::try_from(pool).unwrap_or(usize::MAX);
    let probes: usize = backends.values().map(|backend| backend.bulkhead.limit.probes).sum();
    let ceiling = pool.saturating_sub(probes);
    if ceiling == 0 {
        let message = format!(
            "a pool of {pool} calls has no room for a call: {probes} are set aside for the health checks of {} backends",
            backends.len()
        );
        return Err(written.wrong(&["runtime", "pool", "calls"], message));
    }
    for (name, backend) in backends {
        for (field, permits) in [("calls", backend.bulkhead.limit.calls), ("long", backend.bulkhead.limit.long)] {
            if permits <= ceiling {
                continue;
            }
            let message = format!(
                "backend {name} may have {permits}, and all backends together {ceiling}: `runtime.pool.calls`, which is \
                 {pool}, without {probes} for health checks"
            );
            let own = ["backend", name.as_str(), "bulkhead", "limit", field];
            let general = ["bulkhead", "limit", field];
            return Err(written.wrong(if written.has(&own) { &own } else { &general }, message));
        }
    }
    Ok(ceiling)
}

fn check<'a>(
    config: &BulkheadConfig,
    written: &Written,
    under: impl Fn(&str) -> Vec<&'a str>,
) -> Result<(), ConfigError> {
    let Err(invalid) = config.validate() else { return Ok(()) };
    let field = invalid.problems.first().map(|problem| problem.field.clone()).unwrap_or_default();
    let mut keys = under(field.split('.').next().unwrap_or_default());
    keys.extend(field.split('.'));
    Err(written.wrong(&keys, invalid.to_string()))
}

/// Each table was read before, as a part of the file: this only cannot be left out.
fn unreadable(table: &str, error: &toml::de::Error) -> ConfigError {
    given(table.to_owned(), error.message())
}

fn layered<T: DeserializeOwned>(general: &toml::Table, own: toml::Table) -> Result<T, toml::de::Error> {
    let mut table = general.clone();
    overlay(&mut table, own);
    table.try_into()
}

fn overlay(under: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        let value = match (under.remove(&key), value) {
            (Some(toml::Value::Table(mut under)), toml::Value::Table(over)) => {
                overlay(&mut under, over);
                toml::Value::Table(under)
            }
            (_, value) => value,
        };
        under.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::settings::tests::settings;
    use super::*;

    #[test]
    fn a_backends_own_keys_lie_over_the_general_ones_and_these_over_the_defaults() {
        let settings = settings(
            "runtime.deadlines = { check = \"3s\", observe = \"4s\" }\n\
             bulkhead.limit = { calls = 7, calls-wait = \"2s\" }\n\
             bulkhead.breaker.failures = 9\n\
             [backend.mock]\n\
             deadlines = { observe = \"5s\" }\n\
             bulkhead.limit.calls = 8\n",
        )
        .unwrap();
        let of = |name: &str| settings.backend[&name.parse::<BackendName>().unwrap()].bulkhead;
        let (mock, docker) = (of("mock"), of("docker"));
        assert_eq!((mock.limit.calls, docker.limit.calls), (8, 7));
        assert_eq!((mock.limit.calls_wait, mock.limit.streams), (Duration::from_secs(2), 200));
        assert_eq!((mock.breaker.failures, mock.breaker.successes), (9, 2));
        let seconds =
            |deadlines: Deadlines| [deadlines.check, deadlines.observe, deadlines.stream].map(|d| d.as_secs());
        assert_eq!((seconds(mock.deadlines), seconds(docker.deadlines)), ([3, 5, 10], [3, 4, 10]));
    }

    #[test]
    fn what_cannot_be_is_refused_where_it_is_written() {
        let refused = [
            ("[bulkhead.limit]\ncalls = 0", ":2:1: ", "limit.calls"),
            ("[bulkhead]\nbreaker.failures = 0", ":2:", "breaker.failures"),
            ("[backend.mock.bulkhead.limit]\nstreams = 0", ":2:1: ", "limit.streams"),
            ("[backend.mock.bulkhead.quarantine]\n\nfirst = \"1h\"", ":3:1: ", "longest"),
            ("[backend.mock]\nplugin = \"builtin:mock\"\ndeadlines.check = \"0s\"", ":3:", "deadlines.check"),
            ("[runtime.deadlines]\nlong = \"30days\"", ":2:1: ", "1 day"),
            ("[bulkhead.limit]\ncalls-wait = \"2h\"", ":2:1: ", "at most 1h"),
            ("[bulkhead]\nfuses = 1", ":2:1: ", "unknown key `fuses`"),
            ("[bulkhead.limit]\npermits = 1", ":2:1: ", "unknown key `permits`"),
            ("[bulkhead.deadlines]\ncheck = \"1s\"", ":1:", "unknown key `deadlines`"),
            ("[backend.mock.bulkhead.retry]\nretrys = 1", ":2:1: ", "did you mean `retries`?"),
        ];
        for (text, place, words) in refused {
            let said = settings(text).unwrap_err().to_string();
            assert!(said.contains(place) && said.contains(words), "{text}\n -> {said}");
        }
    }

    #[test]
    fn the_ceiling_leaves_room_for_every_probe_in_the_pool() {
        assert_eq!(settings("").unwrap().ceiling, 125);
        assert_eq!(settings("[backend.mock]\nbulkhead.limit.probes = 2").unwrap().ceiling, 124);
        assert_eq!(settings("[runtime.pool]\ncalls = 23").unwrap().ceiling, 20);
        let said = settings("[runtime.pool]\ncalls = 22").unwrap_err().to_string();
        assert!(said.contains("may have 20, and all backends together 19"), "{said}");
        let said = settings("[runtime.pool]\ncalls = 3").unwrap_err().to_string();
        assert!(said.contains(":2:1: ") && said.contains("no room for a call"), "{said}");
        let said = settings("[backend.mock]\nbulkhead.limit.long = 126").unwrap_err().to_string();
        assert!(said.contains(":2:") && said.contains("backend mock"), "{said}");
    }
}
