//! `seawall serve`: the daemon in the foreground.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;

use super::Global;
use crate::config::{FLAGS, LogFormat, Overrides, Settings, ShutdownMode, of_environment};
use crate::daemon;
use crate::exit::Failure;

/// `serve`. The same flags name a configuration for `config check`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    settings: SettingsFlags,
}

/// What is said over the configuration file.
#[derive(Clone, Debug, Args)]
pub(crate) struct SettingsFlags {
    /// The configuration. Default: /etc/seawall/seawall.toml for root, else seawall/seawall.toml under XDG_CONFIG_HOME
    #[arg(long, env = "SEAWALL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where everything is kept. Default: /var/lib/seawall for root, else seawall under XDG_DATA_HOME
    #[arg(long, env = "SEAWALL_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where compiled plugins are kept; may be lost. Default: cache in the data directory
    #[arg(long, env = "SEAWALL_CACHE_DIR", value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// A folder with the built-in plugins, instead of those in the binary
    #[arg(long, env = "SEAWALL_PLUGINS", value_name = "DIR")]
    plugins_dir: Option<PathBuf>,
    /// The supervisor's binary. Default: beside this one
    #[arg(long, env = "SEAWALL_SUPERVISOR", value_name = "FILE")]
    supervisor: Option<PathBuf>,
    /// What is logged: info, or as in info,seawall_control=debug
    #[arg(long, env = "SEAWALL_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// The form of the log
    #[arg(long, env = "SEAWALL_LOG_FORMAT", value_name = "auto|text|json", value_parser = log_format)]
    log_format: Option<LogFormat>,
    /// What becomes of sessions when the daemon ends
    #[arg(long, env = "SEAWALL_SHUTDOWN", value_name = "leave|stop", value_parser = shutdown)]
    shutdown: Option<ShutdownMode>,
}

impl SettingsFlags {
    /// Reads the file and puts the layers together.
    pub(crate) fn load(self, global: &Global) -> Result<Settings, Failure> {
        let Self { config, data_dir, cache_dir, plugins_dir, supervisor, log, log_format, shutdown } = self;
        let socket = global.socket.clone();
        let variables = of_environment()?;
        let mut given = Overrides {
            config,
            data_dir,
            cache_dir,
            socket,
            plugins_dir,
            supervisor,
            log,
            log_format,
            shutdown,
            by_variable: BTreeSet::new(),
            variables,
        };
        // A flag has been preferred to its variable already.
        given.by_variable =
            FLAGS.into_iter().filter(|(key, _, name)| given.is_value_of(key, name)).map(|it| it.0).collect();
        Ok(Settings::load(given)?)
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("write auto, text or json".to_owned()),
    }
}

fn shutdown(text: &str) -> Result<ShutdownMode, String> {
    match text {
        "leave" => Ok(ShutdownMode::Leave),
        "stop" => Ok(ShutdownMode::Stop),
        _ => Err("write leave or stop".to_owned()),
    }
}

impl Serve {
    /// Runs until a signal ends it.
    pub(crate) fn run(self, global: &Global) -> Result<u8, Failure> {
        let settings = self.settings.load(global)?;
        daemon::run(settings, global.json)
    }
}
