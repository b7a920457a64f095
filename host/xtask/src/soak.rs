//! `cargo xtask soak`: builds in release and runs `tests/soak`.

use anyhow::{Context, Result};

use crate::{plugins, say, workspace};

/// Builds and makes the calls.
pub(crate) fn run(calls: u64) -> Result<()> {
    say::heading("Building");
    plugins::run(false)?;
    let executables = workspace::build(&["seawall-soak"], true)?;
    let soak = executables.get("seawall-soak").context("cargo build gave no executable `seawall-soak`")?;

    say::heading("Calling");
    let mut command = std::process::Command::new(soak);
    workspace::run(command.arg(calls.to_string()), "the soak")
}
