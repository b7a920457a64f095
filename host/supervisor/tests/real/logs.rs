//! What a session wrote.

use std::time::Duration;

use futures_util::StreamExt;
use seawall_backend::Source;
use seawall_model::LogOptions;
use seawall_supervisor::log::Limits;

use crate::attach::logged;
use crate::bench::{Bench, collect, eventually, only, shell};

fn follow() -> LogOptions {
    LogOptions { follow: true, ..LogOptions::default() }
}

#[tokio::test]
async fn each_stream_comes_back_byte_by_byte_across_rotation() {
    let bench = Bench::new();
    let file = bench.shared().join("noise");
    let noise: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    std::fs::write(&file, &noise).unwrap();
    let mut program = shell(&format!("cat {0} & cat {0} >&2; wait", file.display()));
    (program.log_max_size, program.log_max_files) = (Some(Limits::MIN_SIZE), Some(100));
    bench.run(&program).await;
    bench.ended(&program.key).await;
    for source in [Source::Stdout, Source::Stderr] {
        let stream = bench.process.logs(&program.key, &LogOptions::default()).await.unwrap();
        assert!(only(stream, source).await == noise, "{source:?}");
    }
    assert!(std::fs::read_dir(bench.run_dir(&program.key).log()).unwrap().count() > 10);
}

#[tokio::test]
async fn a_log_is_bounded_and_a_session_that_writes_for_ever_goes_on() {
    let bench = Bench::new();
    let mut program = shell("exec yes");
    (program.log_max_size, program.log_max_files) = (Some(Limits::MIN_SIZE), Some(2));
    bench.run(&program).await;
    let log = bench.run_dir(&program.key).log();
    let newest = || {
        let names = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter_map(|name| name.parse::<u64>().ok()).max().unwrap_or(0)
    };
    eventually("it has turned many times", || newest() > 20).await;
    assert!(std::fs::read_dir(&log).unwrap().count() <= 3, "two, and one that is being made or removed");
}

#[tokio::test]
async fn following_gives_what_comes_and_ends_with_the_session() {
    let bench = Bench::new();
    let go = bench.shared().join("go");
    let key = bench.sh(&format!("echo one; while [ ! -e {} ]; do sleep 0.01; done; echo two", go.display())).await;
    let mut stream = bench.process.logs(&key, &follow()).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().bytes.as_ref(), b"one\n");
    let waiting = tokio::time::timeout(Duration::from_millis(50), stream.next()).await;
    assert!(waiting.is_err(), "there is no more yet: {waiting:?}");
    std::fs::write(&go, "").unwrap();
    assert_eq!(collect(stream).await.concat(), b"two\n");
}

#[tokio::test]
async fn following_begins_before_the_start_and_ends_when_the_supervisor_is_killed() {
    let bench = Bench::new();
    let program = shell("echo hello; exec sleep 1000");
    bench.process.create(&program).await.unwrap();
    let mut stream = bench.process.logs(&program.key, &follow()).await.unwrap();
    bench.process.start(&program.key).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().bytes.as_ref(), b"hello\n");
    crate::bench::send(bench.started(&program.key).supervisor, rustix::process::Signal::KILL);
    assert!(collect(stream).await.is_empty());
}

#[tokio::test]
async fn the_tail_of_a_long_log_is_followed_by_what_comes() {
    let bench = Bench::new();
    let go = bench.shared().join("go");
    let key = bench.sh(&format!("seq 1 50000; while [ ! -e {} ]; do sleep 0.01; done; echo end", go.display())).await;
    let tail = LogOptions { tail: Some(2), ..follow() };
    logged(&bench, &key, "50000\n").await;
    let stream = bench.process.logs(&key, &tail).await.unwrap();
    std::fs::write(&go, "").unwrap();
    let text = String::from_utf8(collect(stream).await.concat()).unwrap();
    assert_eq!(text, "49999\n50000\nend\n");
}

#[tokio::test]
async fn the_log_outlives_the_session_until_it_is_removed() {
    let bench = Bench::new();
    let key = bench.sh("echo last words >&2; exit 1").await;
    bench.ended(&key).await;
    assert_eq!(bench.log(&key, follow()).await, b"last words\n");
    assert_eq!(bench.log(&key, LogOptions { stderr: false, ..follow() }).await, b"");
    bench.process.remove(&key, false).await.unwrap();
    assert!(bench.process.logs(&key, &follow()).await.is_err());
}
