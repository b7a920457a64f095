//! Readers that are slow, stuck or gone, on real connections: what they held is free again, and nothing is kept for them.

use std::time::Duration;

use seawall_store::{Event, JournalConfig, StoreConfig, Write};
use seawall_testing::memory::Memory;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::tests::Daemon;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(600);

impl Daemon {
    async fn flooding(patience: Duration) -> Self {
        let daemon = Self::start_with(Memory::flooding(), StoreConfig::default(), patience).await;
        daemon.create(json!({"backend": "fake", "name": "web"})).await;
        daemon.send(reqwest::Method::GET, "/v1/sessions/web/wait?for=settled&timeout=30s").await;
        daemon
    }

    /// A connection whose answer has begun, and of which nothing more was read.
    async fn open(&self, path: &str) -> UnixStream {
        let mut stream = UnixStream::connect(self.socket()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: s\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
        stream
    }

    /// Open log streams of the backend.
    fn streams(&self) -> usize {
        self.control.backends()[0].bulkhead.permits.streams.in_flight
    }

    /// Waits until nobody is connected and nothing is held any more. The client of the test keeps a connection.
    async fn until_free(&self) {
        while self.streams() > 0 || self.server.connections() > 1 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_nothing_behind() {
    let daemon = Daemon::flooding(LONG).await;
    let mut readers = vec![
        daemon.open("/v1/events?follow=true").await,
        daemon.open("/v1/events?follow=true&since=0&kind=backend.").await,
        daemon.open("/v1/sessions/web/logs?follow=true").await,
    ];
    // One that never reads, one that reads a little first.
    readers.push(daemon.open("/v1/sessions/web/logs?follow=true").await);
    readers.last_mut().unwrap().read_exact(&mut [0; 100_000]).await.unwrap();
    assert_eq!((daemon.streams(), daemon.server.connections()), (2, 5));
    drop(readers);
    daemon.until_free().await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_reader_that_is_stuck_is_cut_off_and_gives_back_what_it_held() {
    let daemon = Daemon::flooding(Duration::from_millis(100)).await;
    let stuck = daemon.open("/v1/sessions/web/logs?follow=true").await;
    daemon.until_free().await;
    drop(stuck);
    daemon.stop().await;
}

#[tokio::test]
async fn nothing_is_kept_for_a_subscriber_that_does_not_read_and_it_is_told_what_it_missed() {
    const EVENTS: u64 = 10_000;
    let journal = JournalConfig { events: 200, ..JournalConfig::default() };
    let daemon = Daemon::start_with(Memory::default(), StoreConfig { journal, ..StoreConfig::default() }, LONG).await;
    let mut slow = daemon.open("/v1/events?follow=true").await;
    let begin = daemon.store.last_event();
    for _ in 0..EVENTS / 100 {
        let event = |_| {
            Write::Event(Event {
                id: 0,
                at: seawall_model::Timestamp::now(),
                kind: "session.started".to_owned(),
                session: Some("0123456789abcdef".parse().unwrap()),
                name: None,
                backend: None,
                incarnation: None,
                message: "x".repeat(1000),
                trace_id: None,
                actor: None,
            })
        };
        daemon.store.write((0..100).map(event).collect()).await.unwrap();
    }
    let end = daemon.store.last_event();

    let (mut told, mut missed, mut rest) = (Vec::new(), 0, Vec::new());
    while told.last() != Some(&end) {
        let mut bytes = vec![0; 65536];
        let read = slow.read(&mut bytes).await.unwrap();
        assert!(read > 0, "it was cut off");
        rest.extend_from_slice(&bytes[..read]);
        let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let text: Vec<u8> = rest.drain(..whole).collect();
        for line in String::from_utf8(text).unwrap().lines() {
            told.extend(line.strip_prefix("id: ").map(|id| id.parse::<u64>().unwrap()));
            missed += line
                .strip_prefix("data: {\"missed\":")
                .map_or(0, |rest| rest.trim_end_matches('}').parse::<u64>().unwrap());
        }
    }
    // What the daemon had to tell of itself may have come since the stream was opened.
    told.retain(|id| *id > begin);
    assert!(told.is_sorted());
    assert!(told.len() < 3000, "{} of {EVENTS} were kept for it", told.len());
    assert_eq!(told.len() as u64 + missed, end - begin, "every event was told, or counted");
    drop(slow);
    daemon.until_free().await;
    daemon.stop().await;
}
