//! Somebody attached to a session, and input for it.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use seawall_backend::{Attachment, Error, Input, Source};
use seawall_model::{AttachOptions, Key, LogOptions, Signal, TerminalSize};
use seawall_process::Program;

use crate::bench::{Bench, PATIENCE, ended_with, eventually, noise, shell};

const ALL: AttachOptions = AttachOptions { stdout: true, stderr: true, stdin: true, size: None };

fn typed(script: &str) -> Program {
    Program { stdin: true, ..shell(script) }
}

async fn attach(bench: &Bench, key: &Key, options: AttachOptions) -> Attachment {
    bench.process.attach(key, &options).await.unwrap()
}

/// Reads until the output ends so; what came is gone then.
async fn until(attachment: &mut Attachment, text: &str) {
    let mut seen = Vec::new();
    let read = async {
        while !seen.ends_with(text.as_bytes()) {
            match attachment.output.next().await {
                Some(Ok(chunk)) => seen.extend_from_slice(&chunk.bytes),
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

pub(crate) async fn logged(bench: &Bench, key: &Key, text: &str) {
    let wait = async {
        while !String::from_utf8_lossy(&bench.log(key, LogOptions::default()).await).contains(text) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{text:?} is not in the log"));
}

#[tokio::test]
async fn all_who_are_attached_see_everything_and_one_that_goes_changes_nothing() {
    let bench = Bench::new();
    let program = typed("printf 'before: '; while read line; do echo \"<$line>\"; echo err >&2; done; echo end");
    bench.run(&program).await;
    logged(&bench, &program.key, "before").await;
    let mut first = attach(&bench, &program.key, ALL).await;
    let mut second = attach(&bench, &program.key, AttachOptions { stderr: false, ..ALL }).await;
    give(&mut *first.input, "one\n").await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let chunk = tokio::time::timeout(PATIENCE, first.output.next()).await.unwrap().unwrap().unwrap();
        seen.push((chunk.source == Source::Stderr, chunk.bytes));
    }
    // Of two streams nobody knows the order.
    seen.sort();
    assert_eq!(seen, [(false, "<one>\n".into()), (true, "err\n".into())], "nothing of before");
    until(&mut second, "<one>\n").await;
    drop(first);
    give(&mut *second.input, "two\n").await;
    until(&mut second, "<two>\n").await;
    second.input.close().await.unwrap();
    until(&mut second, "end\n").await;
    let last = tokio::time::timeout(PATIENCE, second.output.next()).await.expect("the output ends");
    assert!(last.is_none(), "{last:?}");
    ended_with(&bench.ended(&program.key).await, Some(0), None);
    assert!(matches!(bench.process.attach(&program.key, &ALL).await, Err(Error::Conflict { .. })));
    assert!(matches!(bench.process.input(&program.key).await, Err(Error::Conflict { .. })));
}

#[tokio::test]
async fn a_session_with_a_terminal_is_typed_at_and_goes_on_after_a_restart_of_the_daemon() {
    let bench = Bench::new();
    let script = "stty -echo; trap 'stty size' WINCH; trap 'echo interrupted' INT; echo ready; \
                  while :; do read line && echo \"<$line>\"; done";
    let program = Program { tty: true, ..typed(script) };
    bench.run(&program).await;
    logged(&bench, &program.key, "ready").await;
    let mut attachment = attach(&bench, &program.key, ALL).await;
    give(&mut *attachment.input, "typed\r").await;
    until(&mut attachment, "<typed>\r\n").await;
    // The shell may not be in its `read` yet, and deals with the signal when that is over.
    give(&mut *attachment.input, "\x03\r").await;
    until(&mut attachment, "interrupted\r\n<>\r\n").await;
    attachment.input.resize(TerminalSize { columns: 300, rows: 7 }).await.unwrap();
    give(&mut *attachment.input, "\r").await;
    until(&mut attachment, "7 300\r\n<>\r\n").await;
    drop(attachment);

    let again = bench.again();
    let size = Some(TerminalSize { columns: 90, rows: 30 });
    let mut attachment = again.attach(&program.key, &AttachOptions { size, ..ALL }).await.unwrap();
    give(&mut *attachment.input, "again\r").await;
    until(&mut attachment, "30 90\r\n<again>\r\n").await;
    let error = attachment.input.signal(Signal::TERM).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
}

#[tokio::test]
async fn who_only_looks_on_gives_nothing_but_a_size() {
    let bench = Bench::new();
    let script = "trap 'stty size < /dev/tty' WINCH; echo ready; while :; do sleep 0.02; done";
    let program = Program { tty: true, ..shell(script) };
    bench.run(&program).await;
    logged(&bench, &program.key, "ready").await;
    let looks = AttachOptions { stdin: false, size: Some(TerminalSize { columns: 77, rows: 11 }), ..ALL };
    let mut attachment = attach(&bench, &program.key, looks).await;
    until(&mut attachment, "11 77\r\n").await;
    let error = attachment.input.write(Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
    let error = bench.process.attach(&program.key, &ALL).await.unwrap_err();
    assert!(matches!(&error, Error::Conflict { message, .. } if message.contains("`stdin`")), "{error}");
    let error = bench.process.input(&program.key).await.err().unwrap();
    assert!(matches!(&error, Error::Conflict { message, .. } if message.contains("`stdin`")), "{error}");
    assert!(matches!(bench.neighbour().attach(&program.key, &looks).await, Err(Error::NotFound(_))));
    assert!(matches!(bench.neighbour().input(&program.key).await, Err(Error::NotFound(_))));

    let plain = bench.sh("sleep 1000").await;
    let mut attachment = attach(&bench, &plain, looks).await;
    assert!(attachment.input.resize(TerminalSize { columns: 1, rows: 1 }).await.is_err(), "it has no terminal");
}

#[tokio::test]
async fn input_is_taken_whole_in_the_order_it_is_given_and_letting_go_of_it_closes_nothing() {
    let bench = Bench::new();
    let program = typed("cat > got; echo done; sleep 1000");
    bench.run(&program).await;
    let noise = noise(1 << 20);
    let (head, tail) = noise.split_at(700_001);
    let mut input = bench.process.input(&program.key).await.unwrap();
    input.write(Bytes::copy_from_slice(head)).await.unwrap();
    drop(input);
    let got = bench.run_dir(&program.key).work().join("got");
    eventually("all of the first is there", || std::fs::metadata(&got).is_ok_and(|file| file.len() == 700_001)).await;
    let mut input = bench.again().input(&program.key).await.unwrap();
    input.write(Bytes::copy_from_slice(tail)).await.unwrap();
    input.close().await.unwrap();
    logged(&bench, &program.key, "done").await;
    assert!(std::fs::read(&got).unwrap() == noise);

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
    let mut late = bench.process.input(&program.key).await.unwrap();
    let write = async {
        while late.write(Bytes::from_static(b"x")).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, write).await.expect("who comes later is told too");
}

#[tokio::test]
async fn a_session_that_does_not_read_holds_up_nobody() {
    let bench = Bench::new();
    let program = typed("sleep 1000");
    bench.run(&program).await;
    let mut inputs = Vec::new();
    let error = loop {
        match bench.process.input(&program.key).await {
            Ok(input) => inputs.push(input),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert_eq!(inputs.len(), 16);
    for input in &mut inputs {
        let write = input.write(Bytes::from(vec![b'x'; 1 << 20]));
        assert!(tokio::time::timeout(Duration::from_millis(50), write).await.is_err(), "all of it was taken");
    }
    drop(inputs);
    let again = async {
        while bench.process.input(&program.key).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("there is room again");
    bench.process.signal(&program.key, Signal::TERM).await.unwrap();
    ended_with(&bench.ended(&program.key).await, None, Some(15));
}
