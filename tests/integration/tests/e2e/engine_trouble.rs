//! A Docker Engine that is absent, comes late, hangs, dies: sessions become `unknown`, never gone, and neighbours do
//! not notice.

use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use seawall_integration::{QUICK, eventually, home, refused, run, until, until_healthy, until_state};
use seawall_testing::daemon::Home;
use seawall_testing::docker::Engine;

/// How late the looks at an engine that hangs are given up, for a test to wait for.
const SHORT: &str = "[backend.docker.deadlines]\nobserve = \"2s\"\n";

fn health(home: &Home, backend: &str) -> Result<String> {
    Ok(home.json(&["backend", "inspect", backend])?["health"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn without_docker_the_daemon_serves_and_says_what_is_missing() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    assert_ne!(health(&home, "docker")?, "healthy");
    let status = home.ok(&["backend", "inspect", "docker"])?;
    assert!(status.contains("no-docker.sock"), "{status}");
    eventually("it is unhealthy", || Ok((health(&home, "docker")? == "unhealthy").then_some(())))?;
    let line = ["run", "--backend", "docker", "--image", "busybox", "--name", "early", "--", "sleep", "1000"];
    refused(&home, &line, 69, &["docker", "no-docker.sock"])?;
    assert_eq!(home.json(&["ps", "--all"])?, serde_json::json!([]), "nothing is placed on a backend that is down");
    run(&home, &["--backend", "mock", "--name", "neighbour"])?;
    Ok(())
}

#[test]
fn an_engine_that_comes_late_is_used_when_it_comes() -> Result<()> {
    let Some(engine) = Engine::start_or_skip("an engine that comes late") else { return Ok(()) };
    engine.down()?;
    let home = home("")?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    assert_ne!(health(&home, "docker")?, "healthy");
    engine.up()?;
    until_healthy(&home, "docker")?;
    run(&home, &["--backend", "docker", "--image", "busybox", "--name", "late", "--", "sleep", "1000"])?;
    Ok(())
}

#[test]
fn a_hung_engine_makes_its_sessions_unknown_and_nothing_else_slow() -> Result<()> {
    let Some(engine) = Engine::start_or_skip("an engine that hangs") else { return Ok(()) };
    let home = home(SHORT)?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    run(
        &home,
        &["--backend", "docker", "--image", "busybox", "--name", "held", "--restart", "always", "--", "sleep", "1000"],
    )?;
    engine.pause_process()?;
    let session = until_state(&home, "held", "unknown")?;
    assert_eq!((&session["last_state"], &session["incarnation"]), (&"running".into(), &1.into()));
    // In the middle of all this a neighbour starts and ends.
    run(&home, &["--backend", "process", "--name", "neighbour", "--", "true"])?;
    assert_eq!(home.run(["wait", "neighbour"])?.code, Some(0));
    assert_eq!(home.json(&["inspect", "held"])?["state"], "unknown", "its engine hangs");
    engine.resume()?;
    let session = until_state(&home, "held", "running")?;
    assert_eq!((&session["incarnation"], &session["restarts"]), (&1.into(), &0.into()));
    Ok(())
}

#[test]
fn an_engine_that_dies_costs_no_session() -> Result<()> {
    let Some(engine) = Engine::start_or_skip("an engine that dies") else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    let docker = ["--backend", "docker", "--image", "busybox", "--restart", "always"];
    run(&home, &[&docker[..], &["--name", "held", "--", "sleep", "1000"]].concat())?;
    engine.kill()?;
    // Asked for while nobody can carry it out: it is stored, and done when the engine is back.
    let stop = home.ok(&["stop", "--no-wait", "held"])?;
    assert!(stop.contains("held"), "{stop}");
    let session = until(&home, "held", "is unknown or stopped", |now| now["state"] != "running")?;
    assert_ne!(session["state"], "lost");
    engine.up()?;
    until_state(&home, "held", "stopped")?;
    until_healthy(&home, "docker")?;
    home.ok(&["start", "held"])?;
    until_state(&home, "held", "running")?;
    Ok(())
}

#[test]
fn an_engine_that_dies_in_the_middle_of_creating_makes_nothing_twice() -> Result<()> {
    let Some(engine) = Engine::start_or_skip("an engine that dies in mid-call") else { return Ok(()) };
    // However long it takes to ask for all three, the backend is neither found unhealthy nor left alone before.
    let config =
        "[backend.docker]\ndeadlines = { check = \"60s\", control = \"3s\" }\nbulkhead.breaker.failures = 1000\n";
    let home = home(config)?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    let docker = ["--backend", "docker", "--image", "busybox", "--restart", "on-failure"];
    engine.pause_process()?;
    for name in ["one", "two", "three"] {
        home.ok(&[&["run", "--no-wait"], &docker[..], &["--name", name, "--", "sleep", "1000"]].concat())?;
    }
    // The requests hang in the engine's socket, and die with it.
    eventually("a call was cut off", || {
        let told = home.json(&["inspect", "one"])?;
        Ok(told["reason"].as_str().is_some_and(|reason| !reason.is_empty()).then_some(()))
    })?;
    engine.resume()?;
    engine.kill()?;
    engine.up()?;
    // One that was made before it died may be known to run, and be down with it.
    eventually("all three run", || Ok((engine.docker(["ps", "--quiet"])?.lines().count() == 3).then_some(())))?;
    for name in ["one", "two", "three"] {
        until_state(&home, name, "running")?;
    }
    let all = engine.docker(["ps", "--all", "--quiet"])?;
    assert_eq!(all.lines().count(), 3, "{all}");
    Ok(())
}

#[test]
fn an_engine_that_is_taken_away_and_comes_back_finds_a_restarted_daemon_waiting() -> Result<()> {
    let Some(engine) = Engine::start_or_skip("an engine that is away while the daemon restarts") else { return Ok(()) };
    let home = home(SHORT)?.with_docker(&engine.host());
    let daemon = home.serve(true)?;
    let docker = ["--backend", "docker", "--image", "busybox", "--restart", "always"];
    run(&home, &[&docker[..], &["--name", "held", "--", "sleep", "1000"]].concat())?;
    engine.pause_process()?;
    daemon.kill()?;
    home.configure(&format!("{QUICK}{SHORT}"))?;
    let _daemon = home.serve(false)?;
    let session = until_state(&home, "held", "unknown")?;
    assert_eq!(session["incarnation"], 1);
    engine.resume()?;
    let session = until_state(&home, "held", "running")?;
    assert_eq!((&session["incarnation"], &session["restarts"]), (&1.into(), &0.into()));
    Ok(())
}

/// A command in the session that has begun.
fn begun(home: &Home, script: &str) -> Result<Child> {
    let mut command = home.command(["exec", "-i", "held", "sh", "-c", &format!("echo ready; {script}")]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut ready = [0; 6];
    child.stdout.as_mut().context("its output")?.read_exact(&mut ready)?;
    Ok(child)
}

#[test]
fn commands_of_an_engine_that_hangs_go_on_with_it_or_are_left_and_nothing_is_left_over() -> Result<()> {
    let Some(engine) = Engine::start_or_skip("commands of an engine that hangs") else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    run(&home, &["--backend", "docker", "--image", "busybox", "--name", "held", "--", "sleep", "1000"])?;
    let streams = || -> Result<_> {
        Ok(home.json(&["backend", "inspect", "docker"])?["bulkhead"]["permits"]["streams"]["in_flight"].clone())
    };
    let mut stays = begun(&home, "exec cat")?;
    let mut killed = begun(&home, "exec sleep 4721")?;
    let mut left = begun(&home, "exec sleep 4722")?;
    engine.pause_process()?;
    stays.stdin.as_mut().context("its input")?.write_all(b"meanwhile\n")?;
    killed.kill()?;
    killed.wait()?;
    // Whoever insists on leaving does, though the signal reaches nobody.
    let pid = Pid::from_child(&left);
    let status = eventually("it is left", || {
        kill_process(pid, Signal::INT)?;
        Ok(left.try_wait()?)
    })?;
    assert_eq!(status.code(), Some(71));
    eventually("what was left holds nothing", || Ok((streams()? == 1).then_some(())))?;
    engine.resume()?;
    let mut read = [0; 10];
    stays.stdout.as_mut().context("its output")?.read_exact(&mut read)?;
    assert_eq!(&read, b"meanwhile\n");
    drop(stays.stdin.take());
    assert!(stays.wait()?.success());
    until_state(&home, "held", "running")?;
    eventually("what was left has ended", || {
        let all = home.run(["exec", "held", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"])?;
        Ok((all.code == Some(0) && !all.stdout.contains("472")).then_some(()))
    })?;
    eventually("all is given back", || Ok((streams()? == 0).then_some(())))
}
