//! What happens to a workload behind the daemon's back is seen at once where its engine tells of it: no sweep is due
//! within these tests.

use anyhow::{Context, Result};
use rustix::process::Signal;
use seawall_integration::{QUICK, engine, eventually, home, process, run, until, until_healthy, until_state};
use seawall_model::Timestamp;
use seawall_testing::daemon::Home;
use seawall_testing::docker::Engine;
use seawall_testing::processes::{self, Process};
use serde_json::Value;

fn seldom() -> Result<Home> {
    let home = home("")?;
    let config = QUICK
        .replace("sweep-interval = \"200ms\"", "sweep-interval = \"12h\"")
        .replace("\"500ms\"\norphan", "\"12h\"\norphan");
    home.configure(&config)?;
    Ok(home)
}

fn watch(home: &Home, backend: &str) -> Result<Value> {
    Ok(home.json(&["backend", "inspect", backend])?["watch"].clone())
}

fn watching(home: &Home, backend: &str, openings: u64) -> Result<()> {
    eventually(&format!("{backend} is watched"), || {
        let watch = watch(home, backend)?;
        let open = watch["state"] == "watching" && watch["openings"].as_u64().is_some_and(|made| made >= openings);
        Ok(open.then_some(()))
    })
}

/// Starts a session, and waits until the host looks at it no more: it does for a few seconds after each start.
fn settled(home: &Home, arguments: &[&str]) -> Result<String> {
    let id = run(home, arguments)?;
    until(home, &id, "it runs for a while", |session| {
        let started = session["started_at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        session["state"] == "running" && started.is_some_and(|at| Timestamp::now().since(at).as_secs() >= 5)
    })?;
    Ok(id)
}

fn container(engine: &Engine, id: &str) -> Result<String> {
    engine.docker(["ps", "--all", "--quiet", "--filter", &format!("label=seawall.session={id}")])
}

#[test]
fn a_container_that_is_killed_paused_or_removed_is_seen_at_once() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = seldom()?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    watching(&home, "docker", 1)?;
    let line = ["--backend", "docker", "--image", "busybox"];
    let sleep = ["--", "sleep", "1000"];
    let killed = run(&home, &[&line[..], &["--name", "killed"], &sleep].concat())?;
    let removed = run(&home, &[&line[..], &["--name", "removed"], &sleep].concat())?;
    let paused = settled(&home, &[&line[..], &["--name", "paused"], &sleep].concat())?;
    engine.docker(["pause", &container(engine, &paused)?])?;
    until_state(&home, "paused", "paused")?;
    engine.docker(["unpause", &container(engine, &paused)?])?;
    until_state(&home, "paused", "running")?;
    engine.docker(["kill", &container(engine, &killed)?])?;
    assert_eq!(until_state(&home, "killed", "failed")?["exit"]["code"], 137);
    engine.docker(["rm", "--force", &container(engine, &removed)?])?;
    until(&home, "removed", "it is over", |session| session["state"] == "failed" || session["state"] == "lost")?;
    Ok(())
}

#[test]
fn a_process_that_ends_or_whose_supervisor_is_killed_is_seen_at_once() -> Result<()> {
    let home = seldom()?;
    let _daemon = home.serve(true)?;
    watching(&home, "process", 1)?;
    let of = |seconds: &str| process(&home, &["sleep", seconds]);
    let line = ["--backend", "process"];
    run(&home, &[&line[..], &["--name", "killed", "--", "sleep", "5201"]].concat())?;
    run(&home, &[&line[..], &["--name", "again", "--restart", "always", "--", "sleep", "5203"]].concat())?;
    settled(&home, &[&line[..], &["--name", "lost", "--", "sleep", "5202"]].concat())?;
    processes::signal(&of("5201")?, Signal::KILL)?;
    assert_eq!(until_state(&home, "killed", "failed")?["exit"]["signal"], 9);
    processes::signal(&Process::read(of("5202")?.parent).context("its supervisor")?, Signal::KILL)?;
    until_state(&home, "lost", "lost")?;
    // The next incarnation is watched like the first.
    for restarts in 1..=2 {
        processes::signal(&of("5203")?, Signal::KILL)?;
        until(&home, "again", "it runs again", |now| now["restarts"] == restarts && now["state"] == "running")?;
    }
    Ok(())
}

#[test]
fn the_watch_of_an_engine_comes_back_with_it() -> Result<()> {
    let Some(engine) = Engine::start_or_skip("an engine that is restarted") else { return Ok(()) };
    let home = seldom()?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    watching(&home, "docker", 1)?;
    let line = ["--backend", "docker", "--image", "busybox", "--name"];
    let before = settled(&home, &[&line[..], &["before", "--", "sleep", "1000"]].concat())?;
    let victim = container(&engine, &before)?;
    engine.down()?;
    let error = eventually("it is lost", || {
        let watch = watch(&home, "docker")?;
        Ok((watch["state"] != "watching").then(|| watch["error"].as_str().unwrap_or_default().to_owned()))
    })?;
    assert!(!error.is_empty());
    engine.up()?;
    watching(&home, "docker", 2)?;
    // Its end was missed: that is what the look at everything is for.
    until(&home, "before", "its end is known", |session| {
        session["state"] == "failed" || session["state"] == "stopped"
    })?;
    engine.docker(["rm", "--force", &victim])?;
    until_healthy(&home, "docker")?;
    let after = settled(&home, &[&line[..], &["after", "--", "sleep", "1000"]].concat())?;
    engine.docker(["kill", &container(&engine, &after)?])?;
    until_state(&home, "after", "failed")?;
    let shown = home.ok(&["backend", "inspect", "docker"])?;
    assert!(shown.contains("watching for") && shown.contains("opened"), "{shown}");
    Ok(())
}
