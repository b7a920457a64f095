//! `cargo xtask test`: every test there is, with what they need built first. It ends with cargo test's own lines.

use anyhow::Result;

use crate::setup::Docker;
use crate::{api, plugins, say, setup, workspace};

/// So long the API is tested by its description.
const API_SECONDS: u32 = 60;

/// Builds guests and the daemon, then tests the plugins and the workspace.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    say::heading("Setup");
    match setup::docker()? {
        Docker::Available => say::holds("tests that need Docker start an engine of their own"),
        Docker::Missing(why) => say::warn(format_args!("tests that need Docker will be SKIPPED: {why}")),
    }

    say::heading("Building");
    plugins::run(false)?;
    let built = workspace::build_seawall(false)?;

    // With arguments of its own it is about some test of the workspace.
    if arguments.is_empty() {
        say::heading("Testing the plugins");
        let mut command = workspace::cargo()?;
        command.args(["test", "--workspace", "--locked"]).current_dir(workspace::root()?.join("plugins"));
        // Guests share nothing with the host's build; and plugins/ is where their build has its own lock file.
        command.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
        workspace::run(&mut command, "cargo test in plugins/")?;
    }

    let described = if arguments.is_empty() { api::part(&built.seawall, API_SECONDS) } else { Ok(()) };

    say::heading("Testing the workspace");
    let mut command = workspace::cargo()?;
    command.arg("test");
    if arguments.is_empty() {
        command.args(["--workspace", "--no-fail-fast"]);
    }
    workspace::run(command.args(arguments), "cargo test").and(described)
}
