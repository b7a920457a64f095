//! Connections that are taken over, on a real socket: what is said both ways, and what is left when one side goes.

use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use seawall_model::{Signal, TerminalSize};
use seawall_store::StoreConfig;
use seawall_testing::memory::Memory;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::frame::{Ended, Frame, FrameReader};
use super::tests::Daemon;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(600);

/// A daemon with a session that runs, and what is open there.
async fn echoing(patience: Duration) -> (Daemon, Weak<()>) {
    let memory = Memory::echoing();
    let open = memory.open();
    let daemon = Daemon::start_with(memory, StoreConfig::default(), patience).await;
    daemon.create(json!({"backend": "fake", "name": "web", "stdin": true})).await;
    daemon.send(reqwest::Method::GET, "/v1/sessions/web/wait?for=settled&timeout=30s").await;
    (daemon, open)
}

/// A connection that was taken over.
struct Taken {
    stream: UnixStream,
    reader: FrameReader,
}

impl Taken {
    async fn new(daemon: &Daemon, path: &str, body: &Value) -> Self {
        let mut stream = UnixStream::connect(daemon.socket()).await.unwrap();
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: s\r\nConnection: Upgrade\r\nUpgrade: seawall-stream\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: seawall-stream"), "{head}");
        Self { stream, reader: FrameReader::default() }
    }

    async fn say(&mut self, frame: Frame) {
        self.stream.write_all(&frame.encode()).await.unwrap();
    }

    /// The next frame; `None`: there is no more.
    async fn hear(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.reader.next().unwrap() {
                return Some(frame);
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece).await.unwrap() {
                0 => return None,
                length => self.reader.feed(&piece[..length]),
            }
        }
    }
}

fn text(text: &'static str) -> Frame {
    Frame::Stdout(Bytes::from_static(text.as_bytes()))
}

async fn until_nothing_is_open(daemon: &Daemon, open: &Weak<()>) {
    // One is the backend's own.
    while open.strong_count() > 1 || daemon.control.backends()[0].bulkhead.permits.streams.in_flight > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_command_is_sent_what_its_client_says_and_says_how_it_ended() {
    let (daemon, open) = echoing(LONG).await;
    let mut taken = Taken::new(&daemon, "/v1/sessions/web/exec", &json!({"command": ["cat"], "stdin": true})).await;
    taken.say(Frame::Stdin(Bytes::from_static(b"\xff\0"))).await;
    assert_eq!(taken.hear().await, Some(Frame::Stdout(Bytes::from_static(b"\xff\0"))));
    taken.say(Frame::Resize(TerminalSize { columns: 80, rows: 24 })).await;
    assert_eq!(taken.hear().await, Some(text("<80 columns, 24 rows>")));
    taken.say(Frame::Signal(Signal::TERM)).await;
    let Some(Frame::Notice(problem)) = taken.hear().await else { panic!("no notice") };
    assert!(problem.detail.contains("SIGTERM is not sent here") && problem.status == 501, "{problem:?}");
    taken.say(Frame::Stdin(Bytes::new())).await;
    assert_eq!(taken.hear().await, Some(Frame::Ended(Ended { code: Some(7), ..Ended::default() })));
    assert_eq!(taken.hear().await, None);
    until_nothing_is_open(&daemon, &open).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_command_ends_with_its_client_and_one_that_was_left_goes_on() {
    let (daemon, open) = echoing(LONG).await;
    let path = "/v1/sessions/web/exec";
    let gone = Taken::new(&daemon, path, &json!({"command": ["cat"]})).await;
    // One that takes nothing, of one that writes for ever.
    let stuck = Taken::new(&daemon, path, &json!({"command": ["flood"]})).await;
    assert_eq!(open.strong_count(), 3);
    drop((gone, stuck));
    until_nothing_is_open(&daemon, &open).await;

    let mut left = Taken::new(&daemon, path, &json!({"command": ["cat"], "stdin": true})).await;
    left.say(Frame::Stdin(Bytes::from_static(b"x"))).await;
    assert_eq!(left.hear().await, Some(text("x")));
    left.say(Frame::Detach).await;
    assert_eq!(left.hear().await, None);
    assert_eq!(open.strong_count(), 2);

    let (status, _) = daemon.post("/v1/sessions/web/exec", &json!({"command": ["cat"], "detach": true})).await;
    assert_eq!((status, open.strong_count()), (StatusCode::NO_CONTENT, 3));
    daemon.stop().await;
    assert_eq!(open.strong_count(), 0, "something outlives the daemon");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let (daemon, open) = echoing(Duration::from_millis(100)).await;
    let stuck = Taken::new(&daemon, "/v1/sessions/web/exec", &json!({"command": ["flood"]})).await;
    until_nothing_is_open(&daemon, &open).await;
    drop(stuck);
    daemon.stop().await;
}

#[tokio::test]
async fn whoever_is_attached_is_told_that_the_daemon_goes_down() {
    let (daemon, _) = echoing(LONG).await;
    let mut taken = Taken::new(&daemon, "/v1/sessions/web/attach", &json!({"stdin": true})).await;
    taken.say(Frame::Stdin(Bytes::from_static(b"hello"))).await;
    assert_eq!(taken.hear().await, Some(text("hello")));
    daemon.server.drain();
    let Some(Frame::Error(problem)) = taken.hear().await else { panic!("no error") };
    assert!(problem.detail.contains("the session goes on"), "{problem:?}");
    assert_eq!(taken.hear().await, None);
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_no_frame_is_refused_and_the_command_goes_on() {
    let (daemon, open) = echoing(LONG).await;
    for bytes in [&[1, 0, 0, 0, 0, 0, 0, 0][..], &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], b"GET / HTTP/1.1\r\n"] {
        let mut taken = Taken::new(&daemon, "/v1/sessions/web/exec", &json!({"command": ["cat"]})).await;
        taken.stream.write_all(bytes).await.unwrap();
        let Some(Frame::Notice(problem)) = taken.hear().await else { panic!("no notice") };
        assert_eq!(problem.status, 400, "{problem:?}");
        assert_eq!(open.strong_count(), 2);
        drop(taken);
        until_nothing_is_open(&daemon, &open).await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn bytes_are_sent_on_as_they_come() {
    let (daemon, open) = echoing(LONG).await;
    let body = futures_util::stream::iter([Ok::<_, std::io::Error>("a"), Ok("bc")]);
    let request = daemon.http.post("http://s/v1/sessions/web/input?close=true");
    let sent = request.body(reqwest::Body::wrap_stream(body)).send().await.unwrap();
    assert_eq!(sent.json::<Value>().await.unwrap(), json!({"bytes": 3}));
    until_nothing_is_open(&daemon, &open).await;
    daemon.stop().await;
}

#[tokio::test]
async fn every_bad_request_for_a_stream_says_what_is_wrong() {
    let (daemon, open) = echoing(LONG).await;
    daemon.create(json!({"backend": "fake", "name": "over"})).await;
    daemon.send(reqwest::Method::POST, "/v1/sessions/over/stop?wait=true").await;
    let mut said = Vec::new();
    for (path, body) in [
        ("/v1/sessions/web/exec", json!({"command": ["true"]})),
        ("/v1/sessions/web/exec", json!({})),
        ("/v1/sessions/web/exec", json!({"command": [""]})),
        ("/v1/sessions/web/exec", json!({"comand": ["true"]})),
        ("/v1/sessions/web/exec", json!({"command": ["true"], "size": {"columns": 80}})),
        ("/v1/sessions/web/exec", json!({"command": ["true"], "size": {"columns": 70000, "rows": 1}})),
        ("/v1/sessions/web/exec", json!({"command": ["true"], "size": {"columns": 0, "rows": 1}, "detach": true})),
        ("/v1/sessions/web/exec", json!({"command": ["true"], "stdin": true, "detach": true})),
        ("/v1/sessions/over/exec", json!({"command": ["true"], "detach": true})),
        ("/v1/sessions/nobody/exec", json!({"command": ["true"], "detach": true})),
        ("/v1/sessions/web/attach", json!({})),
        ("/v1/sessions/web/attach", json!({"sdtin": true})),
        ("/v1/sessions/over/input", json!({})),
        ("/v1/sessions/nobody/input", json!({})),
        ("/v1/sessions/web/input?eof=true", json!({})),
    ] {
        let (status, problem) = daemon.post(path, &body).await;
        assert!(status.is_client_error(), "{path} {body}: {status}");
        let detail = problem["detail"].as_str().unwrap_or_default();
        let id = daemon.control.resolve("over").unwrap().to_string();
        said.push(format!("{path} {body}\n  {status}: {}", detail.replace(&id, "[id]")));
    }
    insta::assert_snapshot!(said.join("\n"));
    assert_eq!(open.strong_count(), 1, "something was begun");
    daemon.stop().await;
}

#[tokio::test]
async fn a_session_has_so_many_streams_and_one_more_is_refused_by_number() {
    let (daemon, open) = echoing(LONG).await;
    let mut all = Vec::new();
    for _ in 0..64 {
        all.push(Taken::new(&daemon, "/v1/sessions/web/attach", &json!({})).await);
    }
    let refused = json!({"command": ["true"], "detach": true});
    let (status, problem) = daemon.post("/v1/sessions/web/exec", &refused).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(problem["detail"].as_str().unwrap().contains("64 streams open"), "{problem}");
    let (status, _) = daemon.send(reqwest::Method::GET, "/v1/sessions/web/logs").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    all.pop();
    while daemon.post("/v1/sessions/web/exec", &refused).await.0 != StatusCode::NO_CONTENT {
        tokio::task::yield_now().await;
    }
    drop(all);
    while open.strong_count() > 2 {
        tokio::task::yield_now().await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn what_a_backend_does_not_export_is_unsupported_by_name() {
    let daemon = Daemon::start().await;
    daemon.create(json!({"backend": "fake", "name": "web"})).await;
    daemon.send(reqwest::Method::GET, "/v1/sessions/web/wait?for=settled&timeout=30s").await;
    let (status, problem) = daemon.post("/v1/sessions/web/exec", &json!({"command": ["x"], "detach": true})).await;
    assert_eq!(status, StatusCode::NOT_IMPLEMENTED);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("fake") && detail.contains("`exec`"), "{detail}");
    daemon.stop().await;
}

#[tokio::test]
async fn whoever_made_a_session_to_attach_to_it_was_attached_before_it_began() {
    let memory = Memory::echoing();
    let open = memory.open();
    let daemon = Daemon::start_with(memory, StoreConfig::default(), LONG).await;
    let spec = json!({"backend": "fake", "name": "shell", "stdin": true});
    daemon.post("/v1/sessions?attach=true&wait=true", &spec).await;
    assert_eq!(open.strong_count(), 2, "nobody is attached");
    let how = json!({"stdin": true, "size": {"columns": 80, "rows": 24}});
    let mut taken = Taken::new(&daemon, "/v1/sessions/shell/attach", &how).await;
    assert_eq!(open.strong_count(), 2, "it was attached to anew");
    assert_eq!(taken.hear().await, Some(text("<80 columns, 24 rows>")));
    drop(taken);
    until_nothing_is_open(&daemon, &open).await;
    // The next one is attached from now on.
    let taken = Taken::new(&daemon, "/v1/sessions/shell/attach", &json!({"stdin": true})).await;
    assert_eq!(open.strong_count(), 2);
    drop(taken);
    daemon.stop().await;
    assert_eq!(open.strong_count(), 0);
}
