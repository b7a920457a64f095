//! Flags over variables over the file over defaults, put together into what the daemon runs with.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use seawall_backend::{BulkheadConfig, Deadlines};
use seawall_control::ControlConfig;
use seawall_model::BackendName;
use seawall_runtime::{ClassOverrides, Grants, RuntimeConfig};
use seawall_store::JournalConfig;

use super::api::Api;
use super::backends::{BUILT_IN, PluginSource, default_grants};
use super::error::{ConfigError, given, nearest};
use super::file::{BackendSection, ConfigFile, LogFormat, ShutdownMode};
use super::load::Document;
use super::telemetry::Telemetry;
use super::variables::FLAGS;
use super::written::{Origin, Written};
use super::{layers, paths};

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
    /// Keys of the above that a variable says and not a flag.
    pub(crate) by_variable: BTreeSet<&'static str>,
    /// Variables that name a key, and what they say: under all of the above, over the file.
    pub(crate) variables: Vec<(String, String)>,
}

impl Overrides {
    /// Whether what is said of this key of [`FLAGS`] is what the variable of that name says.
    pub(crate) fn is_value_of(&self, key: &str, variable: &str) -> bool {
        self.value(key).is_some_and(|value| std::env::var_os(variable) == Some(value))
    }

    fn value(&self, key: &str) -> Option<OsString> {
        let Self { config: _, data_dir, cache_dir, socket, plugins_dir, supervisor, .. } = self;
        let path = |path: &Option<PathBuf>| path.clone().map(PathBuf::into_os_string);
        match key {
            "data-dir" => path(data_dir),
            "socket" => path(socket),
            "runtime.cache" => path(cache_dir),
            "plugins-dir" => path(plugins_dir),
            "supervisor" => path(supervisor),
            "log.filter" => self.log.clone().map(OsString::from),
            "log.format" => self.log_format.map(|format| format.as_str().into()),
            "shutdown" => self.shutdown.map(|mode| mode.as_str().into()),
            _ => None,
        }
    }

    /// Who says what stands under this key of [`FLAGS`], if anybody does.
    fn origin(&self, key: &str) -> Option<Origin> {
        self.value(key)?;
        let (_, flag, variable) = FLAGS.into_iter().find(|(of, ..)| *of == key)?;
        Some(if self.by_variable.contains(key) {
            Origin::Variable { name: variable.to_owned() }
        } else {
            Origin::Flag { name: flag.to_owned() }
        })
    }
}

/// What the supervisor's binary is called.
const SUPERVISOR: &str = "seawall-supervisor";

/// What the daemon runs with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What flags and variables said.
    pub(super) given: Overrides,
    /// What else is written.
    pub(crate) written: Written,
    /// Where everything is kept.
    pub(crate) data_dir: PathBuf,
    /// Where the API listens.
    pub(crate) socket: PathBuf,
    /// The API beyond its socket.
    pub(crate) api: Api,
    /// What becomes of sessions when the daemon ends.
    pub(crate) shutdown: ShutdownMode,
    /// How long that may take.
    pub(crate) shutdown_deadline: Duration,
    /// A folder with the built-in plugins.
    pub(crate) plugins_dir: Option<PathBuf>,
    /// The supervisor's binary, where one is named.
    pub(super) supervisor: Option<PathBuf>,
    /// The daemon's own log.
    pub(crate) log: Log,
    /// Where its spans go.
    pub(crate) telemetry: Telemetry,
    /// The control loop.
    pub(crate) control: ControlConfig,
    /// The journal of events.
    pub(crate) journal: JournalConfig,
    /// The runtime of plugins.
    pub(crate) runtime: RuntimeConfig,
    /// What holds for every backend that says nothing else.
    pub(super) bulkhead: BulkheadConfig,
    /// Calls in flight of all backends together.
    pub(crate) ceiling: usize,
    /// Backends by name.
    pub(crate) backend: BTreeMap<BackendName, Backend>,
    /// Backends that are there in the configuration and left out: a built-in one would else be there again.
    pub(super) left_out: Vec<BackendName>,
}

/// The daemon's own log.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// What is logged.
    pub(crate) filter: String,
    /// Its form.
    pub(crate) format: LogFormat,
}

/// One backend.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    /// Which component.
    pub(crate) plugin: PluginSource,
    /// What the plugin may do.
    pub(crate) grants: Grants,
    /// The plugin's own configuration.
    pub(crate) config: toml::Table,
    /// How long calls may take.
    pub(crate) deadlines: Deadlines,
    /// What bounds its calls.
    pub(crate) bulkhead: BulkheadConfig,
    /// Bounds on calls, where they differ from the runtime's.
    pub(crate) limits: ClassOverrides,
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
        let (written, file) = Written::read(document, &given.variables)?;
        Self::assemble(given, file, written)
    }

    fn assemble(given: Overrides, file: ConfigFile, written: Written) -> Result<Self, ConfigError> {
        let again = given.clone();
        let deadline = file.shutdown_deadline.unwrap_or(Duration::from_secs(30));
        if !(Duration::from_millis(1)..=Duration::from_secs(24 * 3600)).contains(&deadline) {
            // It is added to a clock, which has an end.
            return Err(written.wrong(&["shutdown-deadline"], "shutdown-deadline: between 1ms and 1 day"));
        }
        let pick = |given: Option<PathBuf>, file: Option<PathBuf>, keys: &[&str]| {
            given.or_else(|| file.map(|path| written.folder_of(keys).join(path)))
        };

        let data_dir = pick(given.data_dir, file.data_dir, &["data-dir"]);
        let data_dir = absolute(data_dir.map_or_else(paths::default_data_dir, Ok)?)?;
        let mut runtime = file.runtime;
        let cache = pick(given.cache_dir, runtime.cache, &["runtime", "cache"]);
        runtime.cache = Some(absolute(cache.unwrap_or_else(|| paths::cache_of(&data_dir)))?);
        let socket = pick(given.socket, file.socket, &["socket"]).unwrap_or_else(|| paths::socket_of(&data_dir));
        let socket = absolute(socket)?;
        if let Err((keys, message)) = file.api.validate() {
            return Err(written.wrong(&keys, message));
        }
        let api = file.api.beside(|key| written.folder_of(&["api", "tcp", "tls", key]));
        let left_out = file.backend.iter().filter(|(_, section)| section.enabled == Some(false));
        let left_out = left_out.map(|(name, _)| name.clone()).collect();
        let general = layers::general(&written)?;
        let backend = backends(file.backend, &written, &general)?;
        let ceiling = layers::ceiling(runtime.pool.calls, &backend, &written)?;
        let origin = again.origin("log.filter");
        let filter = given.log.or(file.log.filter).unwrap_or_else(|| "info".to_owned());
        if let Err(error) = filter.parse::<tracing_subscriber::filter::Targets>() {
            let message = format!("{filter:?} is no log filter ({error}): write info, or info,seawall_control=debug");
            return Err(match origin {
                Some(origin) => self::given(origin.to_string(), message),
                None => written.wrong(&["log", "filter"], message),
            });
        }
        if let Err(error) = file.control.validate().and_then(|()| file.journal.validate()) {
            let field = error.problems.first().map(|problem| problem.field.as_str()).unwrap_or_default();
            return Err(written.wrong(&field.split('.').collect::<Vec<_>>(), error.to_string()));
        }
        if let Err((keys, message)) = file.telemetry.check() {
            return Err(written.wrong(&keys, message));
        }
        Ok(Self {
            given: again,
            plugins_dir: pick(given.plugins_dir, file.plugins_dir, &["plugins-dir"]),
            supervisor: pick(given.supervisor, file.supervisor, &["supervisor"]),
            shutdown: given.shutdown.or(file.shutdown).unwrap_or_default(),
            shutdown_deadline: deadline,
            log: Log { filter, format: given.log_format.or(file.log.format).unwrap_or_default() },
            telemetry: file.telemetry.beside(written.folder_of(&["telemetry", "otlp", "ca-file"])),
            control: file.control,
            journal: file.journal,
            runtime,
            bulkhead: general.config,
            data_dir,
            socket,
            api,
            ceiling,
            backend,
            left_out,
            written,
        })
    }

    /// The supervisor's binary: the one that is named, else the one beside this binary.
    pub(crate) fn supervisor(&self) -> Option<PathBuf> {
        let beside = || Some(std::env::current_exe().ok()?.parent()?.join(SUPERVISOR));
        self.supervisor.clone().or_else(beside)
    }

    /// Something wrong under these keys, with its place.
    pub(crate) fn wrong(&self, keys: &[&str], message: impl Into<String>) -> ConfigError {
        self.written.wrong(keys, message)
    }

    /// Where the value under these keys came from, which may be written elsewhere for several backends or classes of
    /// calls together.
    pub(crate) fn origin(&self, keys: &[&str]) -> Origin {
        if let Some(origin) = self.given.origin(&keys.join(".")) {
            return origin;
        }
        let also: Vec<Vec<&str>> = match keys {
            ["backend", name, "deadlines", rest @ ..] => {
                vec![[&["backend", *name, "deadlines"], rest].concat(), [&["runtime", "deadlines"], rest].concat()]
            }
            ["backend", name, "bulkhead", rest @ ..] => {
                vec![[&["backend", *name, "bulkhead"], rest].concat(), [&["bulkhead"], rest].concat()]
            }
            ["backend", name, "limits", class, key] => vec![
                vec!["backend", name, "limits", class, key],
                vec!["backend", name, "limits", "all", key],
                vec!["runtime", "limits", class, key],
                vec!["runtime", "limits", "all", key],
            ],
            ["runtime", "limits", class, key] => {
                vec![vec!["runtime", "limits", class, key], vec!["runtime", "limits", "all", key]]
            }
            // Granted with a bare `true`.
            ["backend", name, "grants", "state", _] => vec![keys.to_vec(), vec!["backend", name, "grants", "state"]],
            _ => vec![keys.to_vec()],
        };
        also.iter().find_map(|keys| self.written.origin(keys)).unwrap_or(Origin::Default)
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
    written: &Written,
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
        let folder = written.folder_of(&["backend", name.as_str(), "plugin"]);
        let plugin = match section.plugin {
            Some(PluginSource::File(path)) => PluginSource::File(folder.join(path)),
            Some(built_in) => built_in,
            None => built_in_of(&name).ok_or_else(|| no_plugin(&name, written))?,
        };
        let grants = match section.grants {
            Some(grants) => grants,
            None => default_grants(&plugin),
        };
        let bulkhead = general.of(&name, written)?;
        let BackendSection { config, limits, .. } = section;
        backends.insert(name, Backend { plugin, grants, config, deadlines: bulkhead.deadlines, bulkhead, limits });
    }
    Ok(backends)
}

fn built_in_of(name: &BackendName) -> Option<PluginSource> {
    BUILT_IN.into_iter().find(|known| *known == name.as_str()).map(PluginSource::BuiltIn)
}

fn no_plugin(name: &BackendName, written: &Written) -> ConfigError {
    let mut message = format!("backend `{name}` names no plugin: add `plugin = \"builtin:NAME\"` or the path of one");
    if let Some(near) = nearest(name.as_str(), BUILT_IN) {
        message.push_str(&format!("; did you mean [backend.{near}]?"));
    }
    written.wrong(&["backend", name.as_str()], message)
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

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
}
