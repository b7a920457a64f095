//! A Docker Engine that there is not: a socket of the test's own that answers a few questions, holds logs open, and
//! remembers what it was asked.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It says that every container it is asked about is there, and their logs have one line and no end.
    Answers,
    /// It takes every connection and never answers.
    Silent,
}

/// An Engine; ends when it is dropped.
pub(crate) struct Engine {
    socket: PathBuf,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    /// Connections that are open.
    open: AtomicUsize,
    /// The most at one time.
    most: AtomicUsize,
    /// Paths that were asked for.
    asked: Mutex<HashSet<String>>,
}

/// Counts a connection for as long as it is there.
struct Open(Arc<Seen>);

impl Open {
    fn new(seen: &Arc<Seen>) -> Self {
        let open = seen.open.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most.fetch_max(open, Ordering::SeqCst);
        Self(Arc::clone(seen))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Engine {
    pub(crate) fn start(dir: &Path, manner: Manner) -> Self {
        let socket = dir.join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let open = Open::new(&shared);
                tokio::spawn(serve(stream, open, manner));
            }
        });
        Self { socket, seen, task }
    }

    /// The grant of it.
    pub(crate) fn grant(&self) -> serde_json::Value {
        json!({"docker": {"host": format!("unix://{}", self.socket.display())}})
    }

    /// The most connections that were open at one time.
    pub(crate) fn most(&self) -> usize {
        self.seen.most.load(Ordering::SeqCst)
    }

    /// Whether it was ever asked for a path with this in it.
    pub(crate) fn was_asked(&self, part: &str) -> bool {
        self.seen.asked.lock().unwrap().iter().any(|path| path.contains(part))
    }

    /// Waits until every connection was closed by who opened it.
    pub(crate) async fn is_left_alone(&self) {
        let closed = async {
            while self.seen.open.load(Ordering::SeqCst) > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let closed = tokio::time::timeout(Duration::from_secs(60), closed).await;
        assert!(closed.is_ok(), "{} connections are still open", self.seen.open.load(Ordering::SeqCst));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection, until the other side closes it.
async fn serve(mut stream: UnixStream, open: Open, manner: Manner) {
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(read) => head.extend_from_slice(&piece[..read]),
        }
        if manner == Manner::Silent {
            continue;
        }
        while let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let request = String::from_utf8_lossy(&head[..end]).into_owned();
            head.drain(..end + 4);
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            open.0.asked.lock().unwrap().insert(path.clone());
            if stream.write_all(&answer(&path)).await.is_err() {
                return;
            }
        }
    }
}

fn answer(path: &str) -> Vec<u8> {
    let ok = |body: serde_json::Value| (200, body);
    if path.contains("/logs?") {
        // A chunk with a frame of standard output, and no last chunk.
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ne\r\n".to_vec();
        bytes.extend_from_slice(b"\x01\0\0\0\0\0\0\x06hello\n\r\n");
        return bytes;
    }
    let path = path.split('?').next().unwrap_or_default();
    let name = path.split('/').rev().nth(1).unwrap_or_default();
    let (status, body) = match path.rsplit('/').next().unwrap_or_default() {
        "version" => ok(json!({"Version": "20", "ApiVersion": "1.41", "MinAPIVersion": "1.12"})),
        "info" => ok(json!({"NCPU": 1, "MemTotal": 1 << 30})),
        // No image was committed from a container.
        "json" if name == "images" => ok(json!([])),
        "json" => match name.split('-').collect::<Vec<_>>()[..] {
            ["seawall", store, session, incarnation] => ok(json!({
                "Id": "0".repeat(64),
                "Name": format!("/{name}"),
                "State": {"Status": "running", "Running": true},
                "Config": {"Labels": {
                    "seawall.store": store,
                    "seawall.backend": "hostile",
                    "seawall.session": session,
                    "seawall.incarnation": incarnation,
                }},
            })),
            _ => (404, json!({"message": "no such container"})),
        },
        _ => (404, json!({"message": "page not found"})),
    };
    let body = body.to_string();
    let head =
        format!("HTTP/1.1 {status} Answer\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.into_bytes(), body.into_bytes()].concat()
}
