//! Hands on sessions that run, at a real terminal and without one.

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use seawall_integration::{engine, eventually, home, refused, run, until, until_state};
use seawall_testing::daemon::Home;
use seawall_testing::terminal::Terminal;

/// ctrl-c.
const INTERRUPT: &str = "\x03";
/// The keys that leave a session: ctrl-p, ctrl-q.
const LEAVE: &str = "\x10\x11";

/// Runs it with this on its standard input, and gives its code and what it wrote.
fn fed(home: &Home, arguments: &[&str], input: &[u8]) -> Result<(Option<i32>, Vec<u8>, Vec<u8>)> {
    let mut command = home.command(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("its input")?;
    let input = input.to_vec();
    let writing = std::thread::spawn(move || _ = stdin.write_all(&input));
    let output = child.wait_with_output()?;
    writing.join().ok().context("write")?;
    Ok((output.status.code(), output.stdout, output.stderr))
}

fn bytes(length: usize) -> Vec<u8> {
    // Every byte, in no order that lines or characters have.
    (0..length).map(|at| u8::try_from(at.wrapping_mul(2_654_435_761) >> 7 & 0xff).unwrap_or_default()).collect()
}

/// What holds of `exec` on each backend.
fn commands(home: &Home, session: &str) -> Result<()> {
    assert_eq!(home.ok(&["exec", session, "echo", "hello"])?, "hello\n");
    let output = home.run(["exec", session, "sh", "-c", "echo out; echo err >&2; exit 7"])?;
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (Some(7), "out\n", "err\n"));
    let output = home.run(["exec", "-e", "A=b c", "-w", "/", session, "sh", "-c", "echo $A; pwd"])?;
    assert_eq!(output.stdout, "b c\n/\n", "{output:?}");
    // Without --stdin it reads nothing; with it all, and its end.
    assert_eq!(fed(home, &["exec", session, "cat"], b"unread")?.1, b"");
    let given = bytes(1 << 20);
    let (code, out, err) = fed(home, &["exec", "-i", session, "cat"], &given)?;
    ensure!(code == Some(0) && out == given, "{code:?} {} of {} bytes {err:?}", out.len(), given.len());
    // One that reads no more is no failure of who writes.
    let (code, out, _) = fed(home, &["exec", "-i", session, "head", "-c", "3"], &given)?;
    assert_eq!((code, out.as_slice()), (Some(0), &given[..3]));
    let (code, ..) = fed(home, &["exec", "--timeout", "300ms", session, "sleep", "600"], b"")?;
    assert_eq!(code, Some(75));

    refused(home, &["exec", "-it", session, "sh"], 2, &["no terminal"])?;
    refused(home, &["exec", session, ""], 64, &["command"])?;
    refused(home, &["exec", "nobody", "true"], 65, &["nobody"])?;
    refused(home, &["exec", "-w", "here", session, "true"], 64, &["working_dir"])?;
    Ok(())
}

/// What holds of a shell at a terminal on each backend: `shell` begins it.
fn shell(home: &Home, shell: &[&str], session: &str) -> Result<()> {
    let mut terminal = Terminal::run(&home.command(shell))?;
    terminal.press("echo is $((40+2))\r")?;
    terminal.see("is 42")?;
    terminal.press("busybox stty size\r")?;
    terminal.see("24 80")?;
    terminal.resize(100, 30)?;
    // The size comes on a road of its own.
    let mut tries = 0..200;
    loop {
        terminal.press("echo $(busybox stty size) is its size\r")?;
        terminal.see(" is its size\r\n")?;
        terminal.press("test \"$(busybox stty size)\" = '30 100' && echo gro\"\"wn || echo not\"\" yet\r")?;
        // As it is typed neither stands there whole.
        if terminal.see_one_of(&["grown", "not yet"])? == 0 {
            break;
        }
        tries.next().context("the size of the terminal does not follow")?;
    }
    // What says that it sleeps is what the terminal interrupts, and not the shell that is about to begin it.
    terminal.press("sh -c \"echo sle''eps; exec sleep 600\"\r")?;
    terminal.see("sleeps")?;
    terminal.press(INTERRUPT)?;
    terminal.press("echo woke $((1+1))\r")?;
    terminal.see("woke 2")?;
    // What fills the screen and reads each key.
    terminal.press("busybox vi note\r")?;
    // Keys that come before it has the terminal are not its own.
    terminal.see("1H~")?;
    terminal.press("iwritten")?;
    terminal.see("written")?;
    // An escape with more behind it would be another key.
    terminal.press("\x1b")?;
    terminal.see("- note")?;
    terminal.press(":wq\r")?;
    terminal.see("\x1b[?1049l")?;
    terminal.see_one_of(&["$ ", "# "])?;
    terminal.press("echo \"<$(cat note)>\"\r")?;
    terminal.see("<written>")?;
    terminal.press("exit 3\r")?;
    let (status, all) = terminal.ended()?;
    ensure!(status.code() == Some(3), "{session}: {status} {all:?}");
    Ok(())
}

#[test]
fn commands_run_in_a_process_session() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    run(&home, &["--backend", "process", "--name", "there", "--", "sleep", "600"])?;
    commands(&home, "there")
}

#[test]
fn commands_run_in_a_container() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    run(&home, &["--backend", "docker", "--name", "there", "--image", "busybox", "--", "sleep", "600"])?;
    commands(&home, "there")
}

#[test]
fn a_shell_in_a_process_session_has_a_terminal() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    run(&home, &["--backend", "process", "--name", "there", "--", "sleep", "600"])?;
    shell(&home, &["exec", "-it", "there", "sh"], "there")
}

#[test]
fn a_shell_in_a_container_has_a_terminal() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    run(&home, &["--backend", "docker", "--name", "there", "--image", "busybox", "--", "sleep", "600"])?;
    shell(&home, &["exec", "-it", "there", "sh"], "there")
}

#[test]
fn a_process_session_is_run_at_a_terminal() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    shell(&home, &["run", "-it", "--rm", "--backend", "process", "--name", "there", "--", "sh"], "there")?;
    eventually("it is removed", || Ok((home.json(&["ps", "--all"])? == serde_json::json!([])).then_some(())))
}

#[test]
fn a_container_is_run_at_a_terminal() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    let run = ["run", "-it", "--rm", "--backend", "docker", "--name", "there", "--image", "busybox", "--", "sh"];
    shell(&home, &run, "there")?;
    eventually("it is removed", || Ok((home.json(&["ps", "--all"])? == serde_json::json!([])).then_some(())))
}

/// Left with the keys and come back to, over a restart of the daemon, and one typed to from elsewhere.
fn left_and_come_back_to(home: &Home, run: &[&str]) -> Result<()> {
    let daemon = home.serve(true)?;
    let mut terminal = Terminal::run(&home.command(run))?;
    // What it says first is not missed.
    terminal.see("who are you? ")?;
    terminal.press("me\r")?;
    terminal.see("hello me")?;
    terminal.press(LEAVE)?;
    let (status, all) = terminal.ended()?;
    ensure!(status.success() && all.contains("goes on"), "{status} {all:?}");
    until_state(home, "shell", "running")?;

    ensure!(daemon.terminate()?.success(), "{}", home.log());
    let _daemon = home.serve(true)?;
    until_state(home, "shell", "running")?;
    let mut terminal = Terminal::run(&home.command(["attach", "shell"]))?;
    let mut other = Terminal::run(&home.command(["attach", "shell"]))?;
    // Who has had an answer is attached, and misses nothing that comes later.
    other.press("echo $((20+1)) here\r")?;
    other.see("21 here")?;
    terminal.press("echo $((40+2)) again\r")?;
    terminal.see("42 again")?;
    other.see("42 again")?;
    home.ok(&["send", "shell", "echo", "sent", "$((1+1))"])?;
    terminal.see("sent 2")?;
    // One that goes is nothing to the other.
    drop(other);
    terminal.press("echo $((2+2)) more\r")?;
    terminal.see("4 more")?;
    terminal.press("exit 5\r")?;
    let (status, all) = terminal.ended()?;
    ensure!(status.code() == Some(5), "{status} {all:?}");
    Ok(())
}

const ASKS: &str = "printf 'who are you? '; read name; echo hello $name; exec sh";

#[test]
fn a_process_at_a_terminal_is_left_and_come_back_to() -> Result<()> {
    let home = home("")?;
    left_and_come_back_to(&home, &["run", "-it", "--backend", "process", "--name", "shell", "--", "sh", "-c", ASKS])
}

#[test]
fn a_container_at_a_terminal_is_left_and_come_back_to() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    let run = ["run", "-it", "--backend", "docker", "--name", "shell", "--image", "busybox", "--", "sh", "-c", ASKS];
    left_and_come_back_to(&home, &run)
}

/// Who comes back to a program that fills the screen sees it, without a key pressed.
fn shown_to_whom_comes_back(home: &Home, run: &[&str]) -> Result<()> {
    const DRAWS: &str = "trap 'echo drawn; stty size' WINCH; echo ready; while :; do sleep 0.1; done";
    let _daemon = home.serve(true)?;
    let mut terminal = Terminal::run(&home.command([run, &["--", "sh", "-c", DRAWS]].concat()))?;
    terminal.see("ready")?;
    terminal.press(LEAVE)?;
    let (status, all) = terminal.ended()?;
    ensure!(status.success(), "{status} {all:?}");
    let mut terminal = Terminal::run(&home.command(["attach", "screen"]))?;
    terminal.see("drawn")?;
    terminal.see("24 80")
}

#[test]
fn a_process_that_fills_the_screen_is_shown_to_whom_comes_back() -> Result<()> {
    let home = home("")?;
    shown_to_whom_comes_back(&home, &["run", "-it", "--backend", "process", "--name", "screen"])
}

#[test]
fn a_container_that_fills_the_screen_is_shown_to_whom_comes_back() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    shown_to_whom_comes_back(&home, &["run", "-it", "--backend", "docker", "--name", "screen", "--image", "busybox"])
}

/// A command whose client is killed is ended, and one whose session dies ends with it.
fn ends_with_its_client(home: &Home, session: &str, first: &str, second: &str) -> Result<()> {
    let there = |word: &str| -> Result<bool> {
        // Each on its line: the client of a command has it among its own arguments, and may be seen from there.
        let list = "for file in /proc/[0-9]*/cmdline; do tr '\\0' ' ' 2>/dev/null < $file; echo; done";
        let all = home.run(["exec", session, "sh", "-c", list])?.stdout;
        Ok(all.lines().any(|line| line.trim_end() == word))
    };
    let mut client = home.command(["exec", session, "sleep", first]).stdout(Stdio::null()).spawn()?;
    eventually("the command runs", || Ok(there(&format!("sleep {first}"))?.then_some(())))?;
    client.kill()?;
    client.wait()?;
    eventually("the command is gone", || Ok((!there(&format!("sleep {first}"))?).then_some(())))?;

    // Signals are passed on.
    let script = "trap 'echo caught; exit 4' TERM; echo ready; while :; do sleep 0.05; done";
    let mut client = home.command(["exec", session, "sh", "-c", script]).stdout(Stdio::piped()).spawn()?;
    let mut out = client.stdout.take().context("its output")?;
    let mut first = [0; 6];
    out.read_exact(&mut first)?;
    assert_eq!(&first, b"ready\n");
    rustix::process::kill_process(rustix::process::Pid::from_child(&client), rustix::process::Signal::TERM)?;
    let mut rest = String::new();
    out.read_to_string(&mut rest)?;
    assert_eq!((client.wait()?.code(), rest.as_str()), (Some(4), "caught\n"));

    let dying =
        home.command(["exec", session, "sleep", second]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    eventually("the command runs", || Ok(there(&format!("sleep {second}"))?.then_some(())))?;
    home.ok(&["kill", session])?;
    let output = dying.wait_with_output()?;
    ensure!(!output.status.success(), "{output:?}");
    until(home, session, "is over", |now| !now["finished_at"].is_null())?;
    refused(home, &["exec", session, "true"], 66, &["does not run"])?;
    refused(home, &["attach", session], 66, &["does not run"])?;
    refused(home, &["send", session, "x"], 66, &["does not run"])?;
    Ok(())
}

#[test]
fn a_command_in_a_process_session_ends_with_its_client() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    run(&home, &["--backend", "process", "--name", "there", "--", "sleep", "600"])?;
    ends_with_its_client(&home, "there", "4711", "4712")
}

#[test]
fn a_command_in_a_container_ends_with_its_client() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    run(&home, &["--backend", "docker", "--name", "there", "--image", "busybox", "--", "sleep", "600"])?;
    ends_with_its_client(&home, "there", "4713", "4714")
}

/// What is sent is read, and the end of it where that is said.
fn is_sent(home: &Home, more: &[&str], closes: bool) -> Result<()> {
    let command = ["--name", "reader", "--stdin", "--", "sh", "-c", "cat; echo over"];
    run(home, &[more, &command].concat())?;
    home.ok(&["send", "reader", "one", "two"])?;
    home.ok(&["send", "--no-newline", "reader", "three"])?;
    let given = [b"\n".to_vec(), bytes(100_000)].concat();
    let (code, _, said) = fed(home, &["send", "reader"], &given)?;
    ensure!(code == Some(0), "{code:?} {}", String::from_utf8_lossy(&said));
    let mut expected = [b"one two\nthree".to_vec(), given].concat();
    if closes {
        home.ok(&["send", "--close", "--no-newline", "reader", "."])?;
        until_state(home, "reader", "stopped")?;
        expected.extend(b".over\n");
    } else {
        refused(home, &["send", "--close", "reader", "."], 68, &["after 2 bytes", "standard input"])?;
        expected.extend(b".\n");
    }
    eventually("all of it is written", || {
        let logs = home.command(["logs", "reader"]).output()?.stdout;
        ensure!(expected.starts_with(&logs), "{} bytes are others than were sent", logs.len());
        Ok((logs == expected).then_some(()))
    })?;
    run(home, &[more, &["--name", "deaf", "--", "sleep", "600"]].concat())?;
    refused(home, &["send", "deaf", "x"], 66, &["stdin"])?;
    Ok(())
}

#[test]
fn a_process_session_is_sent_bytes() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    is_sent(&home, &["--backend", "process"], true)
}

#[test]
fn a_container_is_sent_bytes() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    is_sent(&home, &["--backend", "docker", "--image", "busybox"], false)
}

#[test]
fn what_a_backend_does_not_export_is_unsupported_by_name() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    run(&home, &["--backend", "mock", "--name", "there"])?;
    refused(&home, &["attach", "there"], 68, &["mock", "`attach`"])?;
    refused(&home, &["send", "there", "x"], 68, &["mock", "`input`"])?;
    Ok(())
}

/// A log that is followed while the daemon is restarted, and the session too.
fn followed(home: &Home, more: &[&str]) -> Result<()> {
    const LINES: usize = 400;
    let daemon = home.serve(true)?;
    // It goes on writing while no daemon runs, and comes to its end only when it is told to.
    let script = format!(
        "i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i; sleep 0.01; [ $i = 200 ] && read go; done; exit 1"
    );
    let command = ["--name", "writer", "--stdin", "--restart", "on-failure:1", "--", "sh", "-c", &script];
    run(home, &[more, &command].concat())?;
    let mut following = home.command(["logs", "-f", "--follow-restarts", "writer"]);
    let mut child = following.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut out = child.stdout.take().context("its output")?;
    let mut first = [0; 7];
    out.read_exact(&mut first)?;
    let reading = std::thread::spawn(move || {
        let mut rest = Vec::new();
        out.read_to_end(&mut rest).map(|_| rest)
    });
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    let daemon = home.serve(true)?;
    until_state(home, "writer", "running")?;
    home.ok(&["send", "writer", "go"])?;
    until(home, "writer", "was started again", |now| now["incarnation"] == 2)?;
    daemon.kill()?;
    let _daemon = home.serve(true)?;
    until_state(home, "writer", "running")?;
    home.ok(&["send", "writer", "go"])?;
    let rest = reading.join().ok().context("read")??;
    let status = child.wait_with_output()?;
    let once: String = (1..=LINES).map(|line| format!("line {line}\n")).collect();
    let read = String::from_utf8([first.to_vec(), rest].concat())?;
    ensure!(read == once.repeat(2), "{} of {} bytes, {status:?}", read.len(), 2 * once.len());
    let said = String::from_utf8_lossy(&status.stderr).into_owned();
    ensure!(status.status.success() && said.contains("when the daemon is there"), "{said}");
    Ok(())
}

#[test]
fn the_log_of_a_process_session_is_followed_over_restarts() -> Result<()> {
    followed(&home("")?, &["--backend", "process"])
}

#[test]
fn the_log_of_a_container_is_followed_over_restarts() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    followed(&home, &["--backend", "docker", "--image", "busybox"])
}
