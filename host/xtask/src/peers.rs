//! `cargo xtask bench --peers`: builds `tests/peers`, a workspace of its own with gRPC and Extism in it, and runs it.

use std::path::Path;

use anyhow::Result;

use crate::plugins::toolchain::Toolchain;
use crate::{plugins, say, workspace};

const WORKSPACE: &str = "tests/peers";

/// Builds and measures.
pub(crate) fn run(extism: bool) -> Result<()> {
    let root = workspace::root()?;
    say::heading("Building");
    guests(&root, extism)?;
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(shared) => root.join(shared),
        None => root.join(WORKSPACE).join("target"),
    };
    say::note("cargo build --release, in tests/peers: tonic, Extism and its wasmtime; many minutes the first time");
    let mut cargo = workspace::cargo()?;
    cargo.current_dir(root.join(WORKSPACE)).env("CARGO_TARGET_DIR", &target);
    cargo.args(["build", "--release", "--locked", "--package", "peers-bench", "--package", "peers-server"]);
    cargo.args((!extism).then_some("--no-default-features"));
    cargo.args((!say::on_terminal()).then_some("--quiet"));
    workspace::run(&mut cargo, "building what is measured")?;

    say::heading("Measuring");
    let built = target.join("release");
    let mut command = std::process::Command::new(built.join("peers-bench"));
    command.current_dir(&root).env("PEERS_GUESTS", dist(&root)).env("PEERS_SERVER", built.join("peers-server"));
    workspace::run(&mut command, "the measurement")
}

fn dist(root: &Path) -> std::path::PathBuf {
    root.join(WORKSPACE).join("dist")
}

/// The same logic as a component, as a component for an instance that is kept, and as a module of Extism's.
fn guests(root: &Path, extism: bool) -> Result<()> {
    let toolchain = Toolchain::find(false)?;
    let dist = dist(root);
    std::fs::create_dir_all(&dist)?;
    let component = plugins::encode_arena(&toolchain.compile(root, WORKSPACE, "peers-guest", &["arena"])?)?;
    plugins::write(&dist.join("guest.wasm"), &component)?;
    let component = plugins::encode(&toolchain.compile(root, WORKSPACE, "peers-guest", &[])?)?;
    plugins::write(&dist.join("guest-kept.wasm"), &component)?;
    if !extism {
        return Ok(());
    }
    let module = plugins::read(&toolchain.compile(root, WORKSPACE, "peers-extism-guest", &[])?)?;
    plugins::write(&dist.join("guest-extism.wasm"), &module)
}
