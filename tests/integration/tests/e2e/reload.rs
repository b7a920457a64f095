//! The configuration is read again while the daemon runs: exactly the backends that changed are touched, and no session.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use seawall_integration::{
    QUICK, engine, eventually, fixture, home, problem, process, refused, run, text, until, until_state,
};
use seawall_testing::daemon::{Daemon, Home};
use seawall_testing::processes::{Process, signal};
use serde_json::{Value, json};

/// A copy of a built-in plugin, to be changed; with `version` bytes more of a custom section, which means nothing.
fn copy(home: &Home, plugin: &str, version: u8) -> Result<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist").join(plugin).with_extension("wasm");
    let mut bytes = std::fs::read(&built).with_context(|| format!("read {}", built.display()))?;
    if version > 0 {
        // A custom section of that size, with the name `v`.
        bytes.extend([0, version + 2, 1, b'v']);
        bytes.extend(std::iter::repeat_n(0, usize::from(version)));
    }
    let copied = home.dir().join("own.wasm");
    let fresh = home.dir().join("fresh.wasm");
    std::fs::write(&fresh, bytes)?;
    std::fs::rename(fresh, &copied)?;
    Ok(copied)
}

fn hang_up(daemon: &Daemon) -> Result<()> {
    Ok(signal(&daemon.process().context("the daemon has ended")?, Signal::HUP)?)
}

fn generation(home: &Home, backend: &str) -> Result<u64> {
    let status = home.json(&["backend", "inspect", backend])?;
    status["generation"].as_u64().with_context(|| format!("no generation in {status:#}"))
}

fn events(home: &Home, kind: &str) -> Result<Vec<Value>> {
    let lines = home.ok(&["events", "--json"])?;
    let all: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok(all.into_iter().filter(|event| event["kind"] == kind).collect())
}

const OWN: &str = "[backend.own]\nplugin = \"own.wasm\"\ngrants.process = {}\n";

/// Two process sessions, one on a plugin in a file of its own.
fn sleepers(home: &Home) -> Result<[(Process, Value); 2]> {
    let sleeper = |backend: &str, name: &str, time: &str| -> Result<(Process, Value)> {
        run(home, &["--backend", backend, "--name", name, "--restart", "always", "--", "sleep", time])?;
        let session = until(home, name, "it runs", |now| now["state"] == "running" && now["health"] == "healthy")?;
        Ok((process(home, &["sleep", time])?, session))
    };
    Ok([sleeper("own", "first", "1001")?, sleeper("process", "second", "1002")?])
}

fn untouched(home: &Home, before: &[(Process, Value); 2]) -> Result<()> {
    for (process, session) in before {
        ensure!(process.still_runs(), "{process:?} was ended");
        let now = until_state(home, text(session, "name")?, "running")?;
        for field in ["id", "incarnation", "restarts", "started_at"] {
            assert_eq!(now[field], session[field], "{field}");
        }
    }
    Ok(())
}

#[test]
fn exactly_the_backends_that_changed_are_touched_and_processes_run_on() -> Result<()> {
    let home = home("")?;
    copy(&home, "process", 0)?;
    home.configure(&format!("{QUICK}{OWN}"))?;
    let daemon = home.serve(true)?;
    let before = sleepers(&home)?;

    let done = home.json(&["reload"])?;
    let all = ["docker", "mock", "own", "process"];
    assert_eq!(done, json!({ "added": [], "removed": [], "restarted": {}, "left": all }));

    home.configure(&format!(
        "shutdown-deadline = \"20s\"\n{QUICK}{OWN}\
         [backend.docker]\nenabled = false\n\
         [backend.mock]\nconfig.seed = 7\nbulkhead.limit.calls = 9\n\
         [backend.process]\ngrants.process.programs = [\"/bin\", \"/usr/bin\"]\n\
         [backend.second]\nplugin = \"builtin:mock\"\ngrants.state = true\n"
    ))?;
    let done = home.http("POST", "/v1/reload", None)?;
    let expected = json!({
        "added": ["second"],
        "removed": ["docker"],
        "restarted": { "mock": ["config", "bulkhead"], "process": ["grants"] },
        "left": ["own"],
        "settings": ["shutdown-deadline"],
    });
    assert_eq!((done.status, done.json()), (200, expected));
    untouched(&home, &before)?;
    run(&home, &["--backend", "second", "--name", "new"])?;
    refused(&home, &["run", "--backend", "docker", "--image", "x"], 64, &["there is no backend docker"])?;
    let of = |backend| generation(&home, backend);
    assert_eq!((of("own")?, of("process")?, of("mock")?, of("second")?), (1, 2, 2, 1));
    for (kind, backends) in [
        ("backend.added", vec!["second"]),
        ("backend.removed", vec!["docker"]),
        ("backend.restarted", vec!["mock", "process"]),
    ] {
        let told = events(&home, kind)?;
        let told: Vec<_> = told.iter().filter_map(|event| event["backend"].as_str()).collect();
        assert_eq!(told, backends, "{kind}");
    }

    // Another version of the same file, by the signal.
    copy(&home, "process", 1)?;
    hang_up(&daemon)?;
    let told =
        eventually("the file's new content is used", || Ok(events(&home, "backend.restarted")?.get(2).cloned()))?;
    assert!(text(&told, "message")?.ends_with("its plugin changed"), "{told:?}");
    assert_eq!(of("own")?, 2);
    untouched(&home, &before)?;
    // The new one has its hands on what the old one made.
    home.ok(&["stop", "first"])?;
    assert!(!before[0].0.still_runs());
    home.ok(&["start", "first"])?;
    assert_eq!(until_state(&home, "first", "running")?["incarnation"], 2);
    assert!(home.ok(&["reload"])?.starts_with("left:"));
    assert!(daemon.terminate()?.success());
    Ok(())
}

#[test]
fn what_cannot_be_is_refused_with_its_place_and_changes_nothing() -> Result<()> {
    let home = home("")?;
    copy(&home, "process", 0)?;
    home.configure(&format!("{QUICK}{OWN}"))?;
    let daemon = home.serve(true)?;
    let before = sleepers(&home)?;
    let backends = || -> Result<Vec<Value>> {
        let all = home.json(&["backend", "ls"])?;
        let all = all.as_array().context("an array")?;
        Ok(all.iter().map(|status| json!([status["name"], status["generation"]])).collect())
    };
    let were = backends()?;
    // Each has something else besides that could be done.
    let good = "[backend.second]\nplugin = \"builtin:mock\"\ngrants.state = true\n";
    let bad = fixture("no-wasm")?.display().to_string();
    let cases = [
        (format!("sokcet = \"/x\"\n{good}"), 422, "config", 78, vec!["seawall.toml:1:1", "did you mean `socket`"]),
        (
            format!("{good}[backend.mock]\nconfig.sede = 1\n"),
            422,
            "config",
            78,
            vec![":5:", "backend.mock.config.sede"],
        ),
        (format!("{good}bulkhead.limit.calls = 0\n"), 422, "config", 78, vec![":4:", "limit.calls"]),
        (format!("{good}[backend.bad]\nplugin = {bad:?}\n"), 422, "plugin", 76, vec!["backend bad cannot", "no-wasm"]),
        (
            format!("{good}[backend.bad]\nplugin = \"none.wasm\"\n"),
            422,
            "plugin",
            76,
            vec!["none.wasm", "No such file"],
        ),
        (
            format!("{good}[backend.own]\nplugin = \"own.wasm\"\n"),
            422,
            "plugin",
            76,
            vec!["backend own cannot", "grants.process"],
        ),
        (format!("socket = \"other\"\nlog.filter = \"debug\"\n{good}"), 409, "needs_restart", 66, vec!["log.filter"]),
        (format!("{good}[control.check]\nfailures = 9\n"), 409, "needs_restart", 66, vec!["control.check.failures"]),
        (format!("{good}[runtime]\ncpu = 1000\n"), 409, "needs_restart", 66, vec!["runtime.cpu"]),
        ("no toml".to_owned(), 422, "config", 78, vec!["seawall.toml:1:"]),
    ];
    for (config, status, kind, code, words) in &cases {
        let quick = if config.contains("[control.check]") { "" } else { QUICK };
        home.configure(&format!("{config}{quick}"))?;
        let said = problem(&home, ("POST", "/v1/reload", None), (*status, kind), words)?;
        assert!(text(&said, "detail")?.starts_with("nothing was changed"), "{said:#}");
        refused(&home, &["reload"], *code, words)?;
        assert_eq!(backends()?, were, "{config}");
    }
    problem(&home, ("POST", "/v1/reload?now=1", None), (400, "malformed"), &["now"])?;
    problem(&home, ("GET", "/v1/reload", None), (405, "method_not_allowed"), &["GET"])?;

    // By the signal it is the log that says so.
    home.configure("[backend.mock]\nenabeld = false\n")?;
    hang_up(&daemon)?;
    eventually("the log says so", || Ok(home.log().contains("did you mean `enabled`").then_some(())))?;
    assert_eq!(backends()?, were);
    std::fs::remove_file(home.config())?;
    refused(&home, &["reload"], 78, &["seawall.toml", "cannot be read"])?;
    assert_eq!(events(&home, "backend.added")?, Vec::<Value>::new());
    untouched(&home, &before)
}

#[test]
fn sessions_of_a_backend_that_is_removed_run_on_and_are_met_again_when_it_is_back() -> Result<()> {
    let home = home("")?;
    copy(&home, "process", 0)?;
    let with = format!("{QUICK}{OWN}");
    home.configure(&with)?;
    let _daemon = home.serve(true)?;
    let before = sleepers(&home)?;
    run(
        &home,
        &["--backend", "own", "--name", "ends", "--", "sh", "-c", "while [ ! -e end ]; do sleep 0.01; done; exit 7"],
    )?;

    home.configure(QUICK)?;
    assert_eq!(home.json(&["reload"])?["removed"], json!(["own"]));
    for name in ["first", "ends"] {
        let unknown = until_state(&home, name, "unknown")?;
        assert_eq!(unknown["last_state"], "running");
        assert!(text(&unknown, "reason")?.contains("backend own is not configured"), "{unknown:#}");
    }
    assert!(home.ok(&["why", "first"])?.contains("own is not configured"));
    let metrics = home.http("GET", "/metrics", None)?.text();
    assert!(metrics.contains("seawall_sessions{backend=\"own\",state=\"unknown\"} 2"), "{metrics}");
    refused(&home, &["stop", "first"], 65, &["own"])?;
    assert!(before[0].0.still_runs());
    let dir = process(&home, &["sh", "-c", "while [ ! -e end ]; do sleep 0.01; done; exit 7"])?;
    std::fs::write(format!("/proc/{}/cwd/end", dir.pid), "")?;
    eventually("it ended, and nobody looked", || Ok((!dir.still_runs()).then_some(())))?;
    assert_eq!(until_state(&home, "ends", "unknown")?["last_state"], "running");

    home.configure(&with)?;
    assert_eq!(home.json(&["reload"])?["added"], json!(["own"]));
    untouched(&home, &before)?;
    let ended = until_state(&home, "ends", "failed")?;
    assert_eq!(ended["exit"]["code"], 7);
    Ok(())
}

#[test]
fn a_container_goes_on_untouched_while_its_backend_is_replaced() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    let daemon = home.serve(true)?;
    let docker = ["--backend", "docker", "--image", "busybox", "--restart", "always"];
    let id = run(&home, &[&docker[..], &["--name", "sails", "--", "sleep", "1000"]].concat())?;
    let before = until(&home, "sails", "it runs", |now| now["state"] == "running" && now["health"] == "healthy")?;
    let container = || -> Result<String> {
        let all = engine.docker(["ps", "-aq", "--no-trunc", "--filter", &format!("label=seawall.session={id}")])?;
        engine.docker(["inspect", "--format", "{{.Id}} {{.State.Pid}} {{.State.StartedAt}}", all.trim()])
    };
    let was = container()?;
    for (generation, property) in [(2, "deadlines.check = \"9s\""), (3, "bulkhead.limit.calls = 9")] {
        home.configure(&format!("{QUICK}[backend.docker]\n{property}\n"))?;
        hang_up(&daemon)?;
        eventually("the backend is replaced", || Ok((self::generation(&home, "docker")? == generation).then_some(())))?;
        eventually("the new one has looked at its sessions", || {
            let status = home.json(&["backend", "inspect", "docker"])?;
            Ok((!status["swept_at"].is_null() && status["health"] == "healthy").then_some(()))
        })?;
        let now = until_state(&home, "sails", "running")?;
        for field in ["id", "incarnation", "restarts", "started_at"] {
            assert_eq!(now[field], before[field], "{field}");
        }
        assert_eq!(container()?, was);
    }
    // The new one has its hands on what the old one made.
    home.ok(&["rm", "--force", "sails"])?;
    assert_eq!(engine.docker(["ps", "-aq", "--filter", &format!("label=seawall.session={id}")])?, "");
    Ok(())
}

/// B6, and that reloads which are asked for at one time follow one another.
#[test]
fn many_reloads_at_once_end_with_the_last_configuration_and_a_new_backend_is_waited_for() -> Result<()> {
    let home = home("")?;
    let daemon = home.serve(true)?;
    let slow = "[backend.slow]\nplugin = \"builtin:mock\"\ngrants.state = true\n\
                deadlines.check = \"10m\"\nconfig.check.latency = \"10m\"\n";
    home.configure(&format!("{QUICK}{slow}"))?;
    let reloads: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| home.http("POST", "/v1/reload", None))).collect();
        asked.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    let mut added = 0;
    for answer in reloads {
        let answer = answer.map_err(|_| anyhow::anyhow!("a request panicked"))??;
        assert_eq!(answer.status, 200, "{}", answer.text());
        added += answer.json()["added"].as_array().map_or(0, Vec::len);
    }
    assert_eq!(added, 1, "it was added once");
    let ready = home.http("GET", "/readyz", None)?;
    assert_eq!((ready.status, &ready.json()["reasons"]), (503, &json!(["backend slow had no check yet"])));
    home.configure(&format!("shutdown = \"stop\"\n{QUICK}"))?;
    let done = home.json(&["reload"])?;
    assert_eq!((&done["removed"], &done["settings"]), (&json!(["slow"]), &json!(["shutdown"])));
    assert_eq!(home.http("GET", "/readyz", None)?.status, 200);

    // How it ends is what was read last.
    run(&home, &["--backend", "process", "--name", "stays", "--", "sleep", "1003"])?;
    let sleeper = process(&home, &["sleep", "1003"])?;
    assert!(daemon.terminate()?.success());
    assert!(!sleeper.still_runs());
    Ok(())
}
