//! The table of fields (`host/model/src/table.rs`), row by row, on every built-in backend: what a row says is carried out
//! shows in `docker inspect` or in the process table, and what it says is refused is refused by name and leaves nothing.
//!
//! A row without a value to try, or without a place to look, fails.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use seawall_integration::{QUICK, engine, eventually, home, nothing_left, text, until, until_state};
use seawall_model::table::{Carried, DOCKER_OPTIONS, Field, SPEC};
use seawall_testing::daemon::Home;
use seawall_testing::processes::Process;
use serde_json::{Value, json};

/// Where a variable may come from.
const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/files");

/// The quick configuration, with that in it.
fn quick() -> String {
    QUICK.replace("[control]\n", &format!("[control]\nenv-files = [{FILES:?}]\n"))
}

/// A value of this field that can be had, with what must stand beside it, as a part of a spec.
fn part(path: &str) -> Result<Value> {
    let mount = |source: Value, target: &str| json!({"mounts": [{"source": source, "target": target}]});
    let tmpfs = |target: &str, more: Value| {
        let mut mount = json!({"source": {"tmpfs": "1MiB"}, "target": target});
        merge(&mut mount, more);
        json!({"mounts": [mount]})
    };
    let port = |container: u16, more: Value| {
        let mut port = json!({"container": container});
        merge(&mut port, more);
        json!({"ports": [port]})
    };
    // Long enough to be out of the way: what a check finds is tested elsewhere.
    let check = |more: Value| {
        let mut command = json!({"command": ["true"]});
        merge(&mut command, more);
        json!({"health_check": {"command": command}})
    };
    let restarts = |mut more: Value| {
        merge(&mut more, json!({"restart": "on-failure:3"}));
        more
    };
    let probe = |role: &str| json!({"probes": {role: {"check": {"exec": {"command": ["true"]}}}}});
    Ok(match path {
        "backend" => json!({}),
        "name" => json!({"name": "walked"}),
        "labels" => json!({"labels": {"team": "sea"}}),
        "image" => json!({"image": "busybox"}),
        "command" => json!({"command": ["sleep", "4713"]}),
        "env" => json!({"env": {"TABLE": "walked-by-row"}}),
        "env_from" => json!({"env_from": {"TABLE_FILE": format!("{FILES}/variable")}}),
        "working_dir" => json!({"working_dir": "/tmp"}),
        "user" => json!({"user": "nobody"}),
        "hostname" => json!({"hostname": "harbour"}),
        "mounts[].source.bind" => mount(json!({"bind": "GRANTED"}), "/bind"),
        "mounts[].source.volume" => mount(json!({"volume": "table-volume"}), "/volume"),
        "mounts[].source.tmpfs" => mount(json!({"tmpfs": "2MiB"}), "/tmpfs"),
        "mounts[].target" => tmpfs("/target", json!({})),
        "mounts[].read_only" => tmpfs("/read-only", json!({"read_only": true})),
        "mounts[].options" => tmpfs("/options", json!({"options": {"mode": 7}})),
        "resources.memory" => json!({"resources": {"memory": "64MiB"}}),
        "resources.cpus" => json!({"resources": {"cpus": 0.5}}),
        "resources.processes" => json!({"resources": {"processes": 50}}),
        "resources.ulimits[]" => json!({"resources": {"ulimits": [{"name": "nofile", "soft": 123, "hard": 234}]}}),
        "network.internet" => json!({"network": "internet"}),
        "network.isolated" => json!({"network": "isolated"}),
        "network.host" => json!({"network": "host"}),
        "network.named" => json!({"network": {"named": [{"name": "back", "aliases": ["db"]}]}}),
        "ports[].container" => port(81, json!({})),
        "ports[].host" => port(82, json!({"host": 18082})),
        "ports[].address" => port(83, json!({"address": "127.0.0.2"})),
        "ports[].protocol" => port(84, json!({"protocol": "udp"})),
        "tty" => json!({"tty": true}),
        "stdin" => json!({"stdin": true}),
        "init" => json!({"init": true}),
        "stop_signal" => json!({"stop_signal": "SIGINT"}),
        "stop_grace" => json!({"stop_grace": "2500ms"}),
        "restart" => json!({"restart": "on-failure:3"}),
        "restart_backoff.first" => restarts(json!({"restart_backoff": {"first": "2s"}})),
        "restart_backoff.most" => restarts(json!({"restart_backoff": {"most": "41s"}})),
        "restart_backoff.reset" => restarts(json!({"restart_backoff": {"reset": "51s"}})),
        "restart_budget.restarts" => restarts(json!({"restart_budget": {"restarts": 6, "within": "7m"}})),
        "restart_budget.within" => restarts(json!({"restart_budget": {"restarts": 6, "within": "7m"}})),
        "auto_remove" => json!({"auto_remove": true}),
        "health_check.disabled" => json!({"health_check": "disabled"}),
        "health_check.command.command" => check(json!({})),
        "health_check.command.interval" => check(json!({"interval": "11s"})),
        "health_check.command.timeout" => check(json!({"timeout": "12s"})),
        "health_check.command.start_period" => check(json!({"start_period": "13s"})),
        "health_check.command.start_interval" => check(json!({"start_interval": "14s"})),
        "health_check.command.retries" => check(json!({"retries": 15})),
        "restart_unhealthy" => json!({"restart_unhealthy": true}),
        "probes.startup" => probe("startup"),
        "probes.readiness" => probe("readiness"),
        "probes.liveness" => probe("liveness"),
        "logs.max_size" => json!({"logs": {"max_size": "128KiB"}}),
        "logs.max_files" => json!({"logs": {"max_files": 2}}),
        "options" => json!({"options": {"exit_code": 3, "exit_after": "1ms"}}),
        _ => bail!("the table has a row for {path} and this test no value for it"),
    })
}

/// Puts `more` into `value`: tables are merged, lists of tables are joined.
fn merge(value: &mut Value, more: Value) {
    match (value, more) {
        (Value::Object(fields), Value::Object(more)) => {
            for (name, more) in more {
                merge(fields.entry(name).or_insert(Value::Null), more);
            }
        }
        (Value::Array(items), Value::Array(more)) if more.iter().all(Value::is_object) => items.extend(more),
        (value, more) => *value = more,
    }
}

/// Asks for a session and gives the status of the answer and the answer.
fn post(home: &Home, spec: &Value) -> Result<(u16, Value)> {
    let answer = home.http("POST", "/v1/sessions?wait=true&timeout=50s", Some(&spec.to_string()))?;
    Ok((answer.status, answer.json()))
}

fn created(home: &Home, spec: &Value) -> Result<String> {
    let (status, answer) = post(home, spec)?;
    ensure!((200..300).contains(&status), "{spec:#} was answered with {status}: {answer:#}");
    Ok(text(&answer, "id")?.to_owned())
}

/// Holds the refusal of a field against the row: its name is there, and nothing was made.
fn refuses(home: &Home, backend: &str, path: &str, spec: &Value) -> Result<()> {
    let (status, answer) = post(home, spec)?;
    ensure!((400..500).contains(&status) || status == 501, "{backend} answered {path} with {status}: {answer:#}");
    let problems = answer["problems"].as_array().cloned().unwrap_or_default();
    let row = path.replacen("health_check.command.", "health_check.", 1);
    let named = |field: &str| {
        // `mounts[0].options` is the row `mounts[].options`; a whole list may be refused by its own name, and a part of
        // what is one row by that of the part.
        let plain: String = field.chars().filter(|c| !c.is_ascii_digit()).collect();
        let within =
            |whole: &str, part: &str| part.strip_prefix(whole).is_some_and(|rest| rest.starts_with(['.', '[']));
        row == plain || within(&plain, &row) || within(&row, &plain)
    };
    let by_field = problems.iter().any(|problem| problem["field"].as_str().is_some_and(named));
    let words = answer["detail"].as_str().unwrap_or_default();
    let by_word = words.split([' ', ':', ',', ';']).any(|word| !word.is_empty() && named(word));
    ensure!(by_field || (problems.is_empty() && by_word), "{backend} does not name {path}: {answer:#}");
    nothing_left(home)
}

fn remove(home: &Home, id: &str) -> Result<()> {
    home.ok(&["rm", "--force", id]).map(drop)
}

/// What the host carries out is shown as it was asked for, and is in no backend's way.
fn echoed(home: &Home, id: &str, path: &str) -> Result<()> {
    if path == "backend" {
        return Ok(());
    }
    let shown = home.json(&["inspect", id])?;
    let asked = part(path)?;
    ensure!(holds(&shown["spec"], &asked), "{path}: {asked} is not in {:#}", shown["spec"]);
    Ok(())
}

/// Whether everything of `part` is in `whole`; secrets are there and not shown, and what has a unit may have another.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, part)| whole.get(name).is_some_and(|whole| holds(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => part.iter().all(|part| whole.iter().any(|one| holds(one, part))),
        (Value::String(shown), Value::String(_)) if shown == "[redacted]" => true,
        (Value::String(shown), Value::String(asked)) => {
            let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
            shown == asked || (!digits(asked).is_empty() && digits(shown) == digits(asked))
        }
        (whole, part) => whole == part,
    }
}

/// Follows a path in what `docker inspect` shows; `Name=value` picks the item of a list that has it.
fn look<'a>(shown: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(shown, |value, part| match (value, part.split_once('=')) {
        (Value::Array(items), Some((name, wanted))) => {
            items.iter().find(|item| item[name] == *wanted).unwrap_or(&Value::Null)
        }
        (Value::Array(items), None) => part.parse::<usize>().ok().and_then(|at| items.get(at)).unwrap_or(&Value::Null),
        _ => value.get(part).unwrap_or(&Value::Null),
    })
}

/// In which of three containers a row is tried: what excludes each other is not in one.
fn container_of(path: &str) -> usize {
    match path {
        "network.isolated" | "health_check.disabled" => 1,
        "network.host" => 2,
        _ => 0,
    }
}

/// Where `docker inspect` shows a field, and what it must show.
fn in_docker(path: &str, granted: &str) -> Result<(Vec<&'static str>, Value)> {
    let (place, value): (&[&str], Value) = match path {
        "name" => (&["Config", "Labels", "seawall.name"], json!("walked")),
        "labels" => (&["Config", "Labels", "team"], json!("sea")),
        "image" => (&["Config", "Image"], json!("busybox")),
        "command" => (&["Config", "Cmd"], json!(["sleep", "4713"])),
        "env" => (&["Config", "Env", "0"], json!("TABLE=walked-by-row")),
        "env_from" => (&["Config", "Env", "1"], json!("TABLE_FILE=walked-by-file")),
        "working_dir" => (&["Config", "WorkingDir"], json!("/tmp")),
        "user" => (&["Config", "User"], json!("nobody")),
        "hostname" => (&["Config", "Hostname"], json!("harbour")),
        "mounts[].source.bind" => (&["HostConfig", "Mounts", "Target=/bind", "Source"], json!(granted)),
        "mounts[].source.volume" => (&["HostConfig", "Mounts", "Target=/volume", "Source"], json!("table-volume")),
        "mounts[].source.tmpfs" => {
            (&["HostConfig", "Mounts", "Target=/tmpfs", "TmpfsOptions", "SizeBytes"], json!(2 << 20))
        }
        "mounts[].target" => (&["HostConfig", "Mounts", "Target=/target", "Type"], json!("tmpfs")),
        "mounts[].read_only" => (&["HostConfig", "Mounts", "Target=/read-only", "ReadOnly"], json!(true)),
        "resources.memory" => (&["HostConfig", "Memory"], json!(64 << 20)),
        "resources.cpus" => (&["HostConfig", "NanoCpus"], json!(500_000_000)),
        "resources.processes" => (&["HostConfig", "PidsLimit"], json!(50)),
        "resources.ulimits[]" => (&["HostConfig", "Ulimits"], json!([{"Name": "nofile", "Soft": 123, "Hard": 234}])),
        "network.internet" => (&["HostConfig", "NetworkMode"], json!("bridge")),
        "network.isolated" => (&["HostConfig", "NetworkMode"], json!("none")),
        "network.host" => (&["HostConfig", "NetworkMode"], json!("host")),
        "ports[].container" => (&["HostConfig", "PortBindings", "81/tcp", "0", "HostIp"], json!("127.0.0.1")),
        "ports[].host" => (&["HostConfig", "PortBindings", "82/tcp", "0", "HostPort"], json!("18082")),
        "ports[].address" => (&["HostConfig", "PortBindings", "83/tcp", "0", "HostIp"], json!("127.0.0.2")),
        "ports[].protocol" => (&["HostConfig", "PortBindings", "84/udp", "0", "HostIp"], json!("127.0.0.1")),
        "tty" => (&["Config", "Tty"], json!(true)),
        "stdin" => (&["Config", "OpenStdin"], json!(true)),
        "init" => (&["HostConfig", "Init"], json!(true)),
        "stop_signal" => (&["Config", "StopSignal"], json!("2")),
        "stop_grace" => (&["Config", "StopTimeout"], json!(3)),
        "health_check.disabled" => (&["Config", "Healthcheck", "Test"], json!(["NONE"])),
        "health_check.command.command" => (&["Config", "Healthcheck", "Test"], json!(["CMD", "true"])),
        "health_check.command.interval" => (&["Config", "Healthcheck", "Interval"], json!(11_000_000_000_u64)),
        "health_check.command.timeout" => (&["Config", "Healthcheck", "Timeout"], json!(12_000_000_000_u64)),
        "health_check.command.start_period" => (&["Config", "Healthcheck", "StartPeriod"], json!(13_000_000_000_u64)),
        "health_check.command.start_interval" => {
            (&["Config", "Healthcheck", "StartInterval"], json!(14_000_000_000_u64))
        }
        "health_check.command.retries" => (&["Config", "Healthcheck", "Retries"], json!(15)),
        "logs.max_size" => (&["HostConfig", "LogConfig", "Config", "max-size"], json!("131072")),
        "logs.max_files" => (&["HostConfig", "LogConfig", "Config", "max-file"], json!("2")),
        "options.entrypoint" => (&["Config", "Entrypoint"], json!(["env"])),
        "options.read_only_root" => (&["HostConfig", "ReadonlyRootfs"], json!(true)),
        "options.drop_capabilities" => (&["HostConfig", "CapDrop"], json!(["NET_RAW"])),
        "options.add_capabilities" => (&["HostConfig", "CapAdd"], json!(["NET_ADMIN"])),
        "options.privileged" => (&["HostConfig", "Privileged"], json!(true)),
        _ => bail!("the table says that docker carries out {path}, and this test knows no place to look"),
    };
    Ok((place.to_vec(), value))
}

#[test]
fn docker_does_with_every_field_what_the_table_says() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let base = || json!({"backend": "docker", "image": "busybox", "command": ["sleep", "4713"]});
    let world = home("")?;
    let granted = world.dir().join("granted");
    fs::create_dir(&granted)?;
    let granted = granted.canonicalize()?.display().to_string();
    let home = world.with_docker(&engine.host());
    home.configure(&format!(
        "{}\n[backend.docker.grants.docker]\nmounts = [{{ path = {granted:?} }}]\nvolumes = true\n\
         host-network = true\nprivileged = true\ncapabilities = [\"NET_ADMIN\"]\n",
        quick()
    ))?;
    let _daemon = home.serve(true)?;
    let version = engine.docker(["version", "--format", "{{.Server.APIVersion}}"])?;
    let start_intervals = version
        .trim()
        .split_once('.')
        .is_some_and(|(major, minor)| (major.parse().unwrap_or(0), minor.parse().unwrap_or(0)) >= (1_u32, 44_u32));

    let mut specs = [base(), base(), base()];
    let mut shown_rows: Vec<(usize, String)> = Vec::new();
    let mut echoed_rows = Vec::new();
    for Field { path, docker, .. } in SPEC {
        let lacks = *path == "health_check.command.start_interval" && !start_intervals;
        match docker {
            Carried::Out(_) if *path == "options" => {}
            Carried::Out(_) if !lacks => {
                let at = container_of(path);
                let part = part(path)?.to_string().replace("GRANTED", &granted);
                let spec = specs.get_mut(at).context("a container")?;
                let mut more: Value = serde_json::from_str(&part)?;
                if matches!(*path, "image" | "command") {
                    more = json!({});
                }
                merge(spec, more);
                shown_rows.push((at, (*path).to_owned()));
            }
            Carried::Host => {
                merge(specs.get_mut(0).context("a container")?, part(path)?);
                echoed_rows.push(*path);
            }
            Carried::Pretended => bail!("docker pretends nothing: {path}"),
            Carried::Out(_) | Carried::Refused => {
                let mut spec = base();
                merge(&mut spec, part(path)?);
                refuses(&home, "docker", path, &spec)?;
            }
        }
    }
    let options = json!({"entrypoint": ["env"], "read_only_root": true, "drop_capabilities": ["NET_RAW"],
                         "add_capabilities": ["NET_ADMIN"]});
    merge(specs.get_mut(0).context("a container")?, json!({"options": options}));
    for [option, ..] in DOCKER_OPTIONS.iter().filter(|[option, ..]| *option != "privileged") {
        shown_rows.push((0, format!("options.{option}")));
    }
    // Where the tests themselves are confined no Engine can give everything; it was asked all the same.
    let mut privileged = base();
    merge(&mut privileged, json!({"options": {"privileged": true}}));
    let (_, answer) = post(&home, &privileged)?;
    if answer["problems"][0]["message"].as_str().is_some_and(|message| message.contains("unable to apply caps")) {
        eprintln!("options.privileged cannot be had on this machine: {}", answer["detail"]);
        nothing_left(&home)?;
    } else {
        remove(&home, text(&answer, "id")?)?;
        specs.last_mut().context("a container")?["options"] = json!({"privileged": true});
        shown_rows.push((specs.len() - 1, "options.privileged".to_owned()));
    }

    let mut shown = Vec::new();
    let mut ids = Vec::new();
    for spec in &specs {
        let id = created(&home, spec)?;
        let label = format!("label=seawall.session={id}");
        let name = engine.docker(["ps", "--all", "--quiet", "--filter", &label])?;
        let inspected: Value = serde_json::from_str(&engine.docker(["inspect", name.trim()])?)?;
        shown.push(inspected[0].clone());
        ids.push(id);
    }
    for (at, path) in &shown_rows {
        let (place, expected) = in_docker(path, &granted)?;
        let seen = look(shown.get(*at).context("what was shown")?, &place);
        ensure!(*seen == expected, "{path}: docker inspect shows {seen} at {} and not {expected}", place.join("/"));
    }
    let first = ids.first().context("a session")?;
    for path in echoed_rows {
        echoed(&home, first, path)?;
    }
    ids.iter().try_for_each(|id| remove(&home, id))
}

/// The first process of a session: that whose command is the session's.
fn first_process(home: &Home, word: &str) -> Result<Process> {
    eventually("its process is there", || {
        let has = |process: &Process| process.command.iter().any(|argument| argument == word);
        let supervisor =
            |process: &Process| process.command.first().is_some_and(|program| program.ends_with("seawall-supervisor"));
        Ok(home.processes().into_iter().find(|process| has(process) && !supervisor(process)))
    })
}

/// Some file of one of its control groups begins so.
fn in_cgroup(process: &Process, files: &[(&str, &str)]) -> bool {
    process.control_groups().iter().any(|group| {
        let begins = |(file, value): &(&str, &str)| {
            fs::read_to_string(group.join(file)).is_ok_and(|text| text.trim().starts_with(value))
        };
        files.iter().any(begins)
    })
}

/// The files of a session's log.
fn log_files(home: &Home, id: &str) -> Result<Vec<u64>> {
    fn find(dir: &Path, id: &str, found: &mut Vec<u64>) -> Result<()> {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                find(&path, id, found)?;
            } else if path.parent().is_some_and(|dir| dir.ends_with("log")) && path.to_string_lossy().contains(id) {
                found.push(fs::metadata(&path)?.len());
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    find(&home.data_dir(), id, &mut found)?;
    Ok(found)
}

/// Holds what `/proc` shows of a process against the row.
fn in_proc(home: &Home, path: &str, id: &str, process: &Process) -> Result<bool> {
    let proc = Path::new("/proc").join(process.pid.to_string());
    let read = |file: &str| fs::read_to_string(proc.join(file)).with_context(|| format!("read {file}"));
    let link = |number: &str| fs::read_link(proc.join("fd").join(number)).map(|link| link.display().to_string());
    Ok(match path {
        "command" => process.command == ["sleep", "4714"],
        "env" => read("environ")?.split('\0').any(|variable| variable == "TABLE=walked-by-row"),
        "env_from" => read("environ")?.split('\0').any(|variable| variable == "TABLE_FILE=walked-by-file"),
        "working_dir" => fs::read_link(proc.join("cwd"))? == Path::new("/tmp"),
        "user" => {
            let nobody = fs::read_to_string("/etc/passwd")?;
            let nobody = nobody.lines().find_map(|line| line.strip_prefix("nobody:")?.split(':').nth(1));
            let uid = read("status")?.lines().find_map(|line| line.strip_prefix("Uid:").map(str::to_owned));
            uid.context("Uid")?.split_whitespace().next() == nobody
        }
        "resources.memory" => in_cgroup(process, &[("memory.max", "67108864"), ("memory.limit_in_bytes", "67108864")]),
        "resources.cpus" => in_cgroup(process, &[("cpu.max", "50000 100000"), ("cpu.cfs_quota_us", "50000")]),
        "resources.processes" => in_cgroup(process, &[("pids.max", "50")]),
        "resources.ulimits[]" => {
            let limits = read("limits")?;
            let line = limits.lines().find(|line| line.starts_with("Max open files")).context("Max open files")?;
            line.split_whitespace().skip(3).take(2).eq(["123", "234"])
        }
        "tty" => link("1")?.starts_with("/dev/pts/"),
        // Otherwise it is /dev/null, which is at its end.
        "stdin" => link("0")?.starts_with("pipe:") || link("0")?.starts_with("socket:"),
        "init" => {
            let parent = Process::read(process.parent).context("its parent")?;
            parent.command.first().is_some_and(|program| program.ends_with("seawall-supervisor"))
        }
        "logs.max_size" | "logs.max_files" => {
            let files = log_files(home, id)?;
            let most = if path == "logs.max_files" { 2 } else { 3 };
            // A file ends with the record that fills it.
            !files.is_empty() && files.len() <= most && files.iter().all(|size| *size < (128 + 64) << 10)
        }
        _ => bail!("the table says that process carries out {path}, and this test knows no place to look"),
    })
}

#[test]
fn process_does_with_every_field_what_the_table_says() -> Result<()> {
    let home = home("")?;
    home.configure(&quick())?;
    let _daemon = home.serve(true)?;
    let base = || json!({"backend": "process", "command": ["sleep", "4714"]});
    for Field { path, process, .. } in SPEC {
        let mut spec = base();
        let logs = path.starts_with("logs.");
        match path {
            &"command" => {}
            _ if logs => {
                // More than fits into the files that are kept; then it is as all others.
                let script = "head -c 1000000 /dev/zero; exec sleep 4714";
                merge(&mut spec, json!({"logs": {"max_size": "128KiB"}}));
                spec["command"] = json!(["sh", "-c", script]);
                merge(&mut spec, part(path)?);
            }
            _ => merge(&mut spec, part(path)?),
        }
        match process {
            Carried::Out(_) if path.starts_with("resources.") && !path.contains("ulimits") => {
                let (status, answer) = post(&home, &spec)?;
                if !(200..300).contains(&status) {
                    // A machine without this controller: then it says so, by name.
                    refuses(&home, "process", path, &spec)?;
                    eprintln!("{path} cannot be limited on this machine");
                    continue;
                }
                let id = text(&answer, "id")?.to_owned();
                let running = first_process(&home, "4714")?;
                ensure!(in_proc(&home, path, &id, &running)?, "{path} is not to be seen of process {}", running.pid);
                remove(&home, &id)?;
            }
            Carried::Out(_) => {
                let id = created(&home, &spec)?;
                let running = first_process(&home, "4714")?;
                eventually(&format!("{path} is to be seen of its process"), || {
                    Ok(in_proc(&home, path, &id, &running)?.then_some(()))
                })?;
                remove(&home, &id)?;
            }
            Carried::Host => {
                let id = created(&home, &spec)?;
                echoed(&home, &id, path)?;
                remove(&home, &id)?;
            }
            Carried::Refused => refuses(&home, "process", path, &spec)?,
            Carried::Pretended => bail!("process pretends nothing: {path}"),
        }
        eventually("it is gone", || Ok(nothing_left(&home).ok()))?;
    }
    let late = json!({"backend": "process", "command": ["true"], "stop_signal": 34});
    refuses(&home, "process", "stop_signal", &late)
}

#[test]
fn mock_does_with_every_field_what_the_table_says() -> Result<()> {
    let home = home("")?;
    home.configure(&quick())?;
    let _daemon = home.serve(true)?;
    for Field { path, mock, .. } in SPEC {
        let mut spec = json!({"backend": "mock"});
        merge(&mut spec, part(path)?);
        match mock {
            Carried::Out(_) => {
                let id = created(&home, &spec)?;
                let ended = until_state(&home, &id, "failed")?;
                ensure!(ended["exit"]["code"] == 3, "{path}: {ended:#}");
                remove(&home, &id)?;
            }
            Carried::Host | Carried::Pretended => {
                let id = created(&home, &spec)?;
                until(&home, &id, "runs", |now| now["state"] == "running")?;
                echoed(&home, &id, path)?;
                remove(&home, &id)?;
            }
            Carried::Refused => refuses(&home, "mock", path, &spec)?,
        }
        eventually("it is gone", || Ok(nothing_left(&home).ok()))?;
    }
    Ok(())
}
