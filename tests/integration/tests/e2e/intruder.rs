//! A plugin that was granted `docker` and `process` and reaches for what is not its own: sessions of other backends, the
//! daemon's files, and more of the machine than it was granted. Nothing is hurt, and each refusal says what it is for.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use anyhow::{Context, Result, ensure};
use seawall_integration::{engine, eventually, fixture, home, process, run, until, until_state};
use seawall_testing::daemon::Home;
use serde_json::{Value, json};

/// The configuration of a backend that takes these steps at each check and at each create.
fn intruder(grants: &str, check: &[Value], create: &[Value]) -> Result<String> {
    let plugin = fixture("intruder")?.display().to_string();
    let [check, create] = [check, create].map(|steps| steps.iter().map(inline).collect::<Vec<_>>().join(",\n"));
    Ok(format!(
        "[backend.intruder]\nplugin = {plugin:?}\n{grants}\nconfig.check = [{check}]\nconfig.create = [{create}]\n"
    ))
}

/// As TOML writes it in a line.
fn inline(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name:?} = {}", inline(value)));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        plain => plain.to_string(),
    }
}

/// What each step of a create came to: one problem each, in the refusal of a session.
fn refusals(home: &Home, steps: usize) -> Result<Vec<String>> {
    let refused = home.run(["--json", "run", "--backend", "intruder"])?;
    let problem: Value = serde_json::from_str(&refused.stderr).with_context(|| refused.stderr.clone())?;
    let problems = problem["problems"].as_array().with_context(|| format!("no steps were taken: {problem}"))?;
    ensure!(problems.len() == steps, "{} outcomes of {steps} steps", problems.len());
    problems.iter().map(|problem| Ok(seawall_integration::text(problem, "message")?.to_owned())).collect()
}

/// What each step of a check came to, once they were taken.
fn outcomes(home: &Home, steps: usize) -> Result<Vec<String>> {
    let report = eventually("the intruder was at it", || {
        let status = home.json(&["backend", "inspect", "intruder"])?;
        ensure!(status["error"].is_null(), "{}", status["error"]);
        Ok(status["report"]["attributes"].as_array().filter(|report| !report.is_empty()).cloned())
    })?;
    ensure!(report.len() == steps, "{} outcomes of {steps} steps", report.len());
    let text = |outcome: &Value| outcome[1].as_str().map(str::to_owned).context("an outcome is a name and a text");
    report.iter().map(text).collect()
}

#[test]
fn a_plugin_reaches_no_workload_of_another_backend() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    let daemon = home.serve(true)?;
    let boxed = run(&home, &["--backend", "docker", "--image", "busybox", "--", "sleep", "1000"])?;
    let plain = run(&home, &["--backend", "process", "--", "sleep", "4731"])?;
    let process = process(&home, &["sleep", "4731"])?;
    let name =
        engine.docker(["ps", "--format", "{{.Names}}", "--filter", &format!("label=seawall.session={boxed}")])?;
    let facts = || engine.docker(["inspect", "-f", "{{.Id}} {{.Name}} {{json .State}}", &name]);
    let before = facts()?;
    let id = before.split(' ').next().context("an id")?.to_owned();
    ensure!(daemon.terminate()?.success());

    let calls = ["create", "start", "signal", "remove", "inspect", "logs"];
    let mut asked = Vec::new();
    for session in [&boxed, &plain] {
        for call in calls {
            for key in [json!({"session": session}), json!({"session": session, "handle": id})] {
                asked.push(json!({"on": "docker", "call": call, "key": key}));
            }
            asked.push(json!({"on": "process", "call": call, "key": {"session": session}}));
        }
    }
    asked.push(json!({"on": "docker", "call": "list"}));
    asked.push(json!({"on": "process", "call": "list"}));
    // While it makes a session of its own: that session under another's handle, another's, and what is no id at all.
    let mut made = Vec::new();
    for call in ["start", "signal", "remove", "inspect", "logs"] {
        made.push(json!({"on": "docker", "call": call, "key": {"handle": id}}));
        made.push(json!({"on": "process", "call": call, "key": {}}));
    }
    for call in ["create", "start", "signal", "remove"] {
        made.push(json!({"on": "docker", "call": call, "key": {"session": boxed, "handle": id}}));
        made.push(json!({"on": "process", "call": call, "key": {"session": plain}}));
    }
    for key in [
        json!({"session": "../../x"}),
        json!({"session": ""}),
        json!({"handle": id.get(..12)}),
        json!({"handle": "../images"}),
    ] {
        made.push(json!({"on": "docker", "call": "remove", "key": key}));
    }
    made.push(json!({"on": "process", "call": "remove", "key": {"session": "../../data"}}));

    let more = intruder("grants.docker = {}\ngrants.process = {}", &asked, &made)?;
    home.configure(&format!("{}{more}", seawall_integration::QUICK))?;
    let _daemon = home.serve(true)?;
    let expected = |step: &Value| {
        let key = &step["key"];
        let valid = key["session"].as_str().is_none_or(|session| session.len() == 16)
            && key["handle"].as_str().is_none_or(|handle| handle == id);
        let foreign = key["session"].is_string();
        match step["call"].as_str().unwrap_or_default() {
            _ if !valid => "invalid: ",
            "create" | "start" | "signal" | "remove" if foreign => "denied: this call ",
            "start" | "logs" => "not-found: ",
            // Of a workload that is not there: success, and nothing happens.
            "signal" | "remove" => "done",
            "inspect" => "0 found",
            _ => "0 listed",
        }
    };
    let came_to = [outcomes(&home, asked.len())?, refusals(&home, made.len())?].concat();
    for (step, outcome) in asked.iter().chain(&made).zip(&came_to) {
        assert!(outcome.starts_with(expected(step)), "{step}: {outcome}");
    }
    assert_eq!(facts()?, before);
    assert!(process.still_runs());
    for id in [boxed, plain] {
        let session = until_state(&home, &id, "running")?;
        assert_eq!((&session["incarnation"], &session["restarts"]), (&1.into(), &0.into()));
    }
    Ok(())
}

#[test]
fn what_was_not_granted_is_refused_by_name_whoever_asks() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    let granted = home.dir().join("granted");
    fs::create_dir_all(granted.join("jobs/one/inner"))?;
    fs::create_dir_all(granted.join("tools"))?;
    fs::copy("/bin/true", granted.join("tools/tool"))?;
    for (link, target) in [("data", "../data"), ("root", "/"), ("magic", "/proc/self/root"), ("tools/sh", "/bin/sh")] {
        symlink(target, granted.join(link))?;
    }
    let at = |path: &str| home.dir().join(path).display().to_string();
    let (socket, cache) = (engine.socket().display().to_string(), home.cache_dir().display().to_string());
    let bind = |source: &str, read_only: bool| json!({"binds": [[source, "/there", read_only]]});
    let mut cases: Vec<(&str, Value, &[&str])> = Vec::new();
    for source in ["/", "/proc", "/sys", "/dev", "/etc", "/var/run/docker.sock", "/run", "/root", &socket, &cache] {
        cases.push(("docker", bind(source, true), &["denied: ", "mounts[0].source"]));
    }
    for source in ["", "data", "api.sock", "data/runs"] {
        cases.push(("docker", bind(&at(source), true), &["denied: ", "mounts[0].source"]));
    }
    for source in ["granted/data", "granted/root", "granted/root/etc", "granted/magic"] {
        cases.push(("docker", bind(&at(source), true), &["denied: ", "leads by a link out of"]));
    }
    cases.extend([
        ("docker", bind(&at("granted/../data"), true), &["invalid: ", "without `..`"] as &[&str]),
        ("docker", bind(&at("granted/tools"), false), &["denied: ", "write = true"]),
        ("docker", bind(&at("granted/jobs/one/inner"), true), &["denied: ", "could put another in its place"]),
        ("docker", json!({"volumes": [["data", "/there"]]}), &["denied: ", "volumes = true"]),
        ("docker", json!({"privileged": true}), &["denied: ", "privileged = true"]),
        ("docker", json!({"host-network": true}), &["denied: ", "host-network = true"]),
        ("docker", json!({"capabilities": ["SYS_ADMIN"]}), &["denied: ", "SYS_ADMIN"]),
        ("docker", json!({"publish": "0.0.0.0"}), &["denied: ", "publish"]),
        ("docker", json!({"publish": "::ffff:0.0.0.0"}), &["denied: ", "publish"]),
        ("docker", json!({"ulimits": [["rtprio", 99]]}), &["denied: ", "SYS_NICE"]),
        ("docker", json!({"labels": [["seawall.session", "x"]]}), &["invalid: ", "labels.seawall.session"]),
        ("docker", json!({"env": [["A=B", "c"]]}), &["invalid: ", "env.A=B"]),
        ("docker", json!({"image": "../../images/busybox"}), &["invalid: ", "image"]),
        ("docker", json!({"memory": 1}), &["invalid: ", "resources.memory"]),
        ("process", json!({"command": ["sh", "-c", "id"]}), &["denied: ", "grants.process"]),
        ("process", json!({"command": [at("granted/tools/sh")]}), &["denied: ", "grants.process"]),
        ("process", json!({"command": [at("granted/tools/../../data/x")]}), &["denied: ", "grants.process"]),
        ("process", json!({"working-dir": at("data")}), &["denied: ", "working_dir"]),
        ("process", json!({"working-dir": "/"}), &["denied: ", "working_dir"]),
        ("process", json!({"user": "root"}), &["denied: ", "user"]),
        ("process", json!({"user": "nobody:0"}), &["denied: ", "user"]),
        ("process", json!({"ulimits": [["rtprio", 99]]}), &["invalid: ", "LimitRTPRIO"]),
        ("process", json!({"env": [["A=B", "c"]]}), &["invalid: ", "env.A=B"]),
    ]);
    let steps: Vec<_> = cases
        .iter()
        .map(|(on, with, _)| {
            let mut with = with.clone();
            if *on == "process" && with["command"].is_null() {
                with["command"] = json!([at("granted/tools/tool")]);
            }
            json!({"on": on, "call": "create", "with": with})
        })
        .collect();
    let grants = format!(
        "grants.docker.mounts = [{{ path = {:?} }}, {{ path = {:?}, write = true }}, {{ path = {:?} }}]\n\
         grants.process.programs = [{:?}]\ngrants.process.directories = [{:?}]",
        at("granted"),
        at("granted/jobs/*"),
        at(""),
        at("granted/tools"),
        at("granted/tools"),
    );
    home.configure(&format!("{}{}", seawall_integration::QUICK, intruder(&grants, &[], &steps)?))?;
    let _daemon = home.serve(true)?;
    for ((_, with, words), outcome) in cases.iter().zip(refusals(&home, steps.len())?) {
        for word in *words {
            assert!(outcome.contains(word), "{with}: {outcome}");
        }
    }
    let made = engine.docker(["ps", "--all", "--quiet", "--filter", "label=seawall.backend=intruder"])?;
    assert_eq!(made, "", "a container was made");
    assert_eq!(fs::read_dir(home.data_dir().join("runs"))?.count(), 0, "a run directory was made");
    Ok(())
}

#[test]
fn a_copy_of_a_container_that_went_is_left_alone_and_its_session_runs_again() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    let id = run(&home, &["--backend", "docker", "--image", "busybox", "--restart", "always", "--", "sleep", "1000"])?;
    let name = engine.docker(["ps", "--format", "{{.Names}}", "--filter", &format!("label=seawall.session={id}")])?;
    let store = name.split('-').nth(1).context("the store in a container's name")?.to_owned();
    let tag = format!("copy:{store}");
    engine.docker(["commit", &name, &tag])?;
    engine.docker(["rm", "--force", &name])?;
    // The name of the first incarnation, its labels out of the image, and somebody else's program.
    engine.docker(["run", "--detach", "--name", &name, &tag, "sleep", "2000"])?;
    let facts = || engine.docker(["inspect", "-f", "{{.Id}} {{.Name}} {{json .State}}", &name]);
    let before = facts()?;
    let session = until(&home, &id, "runs again", |now| now["state"] == "running" && now["incarnation"] == 2)?;
    assert_eq!(session["restarts"], 1);

    // An orphan by name and stamp: when it is gone the clean-up has been here, more than once.
    let orphan = format!("seawall-{store}-00000000000000ab-1");
    let mut arguments = vec!["run".to_owned(), "--detach".to_owned(), "--name".to_owned(), orphan.clone()];
    let stamp = [("store", &*store), ("backend", "docker"), ("session", "00000000000000ab"), ("incarnation", "1")];
    arguments.extend(stamp.iter().flat_map(|(name, value)| ["--label".to_owned(), format!("seawall.{name}={value}")]));
    arguments.extend(["busybox", "sleep", "1000"].map(str::to_owned));
    engine.docker(&arguments)?;
    eventually("the orphan is removed", || {
        Ok(engine.docker(["ps", "-aq", "--filter", &format!("name={orphan}")])?.is_empty().then_some(()))
    })?;
    home.ok(&["rm", "--force", &id])?;
    assert_eq!(facts()?, before);
    engine.docker(["rm", "--force", &name])?;
    Ok(())
}

#[test]
fn a_session_reads_nothing_of_the_daemon() -> Result<()> {
    let home = home("")?;
    if fs::metadata("/proc/self")?.uid() != 0 {
        seawall_testing::skipped("what a session can read", "it takes root to run one as another user");
        return Ok(());
    }
    // What is the daemon's own must protect itself.
    fs::set_permissions(home.dir(), fs::Permissions::from_mode(0o755))?;
    let daemon = home.serve(true)?;
    run(&home, &["--backend", "process", "--env", "TOKEN=hunter2", "--", "sleep", "4732"])?;
    let neighbour = process(&home, &["sleep", "4732"])?;
    let script = format!(
        "cd {dir} || echo no way; \
         for f in data data/* data/runs/* cache cache/* $OLDPWD/../program $OLDPWD/../../../*; do \
           ls $f 2> /dev/null && echo BAD: listed $f; cat $f 2> /dev/null && echo BAD: read $f; \
           touch $f/new 2> /dev/null && echo BAD: wrote $f; \
         done; \
         test -w api.sock && echo BAD: socket; test -w data/seawall.sock && echo BAD: socket; \
         for p in {supervisor} {daemon}; do \
           cat /proc/$p/environ 2> /dev/null && echo BAD: environment; kill -9 $p 2> /dev/null && echo BAD: killed; \
         done; echo done",
        dir = home.dir().display(),
        supervisor = neighbour.parent,
        daemon = daemon.pid(),
    );
    run(&home, &["--backend", "process", "--name", "reader", "--", "sh", "-c", &script])?;
    assert_eq!(home.run(["wait", "reader"])?.code, Some(0));
    assert_eq!(home.run(["logs", "reader"])?.stdout, "done\n");
    assert!(neighbour.still_runs());
    Ok(())
}
