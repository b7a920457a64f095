//! Bad input to the commands that put hands on sessions: each is refused by what is wrong, with its code, and harms nobody.

use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use anyhow::{Result, ensure};
use seawall_integration::{home, refused, run, until_state};

#[test]
fn a_session_that_is_not_there_is_named_by_every_command() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    for command in ["attach", "logs", "endpoint", "pause", "unpause", "wait", "send", "exec", "stats"] {
        for session in ["nobody", "0123456789abcdef"] {
            let more: &[&str] = match command {
                "exec" => &["true"],
                "send" => &["word"],
                _ => &[],
            };
            refused(&home, &[&[command, session], more].concat(), 65, &[session])?;
        }
        // Of none in particular figures are shown for ever.
        if command != "stats" {
            refused(&home, &[command], 2, &["SESSION"])?;
        }
    }
    Ok(())
}

#[test]
fn a_session_that_is_over_takes_no_hands_and_its_output_and_code_are_still_there() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    home.ok(&["run", "-b", "process", "--stdin", "--name", "over", "--", "sh", "-c", "echo word; exit 3"])?;
    until_state(&home, "over", "failed")?;
    for command in [&["exec", "over", "true"][..], &["attach", "over"], &["send", "over", "x"]] {
        refused(&home, command, 66, &["failed"])?;
    }
    refused(&home, &["pause", "over"], 66, &["failed"])?;
    refused(&home, &["wait", "--for", "running", "over"], 71, &["never running"])?;
    assert_eq!(home.run(["wait", "over"])?.code, Some(3));
    assert_eq!(home.ok(&["logs", "-f", "over"])?, "word\n");
    assert_eq!(home.ok(&["logs", "-f", "--follow-restarts", "over"])?, "word\n");
    Ok(())
}

#[test]
fn absurd_values_are_refused_before_anything_is_asked_of_a_session() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    run(&home, &["-b", "process", "--name", "there", "--", "sleep", "600"])?;
    let table: [(&[&str], i32, &[&str]); 16] = [
        (&["logs", "--tail", "99999999999999999999", "there"], 2, &["number"]),
        (&["logs", "--tail", "-1", "there"], 2, &["-1"]),
        (&["logs", "--since", "yesterday", "there"], 2, &["10m"]),
        (&["logs", "--incarnation", "18446744073709551616", "there"], 2, &["--incarnation"]),
        (&["logs", "--incarnation", "77", "there"], 65, &["77"]),
        (&["logs", "--follow-restarts", "there"], 2, &["--follow"]),
        (&["exec", "--timeout", "soon", "there", "true"], 2, &["--timeout"]),
        (&["exec", "--detach-keys", "ctrl-1", "there", "true"], 2, &["ctrl-p,ctrl-q"]),
        (&["exec", "--env", "=x", "there", "true"], 64, &["name of a variable"]),
        (&["exec", "--user", "nobody-at-all", "there", "true"], 64, &["user"]),
        (&["attach", "--detach-keys", "", "there"], 2, &["ctrl-p,ctrl-q"]),
        (&["endpoint", "there", "99999"], 2, &["99999"]),
        (&["endpoint", "there"], 68, &["process", "`endpoint`"]),
        (&["wait", "--for", "ever", "there"], 2, &["healthy"]),
        (&["wait", "--timeout", "1ms", "there"], 75, &["running"]),
        (&["stats", "--no-stream", "--backend", "nobody"], 65, &["nobody"]),
    ];
    for (arguments, code, words) in table {
        refused(&home, arguments, code, words)?;
    }
    let huge = "x".repeat(100_000);
    for arguments in [["exec", huge.as_str(), "true"], ["send", huge.as_str(), "word"]] {
        refused(&home, &arguments, 65, &[])?;
    }
    // No terminal on this side.
    refused(&home, &["exec", "-it", "there", "sh"], 2, &["no terminal"])?;
    refused(&home, &["run", "-it", "-b", "process", "--", "sh"], 2, &["no terminal"])?;
    // None on that side.
    refused(&home, &["send", "there", "word"], 66, &["stdin"])?;
    assert_eq!(home.json(&["inspect", "there"])?["state"], "running");
    Ok(())
}

#[test]
fn with_its_own_input_closed_every_command_does_what_it_can() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    run(&home, &["-b", "process", "--stdin", "--name", "reader", "--", "sh", "-c", "cat; echo over"])?;
    // Closed, and not only empty.
    let closed = |arguments: &[&str]| {
        let mut shell = std::process::Command::new("sh");
        let seawall = home.command(arguments);
        shell.args(["-c", "exec \"$0\" \"$@\" <&-"]).arg(seawall.get_program()).args(seawall.get_args()).env_clear();
        shell.envs(seawall.get_envs().filter_map(|(name, value)| Some((name, value?)))).arg0("sh");
        shell.current_dir(home.dir()).stdin(Stdio::null()).output()
    };
    let output = closed(&["exec", "-i", "reader", "sh", "-c", "cat; echo read"])?;
    ensure!(output.stdout == b"read\n" && output.status.success(), "{output:?}");
    let output = closed(&["send", "reader", "word"])?;
    ensure!(output.status.success(), "{output:?}");
    let output = closed(&["send", "--close", "reader"])?;
    ensure!(output.status.success(), "{output:?}");
    until_state(&home, "reader", "stopped")?;
    let output = closed(&["logs", "-f", "reader"])?;
    ensure!(output.stdout == b"word\nover\n" && output.status.success(), "{output:?}");
    Ok(())
}
