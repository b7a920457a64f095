//! A log of a gigabyte through `seawall logs` and `docker logs`, of the same container, and what fuel is burnt meanwhile.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use seawall_testing::daemon::{Home, seawall_binary};
use seawall_testing::exposition;

use crate::engine::start;
use crate::measure::{Report, Times};

const LINE: u64 = 100;
const LINES: u64 = if cfg!(debug_assertions) { 100_000 } else { 10_000_000 };
const ROUNDS: usize = 2;
/// As much as a pipe takes.
const PIECE: usize = 64 << 10;
/// Nothing but what is asked for calls the plugin.
const CONFIG: &str = "[control]\nsweep-interval = \"12h\"\nlist-interval = \"12h\"\ncheck = { interval = \"12h\" }\n";

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let Some(engine) = start(report, "`seawall logs`")? else { return Ok(()) };
    let home = Home::new(&seawall_binary()?)?.with_docker(&engine.host());
    home.configure(CONFIG)?;
    let _daemon = home.serve(true)?;
    let script = format!("seq 1 {LINES} | awk '{{ printf \"%0{}d\\n\", $1 }}'", LINE - 1);
    let bounds = ["--log-opt", "max-size=4g", "--log-opt", "max-file=1"];
    let run = ["run", "--backend", "docker", "--name", "talker", "--image", "busybox"];
    home.ok(&[&run[..], &bounds, &["--", "sh", "-c", &script]].concat())?;
    home.ok(&["wait", "talker"])?;
    let container = engine.docker(["ps", "--all", "--quiet"])?;

    let ours = || home.command(["logs", "talker"]);
    let theirs = || {
        let mut command = engine.command();
        command.args(["logs", &container]);
        command
    };
    // Whether it is the same is looked at once: who counts is to take little of the processors.
    let (one, other) = (checksum(&mut ours())?, checksum(&mut theirs())?);
    ensure!(one == other, "`seawall logs` gives another log than `docker logs`");

    let (mut through, mut direct, mut burnt) = (Times::default(), Times::default(), 0.0);
    for _ in 0..ROUNDS {
        let mut fuel = None;
        through.push(read(&mut ours(), |so_far| {
            // The call that opens the log is over when there is something of it.
            if fuel.is_none() && so_far > 0 {
                fuel = Some(burnt_so_far(&home)?);
            }
            Ok(())
        })?);
        burnt += burnt_so_far(&home)? - fuel.context("nothing was read")?;
        direct.push(read(&mut theirs(), |_| Ok(()))?);
    }
    let megabytes = |times: &Times| (LINE * LINES) as f64 / 1e6 / times.median().as_secs_f64();
    report.rate(
        "MB of a log of 1 GB, lines of 100 bytes",
        megabytes(&through),
        ("docker logs", megabytes(&direct)),
        0.8,
    );
    report.number("fuel burnt while it was read, five times", burnt as u64, "units");
    Ok(())
}

/// From the command's start until the log is read to its end.
fn read(command: &mut Command, mut look: impl FnMut(u64) -> Result<()>) -> Result<Duration> {
    let began = Instant::now();
    let mut length = 0;
    each_piece(command, |piece| {
        length += piece.len() as u64;
        look(length)
    })?;
    let took = began.elapsed();
    ensure!(length == LINE * LINES, "{length} bytes of the log were read, and it has {}", LINE * LINES);
    Ok(took)
}

fn checksum(command: &mut Command) -> Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    each_piece(command, |piece| {
        hasher.update(piece);
        Ok(())
    })?;
    Ok(hasher.finalize())
}

fn each_piece(command: &mut Command, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("run {command:?}"))?;
    let mut output = child.stdout.take().context("read its output")?;
    let mut piece = vec![0; PIECE];
    loop {
        match output.read(&mut piece)? {
            0 => break,
            length => take(piece.get(..length).unwrap_or_default())?,
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// By all that was called, but for what is called because somebody asks.
fn burnt_so_far(home: &Home) -> Result<f64> {
    let page = home.http("GET", "/metrics", None)?.text();
    let families = exposition::read(&page)?;
    let fuel = families.get("seawall_call_fuel").context("fuel is not among the metrics")?;
    let asked_for = |sample: &&exposition::Sample| {
        sample.name.ends_with("_sum") && sample.labels.get("function").is_some_and(|name| name != "stats.sample")
    };
    Ok(fuel.samples.iter().filter(asked_for).map(|sample| sample.value).sum())
}
