//! `seawall config check`.

use clap::{Args, Subcommand};

use super::serve::SettingsFlags;
use super::{Global, say};
use crate::exit::Failure;

/// `config`.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Read the configuration as `serve` would, and start nothing
    Check(Check),
}

/// `config check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    settings: SettingsFlags,
    /// Print all that is in effect, as a configuration file that says the same
    #[arg(long)]
    show_effective: bool,
}

impl Config {
    /// Reads it and says what it is.
    pub(crate) fn run(self, global: &Global) -> Result<u8, Failure> {
        let Self::Check(Check { settings, show_effective }) = self;
        let settings = settings.load(global)?;
        if global.json {
            global.show(&settings, |_| String::new())?;
        } else if show_effective {
            say(&toml::to_string(&settings).map_err(anyhow::Error::from)?)?;
        } else {
            let read = settings.document.as_ref().map(|document| document.path().display().to_string());
            let backends: Vec<&str> = settings.backend.keys().map(|name| name.as_str()).collect();
            say(&format!(
                "{} is fine; backends: {}\n",
                read.unwrap_or_else(|| "no file: the default configuration".to_owned()),
                backends.join(", ")
            ))?;
        }
        for name in unknown_variables() {
            eprintln!("seawall: warning: the variable {name} means nothing to Seawall");
        }
        Ok(0)
    }
}

/// Every variable that is read.
const VARIABLES: [&str; 10] = [
    "SEAWALL_BACKEND",
    "SEAWALL_CACHE_DIR",
    "SEAWALL_CONFIG",
    "SEAWALL_DATA_DIR",
    "SEAWALL_LOG",
    "SEAWALL_LOG_FORMAT",
    "SEAWALL_PLUGINS",
    "SEAWALL_SHUTDOWN",
    "SEAWALL_SOCKET",
    "SEAWALL_SUPERVISOR",
];

fn unknown_variables() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter(|name| name.starts_with("SEAWALL_") && !VARIABLES.contains(&name.as_str())).collect()
}
