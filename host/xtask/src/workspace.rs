//! The checkout, and calling cargo in it.
//!
//! A build shows that it goes on: on a terminal by cargo's own bar, on a pipe by a plain line every few seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::say;

/// Between two lines of progress on a pipe.
const EVERY: Duration = Duration::from_secs(5);

/// The root of the checkout.
pub(crate) fn root() -> Result<PathBuf> {
    // Cargo sets the variable for whatever `cargo run` runs; the constant serves a binary that is started directly.
    let crate_dir = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&crate_dir).ancestors().nth(2).context("find the root of the checkout")?.to_path_buf();
    ensure!(root.join("host/xtask").is_dir(), "{} is no checkout of Seawall", root.display());
    Ok(root)
}

/// Cargo, in the root of the checkout.
pub(crate) fn cargo() -> Result<Command> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()?);
    // What `cargo run` set for this program must not reach another build: it would be a different one each time.
    for (name, _) in std::env::vars_os() {
        let own = name.to_str().is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_"));
        if own {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// Runs a command with its output shown; fails unless it succeeds.
pub(crate) fn run(command: &mut Command, what: &str) -> Result<()> {
    let status = command.status().with_context(|| format!("start {:?}", command.get_program()))?;
    ensure!(status.success(), "{what} failed ({status})");
    Ok(())
}

/// What `cargo --message-format=json` says, as far as it matters here.
#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact {
        package_id: String,
        target: Target,
        executable: Option<PathBuf>,
        fresh: bool,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Builds packages and gives the path of every executable that came of it.
pub(crate) fn build(packages: &[&str], release: bool) -> Result<BTreeMap<String, PathBuf>> {
    let began = Instant::now();
    let total = count_crates(packages)?;
    let watched = say::on_terminal();

    let mut command = cargo()?;
    command.args(["build", "--message-format=json-render-diagnostics"]).stdout(Stdio::piped());
    command.args(packages.iter().flat_map(|package| ["--package", package]));
    command.args(release.then_some("--release"));
    // On a pipe a line for each of hundreds of crates tells less than the count below.
    command.args((!watched).then_some("--quiet"));

    let mut child = command.spawn().context("start cargo build")?;
    let output = child.stdout.take().context("read what cargo build prints")?;
    let mut executables = BTreeMap::new();
    let mut done = BTreeSet::new();
    let mut compiled = 0_u32;
    let mut last = Instant::now();
    for line in BufReader::new(output).lines() {
        let line = line.context("read what cargo build prints")?;
        let Ok(Message::CompilerArtifact { package_id, target, executable, fresh }) = serde_json::from_str(&line)
        else {
            continue;
        };
        if target.kind.iter().any(|kind| kind == "custom-build") {
            continue;
        }
        if let Some(path) = executable {
            executables.insert(target.name, path);
        }
        compiled += u32::from(!fresh);
        done.insert(package_id);
        if !watched && last.elapsed() >= EVERY {
            last = Instant::now();
            say::note(format_args!("{} of {total} crates, {}", done.len(), say::duration(began.elapsed())));
        }
    }
    let status = child.wait().context("wait for cargo build")?;
    if !status.success() {
        bail!("cargo build failed ({status}); the reason stands above");
    }
    let (what, time) = (packages.join(", "), say::duration(began.elapsed()));
    say::holds(format_args!("{what} built in {time}: {} crates, {compiled} compiled now", done.len()));
    Ok(executables)
}

/// How many crates a build of these packages is made of, for the progress.
fn count_crates(packages: &[&str]) -> Result<usize> {
    let mut command = cargo()?;
    command.args(["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    command.args(packages.iter().flat_map(|package| ["--package", package]));
    let output = command.output().context("start cargo tree")?;
    ensure!(output.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    let text = String::from_utf8_lossy(&output.stdout);
    let crates: BTreeSet<_> =
        text.lines().map(|line| line.trim_end_matches(" (*)")).filter(|line| !line.is_empty()).collect();
    Ok(crates.len())
}

/// The seawall and seawall-supervisor of this checkout.
pub(crate) struct Built {
    /// The daemon and its command line.
    pub(crate) seawall: PathBuf,
}

/// Builds the daemon and its supervisor, plugins first, since they are embedded.
pub(crate) fn build_seawall(release: bool) -> Result<Built> {
    let mut executables = build(&["seawall", "seawall-supervisor"], release)?;
    let seawall = executables.remove("seawall").context("cargo build gave no executable `seawall`")?;
    ensure!(executables.contains_key("seawall-supervisor"), "cargo build gave no executable `seawall-supervisor`");
    Ok(Built { seawall })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_is_understood_and_anything_else_is_passed_over() {
        let line = r#"{"reason":"compiler-artifact","package_id":"p","target":{"name":"seawall","kind":["bin"]},
                       "executable":"/t/seawall","fresh":false,"filenames":[]}"#;
        assert!(matches!(
            serde_json::from_str(line).unwrap(),
            Message::CompilerArtifact { executable: Some(_), fresh: false, .. }
        ));
        let line = r#"{"reason":"build-finished","success":true}"#;
        assert!(matches!(serde_json::from_str(line).unwrap(), Message::Other));
    }

    #[test]
    fn the_crates_of_this_package_are_counted() {
        let count = count_crates(&["seawall-model"]).unwrap();
        assert!((5..200).contains(&count), "{count}");
    }
}
