//! Streams that are long, wide or stuck, of real processes and containers.

use std::io::{ErrorKind, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use seawall_integration::{engine, eventually, home, refused, run, until, until_state};
use seawall_testing::daemon::Home;
use seawall_testing::http;
use serde_json::Value;

const PROCESS: [&str; 2] = ["--backend", "process"];
const DOCKER: [&str; 4] = ["--backend", "docker", "--image", "busybox"];

/// Bytes of every kind but a newline, in no order that characters have.
fn one_line(length: usize) -> Vec<u8> {
    let byte = |at: usize| u8::try_from(at.wrapping_mul(2_654_435_761) >> 7 & 0xff).unwrap_or_default();
    (0..length).map(byte).map(|byte| if byte == b'\n' { 0xff } else { byte }).collect()
}

/// Where they differ, in a few words.
fn same(what: &str, found: &[u8], expected: &[u8]) -> Result<()> {
    let at = found.iter().zip(expected).position(|(is, should)| is != should);
    ensure!(found == expected, "{what}: {} bytes came of {}, they differ at {at:?}", found.len(), expected.len());
    Ok(())
}

/// Sent to a session that writes it again and ends, and read in every way.
fn a_long_line(home: &Home, on: &[&str], tails: &[&str]) -> Result<()> {
    let line = one_line(10 << 20);
    let script = format!("head -c {}", line.len());
    let whole = ["--log-opt", "max-size=64m", "--stdin", "--name", "long"];
    run(home, &[on, &whole, &["--", "sh", "-c", &script]].concat())?;
    let follower = home.command(["logs", "-f", "long"]).stdout(Stdio::piped()).spawn()?;
    let mut sender = home.command(["send", "long"]).stdin(Stdio::piped()).spawn()?;
    sender.stdin.take().context("its input")?.write_all(&line)?;
    let followed = follower.wait_with_output()?;
    ensure!(sender.wait()?.success() && followed.status.success(), "{:?}", followed.status);
    same("logs -f", &followed.stdout, &line)?;
    until_state(home, "long", "stopped")?;
    for tail in tails {
        let read = home.command(["logs", "--tail", tail, "long"]).output()?;
        ensure!(read.status.success(), "{read:?}");
        same(&format!("logs --tail {tail}"), &read.stdout, &line)?;
    }
    refused(home, &["logs", "--json", "long"], 2, &["bytes"])?;
    Ok(())
}

#[test]
fn a_line_of_ten_megabytes_of_any_bytes_comes_from_a_process_as_it_was_written() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    a_long_line(&home, &PROCESS, &["all", "1", "2"])
}

#[test]
fn a_line_of_ten_megabytes_of_any_bytes_comes_from_a_container_as_it_was_written() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    // To the Engine a line is as long as its buffer.
    a_long_line(&home, &DOCKER, &["all"])
}

const LINES: u32 = 200_000;

/// What a follower reads that did not read while all of it was rotated away again and again, and what it is told.
fn fell_behind(home: &Home, on: &[&str]) -> Result<(String, String)> {
    let script = format!("awk 'BEGIN {{ for (i = 1; i <= {LINES}; i++) printf \"%0127d\\n\", i }}'");
    let script = format!("echo first; read go; {script}; echo last");
    let small = ["--log-opt", "max-size=128k", "--log-opt", "max-file=2", "--stdin", "--name", "rotated"];
    run(home, &[on, &small, &["--", "sh", "-c", &script]].concat())?;
    let mut follower = home.command(["logs", "-f", "rotated"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut out = follower.stdout.take().context("its output")?;
    let mut first = [0; 6];
    out.read_exact(&mut first)?;
    assert_eq!(&first, b"first\n");
    home.ok(&["send", "rotated", "go"])?;
    until_state(home, "rotated", "stopped")?;
    let mut rest = String::new();
    out.read_to_string(&mut rest)?;
    let ended = follower.wait_with_output()?;
    ensure!(ended.status.success(), "the follower failed");
    assert_eq!(home.ok(&["logs", "--tail", "2", "rotated"])?, end(), "whoever comes later has the end");
    Ok((rest, String::from_utf8(ended.stderr)?))
}

fn end() -> String {
    format!("{LINES:0127}\nlast\n")
}

#[test]
fn a_follower_that_fell_behind_the_rotation_of_a_process_reads_its_end_and_is_told() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let (read, told) = fell_behind(&home, &PROCESS)?;
    ensure!(told.contains("output is missing, rotation removed"), "it is told {told:?}");
    ensure!(read.ends_with(&end()), "it ends with {:?}", read.get(read.len().saturating_sub(300)..));
    let whole = |line: &&str| line.len() == 127;
    let numbers: Vec<u32> = read.lines().filter(whole).filter_map(|line| line.parse().ok()).collect();
    ensure!(numbers.is_sorted_by(|one, other| one < other), "lines came twice, or in another order");
    Ok(())
}

#[test]
fn a_follower_that_fell_behind_the_rotation_of_a_container_ends_and_the_log_has_its_end() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    // How much of what was rotated away the Engine still gives to such a follower is its own affair.
    fell_behind(&home, &DOCKER).map(drop)
}

/// Streams that a backend has open.
fn open_streams(home: &Home, on: &[&str]) -> Result<Value> {
    let backend = on.get(1).context("a backend")?;
    Ok(home.json(&["backend", "inspect", backend])?["bulkhead"]["permits"]["streams"]["in_flight"].clone())
}

/// A follower over the API, which has read nothing yet.
fn follower(home: &Home, session: &str) -> Result<UnixStream> {
    let target = format!("/v1/sessions/{session}/logs?follow=true");
    http::open(&home.socket(), &target).with_context(|| target)
}

/// Reads on until this comes.
fn read_until(stream: &mut impl Read, text: &str) -> Result<()> {
    let (mut read, mut piece) = (Vec::new(), [0; 64 << 10]);
    while !read.windows(text.len()).any(|found| found == text.as_bytes()) {
        let length = match stream.read(&mut piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.with_context(|| format!("{text:?} does not come"))?,
        };
        ensure!(length > 0, "it ended without {text:?}");
        read.extend_from_slice(piece.get(..length).unwrap_or_default());
        read.drain(..read.len().saturating_sub(piece.len() + text.len()));
    }
    Ok(())
}

const QUIET: [&str; 3] = ["quiet-0", "quiet-1", "quiet-2"];
/// More than any buffers on the way take.
const FLOOD: &str =
    "read go; head -c 8000000 /dev/zero | tr '\\0' x; echo; echo full; while read word; do echo $word; done";
const MANY: &str = "bulkhead.limit.streams = 300\n";

/// Two hundred of whom twenty read nothing of what comes.
fn many_followers(home: &Home, on: &[&str]) -> Result<()> {
    run(home, &[on, &["--stdin", "--name", "loud", "--", "sh", "-c", FLOOD]].concat())?;
    for name in QUIET {
        run(home, &[on, &["--stdin", "--name", name, "--", "cat"]].concat())?;
    }
    let stuck = (0..20).map(|_| follower(home, "loud")).collect::<Result<Vec<_>>>()?;
    let mut quiet = (0..179).map(|at| follower(home, QUIET[at % QUIET.len()])).collect::<Result<Vec<_>>>()?;
    let mut reading = follower(home, "loud")?;
    assert_eq!(open_streams(home, on)?, 200);
    home.ok(&["send", "loud", "go"])?;
    // What it wrote is more than the stuck ones can have been given.
    read_until(&mut reading, "full\n")?;
    home.ok(&["send", "loud", "further"])?;
    read_until(&mut reading, "further\n")?;
    read_until(&mut follower(home, "loud")?, "further\n")?;
    home.ok(&["send", "quiet-0", "still here"])?;
    read_until(quiet.first_mut().context("one of quiet-0")?, "still here\n")?;
    // Each session is looked at twice from here on.
    for name in ["loud", "quiet-0", "quiet-1", "quiet-2"] {
        for _ in 0..2 {
            let seen = home.json(&["why", name])?["observed"]["at"].clone();
            eventually(&format!("{name} is looked at"), || {
                Ok((home.json(&["why", name])?["observed"]["at"].as_str() > seen.as_str()).then_some(()))
            })?;
        }
    }
    eventually("only the two hundred are open", || Ok((open_streams(home, on)? == 200).then_some(())))?;
    drop((stuck, quiet, reading));
    eventually("all are given back", || Ok((open_streams(home, on)? == 0).then_some(())))
}

#[test]
fn of_two_hundred_followers_of_processes_twenty_that_are_stuck_hold_up_nobody() -> Result<()> {
    let home = home(&format!("[backend.process]\n{MANY}"))?;
    let _daemon = home.serve(true)?;
    many_followers(&home, &PROCESS)
}

#[test]
fn of_two_hundred_followers_of_containers_twenty_that_are_stuck_hold_up_nobody() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home(&format!("[backend.docker]\n{MANY}"))?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    many_followers(&home, &DOCKER)
}

/// Clients of each kind that are killed while bytes flow.
fn killed_clients(home: &Home, on: &[&str]) -> Result<()> {
    // What runs elsewhere on this machine has other names.
    let backend = on.get(1).context("a backend")?;
    let command = format!("command-{backend}");
    run(home, &[on, &["--stdin", "--name", "loud", "--", "yes", &format!("told-{backend}")]].concat())?;
    let mut clients = Vec::new();
    for arguments in [&["logs", "-f", "loud"][..], &["attach", "loud"], &["exec", "-i", "loud", "yes", &command]] {
        let mut client = home.command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut some = [0; 100_000];
        client.stdout.as_mut().context("its output")?.read_exact(&mut some)?;
        clients.push(client);
    }
    // With what it is sent, which nobody reads.
    let mut sender = home.command(["send", "loud"]).stdin(Stdio::piped()).spawn()?;
    sender.stdin.as_mut().context("its input")?.write_all(&[b'x'; 1000])?;
    clients.push(sender);
    eventually("all are open", || Ok((open_streams(home, on)? == 4).then_some(())))?;
    for client in &mut clients {
        client.kill()?;
        client.wait()?;
    }
    eventually("all are given back", || Ok((open_streams(home, on)? == 0).then_some(())))?;
    let commands = "for file in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $file; echo; done 2>/dev/null";
    eventually("the command is gone", || {
        let all = home.ok(&["exec", "loud", "sh", "-c", commands])?;
        ensure!(all.lines().any(|line| line.trim_end() == format!("yes told-{backend}")), "the session goes on: {all}");
        Ok((!all.lines().any(|line| line.trim_end() == format!("yes {command}"))).then_some(()))
    })?;
    until(home, "loud", "runs as before", |now| now["state"] == "running" && now["incarnation"] == 1)?;
    home.ok(&["rm", "--force", "loud"]).map(drop)
}

#[test]
fn clients_of_a_process_that_are_killed_in_mid_stream_leave_nothing_open() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    killed_clients(&home, &PROCESS)
}

#[test]
fn clients_of_a_container_that_are_killed_in_mid_stream_leave_nothing_open() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    killed_clients(&home, &DOCKER)
}
