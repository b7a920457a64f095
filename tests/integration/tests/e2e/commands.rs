//! The commands that people begin with, against a real daemon.

use std::fs;

use anyhow::{Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use seawall_integration::{eventually, home, nothing_left, refused, run};

#[test]
fn an_attached_session_shows_what_it_writes_passes_its_code_on_and_removes_itself() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let script = "echo one; echo two >&2; exit 7";
    let output = home.run(["run", "--rm", "--attach", "--backend", "process", "--", "sh", "-c", script])?;
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (Some(7), "one\n", "two\n"));
    eventually("it is gone", || Ok(nothing_left(&home).ok()))?;

    // A backend without logs has none to show, and the code all the same.
    let output = home.run(["run", "--rm", "--attach", "-b", "mock", "-o", "exit_after=1ms", "-o", "exit_code=4"])?;
    assert_eq!(output.code, Some(4), "{output:?}");
    eventually("it is gone", || Ok(nothing_left(&home).ok()))
}

#[test]
fn an_attached_session_gets_the_signals_and_is_read_through_its_restarts() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let script = "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let command = ["run", "--rm", "--attach", "--backend", "process", "--name", "deaf", "--", "sh", "-c", script];
    let child = home.command(command).stdout(std::process::Stdio::piped()).spawn()?;
    eventually("it is ready", || Ok((home.run(["logs", "deaf"])?.stdout == "ready\n").then_some(())))?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    ensure!(pid.is_some(), "the command has no pid");
    pid.map(|pid| kill_process(pid, Signal::TERM)).transpose()?;
    let output = child.wait_with_output()?;
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(5), b"ready\ncaught\n".as_slice()));
    eventually("it is gone", || Ok(nothing_left(&home).ok()))?;

    let script = "echo again; exit 6";
    let policy = ["--restart", "on-failure:2"];
    let line = [&["run", "--rm", "-a", "-b", "process"], policy.as_slice(), &["--", "sh", "-c", script]].concat();
    let output = home.run(line)?;
    assert_eq!((output.code, output.stdout.as_str()), (Some(6), "again\nagain\nagain\n"), "{output:?}");
    eventually("it is gone", || Ok(nothing_left(&home).ok()))
}

#[test]
fn a_session_comes_from_a_file_with_flags_over_it_and_a_mistake_in_it_has_its_line() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let text = "backend = \"process\"\ncommand = [\"sh\", \"-c\", \"echo $A $B\"]\n[env]\nA = \"one\"\nB = \"two\"\n";
    fs::write(home.dir().join("session.toml"), text)?;
    fs::write(home.dir().join("env"), "B=from-a-file\n")?;
    let line = ["run", "--rm", "-a", "-f", "session.toml", "--env-file", "env", "-e", "A=over"];
    assert_eq!(home.ok(&line)?, "over from-a-file\n");

    fs::write(home.dir().join("wrong.toml"), "backend = \"process\"\ncomand = [\"true\"]\n")?;
    refused(&home, &["run", "-f", "wrong.toml"], 64, &["wrong.toml:2:1", "comand", "did you mean `command`"])?;
    refused(&home, &["run", "-f", "absent.toml"], 65, &["absent.toml"])?;
    eventually("it is gone", || Ok(nothing_left(&home).ok()))
}

#[test]
fn sessions_are_listed_by_filter_and_in_a_format() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    run(&home, &["-b", "mock", "--name", "web", "-l", "tier=front"])?;
    run(&home, &["-b", "mock", "--name", "db", "-l", "tier=back"])?;
    run(&home, &["-b", "process", "--name", "once", "--", "sh", "-c", "exit 3"])?;
    assert_eq!(home.run(["wait", "once"])?.code, Some(3));
    let names = |filter: &[&str]| home.ok(&[&["ps", "--format", "{{.Name}} {{.State}}"], filter].concat());
    assert_eq!(names(&[])?, "web running\ndb running\n");
    assert_eq!(names(&["-f", "label=tier=back"])?, "db running\n");
    assert_eq!(names(&["-f", "status=exited"])?, "once failed\n");
    assert_eq!(names(&["-f", "exited=3"])?, "once failed\n");
    assert_eq!(names(&["-l"])?, "once failed\n");
    assert_eq!(names(&["-a", "-f", "backend=mock", "-f", "health=healthy"])?, "web running\ndb running\n");
    let id = home.ok(&["inspect", "-f", "{{.ID}}", "web"])?;
    assert_eq!(home.ok(&["ps", "-q", "--no-trunc", "-f", "name=web"])?, id);
    refused(&home, &["ps", "-f", "stat=x"], 2, &["stat=x", "state="]).map(drop)
}
