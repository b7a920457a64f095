//! Very many mock sessions on a real daemon, and what is asked of it about them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use seawall_testing::daemon::{Daemon, Home, seawall_binary};
use serde_json::{Value, json};

const MOCK_ALONE: &str = "[backend.docker]\nenabled = false\n[backend.process]\nenabled = false\n";
/// Requests at a time while sessions are made.
const CLIENTS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(600);
/// Long enough for the looks that follow each start to be over.
const SETTLED: Duration = Duration::from_secs(10);

/// A daemon with the mock backend alone, which costs next to nothing itself.
pub(crate) fn serve(config: &str) -> Result<(Home, Daemon)> {
    let home = Home::new(&seawall_binary()?)?;
    let daemon = serve_again(&home, config)?;
    Ok((home, daemon))
}

/// Another one with what is there already.
pub(crate) fn serve_again(home: &Home, config: &str) -> Result<Daemon> {
    home.configure(&format!("{config}{MOCK_ALONE}"))?;
    home.serve(true)
}

/// Asks for so many sessions, several at a time; they need not run when it returns.
pub(crate) fn create(home: &Home, count: usize, spec: impl Fn() -> Value + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        let mut client = Client::new(&home.socket())?;
        while next.fetch_add(1, Ordering::Relaxed) < count {
            let (status, answer) = client.send("POST", "/v1/sessions", &spec().to_string())?;
            ensure!(status == 201, "a session was refused: {}", String::from_utf8_lossy(&answer));
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(work)).collect();
        clients.into_iter().try_for_each(|client| match client.join() {
            Ok(made) => made,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// A daemon with so many sessions that run, and that looks at them so seldom that it does nothing else meanwhile.
pub(crate) fn quiet(sessions: usize) -> Result<(Home, Daemon)> {
    let (home, daemon) = serve("[control]\nsweep-interval = \"1h\"\nlist-interval = \"1h\"\n")?;
    create(&home, sessions, || json!({"backend": "mock"}))?;
    until_running(&home, sessions)?;
    settle();
    Ok((home, daemon))
}

/// Leaves the daemon time for the looks that follow each start, of which it tells nothing.
pub(crate) fn settle() {
    std::thread::sleep(SETTLED);
}

/// Waits until so many run.
pub(crate) fn until_running(home: &Home, count: usize) -> Result<()> {
    let began = Instant::now();
    while part(&get(home, "/v1/backends/mock")?, "/sessions/running").as_u64() != Some(count as u64) {
        ensure!(began.elapsed() < PATIENCE, "{count} sessions do not come to run");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A document of the API.
pub(crate) fn get(home: &Home, path: &str) -> Result<Value> {
    let answer = home.http("GET", path, None)?;
    ensure!(answer.status == 200, "GET {path}: {}", answer.text());
    Ok(answer.json())
}

/// What stands there in a document; nothing, if there is nothing.
pub(crate) fn part<'a>(document: &'a Value, pointer: &str) -> &'a Value {
    document.pointer(pointer).unwrap_or(&Value::Null)
}

/// A connection that is kept from one request to the next.
pub(crate) struct Client(BufReader<UnixStream>);

impl Client {
    pub(crate) fn new(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).context("connect")?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self(BufReader::with_capacity(64 << 10, stream)))
    }

    /// Gives the status and the body.
    pub(crate) fn send(&mut self, method: &str, target: &str, body: &str) -> Result<(u16, Vec<u8>)> {
        let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        let length = body.len();
        let text = format!("{method} {target} HTTP/1.1\r\nhost: s\r\n{kind}content-length: {length}\r\n\r\n{body}");
        self.0.get_mut().write_all(text.as_bytes()).context("send a request")?;
        let mut line = String::new();
        self.0.read_line(&mut line).context("read an answer")?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).context("the answer is no HTTP")?;
        let mut length = None;
        loop {
            line.clear();
            self.0.read_line(&mut line).context("read a header")?;
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse().context("read a length")?);
            }
        }
        let mut answer = vec![0; length.context("the answer has no length")?];
        self.0.read_exact(&mut answer).context("read a body")?;
        Ok((status, answer))
    }
}
