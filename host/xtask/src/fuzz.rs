//! `cargo xtask fuzz`: builds the fuzz targets so that they count where the program goes, and lets libFuzzer look for
//! inputs that go elsewhere.
//!
//! It works with the stable toolchain: the counting is an LLVM pass that `rustc` can be told to run, and libFuzzer
//! itself comes with the crate `libfuzzer-sys`, as C++ to be compiled. No sanitizer is used: there is no unsafe code
//! here for one to watch. What is learnt is kept in `tests/fuzz/corpus`, as some of the fewest files that reach all of
//! it; an input that broke something stays in `target/fuzz/TARGET` for whoever puts it right.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{say, setup, workspace};

/// The triple is named, so that what runs at build time (build scripts, macros) is compiled without counting.
fn triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// The places that were reached, in counters of 8 bits, and what was compared with what.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// How libFuzzer is told to behave: seconds that one input may take, and MiB that all may.
const LIMITS: [&str; 2] = ["-timeout=30", "-rss_limit_mb=4096"];

/// What is kept of one target.
const MOST_FILES: usize = 50;
const LARGEST: u64 = 1 << 10;

/// Builds, and runs one target or each of them for so many seconds.
pub(crate) fn run(only: Option<&str>, seconds: u32) -> Result<()> {
    let root = workspace::root()?;
    let targets = targets(&root, only)?;

    say::heading("Building");
    setup::compiler()?;
    let fuzzer = build(&root)?;

    let mut broken = Vec::new();
    for target in &targets {
        say::heading(&format!("Fuzzing {target} for {seconds} s"));
        if !fuzz(&root, &fuzzer, target, seconds)? {
            broken.push(target.as_str());
        }
    }
    ensure!(broken.is_empty(), "something is wrong in {}; the inputs are in target/fuzz", broken.join(", "));
    Ok(())
}

/// Each has a folder in the corpus.
fn targets(root: &Path, only: Option<&str>) -> Result<Vec<String>> {
    let corpus = root.join("tests/fuzz/corpus");
    let entries = std::fs::read_dir(&corpus).with_context(|| format!("read {}", corpus.display()))?;
    let mut all: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str().map(str::to_owned)).collect();
    all.sort();
    match only {
        None => Ok(all),
        Some(name) if all.iter().any(|target| target == name) => Ok(vec![name.to_owned()]),
        Some(name) => bail!("there is no target {name:?}; there are {}", all.join(", ")),
    }
}

fn build(root: &Path) -> Result<PathBuf> {
    // Other flags than every other build has: a folder of its own, or each would compile everything anew.
    let folder = folder(root).join("build");
    let mut command = workspace::cargo()?;
    command.current_dir(root.join("tests/fuzz/libfuzzer")).env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", &folder);
    // Not `--locked`: its lock file follows that of the workspace whenever it is built.
    workspace::run(command.args(["build", "--release", "--target", &triple()]), "cargo build")?;
    Ok(folder.join(triple()).join("release/seawall-libfuzzer"))
}

fn folder(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from).join("fuzz")
}

/// Whether nothing was found that is wrong.
fn fuzz(root: &Path, fuzzer: &Path, target: &str, seconds: u32) -> Result<bool> {
    let corpus = root.join("tests/fuzz/corpus").join(target);
    let work = folder(root).join(target);
    let (found, least, seeds) = (work.join("found"), work.join("least"), work.join("seeds"));
    // A target is not ended but cut off: what it made is removed here.
    let temporary = work.join("tmp");
    for folder in [&least, &temporary] {
        let _ = std::fs::remove_dir_all(folder);
    }
    for folder in [&found, &least, &seeds, &temporary] {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let command = || {
        let mut command = Command::new(fuzzer);
        command.current_dir(&work).args(LIMITS).env("TMPDIR", &temporary);
        command.env("SEAWALL_FUZZ_TARGET", target).env("SEAWALL_FUZZ_SEEDS", &seeds);
        command
    };
    let mut search = command();
    search.arg(format!("-max_total_time={seconds}")).args(["-print_final_stats=1", "-artifact_prefix=broken-"]);
    let searched = search.args([&found, &corpus, &seeds]).status().context("start libFuzzer")?;
    let kept = searched.success() && {
        let mut merge = command();
        merge.arg("-merge=1").args([&least, &seeds, &corpus, &found]);
        workspace::run(&mut merge, "libFuzzer's merge")?;
        keep(&least, &corpus)?;
        true
    };
    let _ = std::fs::remove_dir_all(&temporary);
    Ok(kept)
}

/// Replaces what libFuzzer kept by the fewest files that go as far. What has a name of its own was kept by a person.
fn keep(least: &Path, corpus: &Path) -> Result<()> {
    let files = |folder: &Path| -> Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
        Ok(entries.flatten().map(|entry| entry.path()).filter(|path| is_hash(path)).collect())
    };
    for file in files(corpus)? {
        std::fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
    }
    let mut learnt = Vec::new();
    for file in files(least)? {
        let size = file.metadata().with_context(|| format!("look at {}", file.display()))?.len();
        learnt.push((size, file));
    }
    // A clone carries all of them: some of each size, and none that is large.
    learnt.retain(|(size, _)| *size <= LARGEST);
    learnt.sort();
    let step = learnt.len().div_ceil(MOST_FILES).max(1);
    for (_, file) in learnt.into_iter().step_by(step) {
        let name = file.file_name().unwrap_or_default();
        std::fs::copy(&file, corpus.join(name)).with_context(|| format!("keep {}", file.display()))?;
    }
    Ok(())
}

/// libFuzzer names a file by the hash of what is in it.
fn is_hash(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_kept_is_not_replaced() {
        let hash = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
        assert!(is_hash(Path::new(hash)));
        for kept in ["a-name", ".gitkeep", "", &hash[1..]] {
            assert!(!is_hash(Path::new(kept)), "{kept}");
        }
    }

    #[test]
    fn every_target_is_known_and_no_other() {
        let root = workspace::root().unwrap();
        assert!(targets(&root, None).unwrap().len() > 10);
        assert_eq!(targets(&root, Some("api")).unwrap(), ["api"]);
        assert!(targets(&root, Some("nothing")).unwrap_err().to_string().contains("config"));
    }
}
