//! `cargo xtask drill`: builds the daemon and runs `tests/drills`.

use anyhow::{Context, Result};
use seawall_testing::interrupt::Interrupt;

use crate::setup::Docker;
use crate::{plugins, say, setup, workspace};

/// What can be drilled, in the order in which it is.
pub(crate) const NAMES: [&str; 7] = ["crash", "engine", "outside", "disk", "soak", "clients", "streams"];

/// What was asked for.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only these.
    #[arg(value_name = "NAME", value_parser = NAMES)]
    names: Vec<String>,
    /// At full length, in a release build; else shortened, as the tests have it.
    #[arg(long)]
    full: bool,
    /// Make the random choices of an earlier run.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Print the reports as one JSON document.
    #[arg(long)]
    json: bool,
}

/// Builds and drills.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.json {
        say::aside();
    }
    say::heading("Setup");
    if let Docker::Missing(why) = setup::docker()? {
        say::warn(format_args!("Docker will be LEFT OUT of the drills: {why}"));
    }

    say::heading("Building");
    plugins::run(false)?;
    let built = workspace::build_seawall(arguments.full)?;
    let executables = workspace::build(&["seawall-drills"], arguments.full)?;
    let drills = executables.get("seawall-drills").context("cargo build gave no executable `seawall-drills`")?;

    say::heading("Drilling");
    let Arguments { names, full, seed, json } = arguments;
    let asked = serde_json::json!({ "drills": names, "full": full, "seed": seed, "json": json });
    // Ctrl-C reaches the drills too. They take down what they made, and are waited for.
    let _interrupt = Interrupt::watch()?;
    let mut command = std::process::Command::new(drills);
    workspace::run(command.arg(asked.to_string()).env("SEAWALL_BIN", &built.seawall), "a drill")
}
