//! A Unix socket between a client and a server, which hands on every byte and remembers what was asked.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What one connection asked, byte for byte.
type Asked = Arc<Mutex<Vec<u8>>>;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Such as `GET`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// As many bytes as its head says.
    pub body: Vec<u8>,
}

/// Stands before a server until it is dropped.
#[derive(Debug)]
pub struct Recorder {
    socket: PathBuf,
    asked: Arc<Mutex<Vec<Asked>>>,
    over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Listens at `socket`, which must not be there yet, and asks the server at `upstream` in turn.
    ///
    /// # Errors
    /// It cannot listen there.
    pub fn start(socket: PathBuf, upstream: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(&socket)?;
        let (asked, over) = (Arc::new(Mutex::new(Vec::<Asked>::new())), Arc::new(AtomicBool::new(false)));
        let (all, stop, upstream) = (Arc::clone(&asked), Arc::clone(&over), upstream.to_owned());
        let accepting = std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let one = Asked::default();
                all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&one));
                // A client that cannot be served sees its connection end.
                let _ = UnixStream::connect(&upstream).and_then(|server| join(client, server, one));
            }
        });
        Ok(Self { socket, asked, over, accepting: Some(accepting) })
    }

    /// Its address, `unix://...`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// What was asked so far, connection by connection.
    pub fn requests(&self) -> Vec<Request> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        asked.iter().flat_map(|one| parse(&one.lock().unwrap_or_else(PoisonError::into_inner))).collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Whatever comes of it, it wakes the thread.
        let _ = UnixStream::connect(&self.socket);
        let _ = self.accepting.take().map(JoinHandle::join);
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Two threads, which end with the connection.
fn join(client: UnixStream, server: UnixStream, asked: Asked) -> io::Result<()> {
    let (answers, questions) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        copy(client, questions, |bytes| {
            asked.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        })
    });
    std::thread::spawn(move || copy(server, answers, |_| {}));
    Ok(())
}

fn copy(mut from: UnixStream, mut to: UnixStream, mut seen: impl FnMut(&[u8])) {
    let mut piece = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        let bytes = piece.get(..length).unwrap_or_default();
        // Before it is handed on: what was answered was recorded.
        seen(bytes);
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// The requests that are there whole.
fn parse(mut bytes: &[u8]) -> Vec<Request> {
    let mut requests = Vec::new();
    while let Some((request, rest)) = parse_one(bytes) {
        requests.push(request);
        bytes = rest;
    }
    requests
}

fn parse_one(bytes: &[u8]) -> Option<(Request, &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(bytes.get(..end)?).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .unwrap_or(0);
    let body = bytes.get(end + 4..end + 4 + length)?.to_vec();
    Some((Request { method, target, body }, bytes.get(end + 4 + length..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_follow_each_other_and_half_a_one_is_none() {
        let bytes = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b?c HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcGET /d";
        let requests = parse(bytes);
        assert_eq!(requests.len(), 2);
        assert_eq!((requests[1].method.as_str(), requests[1].target.as_str()), ("POST", "/b?c"));
        assert_eq!(requests[1].body, b"abc");
    }

    #[test]
    fn every_byte_is_handed_on_and_what_was_asked_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("server")).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = vec![0; 32];
            stream.read_exact(&mut asked).unwrap();
            stream.write_all(b"answer").unwrap();
            asked
        });
        let recorder = Recorder::start(dir.path().join("between"), &dir.path().join("server")).unwrap();
        let mut client = UnixStream::connect(dir.path().join("between")).unwrap();
        let question = b"GET /question HTTP/1.1\r\nA: b\r\n\r\n";
        client.write_all(question).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer");
        assert_eq!(server.join().unwrap(), question.get(..32).unwrap());
        assert_eq!(recorder.requests().first().unwrap().target, "/question");
    }
}
