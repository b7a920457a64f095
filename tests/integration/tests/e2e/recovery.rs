//! What no daemon and no plugin looks after any more: orphans, sessions of a broken plugin, containers of an engine that
//! was restarted.

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use seawall_integration::{QUICK, engine, eventually, fixture, home, process, refused, run, until, until_state};
use seawall_testing::daemon::Home;
use seawall_testing::docker::Engine;
use seawall_testing::processes;
use serde_json::Value;

/// Has `backend` run on a plugin that traps in whatever it is asked, with the capability that it had.
fn break_plugin(home: &Home, backend: &str, grant: &str) -> Result<()> {
    let plugin = fixture("trap")?.display().to_string();
    home.configure(&format!(
        "{QUICK}[backend.{backend}]\nplugin = {plugin:?}\ngrants.{backend} = {grant}\nconfig.function = \"every\"\n"
    ))?;
    Ok(())
}

#[test]
fn the_host_removes_the_process_of_a_broken_plugin() -> Result<()> {
    let home = home("")?;
    let daemon = home.serve(true)?;
    // It leaves its own session by a double fork.
    let script = "setsid sh -c 'sleep 5101 & sleep 5102' & exec sleep 5103";
    run(&home, &["--backend", "process", "--name", "stuck", "--", "sh", "-c", script])?;
    run(&home, &["--backend", "process", "--name", "other", "--", "sleep", "5104"])?;
    for seconds in ["5101", "5102", "5103", "5104"] {
        process(&home, &["sleep", seconds])?;
    }
    daemon.terminate()?;
    break_plugin(&home, "process", "{}")?;
    let _daemon = home.serve(false)?;
    // The plugin traps over it as often as it is asked, and nothing comes of that.
    home.ok(&["rm", "--force", "--no-wait", "stuck"])?;
    eventually("the plugin has trapped", || {
        let why = home.json(&["why", "stuck"])?;
        let errors = why["errors"].as_array().context("the last errors")?;
        let trapped = |error: &Value| {
            error["function"] == "remove" && error["message"].as_str().is_some_and(|message| message.contains("trap"))
        };
        Ok(errors.iter().any(trapped).then_some(()))
    })?;
    assert!(home.processes().iter().any(|process| process.command == ["sleep", "5103"]));
    home.ok(&["rm", "--break-glass", "stuck"])?;
    refused(&home, &["inspect", "stuck"], 65, &["stuck"])?;
    let left = home.processes();
    let runs = |seconds: &str| left.iter().any(|process| process.command == ["sleep", seconds]);
    assert_eq!(["5101", "5102", "5103", "5104"].map(runs), [false, false, false, true], "{left:?}");
    assert_eq!(std::fs::read_dir(home.data_dir().join("runs"))?.count(), 1, "its run directory is gone");
    Ok(())
}

#[test]
fn a_supervisor_that_does_not_answer_is_killed_with_its_tree() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    run(&home, &["--backend", "process", "--name", "deaf", "--", "sleep", "5111"])?;
    let sleeper = process(&home, &["sleep", "5111"])?;
    let supervisor = processes::Process::read(sleeper.parent).context("its supervisor")?;
    processes::signal(&supervisor, Signal::STOP)?;
    home.ok(&["rm", "--break-glass", "deaf"])?;
    assert!(!supervisor.still_runs() && !sleeper.still_runs());
    Ok(())
}

#[test]
fn the_host_removes_the_container_of_a_broken_plugin_and_no_other() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    let daemon = home.serve(true)?;
    let docker = ["--backend", "docker", "--image", "busybox"];
    let stuck = run(&home, &[&docker[..], &["--name", "stuck", "--", "sleep", "1000"]].concat())?;
    let other = run(&home, &[&docker[..], &["--name", "other", "--", "sleep", "1000"]].concat())?;
    let of = |id: &str| engine.docker(["ps", "-aq", "--filter", &format!("label=seawall.session={id}")]);
    let name =
        engine.docker(["ps", "--format", "{{.Names}}", "--filter", &format!("label=seawall.session={stuck}")])?;
    // The labels of a committed image make no container ours.
    let copy = format!("copy-of-{name}");
    engine.docker(["commit", &name, &format!("glass:{stuck}")])?;
    engine.docker(["run", "--detach", "--name", &copy, &format!("glass:{stuck}"), "sleep", "1000"])?;
    daemon.terminate()?;
    // The engine is the one of the grant, whatever the environment says.
    let host = engine.host();
    break_plugin(&home, "docker", &format!("{{ host = {host:?} }}"))?;
    let _daemon = home.serve(false)?;
    home.ok(&["rm", "--break-glass", "stuck"])?;
    let left = of(&stuck)?;
    assert_eq!(left.lines().count(), 1, "the copy alone is left: {left}");
    assert_ne!(of(&other)?, "");
    assert_eq!(home.json(&["ps", "-a"])?.as_array().map(Vec::len), Some(1));
    engine.docker(["rm", "--force", &copy])?;
    home.ok(&["rm", "--break-glass", "other"])?;
    assert_eq!(of(&other)?, "");
    Ok(())
}

#[test]
fn what_the_host_cannot_reach_is_forgotten_only_when_asked_in_so_many_words() -> Result<()> {
    let home = home("")?;
    let daemon = home.serve(true)?;
    run(&home, &["--backend", "mock", "--name", "dream"])?;
    refused(&home, &["rm", "--break-glass", "dream"], 66, &["no capability", "--forget"])?;
    daemon.terminate()?;
    home.configure(&format!("{QUICK}[backend.mock]\nenabled = false\n"))?;
    let _daemon = home.serve(true)?;
    refused(&home, &["rm", "--force", "dream"], 66, &["not configured", "--break-glass"])?;
    refused(&home, &["rm", "--break-glass", "dream"], 66, &["not configured", "--forget"])?;
    refused(&home, &["rm", "--forget", "dream"], 2, &["--break-glass"])?;
    home.ok(&["rm", "--break-glass", "--forget", "dream"])?;
    seawall_integration::nothing_left(&home)
}

#[test]
fn many_orphans_wait_for_an_operator() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    let daemon = home.serve(true)?;
    run(&home, &["--backend", "docker", "--image", "busybox", "--name", "kept", "--", "sleep", "1000"])?;
    let store = home.http("GET", "/v1/version", None)?.json()["store"].as_str().context("a store")?.to_owned();
    let filter = format!("label=seawall.store={store}");
    // No daemon sees the first of them before all are there: a few would be removed unasked.
    daemon.terminate()?;
    for number in 1..=5 {
        let session = format!("{number:016x}");
        let name = format!("seawall-{store}-{session}-1");
        let mut arguments = vec!["run".to_owned(), "--detach".to_owned(), "--name".to_owned(), name];
        for (label, value) in [("store", &*store), ("backend", "docker"), ("session", &session), ("incarnation", "1")] {
            arguments.extend(["--label".to_owned(), format!("seawall.{label}={value}")]);
        }
        arguments.extend(["busybox", "sleep", "1000"].map(str::to_owned));
        engine.docker(&arguments)?;
    }
    let _daemon = home.serve(true)?;
    eventually("they are held back", || {
        let told = home.ok(&["backend", "ls"])?;
        Ok((told.contains("5 workloads belong to no session") && told.contains("--confirm")).then_some(()))
    })?;
    let fates = |document: &serde_json::Value, fate: &str| {
        let orphans = document[0]["orphans"].as_array();
        orphans.is_some_and(|all| all.len() == 5 && all.iter().all(|orphan| orphan["fate"] == fate))
    };
    eventually("the grace of each is over", || {
        let dry = home.json(&["backend", "gc", "docker", "--dry-run"])?;
        Ok(fates(&dry, "held").then_some(()))
    })?;
    assert!(home.ok(&["backend", "gc"])?.contains("backend gc docker --confirm"));
    assert_eq!(engine.docker(["ps", "-q", "--filter", &filter])?.lines().count(), 6);
    refused(&home, &["backend", "gc", "--dry-run", "--confirm"], 2, &["--confirm"])?;
    refused(&home, &["backend", "gc", "nobody"], 65, &["nobody"])?;
    let done = home.json(&["backend", "gc", "docker", "--confirm"])?;
    assert!(fates(&done, "removed"), "{done:#}");
    assert_eq!(engine.docker(["ps", "-aq", "--filter", &filter])?.lines().count(), 1);
    assert_eq!(home.json(&["inspect", "kept"])?["incarnation"], 1);
    assert!(!home.ok(&["backend", "ls"])?.contains("belong to no session"));
    Ok(())
}

#[test]
fn a_container_that_ended_while_no_daemon_ran_keeps_its_code() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    let daemon = home.serve(true)?;
    let script = "trap 'exit 43' TERM; echo ready; while :; do sleep 0.1; done";
    let docker = ["--backend", "docker", "--image", "busybox"];
    let id = run(&home, &[&docker[..], &["--name", "gone", "--", "sh", "-c", script]].concat())?;
    let name = engine.docker(["ps", "--format", "{{.Names}}", "--filter", &format!("label=seawall.session={id}")])?;
    eventually("it listens", || Ok((home.ok(&["logs", "gone"])? == "ready\n").then_some(())))?;
    daemon.kill()?;
    engine.docker(["stop", &name])?;
    let _daemon = home.serve(true)?;
    let session = until_state(&home, "gone", "failed")?;
    assert_eq!((&session["exit"]["code"], &session["incarnation"]), (&43.into(), &1.into()));
    Ok(())
}

#[test]
fn an_engine_that_takes_its_containers_down_has_them_restarted_by_policy() -> Result<()> {
    let Some(engine) = Engine::start_or_skip("an engine that is restarted") else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    let docker = ["--backend", "docker", "--image", "busybox"];
    for (name, policy) in [("again", "always"), ("once", "never")] {
        run(&home, &[&docker[..], &["--name", name, "--restart", policy, "--", "sleep", "1000"]].concat())?;
    }
    engine.down()?;
    until_state(&home, "again", "unknown")?;
    engine.up()?;
    let again = until(&home, "again", "runs again", |now| now["state"] == "running" && now["restarts"] != 0)?;
    assert_eq!((&again["incarnation"], &again["restarts"]), (&2.into(), &1.into()));
    let once = until(&home, "once", "is over", |now| now["state"] != "unknown" && now["state"] != "running")?;
    assert_eq!((&once["state"], &once["incarnation"]), (&"failed".into(), &1.into()));
    let events = home.ok(&["events"])?;
    assert!(!events.contains("orphan.") && !events.contains("session.lost"), "{events}");
    assert_eq!(engine.docker(["ps", "-aq"])?.lines().count(), 2);
    Ok(())
}

#[test]
fn a_create_that_lands_after_its_deadline_is_met_and_not_made_again() -> Result<()> {
    let Some(engine) = Engine::start_or_skip("a create that lands late") else { return Ok(()) };
    let deadlines = "[backend.docker.deadlines]\ncheck = \"60s\"\nobserve = \"2s\"\ncontrol = \"2s\"\n";
    let home = home(deadlines)?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    engine.pause_process()?;
    let docker = ["run", "--no-wait", "--backend", "docker", "--image", "busybox", "--name", "late"];
    home.ok(&[&docker[..], &["--", "sleep", "1000"]].concat())?;
    until(&home, "late", "was cut off", |now| now["reason"].as_str().is_some_and(|reason| !reason.is_empty()))?;
    // What hangs in its socket is read now, by whoever asked for it or not.
    engine.resume()?;
    let session = until_state(&home, "late", "running")?;
    assert_eq!((&session["incarnation"], &session["restarts"]), (&1.into(), &0.into()));
    let there = engine.docker(["ps", "-a", "--format", "{{.Names}}"])?;
    ensure!(there.lines().count() == 1 && there.ends_with("-1"), "{there}");
    Ok(())
}
