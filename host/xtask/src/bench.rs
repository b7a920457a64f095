//! `cargo xtask bench`: builds in release and runs `tests/bench`.

use anyhow::{Context, Result};

use crate::setup::Docker;
use crate::{plugins, say, setup, workspace};

/// Builds and measures.
pub(crate) fn run(only: Option<&str>) -> Result<()> {
    say::heading("Building");
    if let Docker::Missing(why) = setup::docker()? {
        say::warn(format_args!("what needs Docker is not measured: {why}"));
    }
    plugins::run(false)?;
    let built = workspace::build_seawall(true)?;
    let executables = workspace::build(&["seawall-bench"], true)?;
    let bench = executables.get("seawall-bench").context("cargo build gave no executable `seawall-bench`")?;

    say::heading("Measuring");
    let mut command = std::process::Command::new(bench);
    command.current_dir(workspace::root()?).env("SEAWALL_BIN", &built.seawall).args(only);
    workspace::run(&mut command, "the measurement")
}
