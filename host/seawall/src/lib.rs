//! Seawall: a host daemon that runs sessions through WebAssembly backends, and the command line that talks to it.
//!
//! ```text
//!   cli ----> client ~~~ socket, TCP ~~~~> api ----> control ----> backends
//!    |                                     ^           ^             ^
//!    `----> daemon (signals) ----> app ----+-----------+-------------'
//!                                   ^  wires them, and alone knows all of them
//!                                 config
//! ```
//!
//! `clap` is named in [`cli`] only, `axum` in [`api`] only, `wasmtime` nowhere.
//!
//! A library with one function for its one program, so that [`outside`] can be reached by the fuzz targets, and [`empty`]
//! by the benchmarks.

mod api;
mod app;
mod cli;
mod client;
mod compiler;
mod config;
mod daemon;
mod embedded;
#[doc(hidden)]
pub mod empty;
mod exit;
mod loading;
mod logging;
mod metrics;
#[doc(hidden)]
pub mod outside;
mod place;
mod problem;
mod reload;
mod schema;
mod telemetry;
mod tokens;

/// The program: reads the command line, does what it says, and gives the exit code.
pub fn main() -> std::process::ExitCode {
    // Before anything else: the process that compiles has no use for the rest, and no memory for it.
    compiler::run().unwrap_or_else(|| std::process::ExitCode::from(cli::main()))
}
