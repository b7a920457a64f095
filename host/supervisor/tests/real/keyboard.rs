//! Commands that somebody gives input to, with a terminal and without.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use seawall_backend::{ExecEvent, Execution, Input, Source};
use seawall_model::{CommandEnd, ExecOptions, Key, Secret, Signal, TerminalSize};

use crate::bench::{Bench, PATIENCE, alive, eventually, has, is_root, noise, number_in, shell};

fn sh(script: &str) -> ExecOptions {
    ExecOptions { command: ["sh", "-c", script].map(str::to_owned).to_vec(), stdin: true, ..ExecOptions::default() }
}

fn on_terminal(script: &str) -> ExecOptions {
    ExecOptions { tty: true, ..sh(script) }
}

async fn exec(bench: &Bench, key: &Key, options: &ExecOptions) -> Execution {
    bench.process.exec(key, options).await.unwrap()
}

async fn finish(execution: Execution) -> (Vec<u8>, CommandEnd) {
    tokio::time::timeout(PATIENCE, execution.finish(usize::MAX)).await.expect("the command ends").unwrap()
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

#[tokio::test]
async fn bytes_go_through_a_command_as_they_are_and_its_input_ends_where_the_clients_does() {
    let bench = Bench::new();
    let key = bench.sh("sleep 1000").await;
    let noise = noise(1 << 20);
    let Execution { events, mut input } = exec(&bench, &key, &sh("cat; echo no more >&2; exit 3")).await;
    let given = noise.clone();
    let write = tokio::spawn(async move {
        input.write(Bytes::from(given)).await.unwrap();
        input.close().await.unwrap();
        input
    });
    let mut events = events.map(Result::unwrap);
    let (mut out, mut err, mut end) = (Vec::new(), Vec::new(), None);
    let read = async {
        while let Some(event) = events.next().await {
            match event {
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
}

#[tokio::test]
async fn input_that_ends_at_once_is_an_empty_file() {
    let bench = Bench::new();
    let key = bench.sh("sleep 1000").await;
    let mut empty = exec(&bench, &key, &sh("wc -c")).await;
    empty.input.close().await.unwrap();
    let (output, end) = finish(empty).await;
    assert_eq!((String::from_utf8(output).unwrap().trim(), end), ("0", CommandEnd::Code(0)));

    let mut named = exec(&bench, &key, &sh("cat /dev/stdin")).await;
    give(&mut *named.input, "by name").await;
    named.input.close().await.unwrap();
    assert_eq!(finish(named).await, (b"by name".to_vec(), CommandEnd::Code(0)));
}

#[tokio::test]
async fn a_terminal_is_the_commands_own_and_has_the_size_that_is_asked_for() {
    let bench = Bench::new();
    let key = bench.sh("sleep 1000").await;
    let script = "test -t 0 && test -t 1 && test -t 2 && stty -echo size; echo $TERM; \
                  while read line; do echo \"<$line>\"; stty size; done; exit 5";
    let options = ExecOptions { size: Some(TerminalSize { columns: 132, rows: 43 }), ..on_terminal(script) };
    let mut execution = exec(&bench, &key, &options).await;
    until(&mut execution, "43 132\r\nxterm\r\n").await;
    give(&mut *execution.input, "typed\r").await;
    until(&mut execution, "<typed>\r\n43 132\r\n").await;
    execution.input.resize(TerminalSize { columns: 300, rows: 7 }).await.unwrap();
    give(&mut *execution.input, "\r").await;
    until(&mut execution, "<>\r\n7 300\r\n").await;
    execution.input.close().await.unwrap();
    assert_eq!(finish(execution).await.1, CommandEnd::Code(5));

    // Not in the middle of a `read`, which a signal that is trapped ends in some shells.
    let told = "trap 'stty size; exit 6' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut execution = exec(&bench, &key, &on_terminal(told)).await;
    until(&mut execution, "ready\r\n").await;
    execution.input.resize(TerminalSize { columns: 91, rows: 19 }).await.unwrap();
    assert_eq!(finish(execution).await, (b"19 91\r\n".to_vec(), CommandEnd::Code(6)));

    let usual = exec(&bench, &key, &on_terminal("stty size")).await;
    assert_eq!(finish(usual).await, (b"24 80\r\n".to_vec(), CommandEnd::Code(0)));
    let deaf = ExecOptions { stdin: false, ..on_terminal("test -t 1 && readlink /proc/self/fd/0") };
    assert_eq!(finish(exec(&bench, &key, &deaf).await).await, (b"/dev/null\r\n".to_vec(), CommandEnd::Code(0)));

    let mut program = shell("sleep 1000");
    program.env = vec![("TERM".to_owned(), Secret::new("dumb"))];
    bench.run(&program).await;
    let kept = exec(&bench, &program.key, &on_terminal("echo $TERM")).await;
    assert_eq!(finish(kept).await.0, b"dumb\r\n");
    if has("root", is_root()) {
        let user = ExecOptions { user: Some("0".to_owned()), ..on_terminal("echo > $(tty) && stty size < $(tty)") };
        let granted = seawall_process::ProcessGrant {
            users: vec!["root".to_owned()],
            ..seawall_process::ProcessGrant::default()
        };
        let bench = Bench::with(granted);
        let key = bench.sh("sleep 1000").await;
        let (output, end) = finish(exec(&bench, &key, &user).await).await;
        assert_eq!(end, CommandEnd::Code(0), "{}", String::from_utf8_lossy(&output));
    }
}

#[tokio::test]
async fn what_is_typed_on_a_terminal_does_what_it_does_there() {
    let bench = Bench::new();
    let key = bench.sh("sleep 1000").await;
    let mut execution = exec(&bench, &key, &on_terminal("stty -echo; echo ready; cat")).await;
    until(&mut execution, "ready\r\n").await;
    give(&mut *execution.input, "line\r").await;
    // What writes it is what is to be interrupted, and no longer the shell.
    until(&mut execution, "line\r\n").await;
    give(&mut *execution.input, "\x03").await;
    assert_eq!(finish(execution).await.1, CommandEnd::Signal(2), "ctrl-c reaches what is in the foreground");

    // In the middle of a line too, the end is the end.
    let mut execution = exec(&bench, &key, &on_terminal("stty -echo; echo ready; cat")).await;
    until(&mut execution, "ready\r\n").await;
    give(&mut *execution.input, "no newline").await;
    execution.input.close().await.unwrap();
    assert_eq!(finish(execution).await, (b"no newline".to_vec(), CommandEnd::Code(0)));
}

#[tokio::test]
async fn a_signal_reaches_the_command_and_its_group() {
    let bench = Bench::new();
    let key = bench.sh("sleep 1000").await;
    let script = "trap 'echo heard; exit 9' USR1; echo ready; while :; do sleep 0.05; done";
    let mut execution = exec(&bench, &key, &sh(script)).await;
    until(&mut execution, "ready\n").await;
    execution.input.signal("USR1".parse().unwrap()).await.unwrap();
    let (output, end) = finish(execution).await;
    // The shell may say something of its child, which heard it too.
    assert!(String::from_utf8_lossy(&output).contains("heard\n") && end == CommandEnd::Code(9), "{end:?}");

    let dir = bench.shared();
    let script = format!("setsid sleep 1000 & echo $! > {}; echo ready; wait", dir.join("away").display());
    let mut execution = exec(&bench, &key, &sh(&script)).await;
    until(&mut execution, "ready\n").await;
    execution.input.signal(Signal::KILL).await.unwrap();
    assert_eq!(finish(execution).await.1, CommandEnd::Signal(9));
    let away = number_in(&dir.join("away")).await;
    eventually("what it started is gone too", || !alive(away)).await;

    let mut execution = exec(&bench, &key, &sh("sleep 1000")).await;
    let error = execution.input.signal(Signal::from_number(40).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
    let error = execution.input.resize(TerminalSize { columns: 1, rows: 1 }).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
}

#[tokio::test]
async fn a_command_that_ends_or_stops_reading_says_so_to_who_writes() {
    let bench = Bench::new();
    let key = bench.sh("sleep 1000").await;
    // It ends in the middle of what is written.
    let Execution { events, mut input } = exec(&bench, &key, &sh("head -c 10; exit 4")).await;
    let write = tokio::spawn(async move { input.write(Bytes::from(vec![b'x'; 8 << 20])).await });
    let (output, end) = finish(Execution::deaf(events)).await;
    assert_eq!((output, end), (vec![b'x'; 10], CommandEnd::Code(4)));
    let error = tokio::time::timeout(PATIENCE, write).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{error}");

    // It goes on and reads no more.
    let mut execution = exec(&bench, &key, &sh("exec <&-; echo closed; sleep 1000")).await;
    until(&mut execution, "closed\n").await;
    let Execution { mut events, mut input } = execution;
    let listen = tokio::spawn(async move { events.next().await });
    let write = async {
        loop {
            if let Err(error) = input.write(Bytes::from_static(b"x")).await {
                return error;
            }
            tokio::task::yield_now().await;
        }
    };
    let error = tokio::time::timeout(PATIENCE, write).await.expect("who writes is told");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{error}");
    assert!(!listen.is_finished(), "and the command goes on");
    listen.abort();

    let mut deaf = exec(&bench, &key, &ExecOptions { stdin: false, ..sh("sleep 1000") }).await;
    assert!(deaf.input.write(Bytes::from_static(b"x")).await.is_err(), "nothing was to be given to it");
}

/// Writes until nothing more is taken for a while.
async fn stuff(input: &mut dyn Input) {
    let write = input.write(Bytes::from(vec![b'x'; 16 << 20]));
    assert!(tokio::time::timeout(Duration::from_millis(300), write).await.is_err(), "all of it was taken");
}

#[tokio::test]
async fn a_command_that_does_not_read_stops_only_its_own_stream_and_ends_with_its_client() {
    let bench = Bench::new();
    let key = bench.sh("sleep 1000").await;
    let dir = bench.shared();
    let script = |name: &str| format!("echo $$ > {}; sleep 1000", dir.join(name).display());
    for (name, options) in [("pipe", sh(&script("pipe"))), ("terminal", on_terminal(&script("terminal")))] {
        let mut stuck = exec(&bench, &key, &options).await;
        let pid = number_in(&dir.join(name)).await;
        stuff(&mut *stuck.input).await;
        let mut other = exec(&bench, &key, &sh("cat")).await;
        give(&mut *other.input, "through").await;
        other.input.close().await.unwrap();
        assert_eq!(finish(other).await, (b"through".to_vec(), CommandEnd::Code(0)));
        assert!(alive(pid) && !bench.status(&key).await.unwrap().state.ended());
        drop(stuck);
        eventually("the command whose client is gone is gone", || !alive(pid)).await;
    }
    // Nobody reads what it does, though somebody still holds its input.
    let Execution { events, input } = exec(&bench, &key, &sh(&script("unheard"))).await;
    let pid = number_in(&dir.join("unheard")).await;
    drop(events);
    eventually("the command that nobody listens to is gone", || !alive(pid)).await;
    drop(input);
}

#[tokio::test]
async fn a_write_that_was_cut_off_breaks_nothing_of_what_comes_after() {
    let bench = Bench::new();
    let key = bench.sh("sleep 1000").await;
    let gate = bench.shared().join("gate");
    let script = format!("while ! test -e {}; do sleep 0.02; done; tr -d x", gate.display());
    let mut execution = exec(&bench, &key, &sh(&script)).await;
    stuff(&mut *execution.input).await;
    std::fs::write(&gate, "").unwrap();
    give(&mut *execution.input, "and on").await;
    execution.input.close().await.unwrap();
    assert_eq!(finish(execution).await, (b"and on".to_vec(), CommandEnd::Code(0)));
}

#[tokio::test]
async fn a_session_that_dies_takes_its_commands_with_it_and_their_streams_end() {
    let bench = Bench::new();
    let key = bench.sh("sleep 1000").await;
    let mut execution = exec(&bench, &key, &on_terminal("echo ready; sleep 1000")).await;
    until(&mut execution, "ready\r\n").await;
    bench.process.signal(&key, Signal::KILL).await.unwrap();
    let Execution { events, mut input } = execution;
    let ended = tokio::time::timeout(PATIENCE, Execution::deaf(events).finish(0)).await.expect("it does not hang");
    assert!(!matches!(ended, Ok((_, CommandEnd::Code(_)))), "{ended:?}");
    bench.ended(&key).await;
    let write = async {
        while input.write(Bytes::from_static(b"x")).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, write).await.expect("who writes is told");
}
