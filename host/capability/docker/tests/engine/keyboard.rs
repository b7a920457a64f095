//! Commands in containers that somebody gives input to, with a terminal and without.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use seawall_backend::{ExecEvent, Execution, Input, Source};
use seawall_model::{CommandEnd, ExecOptions, Key, Signal, TerminalSize};
use seawall_testing::PATIENCE;
use seawall_testing::docker::Engine;

use crate::{Fixture, at, noise, scope, sleeper};

fn sh(script: &str) -> ExecOptions {
    ExecOptions { command: ["sh", "-c", script].map(str::to_owned).to_vec(), stdin: true, ..ExecOptions::default() }
}

fn on_terminal(script: &str) -> ExecOptions {
    ExecOptions { tty: true, ..sh(script) }
}

async fn exec(fixture: &Fixture, key: &Key, options: &ExecOptions) -> Execution {
    fixture.docker.exec(key, options).await.unwrap()
}

async fn finish(execution: Execution) -> (Vec<u8>, CommandEnd) {
    tokio::time::timeout(PATIENCE, execution.finish(usize::MAX)).await.unwrap().unwrap()
}

/// Reads until the output ends so; what came is gone then.
async fn until(execution: &mut Execution, text: &str) {
    let mut seen = Vec::new();
    let read = async {
        while !seen.ends_with(text.as_bytes()) {
            match execution.events.next().await {
                Some(Ok(ExecEvent::Output(chunk))) => seen.extend_from_slice(&chunk.bytes),
                other => panic!("{other:?} came before {text:?}"),
            }
        }
    };
    let waited = tokio::time::timeout(PATIENCE, read).await;
    waited.unwrap_or_else(|_| panic!("{text:?} never came, but {:?}", String::from_utf8_lossy(&seen)));
}

async fn give(input: &mut dyn Input, text: &'static str) {
    input.write(Bytes::from_static(text.as_bytes())).await.unwrap();
}

/// Waits until a command in the container finds no process with this argument.
pub(crate) async fn gone(fixture: &Fixture, key: &Key, argument: &str) {
    let script = format!("ps | grep '[{}]{}'", &argument[..1], &argument[1..]);
    let wait = async {
        loop {
            let look = exec(fixture, key, &ExecOptions { stdin: false, ..sh(&script) }).await;
            if finish(look).await.1 == CommandEnd::Code(1) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{argument} goes on"));
}

#[tokio::test]
async fn bytes_go_through_a_command_as_they_are_and_its_input_ends_where_the_clients_does() {
    let Some(fixture) = Fixture::new() else { return };
    let key = fixture.run(&sleeper()).await;
    let noise = noise(1 << 20);
    let Execution { mut events, mut input } = exec(&fixture, &key, &sh("cat; echo no more >&2; exit 3")).await;
    let given = noise.clone();
    let write = tokio::spawn(async move {
        input.write(Bytes::from(given)).await.unwrap();
        input.close().await.unwrap();
        input
    });
    let (mut out, mut err, mut end) = (Vec::new(), Vec::new(), None);
    let read = async {
        while let Some(event) = events.next().await {
            match event.unwrap() {
                ExecEvent::Output(chunk) if chunk.source == Source::Stdout => out.extend_from_slice(&chunk.bytes),
                ExecEvent::Output(chunk) => err.extend_from_slice(&chunk.bytes),
                ExecEvent::Ended(how) => end = Some(how),
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the command ends");
    write.await.unwrap();
    assert!(out == noise, "{} bytes of {} came back, or others", out.len(), noise.len());
    assert_eq!((err.as_slice(), end), (&b"no more\n"[..], Some(CommandEnd::Code(3))));

    let mut empty = exec(&fixture, &key, &sh("wc -c")).await;
    empty.input.close().await.unwrap();
    assert_eq!(finish(empty).await, (b"0\n".to_vec(), CommandEnd::Code(0)));
}

#[tokio::test]
async fn a_terminal_is_the_commands_own_and_has_the_size_that_is_asked_for() {
    let Some(fixture) = Fixture::new() else { return };
    let key = fixture.run(&sleeper()).await;
    let script = "test -t 0 && test -t 1 && stty -echo; echo ready; \
                  while read line; do echo \"<$line>\"; stty size; done; exit 5";
    let options = ExecOptions { size: Some(TerminalSize { columns: 132, rows: 43 }), ..on_terminal(script) };
    let mut execution = exec(&fixture, &key, &options).await;
    until(&mut execution, "ready\r\n").await;
    give(&mut *execution.input, "typed\r").await;
    until(&mut execution, "<typed>\r\n43 132\r\n").await;
    execution.input.resize(TerminalSize { columns: 300, rows: 7 }).await.unwrap();
    give(&mut *execution.input, "\r").await;
    until(&mut execution, "<>\r\n7 300\r\n").await;
    execution.input.close().await.unwrap();
    assert_eq!(finish(execution).await.1, CommandEnd::Code(5));

    let mut execution = exec(&fixture, &key, &on_terminal("stty -echo; echo ready; exec cat")).await;
    until(&mut execution, "ready\r\n").await;
    give(&mut *execution.input, "line\r").await;
    until(&mut execution, "line\r\n").await;
    give(&mut *execution.input, "\x03").await;
    // The Engine tells of a signal as a shell does.
    assert_eq!(finish(execution).await.1, CommandEnd::Code(130), "ctrl-c reaches what is in the foreground");

    let mut execution = exec(&fixture, &key, &on_terminal("stty -echo; echo ready; cat")).await;
    until(&mut execution, "ready\r\n").await;
    give(&mut *execution.input, "no newline").await;
    execution.input.close().await.unwrap();
    assert_eq!(finish(execution).await, (b"no newline".to_vec(), CommandEnd::Code(0)));
}

#[tokio::test]
async fn a_signal_reaches_the_command_and_nothing_else() {
    let Some(fixture) = Fixture::new() else { return };
    let key = fixture.run(&sleeper()).await;
    let script = "trap 'echo heard; exit 9' USR1; echo ready; while :; do sleep 0.1; done";
    let mut execution = exec(&fixture, &key, &sh(script)).await;
    until(&mut execution, "ready\n").await;
    execution.input.signal("USR1".parse().unwrap()).await.unwrap();
    let (output, end) = finish(execution).await;
    assert!(String::from_utf8_lossy(&output).contains("heard\n") && end == CommandEnd::Code(9), "{end:?}");

    let mut execution = exec(&fixture, &key, &sh("setsid sleep 5551 & echo ready; wait")).await;
    until(&mut execution, "ready\n").await;
    execution.input.signal(Signal::KILL).await.unwrap();
    assert_eq!(finish(execution).await.1, CommandEnd::Code(137));
    gone(&fixture, &key, "5551").await;
    assert!(!fixture.status(&key).await.unwrap().state.ended(), "the container goes on");

    let mut execution = exec(&fixture, &key, &sh("echo ready; sleep 5552")).await;
    until(&mut execution, "ready\n").await;
    let error = execution.input.signal(Signal::from_number(40).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
    let error = execution.input.resize(TerminalSize { columns: 1, rows: 1 }).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
}

#[tokio::test]
async fn a_command_that_ends_while_it_is_written_to_ends_the_stream() {
    let Some(fixture) = Fixture::new() else { return };
    let key = fixture.run(&sleeper()).await;
    let Execution { events, mut input } = exec(&fixture, &key, &sh("head -c 10; exit 4")).await;
    let write = tokio::spawn(async move { input.write(Bytes::from(vec![b'x'; 64 << 20])).await });
    let (output, end) = finish(Execution::deaf(events)).await;
    assert_eq!((output, end), (vec![b'x'; 10], CommandEnd::Code(4)));
    let written = tokio::time::timeout(PATIENCE, write).await.expect("who writes does not hang").unwrap();
    written.unwrap_err();

    let mut deaf = exec(&fixture, &key, &ExecOptions { stdin: false, ..on_terminal("echo ready; sleep 5553") }).await;
    until(&mut deaf, "ready\r\n").await;
    assert!(deaf.input.write(Bytes::from_static(b"x")).await.is_err(), "nothing was to be given to it");
}

#[tokio::test]
async fn a_command_whose_client_is_gone_is_ended_with_all_that_it_started() {
    let Some(fixture) = Fixture::new() else { return };
    let key = fixture.run(&sleeper()).await;
    for (options, line) in [
        (ExecOptions { stdin: false, ..sh("setsid sleep 5554 & echo ready; sleep 5554") }, "ready\n"),
        (sh("setsid sleep 5554 & echo ready; sleep 5554"), "ready\n"),
        (on_terminal("setsid sleep 5554 & echo ready; trap '' HUP; sleep 5554"), "ready\r\n"),
    ] {
        let mut execution = exec(&fixture, &key, &options).await;
        until(&mut execution, line).await;
        drop(execution);
        gone(&fixture, &key, "5554").await;
    }
    // It does not read, and is stuck in the middle of a write.
    let mut stuck = exec(&fixture, &key, &sh("sleep 5555")).await;
    let write = stuck.input.write(Bytes::from(vec![b'x'; 64 << 20]));
    assert!(tokio::time::timeout(Duration::from_millis(500), write).await.is_err(), "all of it was taken");
    let mut other = exec(&fixture, &key, &sh("cat")).await;
    give(&mut *other.input, "through").await;
    other.input.close().await.unwrap();
    assert_eq!(finish(other).await, (b"through".to_vec(), CommandEnd::Code(0)));
    drop(stuck);
    gone(&fixture, &key, "5555").await;
    assert!(!fixture.status(&key).await.unwrap().state.ended(), "the container goes on");
}

#[tokio::test]
async fn a_container_that_dies_ends_the_streams_of_its_commands() {
    let Some(fixture) = Fixture::new() else { return };
    let key = fixture.run(&sleeper()).await;
    let mut execution = exec(&fixture, &key, &on_terminal("echo ready; sleep 5556")).await;
    until(&mut execution, "ready\r\n").await;
    fixture.docker.signal(&key, Signal::KILL).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, execution.finish(0)).await.expect("it does not hang");
    assert!(!matches!(ended, Ok((_, CommandEnd::Code(0)))), "{ended:?}");
}

#[tokio::test]
async fn an_engine_that_hangs_holds_up_only_the_streams_of_its_commands() {
    let Some(engine) = Engine::start_or_skip("commands on an Engine that hangs") else { return };
    let docker = seawall_docker::Docker::new(scope("app"), at(&engine, Default::default()));
    let container = sleeper();
    let made = docker.create(&container).await.unwrap();
    let key = Key { handle: made.handle, ..container.key };
    docker.start(&key).await.unwrap();
    let mut execution = docker.exec(&key, &sh("cat")).await.unwrap();
    give(&mut *execution.input, "before\n").await;
    until(&mut execution, "before\n").await;
    engine.pause_process().unwrap();
    give(&mut *execution.input, "meanwhile\n").await;
    let waits = tokio::time::timeout(Duration::from_millis(300), execution.events.next()).await;
    engine.resume().unwrap();
    assert!(waits.is_err(), "{waits:?}");
    until(&mut execution, "meanwhile\n").await;
    execution.input.close().await.unwrap();
    assert_eq!(finish(execution).await.1, CommandEnd::Code(0));
}
