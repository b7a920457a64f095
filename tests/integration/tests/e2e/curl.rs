//! A stranger's script, which has curl and the daemon's own description and nothing else, leads a session through its life
//! on each backend, on the socket and over TCP.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use seawall_integration::{engine, home, logged, refused};
use seawall_testing::daemon::Home;
use serde_json::{Value, json};

const TCP: &str = "\n[api.tcp]\nlisten = \"127.0.0.1:0\"\n";

/// Runs the script and gives what it printed.
fn curl(spec: &Value, text: &str, daemon: &[&str]) -> Result<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/curl.sh");
    let output = Command::new(script).arg(spec.to_string()).arg(text).args(daemon).output().context("start curl.sh")?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    ensure!(output.status.success(), "curl.sh ended with {}\n{out}{err}", output.status);
    Ok(out)
}

/// The whole life, by both roads.
fn lives(home: &Home, spec: &Value, text: &str) -> Result<()> {
    let name = spec["name"].as_str().context("a name")?;
    let logs = if text == "-" { "none" } else { text };
    let expected = format!("made: {name}\nfollowed: it started\nlogs: {logs}\nstopped: stopped\nremoved\n");
    let socket = home.socket().display().to_string();
    assert_eq!(curl(spec, text, &["--unix-socket", &socket, "http://seawall"])?, expected);
    let token = home.ok(&["token", "create", name, "--scope", "write", "--expires", "1h"])?;
    let bearer = format!("Authorization: Bearer {}", token.trim());
    assert_eq!(curl(spec, text, &["-H", &bearer, &home.url()?])?, expected);
    assert_eq!(home.json(&["ps", "--all"])?, json!([]));
    Ok(())
}

#[test]
fn a_session_on_mock_lives_by_curl_alone() -> Result<()> {
    let home = home(TCP)?;
    let _daemon = home.serve(true)?;
    lives(&home, &json!({"backend": "mock", "name": "stranger"}), "-")
}

#[test]
fn a_session_on_process_lives_by_curl_alone() -> Result<()> {
    let home = home(TCP)?;
    let _daemon = home.serve(true)?;
    let command = ["sh", "-c", "echo ahoy; trap 'exit 0' TERM; while :; do sleep 0.1; done"];
    lives(&home, &json!({"backend": "process", "name": "stranger", "command": command}), "ahoy")
}

#[test]
fn a_session_on_docker_lives_by_curl_alone() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home(TCP)?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    let command = ["sh", "-c", "echo ahoy; trap 'exit 0' TERM; while :; do sleep 0.1; done"];
    let spec = json!({"backend": "docker", "name": "stranger", "image": "busybox", "command": command});
    lives(&home, &spec, "ahoy")
}

#[test]
fn over_tcp_nobody_is_let_in_without_a_token_and_the_log_says_who_asked() -> Result<()> {
    let home = home(TCP)?;
    let _daemon = home.serve(true)?;
    let url = home.url()?;
    let refusal = curl(&json!({"backend": "mock"}), "-", &[&url]).err().context("it was let in")?.to_string();
    assert!(refusal.contains("401") || refusal.contains("no description"), "{refusal}");

    let file = home.dir().join("token");
    let token = home.ok(&["token", "create", "watcher"])?;
    std::fs::write(&file, token)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, mode)?;
    let file = file.display().to_string();
    let there = ["--host", &url, "--token-file", &file];
    assert_eq!(home.json(&[&there[..], &["ps", "--all"]].concat())?, json!([]));
    refused(&home, &[&there[..], &["run", "--backend", "mock"]].concat(), 67, &["read", "write"])?;
    home.ok(&["run", "--backend", "mock", "--name", "local"])?;
    home.ok(&["token", "revoke", "watcher"])?;
    refused(&home, &[&there[..], &["ps"]].concat(), 67, &["revoked"])?;

    let me = format!("uid {}", rustix::process::geteuid().as_raw());
    let created = home.ok(&["events", "--json", "--kind", "session.created"])?;
    let event: Value = serde_json::from_str(created.trim())?;
    assert_eq!(event["actor"], me.as_str());
    for (words, status) in
        [("POST", "201"), ("DELETE", "200"), ("nobody was let in", "403"), ("nobody was let in", "401")]
    {
        logged(&home, &[words, status])?;
    }
    logged(&home, &[&me])?;
    Ok(())
}
