//! A daemon that is newer than the supervisor of a session.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use seawall_backend::Error;
use seawall_model::{AttachOptions, ExecOptions, Key, LogOptions, Signal, State};
use seawall_process::Program;
use seawall_supervisor::RunDir;
use seawall_supervisor::protocol::{Reply, Request};

use crate::bench::{Bench, collect, ended_with, eventually, shell};

/// The first supervisors knew requests up to this one: no commands, no terminals, no input.
const NEWEST_KIND: u16 = 5;

/// Takes from a supervisor what it has learned since: what it would not have known is answered as it would have.
fn age(dir: &RunDir) {
    let real = dir.path().join("ctl.real");
    std::fs::rename(dir.ctl(), &real).unwrap();
    let listener = UnixListener::bind(dir.ctl()).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let real = real.clone();
            std::thread::spawn(move || between(client, &real));
        }
    });
}

fn between(mut client: UnixStream, real: &PathBuf) -> Option<()> {
    let mut supervisor = UnixStream::connect(real).ok()?;
    loop {
        let mut head = [0; 6];
        client.read_exact(&mut head).ok()?;
        let length = usize::try_from(u32::from_le_bytes([head[0], head[1], head[2], head[3]])).ok()?;
        let mut body = vec![0; length - 2];
        client.read_exact(&mut body).ok()?;
        if u16::from_le_bytes([head[4], head[5]]) > NEWEST_KIND {
            let reply = Reply::Unsupported("messages of this kind are not known here".to_owned());
            client.write_all(&reply.encode()).ok()?;
            continue;
        }
        supervisor.write_all(&head).ok()?;
        supervisor.write_all(&body).ok()?;
        let (mut answer, mut piece) = (Vec::new(), [0; 512]);
        let reply = loop {
            if let Some(reply) = Reply::decode(&mut answer) {
                break reply.ok()?;
            }
            let length = supervisor.read(&mut piece).ok().filter(|length| *length > 0)?;
            answer.extend_from_slice(&piece[..length]);
        };
        client.write_all(&reply.encode()).ok()?;
    }
}

fn plain() -> ExecOptions {
    ExecOptions { command: vec!["true".to_owned()], ..ExecOptions::default() }
}

fn named(error: &Error) {
    let Error::Unsupported(said) = error else { panic!("{error}") };
    assert!(said.contains("older version") && said.contains("restart of the session"), "{said}");
}

#[tokio::test]
async fn a_session_of_an_older_supervisor_is_taken_over_read_and_stopped_and_what_it_cannot_is_refused_by_name() {
    let bench = Bench::new();
    let script = "trap 'echo stopped; exit 5' TERM; echo begun; while :; do sleep 0.01; done";
    let program = Program { stdin: true, tty: true, ..shell(script) };
    bench.run(&program).await;
    let key = program.key;
    age(&bench.run_dir(&key));

    let newer = bench.again();
    let list = newer.list(None).await.unwrap();
    assert_eq!(list.workloads.len(), 1);
    assert_eq!((&list.workloads[0].session, list.workloads[0].incarnation), (&key.session, key.incarnation));
    let status = newer.inspect(std::slice::from_ref(&key)).await.unwrap().pop().unwrap().status;
    assert_eq!(status.state, State::Running);

    let exec = |stdin, tty| ExecOptions { stdin, tty, ..plain() };
    for options in [exec(false, false), exec(true, false), exec(false, true)] {
        named(&newer.exec(&key, &options).await.unwrap_err());
    }
    let looking = AttachOptions { stdout: true, stderr: true, stdin: false, size: None };
    named(&newer.attach(&key, &AttachOptions { stdin: true, ..looking }).await.err().unwrap());
    named(&newer.input(&key).await.err().unwrap());

    let shown = newer.attach(&key, &looking).await.unwrap();
    let log = newer.logs(&key, &LogOptions { follow: true, ..LogOptions::default() }).await.unwrap();
    let begun = || std::fs::read(bench.run_dir(&key).log().join("0000000001"));
    eventually("it has begun", || begun().is_ok_and(|log| log.windows(5).any(|word| word == b"begun"))).await;
    newer.signal(&key, Signal::TERM).await.unwrap();
    ended_with(&bench.ended(&key).await, Some(5), None);
    let text = String::from_utf8(collect(log).await.concat()).unwrap();
    // The signal is the whole group's: a shell may say of its `sleep` how that ended.
    assert!(text.starts_with("begun\r\n") && text.ends_with("stopped\r\n"), "{text}");
    let seen = String::from_utf8(collect(shown.output).await.concat()).unwrap();
    assert!(seen.ends_with("stopped\r\n"), "{seen}");
}

#[tokio::test]
async fn a_supervisor_that_speaks_no_version_of_ours_is_refused_by_name_and_its_session_read() {
    let bench = Bench::new();
    let key = bench.sh("echo begun; sleep 1000").await;
    let dir = bench.run_dir(&key);
    std::fs::rename(dir.ctl(), dir.path().join("ctl.real")).unwrap();
    let listener = UnixListener::bind(dir.ctl()).unwrap();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let (mut asked, mut piece) = (Vec::new(), [0; 512]);
            while Request::decode(&mut asked).is_none() {
                match client.read(&mut piece) {
                    Ok(length @ 1..) => asked.extend_from_slice(&piece[..length]),
                    _ => break,
                }
            }
            let reply = Reply::Unsupported("this supervisor speaks version 7 only".to_owned());
            let _ = client.write_all(&reply.encode());
        }
    });
    let newer = bench.again();
    let status = newer.inspect(std::slice::from_ref(&key)).await.unwrap().pop().unwrap().status;
    assert_eq!(status.state, State::Running);
    assert_eq!(collect_known(&newer, &key).await, "begun\n");
    named(&newer.exec(&key, &plain()).await.unwrap_err());
    match newer.signal(&key, Signal::TERM).await {
        Err(Error::Unsupported(said)) => assert!(said.contains("version 7 only"), "{said}"),
        other => panic!("{other:?}"),
    }
    std::fs::rename(dir.path().join("ctl.real"), dir.ctl()).unwrap();
}

async fn collect_known(process: &seawall_process::Process, key: &Key) -> String {
    loop {
        let log = process.logs(key, &LogOptions::default()).await.unwrap();
        let text = String::from_utf8(collect(log).await.concat()).unwrap();
        if !text.is_empty() {
            return text;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
