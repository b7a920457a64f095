//! Sessions that are processes of this machine, held against the process table.

use std::io::Read as _;
use std::process::Stdio;

use anyhow::{Context, Result};
use rustix::process::Signal;
use seawall_integration::{eventually, home, nothing_left, process, refused, run, until, until_state};
use seawall_testing::daemon::Home;
use seawall_testing::processes::{self, Process};

const RUN: [&str; 2] = ["--backend", "process"];

/// The living processes of this home whose arguments contain `word`, supervisors not counted.
fn find(home: &Home, word: &str) -> Vec<Process> {
    let has = |process: &Process| process.command.iter().any(|argument| argument.contains(word));
    home.processes().into_iter().filter(|process| has(process) && !is_supervisor(process)).collect()
}

fn is_supervisor(process: &Process) -> bool {
    process.command.first().is_some_and(|program| program.ends_with("seawall-supervisor"))
}

#[test]
fn output_and_code_of_a_process_arrive() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    run(&home, &[&RUN[..], &["--name", "talker", "--", "sh", "-c", "echo out; echo err >&2; exit 3"]].concat())?;
    assert_eq!(home.run(["wait", "talker"])?.code, Some(3));
    let logs = home.run(["logs", "talker"])?;
    assert_eq!((logs.code, logs.stdout.as_str(), logs.stderr.as_str()), (Some(0), "out\n", "err\n"));

    run(&home, &[&RUN[..], &["--name", "killed", "--", "sh", "-c", "kill -TERM $$"]].concat())?;
    assert_eq!(home.run(["wait", "killed"])?.code, Some(128 + 15));
    let session = home.json(&["inspect", "killed"])?;
    assert_eq!((&session["state"], &session["exit"]["signal"]), (&"failed".into(), &15.into()));
    Ok(())
}

#[test]
fn what_is_asked_for_reaches_the_process_and_secrets_are_not_shown() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let script = "echo $TOKEN; pwd; ulimit -n";
    let flags = ["--name", "told", "--env", "TOKEN=hunter2", "--workdir", "/tmp", "--ulimit", "nofile=123"];
    run(&home, &[&RUN[..], &flags, &["--", "sh", "-c", script]].concat())?;
    assert_eq!(home.run(["wait", "told"])?.code, Some(0));
    assert_eq!(home.ok(&["logs", "told"])?, "hunter2\n/tmp\n123\n");
    for shown in [home.ok(&["inspect", "told"])?, home.ok(&["inspect", "--json", "told"])?, home.ok(&["events"])?] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    assert!(!home.log().contains("hunter2"));
    Ok(())
}

#[test]
fn logs_follow_a_session_to_its_end_byte_for_byte() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    // Bytes that are no text, and more of them than fit into any one buffer on the way.
    let script = "i=0; while [ $i -lt 400 ]; do head -c 1000 /dev/zero; printf '\\377%s\\n' $i; i=$((i+1)); done; sleep 1; printf last";
    run(&home, &[&RUN[..], &["--name", "stream", "--", "sh", "-c", script]].concat())?;
    let mut follower = home.command(["logs", "--follow", "stream"]).stdout(Stdio::piped()).spawn()?;
    let mut bytes = Vec::new();
    follower.stdout.take().context("its output")?.read_to_end(&mut bytes)?;
    assert!(follower.wait()?.success());
    let mut expected = Vec::new();
    for number in 0..400 {
        expected.extend_from_slice(&[0; 1000]);
        expected.push(0xff);
        expected.extend_from_slice(format!("{number}\n").as_bytes());
    }
    expected.extend_from_slice(b"last");
    assert!(bytes == expected, "{} bytes came of {}", bytes.len(), expected.len());
    Ok(())
}

#[test]
fn a_process_killed_behind_the_back_comes_back() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    run(&home, &[&RUN[..], &["--name", "phoenix", "--restart", "on-failure", "--", "sleep", "4711"]].concat())?;
    let before = process(&home, &["sleep", "4711"])?;
    processes::signal(&before, Signal::KILL)?;
    let session = until(&home, "phoenix", "runs again", |now| now["state"] == "running" && now["restarts"] == 1)?;
    assert_eq!(session["incarnation"], 2);
    let after = process(&home, &["sleep", "4711"])?;
    assert_ne!(before.pid, after.pid);
    Ok(())
}

#[test]
fn a_user_sends_signals_and_restarts() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let script = "trap 'echo again' HUP; echo 4714 $$; while :; do sleep 0.1; done";
    run(&home, &[&RUN[..], &["--name", "told", "--restart", "always", "--", "sh", "-c", script]].concat())?;
    let lines = |count: usize| {
        eventually("it wrote", || {
            let logs = home.ok(&["logs", "told"])?;
            Ok((logs.lines().count() >= count).then_some(logs))
        })
    };
    let written = lines(1)?;
    let pid = written.trim().strip_prefix("4714 ").context("its pid")?.parse()?;
    let first = Process::read(pid).context("it runs")?;
    home.ok(&["kill", "-s", "HUP", "told"])?;
    assert_eq!(lines(2)?.lines().last(), Some("again"));
    let session = home.json(&["inspect", "told"])?;
    assert_eq!((&session["state"], &session["incarnation"]), (&"running".into(), &1.into()));

    home.ok(&["restart", "-t", "20", "told"])?;
    let session = home.json(&["inspect", "told"])?;
    assert_eq!((&session["state"], &session["incarnation"]), (&"running".into(), &2.into()));
    assert_eq!(session["restarts"], 0);
    assert!(!first.still_runs(), "the one before is gone");
    eventually("there is another", || Ok((!find(&home, "4714").is_empty()).then_some(())))?;

    home.ok(&["kill", "told"])?;
    let session = home.json(&["inspect", "told"])?;
    assert_eq!((&session["state"], &session["exit"]["signal"]), (&"stopped".into(), &9.into()));
    assert_eq!(home.run(["wait", "told"])?.code, Some(128 + 9));
    assert_eq!(home.run(["kill", "told"])?.code, Some(66));
    assert!(find(&home, "4714").is_empty());
    assert_eq!(home.run(["wait", "--for", "healthy", "told"])?.code, Some(71));
    Ok(())
}

#[test]
fn a_killed_supervisor_takes_its_tree_along_and_the_exit_is_lost() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let script = "setsid sleep 4712 & sleep 47121";
    run(&home, &[&RUN[..], &["--name", "headless", "--", "sh", "-c", script]].concat())?;
    process(&home, &["sleep", "4712"])?;
    process(&home, &["sleep", "47121"])?;
    let supervisors: Vec<_> = home.processes().into_iter().filter(is_supervisor).collect();
    let [supervisor] = supervisors.as_slice() else { anyhow::bail!("{supervisors:?}") };
    processes::signal(supervisor, Signal::KILL)?;
    let session = until_state(&home, "headless", "lost")?;
    assert_eq!(session["exit"]["code"], serde_json::Value::Null);
    eventually("nothing of it is left", || Ok(find(&home, "4712").is_empty().then_some(())))?;
    Ok(())
}

#[test]
fn a_stop_is_polite_first_and_ends_whatever_ignores_it() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let polite = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.1; done";
    run(&home, &[&RUN[..], &["--name", "polite", "--", "sh", "-c", polite]].concat())?;
    let deaf = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    run(&home, &[&RUN[..], &["--name", "deaf", "--", "sh", "-c", deaf]].concat())?;
    for name in ["polite", "deaf"] {
        eventually("it listens", || Ok(home.ok(&["logs", name])?.contains("ready").then_some(())))?;
    }
    home.ok(&["stop", "polite"])?;
    assert!(home.ok(&["logs", "polite"])?.ends_with("bye\n"));
    home.ok(&["stop", "--grace", "300ms", "deaf"])?;
    let session = home.json(&["inspect", "deaf"])?;
    assert_eq!((&session["state"], &session["exit"]["signal"]), (&"stopped".into(), &9.into()));
    // The end is written down before whoever writes it ends.
    eventually("no supervisor is left", || Ok((!home.processes().iter().any(is_supervisor)).then_some(())))?;
    Ok(())
}

#[test]
fn a_running_session_is_removed_only_by_force() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let id = run(&home, &[&RUN[..], &["--name", "held", "--", "sleep", "4713"]].concat())?;
    refused(&home, &["rm", "held"], 66, &[&id])?;
    let sleeper = process(&home, &["sleep", "4713"])?;
    home.ok(&["rm", "--force", "held"])?;
    assert!(!sleeper.still_runs());
    refused(&home, &["inspect", "held"], 65, &[])?;
    Ok(())
}

#[test]
fn a_missing_program_directory_or_user_is_named() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let cases: [(&[&str], &str, &str); 4] = [
        (&["--", "no-such-program-anywhere"], "command", "no-such-program-anywhere"),
        (&["--", "/etc/passwd"], "command", "/etc/passwd"),
        (&["--workdir", "/no/such/dir", "--", "true"], "working_dir", "/no/such/dir"),
        (&["--user", "no-such-user", "--", "true"], "user", "no-such-user"),
    ];
    for (arguments, field, word) in cases {
        refused(&home, &[&["run"], &RUN[..], arguments].concat(), 64, &[field, word])?;
    }
    nothing_left(&home)?;
    eventually("no supervisor is left", || Ok((!home.processes().iter().any(is_supervisor)).then_some(())))?;
    Ok(())
}

#[test]
fn what_the_backend_cannot_do_is_refused_by_name() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let cases: [(&[&str], &str); 5] = [
        (&["--image", "busybox"], "image"),
        (&["--hostname", "h"], "hostname"),
        (&["--network", "isolated"], "network"),
        (&["--publish", "8080:80"], "ports"),
        (&["--volume", "/tmp:/data"], "mounts"),
    ];
    for (arguments, field) in cases {
        refused(&home, &[&["run"], &RUN[..], arguments, &["--", "true"]].concat(), 64, &[field])?;
    }
    nothing_left(&home)
}
