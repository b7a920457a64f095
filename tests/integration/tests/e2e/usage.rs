//! What sessions use, where they are reached, and pausing them: by the built commands, on real engines.

use anyhow::{Context, Result, ensure};
use seawall_integration::{engine, eventually, home, refused, run, text, until, until_state};
use seawall_testing::daemon::Home;
use seawall_testing::docker::Engine;
use serde_json::{Value, json};

const DOCKER: [&str; 4] = ["--backend", "docker", "--image", "busybox"];
const PROCESS: [&str; 2] = ["--backend", "process"];
/// Works, and leaves others something of the machine.
const BUSY: &str = "while :; do i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done; sleep 0.02; done";

fn docker_home(engine: &Engine) -> Result<Home> {
    Ok(home("")?.with_docker(&engine.host()))
}

fn begin(home: &Home, on: &[&str], name: &str, flags: &[&str], command: &[&str]) -> Result<String> {
    run(home, &[on, &["--name", name], flags, &["--"], command].concat())
}

/// The rows of `stats --no-stream --json`, by name.
fn stats(home: &Home, arguments: &[&str]) -> Result<Value> {
    let document = home.json(&[&["stats", "--no-stream"], arguments].concat())?;
    let rows = document["sessions"].as_array().context("sessions")?;
    let named = rows.iter().map(|row| (row["name"].as_str().unwrap_or_default().to_owned(), row.clone()));
    Ok(json!({"sessions": named.collect::<serde_json::Map<_, _>>(), "errors": document["errors"]}))
}

/// What a session has had of the processors: of one that stands still it does not grow, while what it wrote before may
/// still be on its way into the log.
fn spent(home: &Home, session: &str) -> Result<u64> {
    eventually("it is measured", || {
        let told = home.run(["stats", "--no-stream", "--json", session])?;
        // Of an engine that is slow at the moment it is not known what runs there.
        if told.code == Some(66) {
            return Ok(None);
        }
        ensure!(told.code == Some(0), "{told:?}");
        let document: Value = serde_json::from_str(&told.stdout)?;
        Ok(document["sessions"][0]["usage"]["cpu_time"].as_u64())
    })
}

/// Pauses a container. The Engine gives up freezing one that a busy machine does not let come to rest, and says so.
fn paused(home: &Home, session: &str) -> Result<()> {
    eventually("it is paused", || {
        let tried = home.run(["pause", session])?;
        let refused = tried.code != Some(0) && tried.stderr.contains("unable to freeze");
        ensure!(refused || tried.stdout == format!("{session}\n"), "{tried:?}");
        Ok((!refused).then_some(()))
    })
}

/// Whether this machine lets a process session be frozen, and says so where it does not.
fn freezes(home: &Home, session: &str) -> Result<bool> {
    let tried = home.run(["pause", session])?;
    if tried.code == Some(68) && tried.stderr.contains("no control group") {
        eprintln!("NOT TESTED: {}", tried.stderr);
        return Ok(false);
    }
    ensure!(tried.code == Some(0), "{tried:?}");
    Ok(true)
}

#[test]
fn figures_of_containers_and_processes_are_in_one_table() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = docker_home(engine)?;
    let _daemon = home.serve(true)?;
    begin(&home, &DOCKER, "busy", &["--memory", "64MiB", "--processes", "40"], &["sh", "-c", BUSY])?;
    begin(&home, &DOCKER, "idle", &[], &["sleep", "1000"])?;
    begin(&home, &PROCESS, "hard", &[], &["sh", "-c", BUSY])?;
    begin(&home, &["--backend", "mock"], "dream", &[], &[])?;

    // It is never measured how much: only who works and who does not. An engine may be too slow for one look.
    let both = eventually("who works is told from who does not", || {
        let both = stats(&home, &[])?;
        let percent = |name: &str| both["sessions"][name]["cpu_percent"].as_f64();
        let shares = (percent("busy"), percent("hard"), percent("idle"));
        let told = matches!(shares, (Some(busy), Some(hard), Some(idle)) if busy > idle && hard > idle);
        Ok(told.then_some(both))
    })?;
    let row = |name: &str| &both["sessions"][name];
    assert_eq!(row("busy")["usage"]["memory_limit"], 64 << 20);
    assert_eq!(row("busy")["usage"]["processes_limit"], 40);
    assert_eq!(row("idle")["usage"]["memory_limit"], 2_u64 << 30, "the backend's own default");
    for name in ["busy", "idle", "hard"] {
        let usage = &row(name)["usage"];
        let some = |field: &str| usage[field].as_u64().is_some_and(|number| number > 0);
        assert!(some("memory") && some("processes") && some("cpu_time"), "{name}: {usage:#}");
    }
    assert_eq!(row("dream"), &Value::Null);
    let errors = both["errors"].as_array().context("errors")?;
    assert_eq!(errors.len(), 1, "{both:#}");
    assert_eq!((&errors[0]["backend"], &errors[0]["kind"]), (&"mock".into(), &"unsupported".into()));

    let table = eventually("both are in the table", || {
        let table = home.run(["stats", "--no-stream", "busy", "hard"])?.stdout;
        Ok((table.lines().count() == 3).then_some(table))
    })?;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].contains("MEM USAGE / LIMIT") && lines[1].contains("/ 64.0MiB"), "{table}");
    // A page does not wait long for an engine that is slow at the moment; the next has its figures. Those who keep the
    // machine busy are not needed for it.
    home.ok(&["kill", "busy"])?;
    home.ok(&["kill", "hard"])?;
    eventually("the page has an engine's figures", || {
        let page = home.http("GET", "/metrics", None)?.text();
        Ok(page.contains("seawall_sessions_memory_bytes{backend=\"docker\"}").then_some(()))
    })?;

    refused(&home, &["stats", "--no-stream", "dream"], 68, &["mock", "`stats`"])?;
    refused(&home, &["stats", "--no-stream", "nobody"], 65, &["nobody"])?;
    home.ok(&["kill", "idle"])?;
    refused(&home, &["stats", "--no-stream", "idle"], 66, &["idle"])?;
    Ok(())
}

#[test]
fn an_engine_that_hangs_costs_its_own_figures_only() -> Result<()> {
    let Some(engine) = Engine::start_or_skip("figures beside an engine that hangs") else { return Ok(()) };
    let home = docker_home(&engine)?;
    let _daemon = home.serve(true)?;
    begin(&home, &DOCKER, "held", &[], &["sleep", "1000"])?;
    begin(&home, &PROCESS, "free", &[], &["sleep", "1000"])?;
    engine.pause_process()?;
    // A machine that is busy may be too slow for one look.
    let sample = eventually("there are figures", || {
        let sample = home.http("GET", "/v1/stats", None)?.json();
        Ok(sample["sessions"].as_array().is_some_and(|rows| !rows.is_empty()).then_some(sample))
    })?;
    engine.resume()?;
    assert_eq!(sample["sessions"].as_array().map(Vec::len), Some(1), "{sample:#}");
    assert_eq!((&sample["sessions"][0]["name"], &sample["errors"][0]["backend"]), (&"free".into(), &"docker".into()));
    Ok(())
}

#[test]
fn a_container_stands_still_while_it_is_paused_and_ends_when_it_is_stopped() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = docker_home(engine)?;
    let daemon = home.serve(true)?;
    begin(&home, &DOCKER, "still", &["--restart", "always"], &["sh", "-c", BUSY])?;
    eventually("it works", || Ok((spent(&home, "still")? > 0).then_some(())))?;
    paused(&home, "still")?;
    assert_eq!(home.ok(&["pause", "still"])?, "still\n");
    assert_eq!(home.json(&["inspect", "still"])?["state"], "paused");
    let stood = spent(&home, "still")?;

    daemon.terminate()?;
    let _daemon = home.serve(true)?;
    until_state(&home, "still", "paused")?;
    assert_eq!(spent(&home, "still")?, stood);
    home.ok(&["unpause", "still"])?;
    eventually("it goes on", || Ok((spent(&home, "still")? > stood).then_some(())))?;

    paused(&home, "still")?;
    // Without its init it would not hear SIGTERM: the KILL at the end of its grace ends it.
    home.ok(&["stop", "--grace", "1s", "still"])?;
    assert_eq!(home.json(&["inspect", "still"])?["state"], "stopped");
    let kinds = home.ok(&["events", "--session", "still"])?;
    assert!(kinds.contains("session.paused") && kinds.contains("session.unpaused"), "{kinds}");
    refused(&home, &["pause", "still"], 66, &["stopped"])?;

    for (name, end) in [("killed", "kill"), ("removed", "rm")] {
        begin(&home, &DOCKER, name, &[], &["sleep", "1000"])?;
        paused(&home, name)?;
        home.ok(if end == "rm" { &["rm", "--force", "removed"] } else { &["kill", "killed"] })?;
    }
    assert_eq!(home.json(&["inspect", "killed"])?["state"], "stopped");
    Ok(())
}

#[test]
fn processes_stand_still_while_they_are_paused_over_a_restart_of_the_daemon_too() -> Result<()> {
    let home = home("")?;
    let daemon = home.serve(true)?;
    begin(&home, &PROCESS, "still", &["--restart", "always"], &["sh", "-c", BUSY])?;
    eventually("it works", || Ok((spent(&home, "still")? > 0).then_some(())))?;
    if !freezes(&home, "still")? {
        return Ok(());
    }
    assert_eq!(home.json(&["inspect", "still"])?["state"], "paused");
    let stood = spent(&home, "still")?;
    refused(&home, &["kill", "--signal", "NOSUCH", "still"], 2, &["NOSUCH"])?;

    daemon.terminate()?;
    let _daemon = home.serve(true)?;
    until(&home, "still", "is seen", |now| now["state"] == "paused")?;
    assert_eq!(spent(&home, "still")?, stood);
    let sample = stats(&home, &["still"])?;
    assert_eq!(sample["sessions"]["still"]["cpu_percent"], 0.0, "{sample:#}");
    home.ok(&["unpause", "still"])?;
    eventually("it goes on", || Ok((spent(&home, "still")? > stood).then_some(())))?;

    home.ok(&["pause", "still"])?;
    home.ok(&["stop", "still"])?;
    let stopped = home.json(&["inspect", "still"])?;
    assert_eq!((&stopped["state"], &stopped["exit"]["signal"]), (&"stopped".into(), &15.into()), "it had its grace");
    for (name, end) in [("killed", "kill"), ("removed", "rm")] {
        begin(&home, &PROCESS, name, &[], &["sleep", "1000"])?;
        home.ok(&["pause", name])?;
        home.ok(if end == "rm" { &["rm", "--force", "removed"] } else { &["kill", "killed"] })?;
    }
    assert_eq!(home.json(&["inspect", "killed"])?["exit"]["signal"], 9);
    Ok(())
}

#[test]
fn published_ports_are_told_as_docker_port_tells_them() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = docker_home(engine)?;
    let _daemon = home.serve(true)?;
    let flags = ["--publish", "8080", "--publish", "5353/udp"];
    let id = begin(&home, &DOCKER, "web", &flags, &["sleep", "1000"])?;
    let name = engine.docker(["ps", "--format", "{{.Names}}", "--filter", &format!("label=seawall.session={id}")])?;
    let theirs = engine.docker(["port", name.trim()])?;
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&home.ok(&["endpoint", "web"])?), sorted(&theirs));
    let address = home.ok(&["endpoint", "web", "8080"])?;
    let line = format!("8080/tcp -> {}", address.trim());
    assert!(theirs.lines().any(|their| their == line) && address.starts_with("127.0.0.1:"), "{theirs} {line}");
    let document = home.json(&["endpoint", "web", "5353/udp"])?;
    assert_eq!((&document[0]["container"], text(&document[0], "protocol")?), (&5353.into(), "udp"));
    refused(&home, &["endpoint", "web", "81"], 65, &["81/tcp"])?;
    home.ok(&["kill", "web"])?;
    refused(&home, &["endpoint", "web"], 66, &["stopped"])?;
    Ok(())
}

#[test]
fn what_a_backend_cannot_do_is_refused_with_its_name_and_the_interface() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    begin(&home, &["--backend", "mock"], "dream", &[], &[])?;
    for (arguments, interface) in
        [(["pause", "dream"], "`pause`"), (["unpause", "dream"], "`pause`"), (["endpoint", "dream"], "`endpoint`")]
    {
        refused(&home, &arguments, 68, &["backend mock", interface])?;
    }
    let answer = home.http("POST", "/v1/sessions/dream/pause", None)?;
    assert_eq!(answer.status, 501, "{}", answer.text());
    let listed = home.ok(&["backend", "ls"])?;
    assert!(listed.lines().next().is_some_and(|header| header.contains("INTERFACES")), "{listed}");
    for address in ["/v1/stats?backend=nobody", "/v1/stats?sesion=a", "/v1/sessions/nobody/stats"] {
        let answer = home.http("GET", address, None)?;
        assert!(matches!(answer.status, 400 | 404), "{address}: {}", answer.text());
    }
    Ok(())
}
