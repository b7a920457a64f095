//! `cargo xtask test`: every test there is, with what they need built first.
//!
//! These are tests of real engines, processes and clocks. One that fails is run a second time when nothing else runs: if
//! it fails again, so does all of this; if it passes, it is named in the end as unsteady, which is a defect of its own
//! and is to be mended. More than a few of them are no chance, and fail.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::setup::Docker;
use crate::{api, plugins, say, setup, workspace};

/// So long the API is tested by its description.
const API_SECONDS: u32 = 60;

/// So many tests may pass only when they are run again.
const MOST_UNSTEADY: usize = 3;

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
    let tested = if arguments.is_empty() {
        whole_workspace()
    } else {
        workspace::run(workspace::cargo()?.arg("test").args(arguments), "cargo test")
    };
    tested.and(described)
}

fn whole_workspace() -> Result<()> {
    let unsteady = twice(|names| {
        let mut command = workspace::cargo()?;
        command.args(["test", "--workspace", "--no-fail-fast"]);
        if !names.is_empty() {
            say::heading("Testing again what failed");
            command.args(["--", "--exact"]).args(names);
        }
        seen(&mut command)
    })?;
    if !unsteady.is_empty() {
        say::heading("Unsteady tests");
        say::warn(format_args!("passed only when they were run again, and are to be mended: {}", list(&unsteady)));
    }
    Ok(())
}

/// Runs all tests, named by nothing, and again those that failed. Gives those that passed only then.
fn twice(test: impl Fn(&BTreeSet<String>) -> Result<(bool, Seen)>) -> Result<BTreeSet<String>> {
    let (passed, Seen { begun, ended, failed, .. }) = test(&BTreeSet::new())?;
    if passed {
        return Ok(BTreeSet::new());
    }
    // What is not built or crashes has no name.
    ensure!(!failed.is_empty() && begun == ended, "cargo test failed");
    ensure!(failed.len() <= MOST_UNSTEADY, "{} tests failed: {}", failed.len(), list(&failed));
    let (passed, again) = test(&failed)?;
    ensure!(passed && failed.is_subset(&again.passed), "failed twice, at least one of: {}", list(&failed));
    Ok(failed)
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// What was read in the output of a test run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// How many executables began, and how many came to their end: the rest crashed.
    begun: usize,
    ended: usize,
    passed: BTreeSet<String>,
    failed: BTreeSet<String>,
}

impl Seen {
    fn read(&mut self, line: &str) {
        if let Some((name, how)) = line.strip_prefix("test ").and_then(|line| line.rsplit_once(" ... ")) {
            match how {
                "ok" => drop(self.passed.insert(name.to_owned())),
                "FAILED" => drop(self.failed.insert(name.to_owned())),
                _ => {}
            }
        } else if line.starts_with("test result: ") {
            self.ended += 1;
        } else if line.strip_prefix("running ").is_some_and(|rest| rest.ends_with(" test") || rest.ends_with(" tests"))
        {
            self.begun += 1;
        }
    }
}

/// Runs tests with their output shown: whether they succeeded, and what was read.
fn seen(command: &mut Command) -> Result<(bool, Seen)> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("start cargo test")?;
    let output = child.stdout.take().context("read what cargo test prints")?;
    let mut seen = Seen::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("read what cargo test prints")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        seen.read(&line);
    }
    Ok((child.wait().context("wait for cargo test")?.success(), seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str) -> Seen {
        let mut seen = Seen::default();
        output.lines().for_each(|line| seen.read(line));
        seen
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    /// A first run of three tests in two executables that ends like this, and a second in which these pass.
    fn runs(failed: &[&str], ended: usize, again: &[&str]) -> Result<BTreeSet<String>> {
        twice(|only| {
            let first = Seen { begun: 2, ended, failed: names(failed), ..Seen::default() };
            let second = Seen { passed: names(again), ..Seen::default() };
            Ok(if only.is_empty() { (false, first) } else { (&second.passed == only, second) })
        })
    }

    #[test]
    fn what_fails_once_is_unsteady_and_what_fails_twice_or_crashes_fails() {
        assert_eq!(runs(&["a", "b"], 2, &["a", "b"]).unwrap(), names(&["a", "b"]));
        assert!(runs(&["a", "b"], 2, &["a"]).unwrap_err().to_string().contains("failed twice"));
        for (failed, ended) in [(&["a"][..], 1), (&[], 1), (&[], 2), (&["a", "b", "c", "d"], 2)] {
            assert!(runs(failed, ended, failed).is_err(), "{failed:?}, {ended} of 2 ended");
        }
    }

    #[test]
    fn what_passed_and_failed_is_read_from_the_output() {
        let seen = read(
            "\nrunning 3 tests\ntest a::b ... ok\ntest a::c ... FAILED\ntest d ... ignored\n\n\
             failures:\n\n---- a::c stdout ----\nError: test x of y\n\nfailures:\n    a::c\n\n\
             test result: FAILED. 1 passed; 1 failed; 1 ignored\n\nrunning 1 test\n\
             test src/lib.rs - name (line 3) ... ok\n\ntest result: ok. 1 passed\n",
        );
        assert_eq!(
            seen,
            Seen {
                begun: 2,
                ended: 2,
                passed: names(&["a::b", "src/lib.rs - name (line 3)"]),
                failed: names(&["a::c"])
            }
        );
    }

    #[test]
    fn an_executable_that_crashed_has_no_end() {
        let seen = read("running 2 tests\ntest a ... FAILED\n\nrunning 1 test\ntest b ... ok\n\ntest result: ok.\n");
        assert_eq!((seen.begun, seen.ended), (2, 1));
    }
}
