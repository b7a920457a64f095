//! Flags over variables over the file over defaults, put together into what the daemon runs with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use seawall_backend::{BulkheadConfig, Deadlines};
use seawall_control::ControlConfig;
use seawall_model::{BackendName, InvalidSpec};
use seawall_runtime::{ClassOverrides, Grants, RuntimeConfig};
use seawall_store::JournalConfig;
use serde::Serialize;

use super::backends::{BUILT_IN, PluginSource, default_grants};
use super::error::{ConfigError, nearest};
use super::file::{BackendSection, ConfigFile, LogFormat, ShutdownMode};
use super::layers;
use super::load::Document;
use super::paths;

/// What flags and variables say; a flag is asked before its variable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    /// `--config`, `SEAWALL_CONFIG`.
    pub(crate) config: Option<PathBuf>,
    /// `--data-dir`, `SEAWALL_DATA_DIR`.
    pub(crate) data_dir: Option<PathBuf>,
    /// `--cache-dir`, `SEAWALL_CACHE_DIR`: over `runtime.cache`.
    pub(crate) cache_dir: Option<PathBuf>,
    /// `--socket`, `SEAWALL_SOCKET`.
    pub(crate) socket: Option<PathBuf>,
    /// `--plugins-dir`, `SEAWALL_PLUGINS`.
    pub(crate) plugins_dir: Option<PathBuf>,
    /// `SEAWALL_SUPERVISOR`.
    pub(crate) supervisor: Option<PathBuf>,
    /// `--log`, `SEAWALL_LOG`.
    pub(crate) log: Option<String>,
    /// `--log-format`, `SEAWALL_LOG_FORMAT`.
    pub(crate) log_format: Option<LogFormat>,
    /// `--shutdown`, `SEAWALL_SHUTDOWN`.
    pub(crate) shutdown: Option<ShutdownMode>,
}

/// What the daemon runs with. Serialises as a configuration file that says the same.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// What flags and variables said.
    #[serde(skip)]
    pub(super) given: Overrides,
    /// Where everything is kept.
    pub(crate) data_dir: PathBuf,
    /// Where the API listens.
    pub(crate) socket: PathBuf,
    /// What becomes of sessions when the daemon ends.
    pub(crate) shutdown: ShutdownMode,
    /// How long that may take.
    #[serde(with = "humantime_serde")]
    pub(crate) shutdown_deadline: Duration,
    /// A folder with the built-in plugins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plugins_dir: Option<PathBuf>,
    /// The supervisor's binary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) supervisor: Option<PathBuf>,
    /// The daemon's own log.
    pub(crate) log: Log,
    /// The control loop.
    pub(crate) control: ControlConfig,
    /// The journal of events.
    pub(crate) journal: JournalConfig,
    /// The runtime of plugins.
    #[serde(skip)]
    pub(crate) runtime: RuntimeConfig,
    /// The same, as it is written.
    #[serde(rename = "runtime")]
    pub(super) runtime_written: toml::Table,
    /// Calls in flight of all backends together.
    #[serde(skip)]
    pub(crate) ceiling: usize,
    /// Backends by name.
    #[serde(skip)]
    pub(crate) backend: BTreeMap<BackendName, Backend>,
    /// The same, as they are written, and those that are left out: a built-in one would else be there again.
    #[serde(rename = "backend")]
    pub(super) backend_written: BTreeMap<BackendName, Written>,
    /// The file that was read, if any.
    #[serde(skip)]
    pub(crate) document: Option<Document>,
}

/// The daemon's own log.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Log {
    /// What is logged.
    pub(crate) filter: String,
    /// Its form.
    pub(crate) format: LogFormat,
}

/// One backend.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Backend {
    /// Which component.
    pub(crate) plugin: PluginSource,
    /// What the plugin may do.
    #[serde(skip)]
    pub(crate) grants: Grants,
    /// The same, as it is written.
    #[serde(rename = "grants")]
    pub(super) written: toml::Table,
    /// The plugin's own configuration.
    pub(crate) config: toml::Table,
    /// How long calls may take.
    pub(crate) deadlines: Deadlines,
    /// What bounds its calls.
    pub(crate) bulkhead: BulkheadConfig,
    /// Bounds on calls, where they differ from the runtime's.
    #[serde(skip)]
    pub(crate) limits: ClassOverrides,
    /// The same, as it is written.
    #[serde(rename = "limits")]
    pub(super) limits_written: toml::Table,
}

/// A backend as the file has it.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Written {
    There(Box<Backend>),
    LeftOut { enabled: bool },
}

impl Settings {
    /// Reads the file, if there is one, and puts the layers together.
    ///
    /// # Errors
    /// Anything that is wrong, with its place.
    pub(crate) fn load(given: Overrides) -> Result<Self, ConfigError> {
        let document = match given.config {
            Some(ref path) => Some(Document::read(path)?),
            None => match paths::default_config().filter(|path| path.exists()) {
                Some(path) => Some(Document::read(&path)?),
                None => None,
            },
        };
        Self::read(given, document)
    }

    /// Reads again what these were read from.
    ///
    /// # Errors
    /// Anything that is wrong, with its place.
    pub(crate) fn again(&self) -> Result<Self, ConfigError> {
        Self::load(self.given.clone())
    }

    /// The same, of a file that was read already.
    ///
    /// # Errors
    /// Anything that is wrong, with its place.
    pub(crate) fn read(given: Overrides, document: Option<Document>) -> Result<Self, ConfigError> {
        let file = document.as_ref().map_or_else(|| Ok(ConfigFile::default()), Document::parse)?;
        Self::assemble(given, file, document)
    }

    fn assemble(given: Overrides, file: ConfigFile, document: Option<Document>) -> Result<Self, ConfigError> {
        let again = given.clone();
        let deadline = file.shutdown_deadline.unwrap_or(Duration::from_secs(30));
        if !(Duration::from_millis(1)..=Duration::from_secs(24 * 3600)).contains(&deadline) {
            // It is added to a clock, which has an end.
            let (key, message) = ("shutdown-deadline", "shutdown-deadline: between 1ms and 1 day");
            return Err(document
                .map_or_else(|| self::given(key.to_owned(), message), |document| document.wrong(&[key], message)));
        }
        let resolve = |path: PathBuf| match &document {
            Some(document) => document.folder().join(path),
            None => path,
        };
        let pick = |given: Option<PathBuf>, file: Option<PathBuf>| given.or_else(|| file.map(resolve));

        let data_dir = absolute(pick(given.data_dir, file.data_dir).map_or_else(paths::default_data_dir, Ok)?)?;
        let mut runtime = file.runtime;
        let cache = pick(given.cache_dir, runtime.cache).unwrap_or_else(|| paths::cache_of(&data_dir));
        runtime.cache = Some(absolute(cache)?);
        let mut runtime_written = document.as_ref().and_then(|file| file.table(&["runtime"])).unwrap_or_default();
        if let Some(cache) = &runtime.cache {
            runtime_written.insert("cache".to_owned(), cache.display().to_string().into());
        }
        let socket = absolute(pick(given.socket, file.socket).unwrap_or_else(|| paths::socket_of(&data_dir)))?;
        let left_out = file.backend.iter().filter(|(_, section)| section.enabled == Some(false));
        let left_out = left_out.map(|(name, _)| (name.clone(), Written::LeftOut { enabled: false }));
        let mut backend_written: BTreeMap<_, _> = left_out.collect();
        let general = layers::general(document.as_ref())?;
        let backend = backends(file.backend, document.as_ref(), &general)?;
        let ceiling = layers::ceiling(runtime.pool.calls, &backend, document.as_ref())?;
        backend_written.extend(backend.iter().map(|(name, one)| (name.clone(), Written::There(Box::new(one.clone())))));
        let flag = given.log.is_some();
        let filter = given.log.or(file.log.filter).unwrap_or_else(|| "info".to_owned());
        if let Err(error) = filter.parse::<tracing_subscriber::filter::Targets>() {
            let message = format!("{filter:?} is no log filter ({error}): write info, or info,seawall_control=debug");
            return Err(match &document {
                Some(document) if !flag => document.wrong(&["log", "filter"], message),
                _ => ConfigError::Given { name: "--log".to_owned(), message },
            });
        }
        if let Err(error) = file.control.validate().and_then(|()| file.journal.validate()) {
            return Err(invalid(&error, document.as_ref()));
        }
        Ok(Self {
            given: again,
            plugins_dir: pick(given.plugins_dir, file.plugins_dir),
            supervisor: pick(given.supervisor, file.supervisor),
            shutdown: given.shutdown.or(file.shutdown).unwrap_or_default(),
            shutdown_deadline: deadline,
            log: Log { filter, format: given.log_format.or(file.log.format).unwrap_or_default() },
            control: file.control,
            journal: file.journal,
            runtime,
            runtime_written,
            data_dir,
            socket,
            ceiling,
            backend,
            backend_written,
            document,
        })
    }

    /// Something wrong under these keys, with its place if it came from the file.
    pub(crate) fn wrong(&self, keys: &[&str], message: impl Into<String>) -> ConfigError {
        match &self.document {
            Some(document) => document.wrong(keys, message),
            None => given(keys.join("."), message),
        }
    }
}

fn invalid(error: &InvalidSpec, document: Option<&Document>) -> ConfigError {
    let field = error.problems.first().map(|problem| problem.field.as_str()).unwrap_or_default();
    match document {
        Some(document) => document.wrong(&field.split('.').collect::<Vec<_>>(), error.to_string()),
        None => given(field.to_owned(), error.to_string()),
    }
}

/// The data directory and the socket are compared and handed to other programs, which have other working directories.
fn absolute(path: PathBuf) -> Result<PathBuf, ConfigError> {
    std::path::absolute(&path).map_err(|error| ConfigError::Given {
        name: path.display().to_string(),
        message: format!("cannot be made an absolute path: {error}"),
    })
}

fn backends(
    mut sections: BTreeMap<BackendName, BackendSection>,
    document: Option<&Document>,
    general: &layers::General,
) -> Result<BTreeMap<BackendName, Backend>, ConfigError> {
    for name in BUILT_IN {
        if let Ok(name) = name.parse() {
            sections.entry(name).or_default();
        }
    }
    let mut backends = BTreeMap::new();
    for (name, section) in sections {
        if section.enabled == Some(false) {
            continue;
        }
        let folder = document.map_or(Path::new("."), Document::folder);
        let plugin = match section.plugin {
            Some(PluginSource::File(path)) => PluginSource::File(folder.join(path)),
            Some(built_in) => built_in,
            None => built_in_of(&name).ok_or_else(|| no_plugin(&name, document))?,
        };
        let keys = ["backend", name.as_str(), "grants"];
        let (grants, written) = match section.grants {
            Some(grants) => (grants, document.and_then(|document| document.table(&keys)).unwrap_or_default()),
            None => {
                let written = default_grants(&plugin);
                let grants = written.clone().try_into();
                (grants.map_err(|error| given(keys.join("."), error.to_string()))?, written)
            }
        };
        let keys = ["backend", name.as_str(), "limits"];
        let limits_written = document.and_then(|document| document.table(&keys)).unwrap_or_default();
        let bulkhead = general.of(&name, document)?;
        let BackendSection { config, limits, .. } = section;
        let deadlines = bulkhead.deadlines;
        let backend = Backend { plugin, grants, written, config, deadlines, bulkhead, limits, limits_written };
        backends.insert(name, backend);
    }
    Ok(backends)
}

pub(super) fn given(name: String, message: impl Into<String>) -> ConfigError {
    ConfigError::Given { name, message: message.into() }
}

fn built_in_of(name: &BackendName) -> Option<PluginSource> {
    BUILT_IN.into_iter().find(|known| *known == name.as_str()).map(PluginSource::BuiltIn)
}

fn no_plugin(name: &BackendName, document: Option<&Document>) -> ConfigError {
    let mut message = format!("backend `{name}` names no plugin: add `plugin = \"builtin:NAME\"` or the path of one");
    if let Some(near) = nearest(name.as_str(), BUILT_IN) {
        message.push_str(&format!("; did you mean [backend.{near}]?"));
    }
    match document {
        Some(document) => document.wrong(&["backend", name.as_str()], message),
        None => given(format!("backend.{name}"), message),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a daemon with this file runs with.
    pub(in crate::config) fn settings(text: &str) -> Result<Settings, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seawall.toml");
        std::fs::write(&path, text).unwrap();
        Settings::load(Overrides { config: Some(path), data_dir: Some("/d".into()), ..Overrides::default() })
    }

    #[test]
    fn with_nothing_said_the_built_in_backends_are_there_with_what_they_need() {
        let settings = settings("").unwrap();
        let names: Vec<_> = settings.backend.keys().map(BackendName::as_str).collect();
        assert_eq!(names, BUILT_IN);
        let docker: BackendName = "docker".parse().unwrap();
        assert!(settings.backend[&docker].grants.docker.is_some());
        assert_eq!(settings.socket, Path::new("/d/seawall.sock"));
    }

    #[test]
    fn a_disabled_backend_is_left_out() {
        let settings = settings("[backend.docker]\nenabled = false").unwrap();
        assert!(!settings.backend.keys().any(|name| name.as_str() == "docker"));
    }

    #[test]
    fn a_backend_without_a_plugin_is_refused_with_its_place() {
        let error = settings("\n[backend.dokcer]\n").unwrap_err().to_string();
        assert!(error.contains("seawall.toml:2:"), "{error}");
        assert!(error.contains("did you mean [backend.docker]?"), "{error}");
    }

    #[test]
    fn a_deadline_that_no_clock_reaches_is_refused_with_its_place() {
        for text in ["shutdown-deadline = \"500000000000y\"", "shutdown-deadline = \"0s\""] {
            let error = settings(text).unwrap_err().to_string();
            assert!(error.contains(":1:1: shutdown-deadline"), "{error}");
        }
        settings("shutdown-deadline = \"24h\"").unwrap();
    }

    #[test]
    fn a_journal_without_bounds_is_refused_with_its_place() {
        let error = settings("[journal]\nage = \"1h\"\nevents = 7").unwrap_err().to_string();
        assert!(error.contains("seawall.toml:3:1: journal.events: between 100"), "{error}");
        let error = settings("[journal]\nevent = 700").unwrap_err().to_string();
        assert!(error.contains("seawall.toml:2:1") && error.contains("did you mean `events`?"), "{error}");
        assert_eq!(settings("[journal]\nevents = 700").unwrap().journal.events, 700);
    }

    #[test]
    fn grants_that_are_written_replace_the_default_ones() {
        let settings = settings("[backend.docker.grants]\nstate = true").unwrap();
        let docker: BackendName = "docker".parse().unwrap();
        assert!(settings.backend[&docker].grants.docker.is_none());
    }

    #[test]
    fn a_flag_wins_over_the_file_and_a_path_in_the_file_is_beside_it() {
        let settings = settings("data-dir = \"/other\"\nsocket = \"run/s\"\nshutdown = \"stop\"").unwrap();
        assert_eq!(settings.data_dir, Path::new("/d"));
        assert!(settings.socket.is_absolute() && settings.socket.ends_with("run/s"));
        assert_eq!(settings.shutdown, ShutdownMode::Stop);
    }

    #[test]
    fn what_is_shown_as_effective_reads_back_the_same() {
        let written =
            "[control]\nsweep-interval = \"3s\"\n[backend.mock.config]\nseed = 4\n[backend.docker]\nenabled = false";
        let first = settings(written).unwrap();
        let shown = toml::to_string(&first).unwrap();
        let second = settings(&shown).unwrap();
        assert_eq!(toml::to_string(&second).unwrap(), shown);
        let names: Vec<_> = second.backend.keys().map(BackendName::as_str).collect();
        assert_eq!(names, ["mock", "process"], "what is left out stays left out");
    }
}
