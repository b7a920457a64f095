//! `seawall config`.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::serve::SettingsFlags;
use super::{Global, say};
use crate::app;
use crate::config::{Effective, Settings, example, unknown_variables};
use crate::exit::Failure;

/// `config`.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Check the configuration as `serve` does, plugins and grants included, and start nothing
    Check(Check),
    /// Print a configuration with every key there is, each described and commented out
    Example,
}

/// `config check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    settings: SettingsFlags,
    /// Print every value that is in effect, as a configuration file that says the same, with where each came from
    #[arg(long)]
    show_effective: bool,
}

/// What `config check --json` prints.
#[derive(Debug, Serialize)]
struct Checked {
    /// The file that was read, if there is one.
    file: Option<String>,
    /// Backends that would be there.
    backends: Vec<String>,
    /// Variables that begin as Seawall's do and mean nothing to it.
    unknown_variables: Vec<String>,
    /// Every value that is in effect, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    effective: Option<Vec<Effective>>,
}

impl Config {
    /// Does what it says.
    pub(crate) fn run(self, global: &Global) -> Result<u8, Failure> {
        match self {
            Self::Check(check) => check.run(global),
            Self::Example => {
                say(&example())?;
                Ok(0)
            }
        }
    }
}

impl Check {
    fn run(self, global: &Global) -> Result<u8, Failure> {
        let settings = self.settings.load(global)?;
        let threads = settings.runtime.executor().build().context("failed to start the threads")?;
        let checked = threads.block_on(app::check(&settings));
        threads.shutdown_background();
        checked?;
        let effective = if self.show_effective && global.json {
            Some(settings.effective_list().map_err(anyhow::Error::from)?)
        } else {
            None
        };
        let checked = Checked {
            file: settings.written.document().map(|document| document.path().display().to_string()),
            backends: settings.backend.keys().map(ToString::to_string).collect(),
            unknown_variables: unknown_variables(),
            effective,
        };
        let shown = if self.show_effective { text(&settings)? } else { summary(&checked) };
        global.show(&checked, |_| shown)?;
        for name in &checked.unknown_variables {
            eprintln!("seawall: warning: the variable {name} means nothing to Seawall");
        }
        Ok(0)
    }
}

fn text(settings: &Settings) -> Result<String, Failure> {
    Ok(settings.effective_text().map_err(anyhow::Error::from)?)
}

fn summary(checked: &Checked) -> String {
    let file = checked.file.as_deref().unwrap_or("no file: the default configuration");
    let backends = if checked.backends.is_empty() { "none".to_owned() } else { checked.backends.join(", ") };
    format!("{file} is fine; backends: {backends}\n")
}
