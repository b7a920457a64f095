//! Every value that is in effect, with the place that it came from, as a configuration file that says the same.

use std::path::Path;

use seawall_control::ControlConfig;
use seawall_runtime::{Grants, LimitsByClass, RuntimeConfig};
use serde::Serialize;
use toml::{Table, Value};

use super::api::Api;
use super::file::{LogFormat, ShutdownMode};
use super::settings::{Backend, Settings};
use super::telemetry::Telemetry;
use super::tree;
use super::written::Origin;

/// One value that is in effect.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Effective {
    /// Its key, dotted.
    pub(crate) key: String,
    /// What it is. `None`: a folder of plugins, where those in the binary are used.
    pub(crate) value: Option<Value>,
    /// Who said so.
    pub(crate) from: Origin,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Whole<'a> {
    data_dir: String,
    socket: String,
    #[serde(skip_serializing_if = "Api::is_empty")]
    api: &'a Api,
    shutdown: ShutdownMode,
    #[serde(with = "humantime_serde")]
    shutdown_deadline: std::time::Duration,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugins_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supervisor: Option<String>,
    log: Log<'a>,
    telemetry: Telemetry,
    control: &'a ControlConfig,
    journal: seawall_store::JournalConfig,
    bulkhead: seawall_backend::BulkheadConfig,
    runtime: RuntimeConfig,
    backend: std::collections::BTreeMap<&'a str, One<'a>>,
}

#[derive(Serialize)]
struct Log<'a> {
    filter: &'a str,
    format: LogFormat,
}

#[derive(Serialize)]
#[serde(untagged)]
enum One<'a> {
    LeftOut { enabled: bool },
    There(Box<There<'a>>),
}

#[derive(Serialize)]
struct There<'a> {
    enabled: bool,
    plugin: String,
    grants: &'a Grants,
    config: &'a Table,
    deadlines: seawall_backend::Deadlines,
    bulkhead: seawall_backend::BulkheadConfig,
    limits: seawall_runtime::ClassOverrides,
}

impl<'a> There<'a> {
    fn of(backend: &'a Backend, general: &LimitsByClass) -> Self {
        Self {
            enabled: true,
            plugin: backend.plugin.to_string(),
            grants: &backend.grants,
            config: &backend.config,
            deadlines: backend.deadlines,
            bulkhead: backend.bulkhead,
            limits: general.with(&backend.limits).written(),
        }
    }
}

impl Settings {
    /// Everything that is in effect, as a file has it.
    ///
    /// # Errors
    /// Only a defect.
    pub(crate) fn effective(&self) -> Result<Table, toml::ser::Error> {
        let text = |path: &Path| path.display().to_string();
        let general = LimitsByClass::default().with(&self.runtime.limits);
        let left_out = self.left_out.iter().map(|name| (name.as_str(), One::LeftOut { enabled: false }));
        let backends =
            self.backend.iter().map(|(name, one)| (name.as_str(), One::There(Box::new(There::of(one, &general)))));
        Table::try_from(Whole {
            data_dir: text(&self.data_dir),
            socket: text(&self.socket),
            api: &self.api,
            shutdown: self.shutdown,
            shutdown_deadline: self.shutdown_deadline,
            plugins_dir: self.plugins_dir.as_deref().map(text),
            supervisor: self.supervisor().as_deref().map(text),
            log: Log { filter: &self.log.filter, format: self.log.format },
            telemetry: self.telemetry.redacted(),
            control: &self.control,
            journal: self.journal,
            bulkhead: self.bulkhead,
            runtime: RuntimeConfig { limits: general.written(), ..self.runtime.clone() },
            backend: left_out.chain(backends).collect(),
        })
    }

    /// The same, value by value.
    ///
    /// # Errors
    /// Only a defect.
    pub(crate) fn effective_list(&self) -> Result<Vec<Effective>, toml::ser::Error> {
        let mut all = Vec::new();
        tree::walk(&self.effective()?, &mut |keys, value| {
            all.push(Effective { key: tree::dotted(keys), value: Some(value.clone()), from: self.origin(keys) });
        });
        if self.plugins_dir.is_none() {
            let key = "plugins-dir";
            all.push(Effective { key: key.to_owned(), value: None, from: self.origin(&[key]) });
        }
        Ok(all)
    }

    /// The same as a file, with the place behind each value.
    ///
    /// # Errors
    /// Only a defect.
    pub(crate) fn effective_text(&self) -> Result<String, toml::ser::Error> {
        let text = tree::text(&self.effective()?, &mut |keys| self.origin(keys).to_string());
        Ok(match self.plugins_dir {
            Some(_) => text,
            None => format!(
                "# plugins-dir: none, the plugins in this binary are used # {}\n{text}",
                self.origin(&["plugins-dir"])
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::settings;
    use super::*;

    const WRITTEN: &str = "[control]\nsweep-interval = \"3s\"\n[backend.mock.config]\nseed = 4\nnested.key = \"x\"\n\
                           [backend.docker]\nenabled = false\n[runtime.limits.all]\ncalls = 77\n\
                           [backend.process]\nlimits.check.fuel = 5\nbulkhead.limit.calls = 8\n\
                           grants.process.env = { \"A.B\" = \"c\" }\n[bulkhead.limit]\ncalls = 9\n\
                           [api.tcp]\nlisten = \"[::1]:7790\"\nhosts = [\"a.example\"]\ntls = { cert = \"/c\", key = \"/k\" }\n";

    #[test]
    fn what_is_shown_as_effective_reads_back_the_same() {
        for written in ["", WRITTEN] {
            let first = settings(written).unwrap();
            let shown = first.effective_text().unwrap();
            let second = settings(&shown).unwrap_or_else(|error| panic!("{error}\n{shown}"));
            assert_eq!(second.effective().unwrap(), first.effective().unwrap());
            let names = |settings: &Settings| settings.backend.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&second), names(&first), "what is left out stays left out");
        }
    }

    #[test]
    fn each_value_says_where_it_came_from() {
        let settings = settings(WRITTEN).unwrap();
        let all = settings.effective_list().unwrap();
        let line = |key: &str| match &all.iter().find(|one| one.key == key).unwrap_or_else(|| panic!("{key}")).from {
            Origin::File { line, .. } => Some(*line),
            _ => None,
        };
        assert_eq!(line("control.sweep-interval"), Some(2));
        assert_eq!(line("control.list-interval"), None);
        assert_eq!(line("backend.mock.config.seed"), Some(4));
        assert_eq!(line("backend.mock.config.nested.key"), Some(5));
        assert_eq!(line("backend.docker.enabled"), Some(7));
        assert_eq!(line("backend.mock.limits.check.calls"), Some(9), "of all backends and classes");
        assert_eq!(line("runtime.limits.observe.calls"), Some(9));
        assert_eq!(line("backend.process.limits.check.fuel"), Some(11));
        assert_eq!(line("backend.mock.limits.check.fuel"), None);
        assert_eq!(line("backend.process.bulkhead.limit.calls"), Some(12));
        assert_eq!(line("backend.mock.bulkhead.limit.calls"), Some(15));
        assert_eq!(line("backend.process.grants.process.env.\"A.B\""), Some(13));
        let data = all.iter().find(|one| one.key == "data-dir").unwrap();
        assert_eq!(data.from, Origin::Flag { name: "--data-dir".to_owned() });
        // What every built-in backend may do, and what bounds it.
        for key in
            ["backend.mock.grants.state.bytes", "backend.process.limits.long.memory", "backend.mock.deadlines.check"]
        {
            assert!(all.iter().any(|one| one.key == key), "{key}");
        }
    }
}
