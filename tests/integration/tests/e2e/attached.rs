//! Whoever is attached to a session, over its restarts and those of the daemon.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use seawall_integration::{engine, home, run, until};
use seawall_testing::daemon::Home;
use seawall_testing::terminal::Terminal;

#[test]
fn a_later_incarnation_that_is_over_before_it_can_be_attached_to_is_shown_and_its_code_passed_on() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    // Its user may write there.
    let dir = home.dir().join("shared");
    fs::create_dir(&dir)?;
    fs::set_permissions(home.dir(), fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))?;
    let at = dir.display();
    let script = format!(
        "if [ -e {at}/again ]; then echo second; exit 7; fi; touch {at}/again; \
         until [ -e {at}/go ]; do echo tick; sleep 0.05; done; exit 1"
    );
    run(&home, &["-b", "process", "--name", "brief", "--restart", "on-failure:1", "--", "sh", "-c", &script])?;
    let mut child = home.command(["attach", "brief"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut out = BufReader::new(child.stdout.take().context("its output")?);
    let mut first = String::new();
    out.read_line(&mut first)?;
    assert_eq!(first, "tick\n");
    // It looks again only when all of that is over.
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::STOP)?;
    fs::write(dir.join("go"), "")?;
    until(&home, "brief", "is over for good", |now| now["incarnation"] == 2 && now["state"] == "failed")?;
    kill_process(pid, Signal::CONT)?;
    let mut rest = String::new();
    out.read_to_string(&mut rest)?;
    let ended = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    ensure!(ended.status.code() == Some(7) && rest.ends_with("second\n"), "{:?} {rest:?} {said}", ended.status);
    assert_eq!(rest.matches("second").count(), 1, "{rest:?}");
    Ok(())
}

const FOLLOW: [&str; 2] = ["attach", "--follow-restarts"];
const PROCESS: [&str; 2] = ["--backend", "process"];
const DOCKER: [&str; 4] = ["--backend", "docker", "--image", "busybox"];
/// What is said while there is no daemon, and then.
const AWAY: &str = "when the daemon is there";
const BACK: &str = "attached again";

/// Typed at over a daemon that ends and one that is killed, and left while there is none.
fn typed_at(home: &Home, on: &[&str]) -> Result<()> {
    let mut daemon = home.serve(true)?;
    home.ok(&[&["run", "--detach", "--tty", "--stdin", "--name", "shell"], on, &["--", "sh"]].concat())?;
    let mut terminals = Vec::new();
    for _ in 0..2 {
        let mut terminal = Terminal::run(&home.command([&FOLLOW[..], &["shell"]].concat()))?;
        terminal.press("echo $((20+1)) here\r")?;
        terminal.see("21 here")?;
        terminals.push(terminal);
    }
    for politely in [true, false] {
        if politely {
            ensure!(daemon.terminate()?.success(), "{}", home.log());
        } else {
            daemon.kill()?;
        }
        for terminal in &mut terminals {
            terminal.see(AWAY)?;
        }
        daemon = home.serve(true)?;
        for terminal in &mut terminals {
            terminal.see(BACK)?;
            terminal.press("echo $((40+2)) again\r")?;
            terminal.see("42 again")?;
        }
    }
    daemon.kill()?;
    for (mut terminal, keys) in terminals.into_iter().zip(["\x10\x11", "\x03"]) {
        terminal.see(AWAY)?;
        terminal.press(keys)?;
        let (status, all) = terminal.ended()?;
        ensure!(status.success() && all.contains("goes on"), "{keys:?}: {status} {all:?}");
    }
    Ok(())
}

#[test]
fn a_process_at_a_terminal_is_attached_to_again_when_the_daemon_is_there() -> Result<()> {
    typed_at(&home("")?, &PROCESS)
}

#[test]
fn a_container_at_a_terminal_is_attached_to_again_when_the_daemon_is_there() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    typed_at(&home("")?.with_docker(&engine.host()), &DOCKER)
}

/// What it writes without a terminal of its own, seen at one from its middle on.
fn seen_whole(home: &Home, on: &[&str]) -> Result<()> {
    const LINES: usize = 800;
    let daemon = home.serve(true)?;
    let script = format!("i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i; sleep 0.01; done; exit 3");
    run(home, &[on, &["--name", "writer", "--", "sh", "-c", &script]].concat())?;
    let mut terminal = Terminal::run(&home.command([&FOLLOW[..], &["writer"]].concat()))?;
    terminal.see("line ")?;
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    let daemon = home.serve(true)?;
    terminal.see("line ")?;
    daemon.kill()?;
    let _daemon = home.serve(true)?;
    let (status, all) = terminal.ended()?;
    let seen: Vec<&str> = all.lines().filter(|line| line.starts_with("line ")).collect();
    let from = LINES + 1 - seen.len();
    let expected: Vec<String> = (from..=LINES).map(|line| format!("line {line}")).collect();
    ensure!(status.code() == Some(3) && seen == expected, "{status} {all}");
    Ok(())
}

#[test]
fn what_a_process_writes_is_seen_over_restarts_of_the_daemon_without_loss_or_repetition() -> Result<()> {
    seen_whole(&home("")?, &PROCESS)
}

#[test]
fn what_a_container_writes_is_seen_over_restarts_of_the_daemon_without_loss_or_repetition() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    seen_whole(&home("")?.with_docker(&engine.host()), &DOCKER)
}
