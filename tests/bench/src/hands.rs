//! `seawall exec` of `true`, from its command line to its exit code, beside `docker exec` in the same container.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use seawall_testing::daemon::{Home, seawall_binary};

use crate::engine::start;
use crate::measure::{Report, Times};

const ROUNDS: usize = 100;
/// The first of each finds nothing warm.
const WARM: usize = 5;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let Some(engine) = start(report, "`seawall exec`")? else { return Ok(()) };
    let home = Home::new(&seawall_binary()?)?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    for (backend, image) in [("docker", &["--image", "busybox"][..]), ("process", &[])] {
        let line = [&["run", "--backend", backend, "--name", backend][..], image, &["--", "sleep", "100000"]];
        home.ok(&line.concat())?;
    }
    let container = engine.docker(["ps", "--quiet"])?;
    let (mut ours, mut theirs, mut process) = (Times::default(), Times::default(), Times::default());
    for round in 0..WARM + ROUNDS {
        let seawall = took(&mut home.command(["exec", "docker", "true"]))?;
        let docker = took(engine.command().args(["exec", &container, "true"]))?;
        let without = took(&mut home.command(["exec", "process", "true"]))?;
        if round >= WARM {
            ours.push(seawall);
            theirs.push(docker);
            process.push(without);
        }
    }
    report.compare("seawall exec of `true` in a container", &ours, ("docker exec", &theirs), 1.2);
    report.duration("seawall exec of `true` in a process session", &process);
    Ok(())
}

fn took(command: &mut Command) -> Result<Duration> {
    let began = Instant::now();
    let status = command.status().with_context(|| format!("run {command:?}"))?;
    let took = began.elapsed();
    ensure!(status.success(), "{command:?}: {status}");
    Ok(took)
}
