//! Every key of the file as a variable of the environment: `SEAWALL_CONTROL__SWEEP_INTERVAL=3s` is `sweep-interval = "3s"`
//! in the table `[control]`.
//!
//! The name is the key's path in capitals, `_` for `-`, and `__` between a table and what is in it. The value is what
//! would be written behind the `=`, where the quotes round a text may be left out. A few keys have a shorter name
//! besides, which is that of a flag's, and which is asked first.

use toml::{Table, Value};

use super::error::{ConfigError, given, suggest};
use super::file::ConfigFile;

/// With which all of them begin.
pub(super) const PREFIX: &str = "SEAWALL_";

/// Keys that have a flag: key, flag, and the flag's own variable.
pub(crate) const FLAGS: [(&str, &str, &str); 8] = [
    ("data-dir", "--data-dir", "SEAWALL_DATA_DIR"),
    ("socket", "--socket", "SEAWALL_SOCKET"),
    ("runtime.cache", "--cache-dir", "SEAWALL_CACHE_DIR"),
    ("plugins-dir", "--plugins-dir", "SEAWALL_PLUGINS"),
    ("supervisor", "--supervisor", "SEAWALL_SUPERVISOR"),
    ("log.filter", "--log", "SEAWALL_LOG"),
    ("log.format", "--log-format", "SEAWALL_LOG_FORMAT"),
    ("shutdown", "--shutdown", "SEAWALL_SHUTDOWN"),
];

/// Variables that are no key: the file itself, and what commands read that talk to a daemon.
const OTHERS: [&str; 6] =
    ["SEAWALL_CONFIG", "SEAWALL_BACKEND", "SEAWALL_HOST", "SEAWALL_TOKEN", "SEAWALL_TOKEN_FILE", "SEAWALL_CA_FILE"];

/// Keys of no table whose flag's variable has another name, or that have no flag.
pub(super) const OF_NO_TABLE: [&str; 2] = ["SEAWALL_PLUGINS_DIR", "SEAWALL_SHUTDOWN_DEADLINE"];

/// Whether a variable names a key by its path.
fn is_key(name: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).unwrap_or_default();
    rest.contains("__") || OF_NO_TABLE.contains(&name)
}

/// Whether the variable is read at all.
pub(super) fn is_known(name: &str) -> bool {
    is_key(name) || OTHERS.contains(&name) || FLAGS.iter().any(|(_, _, variable)| *variable == name)
}

/// The variables of this process that name a key.
///
/// # Errors
/// One is no text.
pub(crate) fn of_environment() -> Result<Vec<(String, String)>, ConfigError> {
    let mut found = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| is_key(name)).map(str::to_owned) else { continue };
        match value.into_string() {
            Ok(value) => found.push((name, value)),
            Err(_) => return Err(given(name, "its value is no UTF-8")),
        }
    }
    Ok(found)
}

/// A variable that says what stands under a key.
#[derive(Debug)]
pub(super) struct Variable<'a> {
    name: &'a str,
    value: &'a str,
    pub(super) keys: Vec<String>,
}

impl<'a> Variable<'a> {
    /// Finds out which key is meant. One that is written already is met again whatever its `-`, `_` and capitals.
    ///
    /// # Errors
    /// The name is that of no key.
    pub(super) fn parse(name: &'a str, value: &'a str, written: &Table) -> Result<Self, ConfigError> {
        let path = name.strip_prefix(PREFIX).unwrap_or(name);
        let mut keys = Vec::new();
        let mut table = Some(written);
        for part in path.split("__") {
            let key = part.to_lowercase().replace('_', "-");
            if key.is_empty() || key.starts_with('-') || key.ends_with('-') {
                let message = "it names no key: write SEAWALL_, then the key in capitals with _ for -, and __ between a \
                               table and what is in it";
                return Err(given(name, message));
            }
            let same = |there: &&String| there.to_lowercase().replace('_', "-") == key;
            let key = table.and_then(|table| table.keys().find(same)).cloned().unwrap_or(key);
            table = table.and_then(|table| table.get(&key)).and_then(Value::as_table);
            keys.push(key);
        }
        Ok(Self { name, value, keys })
    }

    /// What is written with this over it.
    ///
    /// # Errors
    /// It may not be there, or not be so.
    pub(super) fn put_over(&self, written: &Table) -> Result<(Table, ConfigFile), ConfigError> {
        let text = || self.try_with(written, Value::String(self.value.to_owned()));
        let Some(value) = read(self.value) else { return text().map_err(|error| self.wrong(&error)) };
        self.try_with(written, value).or_else(|error| match text() {
            Ok(good) => Ok(good),
            // Of a duration without a unit, what is said of the text is what helps.
            Err(other) if error.message().starts_with("invalid type") => Err(self.wrong(&other)),
            Err(_) => Err(self.wrong(&error)),
        })
    }

    fn try_with(&self, written: &Table, value: Value) -> Result<(Table, ConfigFile), toml::de::Error> {
        let mut table = written.clone();
        put(&mut table, &self.keys, value);
        let file = table.clone().try_into()?;
        Ok((table, file))
    }

    fn wrong(&self, error: &toml::de::Error) -> ConfigError {
        let message = suggest(error.message().trim_end());
        given(self.name, format!("{}: {message}", self.keys.join(".")))
    }
}

/// A value as it stands in a file, if it is one.
fn read(text: &str) -> Option<Value> {
    let mut table: Table = format!("value = {text}").parse().ok()?;
    // A line break would bring in more keys.
    if table.len() == 1 { table.remove("value") } else { None }
}

fn put(table: &mut Table, keys: &[String], value: Value) {
    let Some((first, rest)) = keys.split_first() else { return };
    if rest.is_empty() {
        table.insert(first.clone(), value);
        return;
    }
    let inner = table.entry(first.clone()).or_insert_with(|| Value::Table(Table::new()));
    if !inner.is_table() {
        *inner = Value::Table(Table::new());
    }
    if let Value::Table(inner) = inner {
        put(inner, rest, value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Document;
    use super::super::settings::{Overrides, Settings};
    use super::super::written::Origin;
    use super::*;

    fn settings(file: &str, variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let document = Document::new(std::path::Path::new("/etc/seawall/seawall.toml"), file.to_owned());
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let given = Overrides { data_dir: Some("/d".into()), variables, ..Overrides::default() };
        Settings::read(given, Some(document))
    }

    #[test]
    fn a_variable_lies_over_the_file_and_is_where_the_value_came_from() {
        let file = "[control]\nsweep-interval = \"9s\"\n[backend.eggs]\nplugin = \"eggs.wasm\"\nconfig.max_eggs = 3";
        let given = [
            ("SEAWALL_CONTROL__SWEEP_INTERVAL", "3s"),
            ("SEAWALL_CONTROL__RETRY__FIRST", "2s"),
            ("SEAWALL_JOURNAL__EVENTS", "700"),
            ("SEAWALL_BACKEND__MOCK__ENABLED", "false"),
            ("SEAWALL_BACKEND__DOCKER__GRANTS__DOCKER__MOUNTS", "[{ path = \"/srv\", write = true }]"),
            ("SEAWALL_BACKEND__DOCKER__GRANTS__DOCKER__HOST", "unix:///run/docker.sock"),
            ("SEAWALL_BACKEND__EGGS__CONFIG__MAX_EGGS", "12"),
            ("SEAWALL_BACKEND__EGGS__CONFIG__NAME", "\"12\""),
            ("SEAWALL_BACKEND__EGGS__BULKHEAD__LIMIT", "{ calls = 7 }"),
            ("SEAWALL_BACKEND__EGGS__BULKHEAD__LIMIT__LONG", "3"),
            ("SEAWALL_RUNTIME__POOL__MEMORY", "128MiB"),
            ("SEAWALL_SHUTDOWN_DEADLINE", "5s"),
        ];
        let settings = settings(file, &given).unwrap();
        assert_eq!(settings.control.sweep_interval.as_secs(), 3);
        assert_eq!((settings.control.retry.first.as_secs(), settings.control.retry.most.as_secs()), (2, 60));
        assert_eq!((settings.journal.events, settings.runtime.pool.memory.0), (700, 128 << 20));
        assert_eq!(settings.shutdown_deadline.as_secs(), 5);
        let names: Vec<_> = settings.backend.keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["docker", "eggs", "process"]);
        let of = |name: &str| &settings.backend[&name.parse::<seawall_model::BackendName>().unwrap()];
        let docker = of("docker").grants.docker.as_ref().unwrap();
        assert!(docker.mounts[0].write && docker.host.as_deref() == Some("unix:///run/docker.sock"));
        let eggs = of("eggs");
        assert_eq!(eggs.config.to_string(), "max_eggs = 12\nname = \"12\"\n");
        assert_eq!((eggs.bulkhead.limit.calls, eggs.bulkhead.limit.long), (7, 3));
        assert_eq!(eggs.plugin.to_string(), "/etc/seawall/eggs.wasm");
        let from = |name: &str| Origin::Variable { name: name.to_owned() };
        assert_eq!(settings.origin(&["control", "sweep-interval"]), from("SEAWALL_CONTROL__SWEEP_INTERVAL"));
        let limit = ["backend", "eggs", "bulkhead", "limit", "calls"];
        assert_eq!(settings.origin(&limit), from("SEAWALL_BACKEND__EGGS__BULKHEAD__LIMIT"));
        let file = Origin::File { file: "/etc/seawall/seawall.toml".to_owned(), line: 4, column: 1 };
        assert_eq!(settings.origin(&["backend", "eggs", "plugin"]), file);
        assert_eq!(settings.origin(&["control", "list-interval"]), Origin::Default);
    }

    #[test]
    fn a_path_in_a_variable_begins_in_the_working_directory() {
        let settings = settings("", &[("SEAWALL_BACKEND__EGGS__PLUGIN", "eggs.wasm")]).unwrap();
        assert_eq!(settings.backend[&"eggs".parse().unwrap()].plugin.to_string(), "./eggs.wasm");
    }

    #[test]
    fn a_variable_is_refused_as_the_key_would_be() {
        let wrong = [
            ("SEAWALL_CONTROL__SWEP_INTERVAL", "3s"),
            ("SEAWALL_CONTROL__SWEEP_INTERVAL", "soon"),
            ("SEAWALL_CONTROL__SWEEP_INTERVAL", "3"),
            ("SEAWALL_CONTROL__SWEEP_INTERVAL", "0s"),
            ("SEAWALL_CONTROL__RETRY__FIRST", "5m"),
            ("SEAWALL_JOURNAL__EVENTS", "many"),
            ("SEAWALL_JOURNAL__EVENTS", "-1"),
            ("SEAWALL_JOURNAL__EVENTS", "7"),
            ("SEAWALL_JOURNAL__EVENTS", "700\nage = \"1h\""),
            ("SEAWALL_JOURNL__EVENTS", "700"),
            ("SEAWALL_SHUTDOWN_DEADLINE", "0s"),
            ("SEAWALL_LOG__FORMAT", "loud"),
            ("SEAWALL_LOG__FILTER", "seawall=loud"),
            ("SEAWALL_BACKEND__MOCK__PLUGIN", "builtin:podman"),
            ("SEAWALL_BACKEND__MOCK__GRANTS__DOKER", "{}"),
            ("SEAWALL_BACKEND__DOCER__ENABLED", "true"),
            ("SEAWALL_BACKEND__MOCK__DEADLINES__CHECK", "0s"),
            ("SEAWALL_BULKHEAD__LIMIT__CALLS", "0"),
            ("SEAWALL_BULKHEAD__LIMIT__CALLS", "126"),
            ("SEAWALL_RUNTIME__POOL__CALLS", "3"),
            ("SEAWALL_RUNTIME__", "3"),
            ("SEAWALL___X", "3"),
            ("SEAWALL_SOCKET__PATH", "/s"),
        ];
        let said = wrong.map(|(name, value)| {
            let said = settings("", &[(name, value)]).unwrap_err().to_string();
            assert!(said.starts_with(name), "{name}={value}: {said}");
            format!("{name}={value}\n  {said}")
        });
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn every_key_of_no_table_has_a_variable() {
        for (name, _) in ConfigFile::illustrated_table().iter().filter(|(_, value)| !value.is_table()) {
            let variable = format!("{PREFIX}{}", name.to_uppercase().replace('-', "_"));
            let of_flag = FLAGS.iter().any(|(key, _, of_flag)| key == name && *of_flag == variable);
            assert!(of_flag || OF_NO_TABLE.contains(&variable.as_str()), "{variable}");
        }
    }
}
