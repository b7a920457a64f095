//! The command line as people meet it: what the real binary prints, and the code it ends with. No plugin is needed:
//! the daemons that run here have no backend.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

const NO_BACKENDS: &str = "backend.docker.enabled = false\nbackend.mock.enabled = false\nbackend.process.enabled = false\n\
     runtime.cpu = 3\nruntime.compile.parallel = 3\n";

fn seawall(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seawall"));
    // Nothing of the caller's own daemon.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SEAWALL_")) {
        command.env_remove(name);
    }
    command.env("SEAWALL_DATA_DIR", folder.join("data")).current_dir(folder).stdin(Stdio::null());
    command
}

/// What it printed and how it ended, without what differs from run to run.
fn told(folder: &Path, output: &Output) -> String {
    let binaries = Path::new(env!("CARGO_BIN_EXE_seawall")).parent().unwrap().to_str().unwrap();
    let text = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes).replace(folder.to_str().unwrap(), "[TMP]").replace(binaries, "[BIN]")
    };
    format!("code {}\n{}{}", output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn tell(lines: &[&[&str]]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("good.toml", NO_BACKENDS),
        ("typo.toml", "[control]\nswep-interval = \"1s\"\n"),
        ("zero.toml", "[control]\nsweep-interval = \"0s\"\n"),
        ("pool.toml", "[runtime.pool]\ncalls = 0\n"),
        ("text.wasm", "this is no component\n"),
        ("core.wasm", "\0asm\x01\0\0\0"),
    ];
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let one = |arguments: &&[&str]| {
        let output = seawall(folder.path()).args(*arguments).output().unwrap();
        format!("$ seawall {}\n{}", arguments.join(" "), told(folder.path(), &output))
    };
    lines.iter().map(one).collect::<Vec<_>>().join("\n")
}

#[test]
fn without_a_daemon_every_command_says_where_it_looked() {
    let long = "x".repeat(200);
    insta::assert_snapshot!(tell(&[
        &["ps"],
        &["ps", "--json"],
        &["--socket", "elsewhere", "backend", "ls"],
        &["--socket", &long, "ps"],
        &["inspect", ".."],
    ]));
}

#[test]
fn a_wrong_command_line_says_what_to_write() {
    insta::assert_snapshot!(tell(&[
        &["run", "--image", "x"],
        &["run", "-b", "Docker", "x"],
        &["run", "-b", "docker", "--memory", "lots"],
        &["run", "-b", "docker", "--restart", "sometimes"],
        &["run", "-b", "docker", "--env", "NOT_SET_ANYWHERE_AT_ALL"],
        &["logs", "x", "--since", "yesterday"],
        &["kill", "-s", "SOON", "x"],
        &["kill"],
        &["restart", "-t", "soon", "x"],
        &["wait", "--for", "ever", "x"],
        &["pss"],
    ]));
}

#[test]
fn a_wrong_configuration_is_refused_with_its_place_and_touches_nothing() {
    insta::assert_snapshot!(tell(&[
        &["serve", "--config", "absent.toml"],
        &["serve", "--config", "typo.toml"],
        &["serve", "--config", "zero.toml"],
        &["serve", "--config", "good.toml", "--log", "seawall=loud"],
        &["config", "check", "--config", "typo.toml"],
        &["config", "check", "--config", "good.toml"],
        &["config", "check", "--config", "good.toml", "--show-effective"],
    ]));
}

#[test]
fn a_variable_is_the_key_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("good.toml"), NO_BACKENDS).unwrap();
    let check = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = seawall(folder.path());
        command.args(["config", "check", "--config", "good.toml"]).args(arguments).envs(variables.iter().copied());
        told(folder.path(), &command.output().unwrap())
    };
    let interval = ("SEAWALL_CONTROL__SWEEP_INTERVAL", "3s");
    let shown = check(&[interval], &["--show-effective"]);
    assert!(shown.contains("\nsweep-interval = \"3s\" # SEAWALL_CONTROL__SWEEP_INTERVAL\n"), "{shown}");
    let flag = check(&[("SEAWALL_LOG__FILTER", "warn")], &["--show-effective", "--log", "debug"]);
    assert!(flag.contains("\nfilter = \"debug\" # --log\n"), "{flag}");
    let variable = check(&[("SEAWALL_LOG", "warn")], &["--show-effective"]);
    assert!(variable.contains("\nfilter = \"warn\" # SEAWALL_LOG\n"), "{variable}");

    let json = check(&[interval], &["--show-effective", "--json"]);
    let json: serde_json::Value = serde_json::from_str(json.strip_prefix("code 0\n").unwrap()).unwrap();
    let of = |key: &str| json["effective"].as_array().unwrap().iter().find(|one| one["key"] == key).unwrap().clone();
    let from = serde_json::json!({"kind": "variable", "name": interval.0});
    let expected = serde_json::json!({"key": "control.sweep-interval", "value": "3s", "from": from});
    assert_eq!(of("control.sweep-interval"), expected);
    assert_eq!(of("journal.events")["from"], serde_json::json!({"kind": "default"}));
    let default = serde_json::json!({"key": "plugins-dir", "value": null, "from": {"kind": "default"}});
    assert_eq!(of("plugins-dir"), default);
    let supervisor = of("supervisor");
    assert_eq!(
        supervisor,
        serde_json::json!({"key": "supervisor", "value": "[BIN]/seawall-supervisor", "from": {"kind": "default"}})
    );
    let named = check(&[], &["--show-effective", "--json", "--plugins-dir", "/p", "--supervisor", "/s"]);
    let named: serde_json::Value = serde_json::from_str(named.strip_prefix("code 0\n").unwrap()).unwrap();
    let shown: Vec<_> = named["effective"].as_array().unwrap().iter().filter_map(|one| one["value"].as_str()).collect();
    assert!(shown.contains(&"/p") && shown.contains(&"/s"), "{shown:?}");
    let from = serde_json::json!({"kind": "file", "file": "good.toml", "line": 4, "column": 9});
    assert_eq!(of("runtime.cpu")["from"], from);

    insta::assert_snapshot!(
        [
            check(&[("SEAWALL_CONTROL__SWEP_INTERVAL", "3s")], &[]),
            check(&[("SEAWALL_SOKCET", "/s")], &[]),
            check(&[("SEAWALL_JOURNAL__EVENTS", "some")], &["--json"]),
        ]
        .join("\n")
    );
}

#[test]
fn an_example_of_all_keys_is_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let example = seawall(folder.path()).args(["config", "example"]).output().unwrap();
    assert_eq!(String::from_utf8(example.stdout).unwrap(), include_str!("../seawall.example.toml"));
}

#[test]
fn a_file_that_is_no_plugin_is_named_for_what_it_is() {
    insta::assert_snapshot!(tell(&[
        &["plugin", "inspect", "absent.wasm"],
        &["plugin", "inspect", "text.wasm"],
        &["plugin", "inspect", "core.wasm"],
        &["plugin", "inspect", "."],
        &["plugin", "inspect", "builtin:podman"],
    ]));
}

#[test]
fn help_names_every_exit_code() {
    insta::assert_snapshot!(tell(&[&["--help"]]));
}

/// Killed when the test ends in any way.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(folder: &Path) -> (Serving, String) {
    serve_with(folder, "")
}

fn serve_with(folder: &Path, more: &str) -> (Serving, String) {
    std::fs::write(folder.join("good.toml"), format!("{NO_BACKENDS}{more}")).unwrap();
    let mut command = seawall(folder);
    command.args(["serve", "--config", "good.toml"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut daemon = Serving(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(daemon.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (daemon, line)
}

#[test]
fn a_second_daemon_names_the_first_and_the_first_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (mut first, ready) = serve(folder.path());
    assert!(ready.starts_with("ready on "), "{ready}");
    let pid = first.0.id().to_string();

    let second = seawall(folder.path()).args(["serve", "--config", "good.toml"]).output().unwrap();
    insta::assert_snapshot!(told(folder.path(), &second).replace(&pid, "[PID]"));

    let elsewhere = ["serve", "--config", "good.toml", "--data-dir", "other", "--socket", "data/seawall.sock"];
    let third = seawall(folder.path()).args(elsewhere).output().unwrap();
    assert!(told(folder.path(), &third).starts_with("code 73\n"), "{}", told(folder.path(), &third));

    let ps = seawall(folder.path()).args(["ps", "--json", "--all"]).output().unwrap();
    assert_eq!(told(folder.path(), &ps), "code 0\n[]\n");
    let gone = seawall(folder.path()).args(["stop", "nobody", "--json"]).output().unwrap();
    let gone = told(folder.path(), &gone);
    let (before, trace) = gone.split_once("\"trace_id\":\"").unwrap();
    insta::assert_snapshot!(format!("{before}\"trace_id\":\"[TRACE]{}", &trace[32..]));

    for signal in [Signal::TERM, Signal::INT] {
        let pid = Pid::from_raw(i32::try_from(first.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        assert_eq!(first.0.wait().unwrap().code(), Some(0), "{signal:?}");
        assert!(!folder.path().join("data/seawall.sock").exists());
        (first, _) = serve(folder.path());
    }
}

/// What `doctor --json` found, by what it is about: the level, what was found and the advice; and the exit code.
fn examined(folder: &Path, config: &str) -> (std::collections::BTreeMap<String, [String; 3]>, i32) {
    let output = seawall(folder).args(["doctor", "--json", "--config", config]).output().unwrap();
    let findings: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let text = |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let by_name = |finding: &serde_json::Value| {
        (text(finding, "about"), ["level", "found", "advice"].map(|key| text(finding, key)))
    };
    (findings.iter().map(by_name).collect(), output.status.code().unwrap())
}

#[test]
fn doctor_names_what_is_wrong_and_what_to_do_and_finds_a_daemon() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("good.toml"), NO_BACKENDS).unwrap();
    std::fs::write(folder.path().join("typo.toml"), "[control]\nswep-interval = \"1s\"\n").unwrap();
    std::fs::write(folder.path().join("absent.toml"), format!("{NO_BACKENDS}[backend.x]\nplugin = \"x.wasm\"\n"))
        .unwrap();

    let (typo, code) = examined(folder.path(), "typo.toml");
    let [level, found, advice] = &typo["configuration"];
    assert!(level == "problem" && found.contains("did you mean `sweep-interval`"), "{typo:?}");
    assert!(advice.contains("seawall config check") && code == 1, "{advice} {code}");

    let (absent, code) = examined(folder.path(), "absent.toml");
    let [level, found, advice] = &absent["plugin of x"];
    assert!(level == "problem" && found.contains("x.wasm") && !advice.is_empty() && code == 1, "{absent:?}");

    let (alone, _) = examined(folder.path(), "good.toml");
    assert!(alone["daemon"][0] == "warning" && alone["daemon"][2].contains("seawall serve"), "{alone:?}");
    assert!(!folder.path().join("data").exists(), "it only looks");
    for about in ["user", "kernel", "control groups", "open files", "memory", "tools", "disk", "socket"] {
        assert!(!alone[about][1].is_empty(), "{about}: {alone:?}");
    }

    let _daemon = serve(folder.path());
    let (beside, _) = examined(folder.path(), "good.toml");
    assert_eq!(beside["daemon"][0], "ok", "{beside:?}");
    let shown = seawall(folder.path()).args(["doctor", "--config", "good.toml"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.starts_with("LEVEL") && shown.lines().any(|line| line.starts_with("ok ") && line.contains(" daemon ")),
        "{shown}"
    );
}

#[test]
fn a_daemon_that_was_killed_leaves_nothing_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = serve(folder.path());
    drop(first);
    assert!(folder.path().join("data/seawall.sock").exists(), "the socket is left over");
    let (_second, ready) = serve(folder.path());
    assert!(ready.starts_with("ready on "), "{ready}");
}

#[test]
fn a_daemon_is_asked_from_elsewhere_with_a_token_and_a_certificate_that_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let private = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    private("cert.pem", &made.cert.pem());
    private("key.pem", &made.signing_key.serialize_pem());
    let tls = "tls = { cert = \"cert.pem\", key = \"key.pem\" }";
    let (_daemon, ready) = serve_with(folder.path(), &format!("[api.tcp]\nlisten = \"127.0.0.1:0\"\n{tls}\n"));
    let url = ready.split(' ').find(|word| word.starts_with("https://127.0.0.1:")).unwrap_or_else(|| panic!("{ready}"));
    let ask = |arguments: &[&str]| seawall(folder.path()).args(arguments).output().unwrap();
    let said = |arguments: &[&str]| told(folder.path(), &ask(arguments)).replace(url, "[URL]");

    let token = String::from_utf8(ask(&["token", "create", "ci", "--scope", "write"]).stdout).unwrap();
    private("token", &token);
    let there = ["--host", url, "--token-file", "token", "--ca-file", "cert.pem"];
    let with = |more: &[&str]| said(&[&there[..], more].concat());
    assert_eq!(with(&["ps", "--json"]), "code 0\n[]\n");
    let listed: serde_json::Value = serde_json::from_slice(&ask(&["token", "ls", "--json"]).stdout).unwrap();
    assert_eq!((&listed[0]["name"], &listed[0]["scope"]), (&"ci".into(), &"write".into()));
    assert!(listed[0]["used_at"].is_string() && listed[0]["expires_at"].is_string(), "{listed}");

    let variable = seawall(folder.path())
        .args(["ps", "--json"])
        .envs([("SEAWALL_HOST", url), ("SEAWALL_TOKEN", token.trim()), ("SEAWALL_CA_FILE", "cert.pem")])
        .output();
    assert_eq!(told(folder.path(), &variable.unwrap()), "code 0\n[]\n");
    // A flag is nearer than a variable.
    let mut nearer = seawall(folder.path());
    nearer.args(["--socket", "data/seawall.sock", "ps", "--json"]).env("SEAWALL_HOST", url);
    assert_eq!(told(folder.path(), &nearer.output().unwrap()), "code 0\n[]\n");

    let denied = with(&["token", "ls"]);
    let stranger = said(&["--host", url, "--token-file", "token", "ps"]);
    let absent = said(&["--host", url, "--token-file", "absent", "ps"]);
    private("key-of-everybody", &token);
    let everybody = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(folder.path().join("key-of-everybody"), everybody).unwrap();
    let open = said(&["--host", url, "--token-file", "key-of-everybody", "ps"]);
    let revoked = said(&["token", "revoke", "ci"]);
    let after = with(&["ps"]);
    let lines = [
        denied,
        stranger,
        absent,
        open,
        said(&["--host", url, "ps"]),
        said(&["--host", url, "--socket", "x", "ps"]),
        said(&["--host", url, "serve"]),
        said(&["--host", "http://10.0.0.1:7790", "ps"]),
        revoked,
        after,
        said(&["token", "revoke", "ci"]),
        said(&["token", "create", "a b"]),
        said(&["token", "create", "x", "--scope", "root"]),
        said(&["token", "create", "x", "--expires", "0s"]),
    ];
    let text = lines.join("\n");
    let cut = |line: &str| line.split(" (trace ").next().unwrap_or_default().to_owned();
    insta::assert_snapshot!(text.lines().map(cut).collect::<Vec<_>>().join("\n"));
}
