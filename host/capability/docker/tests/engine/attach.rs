//! Somebody attached to a container, and input for it.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use seawall_backend::{Attachment, Error, Input, Source};
use seawall_docker::Container;
use seawall_model::{AttachOptions, ExecOptions, Key, LogOptions, Signal, TerminalSize};
use seawall_testing::PATIENCE;

use crate::{Fixture, noise, shell, sleeper};

const ALL: AttachOptions = AttachOptions { stdout: true, stderr: true, stdin: true, size: None };

fn typed(script: &str) -> Container {
    Container { stdin: true, ..shell(script) }
}

async fn attach(fixture: &Fixture, key: &Key, options: AttachOptions) -> Attachment {
    fixture.docker.attach(key, &options).await.unwrap()
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

async fn logged(fixture: &Fixture, key: &Key, text: &str) {
    let wait = async {
        loop {
            let log = fixture.docker.logs(key, &LogOptions::default()).await.unwrap();
            let log: Vec<_> = log.map(|chunk| chunk.unwrap().bytes).collect().await;
            if String::from_utf8_lossy(&log.concat()).contains(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{text:?} is not in the log"));
}

#[tokio::test]
async fn all_who_are_attached_see_everything_and_one_that_goes_changes_nothing() {
    let Some(fixture) = Fixture::new() else { return };
    let script = "echo before; while read line; do echo \"<$line>\"; echo err >&2; test $line = two && exit 3; done";
    let key = fixture.run(&typed(script)).await;
    logged(&fixture, &key, "before").await;
    let mut first = attach(&fixture, &key, ALL).await;
    let mut second = attach(&fixture, &key, AttachOptions { stderr: false, ..ALL }).await;
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
    let error = first.input.close().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
    let error = first.input.signal(Signal::TERM).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
    drop(first);
    give(&mut *second.input, "two\n").await;
    until(&mut second, "<two>\n").await;
    let last = tokio::time::timeout(PATIENCE, second.output.next()).await.expect("the output ends");
    assert!(last.is_none(), "{last:?}");
    fixture.until_ended(&key).await;
    assert!(matches!(fixture.docker.attach(&key, &ALL).await, Err(Error::Conflict { .. })));
    assert!(matches!(fixture.docker.input(&key).await, Err(Error::Conflict { .. })));
}

#[tokio::test]
async fn a_container_with_a_terminal_is_typed_at() {
    let Some(fixture) = Fixture::new() else { return };
    let script = "stty -echo; trap 'echo interrupted' INT; echo ready; \
                  while :; do read line && echo \"<$line>\" && stty size; done";
    let key = fixture.run(&Container { tty: true, ..typed(script) }).await;
    logged(&fixture, &key, "ready").await;
    let size = Some(TerminalSize { columns: 90, rows: 30 });
    let mut attachment = attach(&fixture, &key, AttachOptions { size, ..ALL }).await;
    give(&mut *attachment.input, "typed\r").await;
    until(&mut attachment, "<typed>\r\n30 90\r\n").await;
    // The shell may not be in its `read` yet, and deals with the signal when that is over.
    give(&mut *attachment.input, "\x03\r").await;
    until(&mut attachment, "interrupted\r\n<>\r\n30 90\r\n").await;
    attachment.input.resize(TerminalSize { columns: 300, rows: 7 }).await.unwrap();
    give(&mut *attachment.input, "\r").await;
    until(&mut attachment, "<>\r\n7 300\r\n").await;
    drop(attachment);
    let mut again = attach(&fixture, &key, ALL).await;
    give(&mut *again.input, "again\r").await;
    until(&mut again, "<again>\r\n7 300\r\n").await;
}

#[tokio::test]
async fn who_only_looks_on_gives_nothing_and_nothing_goes_to_what_takes_no_input() {
    let Some(fixture) = Fixture::new() else { return };
    let key = fixture.run(&sleeper()).await;
    let looks = AttachOptions { stdin: false, ..ALL };
    let mut attachment = attach(&fixture, &key, looks).await;
    assert!(attachment.input.write(Bytes::from_static(b"x")).await.is_err());
    assert!(attachment.input.resize(TerminalSize { columns: 1, rows: 1 }).await.is_err(), "it has no terminal");
    for error in [fixture.docker.attach(&key, &ALL).await.err(), fixture.docker.input(&key).await.err()] {
        let error = error.unwrap();
        assert!(matches!(&error, Error::Conflict { message, .. } if message.contains("`stdin`")), "{error}");
    }
    let nothing = AttachOptions { stdout: false, stderr: false, ..looks };
    assert!(matches!(fixture.docker.attach(&key, &nothing).await, Err(Error::Invalid(_))));
    assert!(matches!(fixture.docker.attach(&crate::key(), &looks).await, Err(Error::NotFound(_))));
    assert!(matches!(fixture.docker.input(&crate::key()).await, Err(Error::NotFound(_))));
}

/// What a command in the container says, once it says so.
async fn said(fixture: &Fixture, key: &Key, script: &str, text: &str) {
    let options = ExecOptions { command: ["sh", "-c", script].map(str::to_owned).to_vec(), ..ExecOptions::default() };
    let wait = async {
        loop {
            let (output, _) = fixture.docker.exec(key, &options).await.unwrap().finish(1024).await.unwrap();
            if String::from_utf8_lossy(&output).contains(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("`{script}` never said {text:?}"));
}

#[tokio::test]
async fn input_is_taken_whole_in_the_order_it_is_given_and_letting_go_of_it_closes_nothing() {
    let Some(fixture) = Fixture::new() else { return };
    let key = fixture.run(&typed("cat > /tmp/got")).await;
    let noise = noise(1 << 20);
    let (head, tail) = noise.split_at(700_001);
    let mut input = fixture.docker.input(&key).await.unwrap();
    input.write(Bytes::copy_from_slice(head)).await.unwrap();
    drop(input);
    said(&fixture, &key, "wc -c < /tmp/got", "700001").await;
    let mut input = fixture.docker.input(&key).await.unwrap();
    input.write(Bytes::copy_from_slice(tail)).await.unwrap();
    let file = fixture.engine.dir().join("noise");
    std::fs::write(&file, &noise).unwrap();
    let sum = std::process::Command::new("md5sum").arg(file).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    said(&fixture, &key, "md5sum /tmp/got", &sum[..32]).await;
}
