//! The commands that a clone of Seawall is worked with: `cargo xtask demo`, `test`, `drill`, `bench`, `fuzz`,
//! `soak`, `api`, `plugins`, `setup`.
//!
//! It is the first thing that a newcomer builds, so it depends on little. It builds guests and the daemon by calling
//! cargo, and installs what is missing where it may, saying what and why.

mod api;
mod bench;
mod demo;
mod drill;
mod fuzz;
mod peers;
mod plugins;
mod say;
mod setup;
mod soak;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, shows and tests Seawall.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds everything, then runs sessions on every backend, breaks some of them and shows them recover.
    Demo,
    /// Runs every test, those that need Docker on a private engine.
    Test {
        /// Passed to `cargo test` as it is: `-p seawall-store`, `-- name_of_a_test`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Kills, hangs, fills and steals while sessions run, and holds what is there against what is kept. Prints a table.
    Drill(drill::Arguments),
    /// Measures a release build; prints a table and writes target/bench.json.
    Bench {
        /// Only measurements whose name contains this.
        only: Option<String>,
        /// The same calls through other plugin systems instead; writes target/bench-peers.json.
        #[arg(long, conflicts_with = "only")]
        peers: bool,
        /// Leave Extism out, which brings a second wasmtime to compile.
        #[arg(long, requires = "peers")]
        without_extism: bool,
    },
    /// Makes very many calls of which one in ten is hostile, and looks whether anything is left of them.
    Soak {
        /// How many.
        #[arg(long, default_value_t = 1_000_000)]
        calls: u64,
    },
    /// Looks for inputs that break something, with libFuzzer; keeps what it learns in tests/fuzz/corpus.
    Fuzz {
        /// Only this target; one a folder in tests/fuzz/corpus.
        target: Option<String>,
        /// How long each target is tried.
        #[arg(long, default_value_t = 60, value_name = "NUMBER")]
        seconds: u32,
    },
    /// Has Schemathesis make requests out of the daemon's own description, and holds every answer against it.
    Api {
        /// How long.
        #[arg(long, default_value_t = 120, value_name = "NUMBER")]
        seconds: u32,
    },
    /// Builds the built-in plugins, the example and the misbehaving guests of the tests.
    Plugins {
        /// Build with Debian's Rust instead of rustup's target.
        #[arg(long)]
        debian_toolchain: bool,
    },
    /// Installs what demo and test need, and says what.
    Setup,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = setup::complete_path().and_then(|()| setup::make()).and_then(|()| match arguments.command {
        Command::Demo => demo::run(),
        Command::Test { arguments } => test::run(&arguments),
        Command::Drill(arguments) => drill::run(&arguments),
        Command::Bench { peers: true, without_extism, .. } => peers::run(!without_extism),
        Command::Bench { only, .. } => bench::run(only.as_deref()),
        Command::Soak { calls } => soak::run(calls),
        Command::Fuzz { target, seconds } => fuzz::run(target.as_deref(), seconds),
        Command::Api { seconds } => api::run(seconds),
        Command::Plugins { debian_toolchain } => plugins::run(debian_toolchain),
        Command::Setup => setup::run(),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
