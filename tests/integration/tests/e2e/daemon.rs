//! The end of the daemon, in every way, and what the next one finds.

use anyhow::{Result, bail};
use rustix::process::Signal;
use seawall_integration::{QUICK, eventually, home, process, refused, run, text, until_state};
use seawall_testing::daemon::Home;
use serde_json::Value;

/// What must not change over a restart of the daemon.
fn facts(home: &Home, name: &str) -> Result<Value> {
    let session = home.json(&["inspect", name])?;
    let kept = ["id", "state", "incarnation", "restarts", "started_at"];
    Ok(kept.iter().map(|field| session[field].clone()).collect())
}

/// Pid and start time of the one `sleep` with this argument.
fn sleeper(home: &Home, argument: &str) -> Result<(i32, u64)> {
    Ok(process(home, &["sleep", argument])?.identity())
}

/// Nothing of this home is that `sleep`.
fn gone(home: &Home, argument: &str) -> bool {
    !home.processes().iter().any(|process| process.command == ["sleep", argument])
}

#[test]
fn a_killed_daemon_leaves_sessions_that_the_next_one_adopts() -> Result<()> {
    let home = home("")?;
    let daemon = home.serve(true)?;
    run(&home, &["--backend", "process", "--name", "proc", "--restart", "always", "--", "sleep", "5001"])?;
    run(&home, &["--backend", "mock", "--name", "mock", "--restart", "always"])?;
    let before = (facts(&home, "proc")?, facts(&home, "mock")?, sleeper(&home, "5001")?);
    daemon.kill()?;
    assert_eq!(sleeper(&home, "5001")?, before.2);
    refused(&home, &["ps"], 72, &["seawall serve"])?;

    let _daemon = home.serve(true)?;
    until_state(&home, "proc", "running")?;
    until_state(&home, "mock", "running")?;
    assert_eq!((facts(&home, "proc")?, facts(&home, "mock")?, sleeper(&home, "5001")?), before);
    // And they can be acted on as before.
    home.ok(&["stop", "proc"])?;
    assert!(gone(&home, "5001"));
    Ok(())
}

#[test]
fn what_ended_while_no_daemon_ran_keeps_its_exit() -> Result<()> {
    let home = home("")?;
    let daemon = home.serve(true)?;
    let file = home.dir().join("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.05; done; exit 42", file.display());
    // Its directory is private to this user; the process may look into it.
    std::os::unix::fs::chown(home.dir(), None, None)?;
    std::fs::set_permissions(home.dir(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    run(&home, &["--backend", "process", "--name", "proc", "--", "sh", "-c", &script])?;
    daemon.kill()?;
    std::fs::write(&file, "")?;
    eventually("the session ends without a daemon", || Ok(home.processes().is_empty().then_some(())))?;
    let _daemon = home.serve(true)?;
    let session = until_state(&home, "proc", "failed")?;
    assert_eq!(session["exit"]["code"], 42);
    assert_eq!(home.run(["wait", "proc"])?.code, Some(42));
    Ok(())
}

#[test]
fn a_daemon_killed_again_and_again_starts_nothing_twice() -> Result<()> {
    let home = home("")?;
    let names: Vec<String> = (0..6).map(|number| format!("s{number}")).collect();
    for round in 0..3 {
        let daemon = home.serve(false)?;
        for name in names.iter().skip(round * 2).take(2) {
            // Not waited for: the kill falls somewhere between the request and the running process.
            home.ok(&["run", "--no-wait", "--backend", "process", "--name", name, "--", "sleep", "5002"])?;
        }
        daemon.kill()?;
    }
    let _daemon = home.serve(true)?;
    for name in &names {
        until_state(&home, name, "running")?;
    }
    let sleepers = || home.processes().into_iter().filter(|process| process.command == ["sleep", "5002"]).count();
    // What is said to run shows its arguments a moment later.
    eventually("all of them sleep", || Ok((sleepers() >= names.len()).then_some(())))?;
    assert_eq!(sleepers(), names.len());
    Ok(())
}

#[test]
fn a_polite_end_leaves_sessions_running_whichever_signal_asks() -> Result<()> {
    for signal in [Signal::TERM, Signal::INT] {
        let home = home("")?;
        let daemon = home.serve(true)?;
        run(&home, &["--backend", "process", "--name", "proc", "--", "sleep", "5003"])?;
        let before = (facts(&home, "proc")?, sleeper(&home, "5003")?);
        assert!(daemon.end(signal)?.success(), "{}", home.log());
        assert!(!home.socket().exists(), "the socket is left");
        assert!(home.log().contains("left running"), "{}", home.log());
        let _daemon = home.serve(true)?;
        until_state(&home, "proc", "running")?;
        assert_eq!((facts(&home, "proc")?, sleeper(&home, "5003")?), before);
    }
    Ok(())
}

#[test]
fn with_shutdown_stop_no_session_outlives_the_daemon() -> Result<()> {
    let home = home("")?;
    home.configure(&format!("shutdown = \"stop\"\n{QUICK}"))?;
    let daemon = home.serve(true)?;
    run(&home, &["--backend", "process", "--name", "proc", "--restart", "always", "--", "sleep", "5004"])?;
    sleeper(&home, "5004")?;
    assert!(daemon.terminate()?.success(), "{}", home.log());
    assert!(gone(&home, "5004"));
    // Its end is written down before whoever writes it ends.
    eventually("no supervisor is left", || Ok(home.processes().is_empty().then_some(())))
}

#[test]
fn down_stops_every_session_and_the_daemon_goes_on() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    run(&home, &["--backend", "process", "--name", "proc", "--restart", "always", "--", "sleep", "5005"])?;
    run(&home, &["--backend", "mock", "--name", "mock", "--restart", "always"])?;
    home.ok(&["down"])?;
    for name in ["proc", "mock"] {
        assert_eq!(home.json(&["inspect", name])?["state"], "stopped");
    }
    assert!(gone(&home, "5005"));
    Ok(())
}

#[test]
fn a_second_daemon_on_the_data_directory_is_refused_by_name_of_the_first() -> Result<()> {
    let home = home("")?;
    let daemon = home.serve(true)?;
    run(&home, &["--backend", "mock", "--name", "mock"])?;
    let output = home.serve_command().output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(73), "{said}");
    assert!(said.contains(&daemon.pid().to_string()), "{said}");
    // With a socket of its own it is still the same data directory.
    let mut other = home.command(["serve"]);
    other.arg("--data-dir").arg(home.data_dir()).arg("--socket").arg(home.dir().join("other.sock"));
    let output = other.arg("--config").arg(home.config()).output()?;
    assert_eq!(output.status.code(), Some(73), "{}", String::from_utf8_lossy(&output.stderr));
    // The first has noticed nothing.
    assert_eq!(home.json(&["inspect", "mock"])?["state"], "running");
    Ok(())
}

#[test]
fn a_stale_socket_is_replaced_and_a_living_one_is_not() -> Result<()> {
    let home = home("")?;
    home.serve(true)?.kill()?;
    assert!(home.socket().exists(), "a killed daemon cannot remove its socket");
    let _daemon = home.serve(true)?;

    // Another data directory, the same socket: it belongs to the daemon that answers there.
    let mut other = home.command(["serve"]);
    other.arg("--data-dir").arg(home.dir().join("elsewhere")).arg("--socket").arg(home.socket());
    let output = other.arg("--config").arg(home.config()).output()?;
    assert_eq!(output.status.code(), Some(73), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(home.http("GET", "/healthz", None)?.status, 200);
    Ok(())
}

#[test]
fn a_client_without_a_daemon_says_how_to_start_one() -> Result<()> {
    let home = home("")?;
    refused(&home, &["ps"], 72, &["seawall serve", "--socket"])?;
    let output = refused(&home, &["ps", "--json"], 72, &[])?;
    let document: Value = serde_json::from_str(&output.stderr)?;
    assert_eq!(document["exit_code"], 72);
    assert!(!home.data_dir().exists());
    Ok(())
}

#[test]
fn only_the_owner_can_reach_socket_and_data() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    let home = home("")?;
    let _daemon = home.serve(true)?;
    for (path, mode) in [(home.socket(), 0o600), (home.data_dir(), 0o700)] {
        let found = std::fs::metadata(&path)?.permissions().mode() & 0o777;
        assert_eq!(found, mode, "{}", path.display());
    }
    Ok(())
}

#[test]
fn a_damaged_store_is_refused_and_left_as_it_is() -> Result<()> {
    let home = home("")?;
    home.serve(true)?.terminate()?;
    let database = home.data_dir().join("seawall.db");
    let nonsense = b"this is no database".repeat(1000);
    for side in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(home.data_dir().join(format!("seawall.db{side}")));
    }
    std::fs::write(&database, &nonsense)?;
    let output = home.serve_command().output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(74), "{said}");
    assert!(said.contains("seawall.db"), "{said}");
    assert!(std::fs::read(&database)? == nonsense, "the damaged file was touched");
    Ok(())
}

#[test]
fn logs_that_are_followed_end_with_the_daemon() -> Result<()> {
    let home = home("")?;
    let daemon = home.serve(true)?;
    run(&home, &["--backend", "process", "--name", "proc", "--", "sh", "-c", "echo here; sleep 5006"])?;
    let mut follower = home.command(["logs", "--follow", "proc"]).stdout(std::process::Stdio::piped()).spawn()?;
    eventually("the line is written", || Ok(home.ok(&["logs", "proc"])?.contains("here").then_some(())))?;
    assert!(daemon.terminate()?.success(), "a stream that is open does not hold the daemon up: {}", home.log());
    eventually("the follower ends", || Ok(follower.try_wait()?.is_some().then_some(())))?;
    let Some(_) = follower.try_wait()? else { bail!("it has ended") };
    Ok(())
}

#[test]
fn a_name_that_is_taken_is_a_conflict_and_changes_nothing() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let id = run(&home, &["--backend", "mock", "--name", "unique"])?;
    refused(&home, &["run", "--backend", "mock", "--name", "unique"], 66, &["unique", &id])?;
    let sessions = home.json(&["ps", "--all"])?;
    assert_eq!(sessions.as_array().map(Vec::len), Some(1));
    assert_eq!(text(&sessions[0], "id")?, id);
    Ok(())
}
