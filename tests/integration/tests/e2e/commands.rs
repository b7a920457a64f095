//! The commands that people begin with, against a real daemon.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use seawall_integration::{QUICK, eventually, home, nothing_left, refused, run, until_state};

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

/// Every file below a directory whose bytes contain the text.
fn files_with(dir: &Path, text: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let kind = path.symlink_metadata()?.file_type();
        if kind.is_dir() {
            found.extend(files_with(&path, text)?);
        } else if kind.is_file() && fs::read(&path)?.windows(text.len()).any(|window| window == text.as_bytes()) {
            found.push(path);
        }
    }
    Ok(found)
}

#[test]
fn a_variable_from_a_file_is_read_at_every_start_and_kept_nowhere() -> Result<()> {
    let home = home("")?;
    let secrets = home.dir().join("secrets");
    fs::create_dir(&secrets)?;
    let token = secrets.join("token");
    fs::write(&token, "hunter2-from-a-file\n")?;
    let granted = format!("[control]\nenv-files = [{:?}]\n", secrets.display().to_string());
    home.configure(&QUICK.replace("[control]\n", &granted))?;
    let daemon = home.serve(true)?;
    let from = format!("TOKEN={}", token.display());
    // It tells that it knows the secret, and not the secret.
    let script = "test \"$TOKEN\" = hunter2-from-\"a\"-file; echo knows $?; exec sleep 5011";
    run(&home, &["-b", "process", "--name", "it", "--env-from", &from, "--", "sh", "-c", script])?;
    eventually("it knows", || Ok((home.run(["logs", "it"])?.stdout == "knows 0\n").then_some(())))?;
    let shown = home.json(&["inspect", "it"])?;
    assert_eq!(shown["spec"]["env_from"]["TOKEN"], token.display().to_string());

    // Adopted by the next daemon, which knows the secret by the file alone.
    daemon.kill()?;
    let daemon = home.serve(true)?;
    fs::write(&token, "another-secret\n")?;
    home.ok(&["restart", "-t", "1", "it"])?;
    eventually("it knows another", || Ok((home.run(["logs", "it"])?.stdout == "knows 1\n").then_some(())))?;

    fs::remove_file(&token)?;
    let gone = ["env_from.TOKEN", "token cannot be read", "No such file"];
    refused(&home, &["restart", "it"], 64, &gone)?;
    assert_eq!(home.json(&["inspect", "it"])?["state"], "running", "what cannot be started again is not ended");
    home.ok(&["stop", "-t", "1", "it"])?;
    refused(&home, &["start", "it"], 64, &gone)?;
    refused(&home, &["run", "-b", "process", "--env-from", &from, "--", "true"], 64, &gone)?;
    let outside = ["run", "-b", "process", "--env-from", "TOKEN=/etc/hostname", "--", "true"];
    refused(&home, &outside, 64, &["env_from.TOKEN", "/etc/hostname", "`env-files` in [control]"])?;
    fs::write(&token, "hunter2-from-a-file\n")?;
    home.ok(&["start", "it"])?;
    until_state(&home, "it", "running")?;
    home.ok(&["rm", "-f", "it"])?;
    daemon.terminate()?;
    let kept: Vec<_> = files_with(&home.data_dir(), "hunter2-from-a-file")?;
    assert!(kept.is_empty() && !home.log().contains("hunter2-from-a-file"), "{kept:?}");
    Ok(())
}

#[test]
fn what_earlier_starts_wrote_is_kept_until_the_session_is_removed() -> Result<()> {
    let home = home("")?;
    let daemon = home.serve(true)?;
    let script = "echo from the start at $(date +%s%N); echo aside >&2; exit 3";
    let policy = ["--restart", "on-failure:4", "--restart-backoff", "10ms..10ms"];
    let id = run(&home, &[&["-b", "process", "--name", "flap"], &policy[..], &["--", "sh", "-c", script]].concat())?;
    until_state(&home, "flap", "failed")?;
    let of = |start: &str| home.ok(&["logs", "--stdout", "--incarnation", start, "flap"]);
    let newest = home.ok(&["logs", "--stdout", "flap"])?;
    assert_eq!(of("5")?, newest);
    let earlier = [of("2")?, of("3")?, of("4")?];
    assert!(earlier.iter().all(|log| log.starts_with("from the start at ") && *log != newest), "{earlier:?}");
    assert!(earlier[0] < earlier[1] && earlier[1] < earlier[2], "{earlier:?}");
    assert_eq!(home.ok(&["logs", "--stdout", "--previous", "flap"])?, earlier[2]);
    let with_times = home.ok(&["logs", "-t", "-i", "2", "--stdout", "flap"])?;
    assert!(with_times.starts_with("20"), "{with_times}");
    refused(&home, &["logs", "--incarnation", "1", "flap"], 65, &["incarnation 1 is not kept", "2, 3, 4, 5"])?;
    refused(&home, &["logs", "--incarnation", "6", "flap"], 65, &["the newest is 5"])?;

    // The next daemon has them too, and removes them with the session.
    daemon.kill()?;
    let _daemon = home.serve(true)?;
    until_state(&home, "flap", "failed")?;
    assert_eq!(of("3")?, earlier[1]);
    let kept = home.data_dir().join("logs").join(id);
    assert_eq!(fs::read_dir(&kept)?.count(), 3);
    home.ok(&["rm", "flap"])?;
    eventually("its logs are gone", || Ok((!kept.exists()).then_some(())))
}
