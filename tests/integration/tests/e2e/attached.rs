//! Whoever is attached to a session, over its restarts and those of the daemon.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use seawall_integration::{home, run, until};

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
