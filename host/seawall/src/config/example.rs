//! A configuration file with every key there is, each with what it is for and commented out: `seawall config example`.
//!
//! Keys, their order and their descriptions are those of the types that read the file; what stands behind each is a value
//! of these types ([`ConfigFile::illustrated`]): the default where there is one, else something that may be written.

use std::collections::{BTreeMap, BTreeSet};

use seawall_backend::{BulkheadConfig, Deadlines};
use seawall_control::{ControlConfig, RetentionConfig};
use seawall_model::Secret;
use seawall_runtime::{CompileConfig, Grants, LimitsByClass, RuntimeConfig};
use toml::{Table, Value};
use utoipa::openapi::schema::{AdditionalProperties, Object};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema as _, ToSchema as _};

use super::api::{Api, Tcp, TlsFiles};
use super::backends::PluginSource;
use super::file::{BackendSection, ConfigFile, LogFormat, LogSection, ShutdownMode};
use super::telemetry::{Otlp, Telemetry};

/// The backend that stands for any.
const BACKEND: &str = "eggs";

const HEAD: &str = "\
# Every key of Seawall's configuration. Each is commented out and stands at its default, or at an example where the default is
# nothing; a daemon needs none of them. Write durations and sizes with their units: \"500ms\", \"1m 30s\", \"16MiB\".
#
# Each key has a variable, which lies over the file: sweep-interval in [control] is SEAWALL_CONTROL__SWEEP_INTERVAL.
# `seawall config check` says whether a file is good, and with --show-effective what is in effect and who said so.
# `seawall config example` prints this text.

";

const BACKENDS: &str = "
# Backends. docker, process and mock are there without being named, with what they need; [backend.docker] changes that one.
# What stands here for a backend called eggs may stand for any.
";

/// The text.
pub(crate) fn example() -> String {
    let schemas = Schemas::new();
    let mut writer = Writer { text: HEAD.to_owned(), ..Writer::default() };
    writer.table(&schemas, &schemas.root, &ConfigFile::illustrated_table(), &mut Vec::new(), "");
    writer.text
}

impl ConfigFile {
    /// One in which every key has a value.
    fn illustrated() -> Self {
        let path = |path: &str| Some(path.into());
        let mut limits = LimitsByClass::default().written();
        limits.all = limits.control;
        let runtime = RuntimeConfig {
            // As many as there are cores, which are other ones on each machine.
            cpu: 4,
            compile: CompileConfig { parallel: 4, ..CompileConfig::default() },
            cache: path("/var/cache/seawall"),
            limits,
            ..RuntimeConfig::default()
        };
        let mut grants = Grants::all();
        if let Some(docker) = &mut grants.docker {
            docker.illustrate();
        }
        if let Some(process) = &mut grants.process {
            process.programs = Some(vec!["/usr/bin".into(), "/bin".into()]);
            process.directories = Some(vec!["/srv".into()]);
            process.user = Some("nobody".to_owned());
            process.users = vec!["www-data:www-data".to_owned()];
            process.path = Some("/usr/bin:/bin".to_owned());
            process.env = [("LANG".to_owned(), "C.UTF-8".to_owned())].into();
        }
        let backend = BackendSection {
            plugin: Some(PluginSource::File("/usr/lib/seawall/eggs.wasm".into())),
            enabled: Some(true),
            grants: Some(grants),
            config: Table::from_iter([("minutes".to_owned(), Value::Integer(4))]),
            deadlines: Deadlines::default(),
            limits,
            bulkhead: BulkheadConfig::default(),
        };
        let tcp = Tcp {
            listen: std::net::SocketAddr::from(([127, 0, 0, 1], 7790)),
            allow_remote: false,
            hosts: vec!["seawall.example".to_owned()],
            tls: Some(TlsFiles { cert: "/etc/seawall/cert.pem".into(), key: "/etc/seawall/key.pem".into() }),
        };
        let week = std::time::Duration::from_secs(7 * 24 * 3600);
        let retention = RetentionConfig { age: Some(week), sessions: Some(1000) };
        Self {
            data_dir: path("/var/lib/seawall"),
            socket: path("/var/lib/seawall/seawall.sock"),
            api: Api { tcp: Some(tcp) },
            shutdown: Some(ShutdownMode::Leave),
            shutdown_deadline: Some(std::time::Duration::from_secs(30)),
            plugins_dir: path("/usr/lib/seawall/plugins"),
            supervisor: path("/usr/bin/seawall-supervisor"),
            log: LogSection { filter: Some("info".to_owned()), format: Some(LogFormat::Auto) },
            control: ControlConfig {
                env_files: vec!["/etc/seawall/secrets".into()],
                retention,
                ..ControlConfig::default()
            },
            backend: BACKEND.parse().map(|name| [(name, backend)].into()).unwrap_or_default(),
            runtime,
            telemetry: Telemetry {
                otlp: Otlp {
                    endpoint: Some("https://collector.example:4318".to_owned()),
                    ca_file: path("/etc/seawall/collector-ca.pem"),
                    headers: [("authorization".to_owned(), Secret::new("Bearer TOKEN"))].into(),
                    ..Otlp::default()
                },
            },
            ..Self::default()
        }
    }

    /// The same as it is written.
    pub(super) fn illustrated_table() -> Table {
        Table::try_from(Self::illustrated()).unwrap_or_default()
    }
}

/// The schemas of the types that read the file.
struct Schemas {
    root: RefOr<Schema>,
    components: BTreeMap<String, RefOr<Schema>>,
}

impl Schemas {
    fn new() -> Self {
        let mut components = Vec::new();
        ConfigFile::schemas(&mut components);
        Self { root: ConfigFile::schema(), components: components.into_iter().collect() }
    }

    /// What is referred to, with its name. An option is what it may be.
    fn resolve<'a>(&'a self, schema: &'a RefOr<Schema>) -> (Option<&'a str>, Option<&'a Schema>) {
        let items = match schema {
            RefOr::Ref(to) => {
                let name = to.ref_location.rsplit('/').next().unwrap_or_default();
                return match self.components.get(name) {
                    Some(RefOr::T(schema)) => (Some(name), Some(schema)),
                    _ => (Some(name), None),
                };
            }
            RefOr::T(Schema::OneOf(one)) => &one.items,
            RefOr::T(Schema::AnyOf(any)) => &any.items,
            RefOr::T(Schema::AllOf(all)) => &all.items,
            RefOr::T(schema) => return (None, Some(schema)),
        };
        match items.iter().find(|item| matches!(item, RefOr::Ref(_))) {
            Some(item) => self.resolve(item),
            None => (None, None),
        }
    }

    /// The table that this is, if it is one with keys of its own.
    fn table<'a>(&'a self, schema: &'a RefOr<Schema>) -> Option<(Option<&'a str>, &'a Object)> {
        match self.resolve(schema) {
            (name, Some(Schema::Object(object))) if !object.properties.is_empty() => Some((name, object)),
            _ => None,
        }
    }

    /// What each table in this one is, whatever its name.
    fn of_each<'a>(&'a self, schema: &'a RefOr<Schema>) -> Option<&'a RefOr<Schema>> {
        let (_, Some(Schema::Object(object))) = self.resolve(schema) else { return None };
        match object.additional_properties.as_deref() {
            Some(AdditionalProperties::RefOr(each)) if self.table(each).is_some() => Some(each),
            _ => None,
        }
    }

    fn description(&self, schema: &RefOr<Schema>) -> String {
        let of = |schema: &Schema| match schema {
            Schema::Object(object) => object.description.clone(),
            Schema::Array(array) => array.description.clone(),
            Schema::OneOf(one) => one.description.clone(),
            Schema::AnyOf(any) => any.description.clone(),
            Schema::AllOf(all) => all.description.clone(),
            _ => None,
        };
        let of_reference = |schema: &RefOr<Schema>| match schema {
            RefOr::Ref(to) => Some(to.description.clone()).filter(|text| !text.is_empty()),
            RefOr::T(_) => None,
        };
        let own = match schema {
            RefOr::Ref(_) => of_reference(schema),
            // What may be absent is described where it is referred to.
            RefOr::T(Schema::OneOf(one)) => one.description.clone().or_else(|| one.items.iter().find_map(of_reference)),
            RefOr::T(schema) => of(schema),
        };
        own.or_else(|| self.resolve(schema).1.and_then(of)).unwrap_or_default()
    }
}

#[derive(Default)]
struct Writer {
    /// Tables whose keys were described: they are not again where the same table stands elsewhere.
    told: BTreeSet<String>,
    text: String,
}

impl Writer {
    /// A table with all that is below it.
    fn table(&mut self, schemas: &Schemas, schema: &RefOr<Schema>, sample: &Table, above: &mut Vec<String>, doc: &str) {
        let Some((name, object)) = schemas.table(schema) else { return };
        let new = name.is_none_or(|name| self.told.insert(name.to_owned()));
        let (mut values, mut tables) = (Vec::new(), Vec::new());
        for (key, property) in &object.properties {
            match sample.get(key) {
                // A test counts those that have no value.
                None => {}
                Some(Value::Table(inner))
                    if schemas.table(property).is_some() || schemas.of_each(property).is_some() =>
                {
                    tables.push((key, property, inner));
                }
                Some(value) => values.push((key, property, value)),
            }
        }
        if !above.is_empty() && !values.is_empty() {
            // What is there because it is named.
            let out = if above.first().is_some_and(|first| first == "backend" || first == "api") { "#" } else { "" };
            self.text.push('\n');
            self.remark(doc);
            self.text.push_str(&format!("{out}[{}]\n", above.join(".")));
        }
        for (key, property, value) in values {
            if new {
                self.remark(&schemas.description(property));
            }
            self.text.push_str(&format!("#{key} = {value}\n"));
        }
        for (key, property, inner) in tables {
            above.push(key.clone());
            match schemas.of_each(property) {
                None => self.table(schemas, property, inner, above, &schemas.description(property)),
                Some(of_each) => {
                    self.text.push_str(BACKENDS);
                    for (name, inner) in inner.iter().filter_map(|(name, inner)| Some((name, inner.as_table()?))) {
                        above.push(name.clone());
                        self.table(schemas, of_each, inner, above, "");
                        above.pop();
                    }
                }
            }
            above.pop();
        }
    }

    /// Words behind `# `, in lines that fit.
    fn remark(&mut self, words: &str) {
        let mut line = String::new();
        for word in words.split_whitespace() {
            if !line.is_empty() && line.len() + word.len() > 115 {
                self.text.push_str(&format!("#{line}\n"));
                line.clear();
            }
            line.push_str(&format!(" {word}"));
        }
        if !line.is_empty() {
            self.text.push_str(&format!("#{line}\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::settings;
    use super::super::tree;
    use super::*;

    /// The copy in the repository.
    const COPY: &str = include_str!("../../seawall.example.toml");

    #[test]
    fn the_copy_is_current_and_loads() {
        let text = example();
        if text != COPY {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/seawall.example.toml.new");
            std::fs::write(path, &text).unwrap();
            panic!("seawall.example.toml is not what the types say: look at {path} and put it in its place");
        }
        let unwritten = settings("").unwrap().effective().unwrap();
        assert_eq!(
            settings(&text).unwrap().effective().unwrap(),
            unwritten,
            "with all of it commented out it says nothing"
        );
    }

    /// `#key = value` and `#[table]` are what is commented out; a remark has a blank behind its `#`.
    fn uncommented(text: &str) -> String {
        let line = |line: &str| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        };
        text.lines().map(line).collect()
    }

    #[test]
    fn every_key_loads_when_it_is_uncommented_and_none_is_missing() {
        let text = uncommented(&example());
        settings(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let written: Table = text.parse().unwrap();
        assert_eq!(written, ConfigFile::illustrated_table());
        let (schemas, mut missing) = (Schemas::new(), Vec::new());
        absent(&schemas, &schemas.root, &written, "", &mut missing);
        assert_eq!(missing, Vec::<String>::new());
    }

    fn absent(schemas: &Schemas, schema: &RefOr<Schema>, table: &Table, above: &str, missing: &mut Vec<String>) {
        let Some((_, object)) = schemas.table(schema) else { return };
        for (key, property) in &object.properties {
            let path = format!("{above}.{key}");
            match (table.get(key), schemas.of_each(property)) {
                (None, _) => missing.push(path.clone()),
                (Some(Value::Table(inner)), Some(each)) => {
                    inner.values().for_each(|one| absent(schemas, each, one.as_table().unwrap(), &path, missing));
                }
                (Some(Value::Table(inner)), None) => absent(schemas, property, inner, &path, missing),
                (Some(_), _) => {}
            }
            assert!(!schemas.description(property).is_empty(), "{path} is not described");
        }
    }

    /// Serde names every key that it takes when it meets one that it does not.
    #[test]
    fn the_keys_are_those_that_are_read() {
        let written = ConfigFile::illustrated_table();
        let mut tables: BTreeSet<Vec<String>> = BTreeSet::new();
        tree::walk(&written, &mut |keys, _| {
            let path: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            (0..path.len()).for_each(|length| _ = tables.insert(path[..length].to_vec()));
        });
        for path in tables {
            // Whose keys are anybody's.
            if path == ["backend"] || ["config", "env", "headers"].contains(&path.last().map_or("", String::as_str)) {
                continue;
            }
            let mut table = written.clone();
            let mut inner = &mut table;
            for key in &path {
                inner = inner.get_mut(key).unwrap().as_table_mut().unwrap();
            }
            let known: BTreeSet<String> = inner.keys().cloned().collect();
            inner.insert("no-such-key".to_owned(), Value::Boolean(true));
            let said = toml::from_str::<ConfigFile>(&toml::to_string(&table).unwrap()).unwrap_err();
            let said = said.message().to_owned();
            // `state` is also a plain `true`, and says so.
            if path.last().is_some_and(|last| last == "state") {
                continue;
            }
            let read: BTreeSet<String> = said.split('`').skip(3).step_by(2).map(str::to_owned).collect();
            assert_eq!(read, known, "{path:?}: {said}");
        }
    }
}
