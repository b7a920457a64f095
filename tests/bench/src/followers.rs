//! What two hundred followers of logs take of the daemon's memory: of a session that says nothing, of one that says
//! something now and then, and of one that says more than they read, who are stuck.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use seawall_testing::daemon::{Daemon, Home, seawall_binary};

use crate::crowd::settle;
use crate::engine::start;
use crate::measure::Report;

const FOLLOWERS: u64 = 200;
const MOST: u64 = 64 << 10;
const CONFIG: &str = "[control]\nsession-streams = 200\nsweep-interval = \"12h\"\nlist-interval = \"12h\"\n";
/// How often the memory is looked at, of which the most counts.
const LOOKS: u32 = 20;
const LOOK: Duration = Duration::from_millis(500);

/// What the sessions do, and whether they are read.
const KINDS: [(&str, &str, bool); 3] = [
    ("silent", "exec sleep 100000", true),
    ("talking", "while :; do echo one more line of what a session has to say; sleep 0.1; done", true),
    // More than all buffers on the way take.
    ("stuck", "head -c 8000000 /dev/zero | tr '\\0' x; exec sleep 100000", false),
];

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let engine = start(report, "followers of containers")?;
    let mut home = Home::new(&seawall_binary()?)?;
    if let Some(engine) = &engine {
        home = home.with_docker(&engine.host());
    }
    home.configure(CONFIG)?;
    let container = engine.iter().map(|_| ("container", &["--backend", "docker", "--image", "busybox"][..]));
    let kinds: Vec<_> = container.chain([("process", &["--backend", "process"][..])]).collect();
    let daemon = home.serve(true)?;
    for (what, backend) in &kinds {
        for (kind, script, _) in KINDS {
            let name = format!("{kind}-{what}");
            home.ok(&[&["run"], *backend, &["--name", &name, "--", "sh", "-c", script]].concat())?;
        }
    }
    daemon.terminate()?;
    for (what, _) in &kinds {
        for (kind, _, read) in KINDS {
            let most = followed(&home, &format!("{kind}-{what}"), read)?;
            report.size(&format!("resident for each of 200 followers of a {what}, {kind}"), most / FOLLOWERS, MOST);
        }
    }
    Ok(())
}

/// What the followers add to the memory of a daemon that had one of them before.
fn followed(home: &Home, session: &str, read: bool) -> Result<u64> {
    let daemon = home.serve(true)?;
    drop(follow(home, session)?);
    settle();
    let before = resident(&daemon)?;
    let followers = (0..FOLLOWERS).map(|_| follow(home, session)).collect::<Result<Vec<_>>>()?;
    let most = std::thread::scope(|scope| {
        if read {
            for follower in &followers {
                scope.spawn(move || {
                    let (mut stream, mut piece) = (follower, [0; 4096]);
                    while let Ok(1..) = stream.read(&mut piece) {}
                });
            }
        }
        let most = (0..LOOKS).try_fold(0, |most, _| {
            std::thread::sleep(LOOK);
            resident(&daemon).map(|now| now.max(most))
        });
        for follower in &followers {
            // Whoever reads it ends with it.
            let _ = follower.shutdown(Shutdown::Both);
        }
        most
    });
    daemon.kill()?;
    Ok(most?.saturating_sub(before))
}

fn resident(daemon: &Daemon) -> Result<u64> {
    daemon.process().and_then(|process| process.resident()).context("read its memory")
}

/// Asks for the log, and reads that the answer is a good one.
fn follow(home: &Home, session: &str) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(home.socket()).context("connect")?;
    let head = format!("GET /v1/sessions/{session}/logs?follow=true HTTP/1.1\r\nHost: seawall\r\n\r\n");
    stream.write_all(head.as_bytes()).context("ask")?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).context("read the status")?;
    ensure!(&status == b"HTTP/1.1 200", "{session}: {:?}", String::from_utf8_lossy(&status));
    Ok(stream)
}
