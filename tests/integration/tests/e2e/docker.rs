//! Sessions on a real Docker Engine, held against what the engine itself says.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use seawall_integration::{engine, eventually, home, nothing_left, refused, run, text, until, until_state};
use seawall_testing::daemon::Home;
use seawall_testing::docker::Engine;
use serde_json::Value;

const RUN: [&str; 4] = ["--backend", "docker", "--image", "busybox"];

/// The full names of the containers of this session, ended ones too.
fn containers(engine: &Engine, id: &str) -> Result<Vec<String>> {
    let names =
        engine.docker(["ps", "--all", "--format", "{{.Names}}", "--filter", &format!("label=seawall.session={id}")])?;
    Ok(names.lines().map(str::to_owned).collect())
}

/// The one container of this session, as `docker inspect` shows it.
fn container(engine: &Engine, id: &str) -> Result<Value> {
    let names = containers(engine, id)?;
    let [name] = names.as_slice() else { anyhow::bail!("not one container: {names:?}") };
    let shown: Value = serde_json::from_str(&engine.docker(["inspect", name])?)?;
    Ok(shown[0].clone())
}

fn docker_home(engine: &Engine, more: &str) -> Result<Home> {
    Ok(home(more)?.with_docker(&engine.host()))
}

#[test]
fn a_container_lives_from_run_to_rm() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = docker_home(engine, "")?;
    let _daemon = home.serve(true)?;
    let script = "echo out; echo err >&2; sleep 1000";
    let id = run(&home, &[&RUN[..], &["--name", "web", "--", "sh", "-c", script]].concat())?;

    let real = container(engine, &id)?;
    assert_eq!(real["State"]["Running"], true);
    let name = text(&real, "Name")?;
    assert!(name.starts_with("/seawall-") && name.ends_with(&format!("-{id}-1")), "{name}");
    let logs = eventually("both lines are there", || {
        let logs = home.run(["logs", "web"])?;
        Ok((!logs.stdout.is_empty() && !logs.stderr.is_empty()).then_some(logs))
    })?;
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("out\n", "err\n"));

    home.ok(&["stop", "--grace", "1s", "web"])?;
    assert_eq!(home.json(&["inspect", "web"])?["state"], "stopped");
    assert_eq!(container(engine, &id)?["State"]["Running"], false);
    home.ok(&["rm", "web"])?;
    assert!(containers(engine, &id)?.is_empty());
    Ok(())
}

#[test]
fn what_is_asked_for_reaches_the_container() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = docker_home(engine, "")?;
    let _daemon = home.serve(true)?;
    let flags = [
        "--name",
        "full",
        "--env",
        "TOKEN=hunter2",
        "--label",
        "team=night",
        "--workdir",
        "/tmp",
        "--user",
        "65534",
        "--hostname",
        "harbour",
        "--memory",
        "64MiB",
        "--cpus",
        "0.5",
        "--processes",
        "50",
        "--tmpfs",
        "/scratch:1MiB",
        "--network",
        "isolated",
        "--stop-signal",
        "INT",
        "--init",
        "--log-max-size",
        "1MiB",
        "--log-max-files",
        "2",
    ];
    let script = "echo $TOKEN $(pwd) $(id -u) $(hostname)";
    let id = run(&home, &[&RUN[..], &flags, &["--", "sh", "-c", script]].concat())?;
    assert_eq!(home.run(["wait", "full"])?.code, Some(0));
    assert_eq!(home.ok(&["logs", "full"])?, "hunter2 /tmp 65534 harbour\n");

    let real = container(engine, &id)?;
    let host = &real["HostConfig"];
    assert_eq!(
        (&host["Memory"], &host["NanoCpus"], &host["PidsLimit"]),
        (&(64 << 20).into(), &500_000_000.into(), &50.into())
    );
    assert_eq!((&host["NetworkMode"], &host["Init"]), (&"none".into(), &true.into()));
    assert_eq!((&host["LogConfig"]["Type"], &host["RestartPolicy"]["Name"]), (&"local".into(), &"no".into()));
    assert_eq!(real["Config"]["Labels"]["team"], "night");
    let mounts = host["Mounts"].as_array().context("Mounts")?;
    assert!(mounts.iter().any(|mount| mount["Target"] == "/scratch" && mount["Type"] == "tmpfs"), "{mounts:?}");
    assert!(!home.ok(&["inspect", "full"])?.contains("hunter2"));
    assert!(!home.log().contains("hunter2"));
    Ok(())
}

#[test]
fn exit_codes_and_want_of_memory_are_told_apart() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = docker_home(engine, "")?;
    let _daemon = home.serve(true)?;
    run(&home, &[&RUN[..], &["--name", "three", "--", "sh", "-c", "exit 3"]].concat())?;
    assert_eq!(home.run(["wait", "three"])?.code, Some(3));
    let session = home.json(&["inspect", "three"])?;
    assert_eq!((&session["state"], &session["exit"]["oom"]), (&"failed".into(), &false.into()));

    let want = engine.want_of_memory()?;
    let hungry =
        ["--name", "hungry", "--memory", "16MiB", "--stdin", "--", "sh", "-c", "tail /dev/zero; read go; exit 9"];
    let id = run(&home, &[&RUN[..], &hungry].concat())?;
    let names = containers(engine, &id)?;
    eventually("the Engine has heard of it", || Ok(want.of(&names[0])?.then_some(())))?;
    home.ok(&["send", "hungry", "go"])?;
    assert_eq!(home.run(["wait", "hungry"])?.code, Some(9));
    let session = home.json(&["inspect", "hungry"])?;
    assert_eq!((&session["state"], &session["exit"]["oom"]), (&"failed".into(), &true.into()), "{session:#}");
    Ok(())
}

#[test]
fn health_is_what_the_engine_found() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = docker_home(engine, "")?;
    let _daemon = home.serve(true)?;
    run(&home, &[&RUN[..], &["--name", "plain", "--", "sleep", "1000"]].concat())?;
    until(&home, "plain", "is healthy without a check", |now| now["health"] == "healthy")?;
    let check = ["--health-interval", "200ms", "--health-timeout", "5s", "--health-retries", "1"];
    for (name, command, health) in [("well", "true", "healthy"), ("ill", "false", "unhealthy")] {
        let flags = [&RUN[..], &["--name", name, "--health-cmd", command], &check, &["--", "sleep", "1000"]].concat();
        run(&home, &flags)?;
        until(&home, name, health, |now| now["health"] == health)?;
    }
    Ok(())
}

#[test]
fn a_container_killed_behind_the_back_comes_back() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = docker_home(engine, "")?;
    let _daemon = home.serve(true)?;
    let id =
        run(&home, &[&RUN[..], &["--name", "phoenix", "--restart", "on-failure", "--", "sleep", "1000"]].concat())?;
    let names = containers(engine, &id)?;
    engine.docker(["kill", &names[0]])?;
    let session = until(&home, "phoenix", "runs again", |now| now["state"] == "running" && now["restarts"] == 1)?;
    assert_eq!(session["incarnation"], 2);
    let names = containers(engine, &id)?;
    assert!(names.len() == 1 && names[0].ends_with("-2"), "incarnation 1 is removed before 2 is made: {names:?}");

    // One that is removed altogether counts as gone once a complete list has confirmed it.
    engine.docker(["rm", "--force", &names[0]])?;
    let session = until(&home, "phoenix", "runs again", |now| now["state"] == "running" && now["restarts"] == 2)?;
    assert_eq!(session["incarnation"], 3);
    Ok(())
}

#[test]
fn a_killed_daemon_adopts_its_containers() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = docker_home(engine, "")?;
    let daemon = home.serve(true)?;
    let id = run(&home, &[&RUN[..], &["--name", "kept", "--restart", "always", "--", "sleep", "1000"]].concat())?;
    let before = container(engine, &id)?;
    daemon.kill()?;
    let _daemon = home.serve(true)?;
    let session = until_state(&home, "kept", "running")?;
    assert_eq!((&session["incarnation"], &session["restarts"]), (&1.into(), &0.into()));
    let after = container(engine, &id)?;
    assert_eq!((&before["Id"], &before["State"]["StartedAt"]), (&after["Id"], &after["State"]["StartedAt"]));
    Ok(())
}

/// Makes a container that carries the stamp of `model`, changed by `edit`, under a name of its own.
fn forge(engine: &Engine, model: &Value, name: &str, edit: &[(&str, &str)]) -> Result<()> {
    let mut arguments = vec!["run".to_owned(), "--detach".to_owned(), "--name".to_owned(), name.to_owned()];
    let labels = model["Config"]["Labels"].as_object().context("labels")?;
    for (key, value) in labels.iter().filter(|(key, _)| key.starts_with("seawall.")) {
        let edited = edit.iter().find(|(edited, _)| edited == key).map(|(_, value)| *value);
        let value = edited.or(value.as_str()).context("a label")?;
        arguments.extend(["--label".to_owned(), format!("{key}={value}")]);
    }
    arguments.extend(["busybox", "sleep", "1000"].map(str::to_owned));
    engine.docker(&arguments)?;
    Ok(())
}

#[test]
fn orphans_are_removed_and_what_only_looks_alike_is_not() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = docker_home(engine, "")?;
    let _daemon = home.serve(true)?;
    let id = run(&home, &[&RUN[..], &["--name", "model", "--", "sleep", "1000"]].concat())?;
    let model = container(engine, &id)?;
    let labels = &model["Config"]["Labels"];
    let store = text(labels, "seawall.store")?.to_owned();

    let unknown = "00000000000000aa";
    // Another store whose id begins as ours does; a stamp that a committed image carries under another name; and a
    // container of nobody. They are there before the orphan is, so that nothing saves them but what they are.
    let longer = format!("{store}2");
    let alike = format!("seawall-{longer}-{unknown}-1");
    forge(engine, &model, &alike, &[("seawall.session", unknown), ("seawall.store", &longer)])?;
    let committed = format!("committed-{store}");
    forge(engine, &model, &committed, &[])?;
    let foreign = format!("foreign-{store}");
    engine.docker(["run", "--detach", "--name", &foreign, "busybox", "sleep", "1000"])?;
    let orphan = format!("seawall-{store}-{unknown}-1");
    forge(engine, &model, &orphan, &[("seawall.session", unknown)])?;

    let all = || -> Result<Vec<String>> {
        Ok(engine.docker(["ps", "--format", "{{.Names}}"])?.lines().map(str::to_owned).collect())
    };
    eventually("the orphan is removed", || Ok((!all()?.contains(&orphan)).then_some(())))?;
    let left = all()?;
    for name in [&alike, &committed, &foreign] {
        assert!(left.contains(name), "{name} was removed; there are {left:?}");
        engine.docker(["rm", "--force", name])?;
    }
    assert_eq!(home.json(&["inspect", "model"])?["state"], "running");
    Ok(())
}

#[test]
fn a_missing_image_or_program_is_named() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = docker_home(engine, "")?;
    let _daemon = home.serve(true)?;
    let no_image = ["run", "--backend", "docker", "--pull", "never", "--image", "no/such:image", "--", "true"];
    refused(&home, &no_image, 64, &["image", "no/such:image", "docker pull", "seawall pull -b docker"])?;
    let no_program = [&["run"], &RUN[..], &["--name", "no-program", "--", "/no/such/program"]].concat();
    refused(&home, &no_program, 64, &["/no/such/program"])?;
    nothing_left(&home)
}

#[test]
fn what_was_not_granted_is_refused_by_name() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = docker_home(engine, "")?;
    let _daemon = home.serve(true)?;
    let socket = engine.socket().display().to_string();
    let cases: [(&[&str], &str); 7] = [
        (&["--volume", "/etc:/data"], "mounts"),
        (&["--volume", &format!("{socket}:/docker.sock")], "mounts"),
        (&["--volume", "cache:/data"], "mounts"),
        (&["--network", "host"], "network"),
        (&["--option", "privileged=true"], "privileged"),
        (&["--option", r#"add_capabilities=["SYS_ADMIN"]"#], "add_capabilities"),
        (&["--publish", "0.0.0.0:8080:80"], "ports"),
    ];
    for (arguments, field) in cases {
        refused(&home, &[&["run"], &RUN[..], arguments, &["--", "true"]].concat(), 67, &[field])?;
    }
    nothing_left(&home)
}

#[test]
fn the_doctor_asks_the_engine_whether_there_is_a_daemon_or_not() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = docker_home(engine, "")?;
    let version = engine.docker(["version", "--format", "{{.Server.Version}}"])?;
    let asked = || -> Result<BTreeMap<String, Value>> {
        // It may find fault with this machine, and ends with 1 then.
        let findings: Vec<Value> = serde_json::from_str(&home.run(["doctor", "--json"])?.stdout)?;
        findings.into_iter().map(|finding| Ok((text(&finding, "about")?.to_owned(), finding))).collect()
    };
    let alone = asked()?;
    assert_eq!(alone["engine of docker"]["level"], "ok", "{alone:#?}");
    ensure!(text(&alone["engine of docker"], "found")?.contains(&format!("version {}", version.trim())), "{alone:#?}");
    assert_eq!(alone["daemon"]["level"], "warning", "{alone:#?}");
    let _daemon = home.serve(true)?;
    let beside = asked()?;
    assert_eq!((&beside["engine of docker"], &beside["daemon"]["level"]), (&alone["engine of docker"], &"ok".into()));
    Ok(())
}
