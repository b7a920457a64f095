//! Output that is long: a session of each backend with an engine writes it while it is followed, and what is read is held
//! against what was written, byte by byte. Its log is kept whole: what rotation takes away no reader is owed.

use std::io::Read;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::load::Ledger;
use crate::run::Course;
use crate::stage::Stage;
use crate::verdict::{clear_away, settle_and_judge};

const SHORT: u64 = 32 << 20;
const FULL: u64 = 1 << 30;
/// Bytes of a line, which is its number and its end.
const LINE: usize = 128;
/// As many lines are compared at once.
const AT_ONCE: usize = 512;

pub(crate) fn play(course: &mut Course) -> Result<()> {
    let bytes = if course.full { FULL } else { SHORT };
    let engine = course.engine()?;
    let mut stage = Stage::set(engine, &course.interrupt, "")?;
    stage.serve()?;
    for backend in stage.backends() {
        if backend == "mock" {
            continue;
        }
        write_and_follow(&stage, backend, bytes)?;
        course.tally.add("bytes followed", bytes);
        course.note(format_args!("{bytes} bytes of {backend}"));
    }
    stage.kill()?;
    settle_and_judge(&mut stage, &Ledger::new(), &mut course.tally)?;
    ensure!(course.tally.clean(), "the daemon's last words:\n{}", stage.home.log_end());
    clear_away(&mut stage, &mut course.tally)
}

fn write_and_follow(stage: &Stage, backend: &str, bytes: u64) -> Result<()> {
    let lines = bytes / LINE as u64;
    let digits = LINE - 1;
    let program = format!("BEGIN {{ for (i = 1; i <= {lines}; i++) printf \"%0{digits}d\\n\", i }}");
    // With what a log needs besides.
    let limits = json!({"max_size": format!("{}MiB", (bytes >> 20) * 2), "max_files": 2});
    let mut spec = json!({"backend": backend, "name": "writer", "command": ["awk", program], "logs": limits});
    if backend == "docker"
        && let Some(fields) = spec.as_object_mut()
    {
        fields.insert("image".to_owned(), "busybox".into());
    }
    stage.create(&spec)?;
    let followed = read(stage, &["logs", "--follow", "writer"], lines);
    followed.with_context(|| format!("what was followed on {backend}"))?;
    let kept = read(stage, &["logs", "writer"], lines);
    kept.with_context(|| format!("what was kept on {backend}"))?;
    stage.remove("writer")
}

/// Reads to the end, which must be all of the lines.
fn read(stage: &Stage, arguments: &[&str], lines: u64) -> Result<()> {
    let mut reader = stage.home.command(arguments).stdout(Stdio::piped()).spawn().context("start a reader")?;
    let mut out = reader.stdout.take().context("what it reads")?;
    let (mut piece, mut expected) = (vec![0; LINE * AT_ONCE], Vec::with_capacity(LINE * AT_ONCE));
    let mut next = 1;
    loop {
        let length = fill(&mut out, &mut piece)?;
        let found = piece.get(..length).unwrap_or_default();
        expected.clear();
        for number in (next..=lines).take(AT_ONCE) {
            expected.extend_from_slice(format!("{number:0width$}\n", width = LINE - 1).as_bytes());
        }
        if found != expected {
            let at = found.iter().zip(&expected).take_while(|(is, should)| is == should).count();
            // It may be stuck where nothing reads it any more.
            let _ = reader.kill();
            let _ = reader.wait();
            let shown =
                String::from_utf8_lossy(found.get(at..(at + LINE).min(length)).unwrap_or_default()).into_owned();
            let line = next + (at / LINE) as u64;
            anyhow::bail!("line {line} of {lines} is another from its byte {} on: {shown:?}", at % LINE);
        }
        if length == 0 {
            break;
        }
        next += (length / LINE) as u64;
    }
    let status = reader.wait().context("the reader's end")?;
    ensure!(status.success(), "the reader ended with {status}");
    Ok(())
}

/// As much as there is, up to all that fits.
fn fill(from: &mut impl Read, into: &mut [u8]) -> Result<usize> {
    let mut length = 0;
    while let Some(room) = into.get_mut(length..).filter(|room| !room.is_empty()) {
        match from.read(room).context("read")? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}
