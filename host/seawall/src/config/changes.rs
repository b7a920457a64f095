//! What is different between two configurations, by the names that the file has for it: what a reload goes by.
//!
//! Each type is taken apart field by field, so that none can be forgotten.

use super::settings::{Backend, Log, Settings};
use seawall_backend::{BulkheadConfig, Deadlines};
use seawall_runtime::RuntimeConfig;

impl Settings {
    /// Settings that are other ones in `new`, and are only read when the daemon starts.
    pub(crate) fn needs_restart(&self, new: &Self) -> Vec<String> {
        let Self {
            given: _,
            written: _,
            data_dir,
            socket,
            api,
            shutdown: _,
            shutdown_deadline: _,
            plugins_dir: _,
            supervisor,
            log: Log { filter, format },
            telemetry,
            control,
            journal,
            runtime,
            // Each backend has its own.
            bulkhead: _,
            ceiling: _,
            backend: _,
            left_out: _,
        } = self;
        let plain = [
            ("data-dir", *data_dir != new.data_dir),
            ("socket", *socket != new.socket),
            ("api.tcp", *api != new.api),
            ("supervisor", *supervisor != new.supervisor),
            ("log.filter", *filter != new.log.filter),
            ("log.format", *format != new.log.format),
            ("journal.events", journal.events != new.journal.events),
            ("journal.age", journal.age != new.journal.age),
        ];
        let mut names: Vec<String> =
            plain.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name.to_owned()).collect();
        if *control != new.control {
            let table = |control| toml::Table::try_from(control).unwrap_or_default();
            names.extend(different("control", &table(control), &table(&new.control)));
        }
        if *telemetry != new.telemetry {
            let table = |telemetry| toml::Table::try_from(telemetry).unwrap_or_default();
            names.extend(different("telemetry", &table(telemetry), &table(&new.telemetry)));
        }
        // Deadlines are the backends' own.
        let table = |runtime: &RuntimeConfig| {
            let own = RuntimeConfig { deadlines: Deadlines::default(), ..runtime.clone() };
            toml::Table::try_from(own).unwrap_or_default()
        };
        if *runtime != (RuntimeConfig { deadlines: runtime.deadlines, ..new.runtime.clone() }) {
            names.extend(different("runtime", &table(runtime), &table(&new.runtime)));
        }
        names
    }

    /// Settings of the daemon itself that are other ones in `new`, and are in effect without a restart.
    pub(crate) fn changed(&self, new: &Self) -> Vec<String> {
        let settings = [
            ("shutdown", self.shutdown != new.shutdown),
            ("shutdown-deadline", self.shutdown_deadline != new.shutdown_deadline),
            ("plugins-dir", self.plugins_dir != new.plugins_dir),
        ];
        settings.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name.to_owned()).collect()
    }
}

impl Backend {
    /// The properties that are other ones in `new`. The content of a component is not known here.
    pub(crate) fn changed(&self, new: &Self) -> Vec<&'static str> {
        let Self { plugin, grants, config, deadlines, bulkhead, limits } = self;
        let properties = [
            ("plugin", *plugin != new.plugin),
            ("grants", *grants != new.grants),
            ("config", *config != new.config),
            ("limits", *limits != new.limits),
            ("deadlines", *deadlines != new.deadlines),
            ("bulkhead", *bulkhead != BulkheadConfig { deadlines: bulkhead.deadlines, ..new.bulkhead }),
        ];
        properties.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect()
    }
}

/// The keys, dotted, under which two tables differ.
fn different(under: &str, one: &toml::Table, other: &toml::Table) -> Vec<String> {
    let mut names = Vec::new();
    let added = other.keys().filter(|key| !one.contains_key(*key));
    for key in one.keys().chain(added) {
        let name = format!("{under}.{key}");
        match (one.get(key), other.get(key)) {
            (Some(toml::Value::Table(one)), Some(toml::Value::Table(other))) => {
                names.extend(different(&name, one, other));
            }
            (one, other) if one == other => {}
            _ => names.push(name),
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::settings;
    use super::*;

    #[test]
    fn every_property_of_a_backend_counts_as_a_change() {
        let base = settings("[backend.x]\nplugin = \"x.wasm\"").unwrap();
        let of = |settings: &Settings| settings.backend[&"x".parse().unwrap()].clone();
        let changed = |rest: &str| {
            let new = settings(&format!("[backend.x]\nplugin = \"x.wasm\"\n{rest}")).unwrap();
            assert_eq!(base.needs_restart(&new), Vec::<String>::new(), "{rest}");
            Backend { plugin: of(&base).plugin, ..of(&base) }.changed(&Backend { plugin: of(&base).plugin, ..of(&new) })
        };
        assert_eq!(changed(""), Vec::<&str>::new());
        assert_eq!(changed("grants.state = true"), ["grants"]);
        assert_eq!(changed("config.a = 1"), ["config"]);
        assert_eq!(changed("limits.check.fuel = 5000000"), ["limits"]);
        assert_eq!(changed("deadlines.check = \"1s\""), ["deadlines"]);
        assert_eq!(changed("bulkhead.limit.calls = 3"), ["bulkhead"]);
        assert_eq!(changed("bulkhead.retry.retries = 0"), ["bulkhead"]);
        assert_eq!(changed("[runtime.deadlines]\ncheck = \"1s\""), ["deadlines"], "what holds for all holds for one");
        assert_eq!(changed("[bulkhead.limit]\ncalls = 3"), ["bulkhead"]);
        let moved = settings("[backend.x]\nplugin = \"y.wasm\"").unwrap();
        assert_eq!(of(&base).changed(&of(&moved)), ["plugin"]);
    }

    #[test]
    fn what_needs_a_restart_is_named_as_in_the_file() {
        let base = settings("").unwrap();
        let named = |text: &str| base.needs_restart(&settings(text).unwrap());
        let cases = [
            ("socket = \"/other\"", "socket"),
            ("supervisor = \"/other\"", "supervisor"),
            ("api.tcp.listen = \"127.0.0.1:1\"", "api.tcp"),
            ("log.filter = \"debug\"", "log.filter"),
            ("log.format = \"json\"", "log.format"),
            ("control.sweep-interval = \"1s\"", "control.sweep-interval"),
            ("control.check.failures = 4", "control.check.failures"),
            ("control.retry = { first = \"1s\", most = \"2s\" }", "control.retry.most"),
            ("runtime.pool.calls = 64", "runtime.pool.calls"),
            ("runtime.limits.check.fuel = 1_000_000", "runtime.limits.check"),
            ("runtime.cpu = 77", "runtime.cpu"),
            ("telemetry.otlp.sample-ratio = 0.5", "telemetry.otlp.sample-ratio"),
        ];
        for (text, name) in cases {
            assert_eq!(named(text), [name]);
        }
        let both = settings("runtime.pool = { calls = 64 }").unwrap();
        let less = settings("runtime.pool = { calls = 65 }").unwrap();
        assert_eq!(both.needs_restart(&less), ["runtime.pool.calls"]);
        for text in ["control.sweep-interval = \"5s\"", "shutdown = \"stop\"", "backend.mock.enabled = false"] {
            assert_eq!(named(text), Vec::<String>::new(), "{text}");
        }
        let stop = settings("shutdown = \"stop\"\nshutdown-deadline = \"9s\"\nplugins-dir = \"/p\"").unwrap();
        assert_eq!(base.changed(&stop), ["shutdown", "shutdown-deadline", "plugins-dir"]);
    }
}
