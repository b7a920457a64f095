//! Output: the bytes as they were written.

use futures_util::StreamExt;
use seawall_backend::{LogStream, Source};
use seawall_docker::Container;
use seawall_model::{Key, LogOptions, Timestamp};

use crate::{Fixture, shell};

/// All that a stream gives, by source.
async fn read(mut stream: LogStream) -> (Vec<u8>, Vec<u8>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.unwrap();
        match chunk.source {
            Source::Stdout => stdout.extend_from_slice(&chunk.bytes),
            Source::Stderr => stderr.extend_from_slice(&chunk.bytes),
        }
    }
    (stdout, stderr)
}

async fn ended(fixture: &Fixture, container: &Container) -> Key {
    let key = fixture.run(container).await;
    fixture.until_ended(&key).await;
    key
}

#[tokio::test]
async fn bytes_come_as_they_were_written() {
    let Some(fixture) = Fixture::new() else { return };
    // Every byte, an empty line, and an end that is longer than Docker's own buffer and has no newline.
    let script = r"
        i=0; while [ $i -lt 256 ]; do printf \\$(printf %03o $i); i=$((i+1)); done; echo; echo
        head -c 100000 /dev/zero | tr '\0' x
        printf 'to standard error' >&2";
    let key = ended(&fixture, &shell(script)).await;
    let stream = fixture.docker.logs(&key, &LogOptions::default()).await.unwrap();
    let (stdout, stderr) = read(stream).await;
    let mut expected: Vec<u8> = (0..=255).collect();
    expected.extend_from_slice(b"\n\n");
    expected.extend(std::iter::repeat_n(b'x', 100_000));
    let differs = stdout.iter().zip(&expected).position(|(is, should)| is != should);
    assert_eq!((stdout.len(), differs), (expected.len(), None));
    assert_eq!(stderr, b"to standard error");

    let only_stderr = LogOptions { stdout: false, ..LogOptions::default() };
    let (stdout, stderr) = read(fixture.docker.logs(&key, &only_stderr).await.unwrap()).await;
    assert_eq!((stdout.as_slice(), stderr.as_slice()), (&b""[..], &b"to standard error"[..]));
}

#[tokio::test]
async fn a_terminals_bytes_are_not_taken_for_frames() {
    let Some(fixture) = Fixture::new() else { return };
    let key = ended(&fixture, &Container { tty: true, ..shell(r"printf '\001\002\000\377no newline'") }).await;
    let (stdout, stderr) = read(fixture.docker.logs(&key, &LogOptions::default()).await.unwrap()).await;
    assert_eq!((stdout.as_slice(), stderr.len()), (&b"\x01\x02\x00\xffno newline"[..], 0));
}

#[tokio::test]
async fn following_ends_when_the_container_does_and_misses_nothing() {
    let Some(fixture) = Fixture::new() else { return };
    let script = "for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done";
    let key = fixture.run(&shell(script)).await;
    let options = LogOptions { follow: true, ..LogOptions::default() };
    let stream = fixture.docker.logs(&key, &options).await.unwrap();
    let (stdout, _) = tokio::time::timeout(seawall_testing::PATIENCE, read(stream)).await.unwrap();
    assert_eq!(String::from_utf8(stdout).unwrap(), "line 1\nline 2\nline 3\nline 4\nline 5\n");
}

#[tokio::test]
async fn a_part_of_the_output_is_given_by_lines_and_by_time() {
    let Some(fixture) = Fixture::new() else { return };
    let script = "echo one; echo two; read go; echo three";
    let key = fixture.run(&Container { stdin: true, ..shell(script) }).await;
    let get = async |options: LogOptions| {
        let (stdout, _) = read(fixture.docker.logs(&key, &options).await.unwrap()).await;
        String::from_utf8(stdout).unwrap()
    };
    let first = async {
        while get(LogOptions::default()).await != "one\ntwo\n" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(seawall_testing::PATIENCE, first).await.expect("two lines");
    // The times have nanoseconds, ours milliseconds: two more are surely between them.
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    let mut input = fixture.docker.input(&key).await.unwrap();
    input.write(bytes::Bytes::from_static(b"go\n")).await.unwrap();
    fixture.until_ended(&key).await;
    assert_eq!(get(LogOptions { tail: Some(2), ..LogOptions::default() }).await, "two\nthree\n");
    let stamped = get(LogOptions { timestamps: true, ..LogOptions::default() }).await;
    let times: Vec<Timestamp> = stamped.lines().map(|line| line.split_once(' ').unwrap().0.parse().unwrap()).collect();
    assert_eq!(times.len(), 3);
    let between = Timestamp::from_millis(times[1].as_millis() + 1);
    assert_eq!(get(LogOptions { since: Some(between), ..LogOptions::default() }).await, "three\n");
    assert_eq!(get(LogOptions { until: Some(between), ..LogOptions::default() }).await, "one\ntwo\n");
    let from_the_end = Timestamp::now() + std::time::Duration::from_secs(1);
    assert_eq!(get(LogOptions { since: Some(from_the_end), ..LogOptions::default() }).await, "");
}

#[tokio::test]
async fn a_long_line_has_one_time() {
    let Some(fixture) = Fixture::new() else { return };
    let key = ended(&fixture, &shell("head -c 40000 /dev/zero | tr '\\0' x; echo; echo next")).await;
    let options = LogOptions { timestamps: true, ..LogOptions::default() };
    let (stdout, _) = read(fixture.docker.logs(&key, &options).await.unwrap()).await;
    let text = String::from_utf8(stdout).unwrap();
    let lines: Vec<_> = text.lines().filter_map(|line| line.split_once("Z ")).map(|(_, line)| line).collect();
    assert_eq!(lines, ["x".repeat(40_000).as_str(), "next"]);
}
