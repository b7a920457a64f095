//! Probes to real sockets of this machine.

use std::sync::Arc;
use std::time::Duration;

use seawall_backend::limit::Ceiling;
use seawall_backend::{Bulkhead, BulkheadConfig, Error, ExecutionBackend};
use seawall_model::{
    CommandEnd, ExecCheck, HttpCheck, InvalidSpec, Key, ProbeCheck, Problem, Redactor, Secret, SessionId, SessionSpec,
    TcpCheck,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

use super::fake::{Chaos, Fake};
use super::house::spec;
use crate::probe::{Outcome, Question, Role};
use crate::probe_run::ask;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

async fn asked(
    fake: &Arc<Fake>,
    spec: &SessionSpec,
    session: &SessionId,
    check: ProbeCheck,
    timeout: Duration,
) -> Outcome {
    let driver: Arc<Bulkhead<dyn ExecutionBackend>> =
        Arc::new(Bulkhead::new(Arc::clone(fake), &BulkheadConfig::default(), Ceiling::new(10)));
    let key = Key { session: session.clone(), incarnation: 1, handle: None };
    ask(&driver, &key, spec, Redactor::of(spec).as_ref(), &Question { role: Role::Liveness, check, timeout }).await
}

async fn reached(check: ProbeCheck, timeout: Duration) -> Outcome {
    asked(&Fake::new(), &spec(), &SessionId::random(), check, timeout).await
}

fn http(port: u16, path: &str) -> ProbeCheck {
    let headers = [("X-Token".to_owned(), Secret::new("hunter2"))].into();
    ProbeCheck::Http(HttpCheck { port, path: path.to_owned(), headers })
}

/// Answers one request so, and gives what was asked.
async fn answering(answer: &'static str) -> (u16, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0, "it hung up");
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    (port, served)
}

/// A port that nobody listens on, for as long as the socket is kept: it has the port and does not listen.
fn deaf() -> (u16, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    (socket.local_addr().unwrap().port(), socket)
}

fn failed(outcome: Outcome, words: &str) {
    assert!(matches!(&outcome, Outcome::Failed(why) if why.contains(words)), "{outcome:?}");
}

fn unknown(outcome: Outcome, words: &str) {
    assert!(matches!(&outcome, Outcome::Unknown(why) if why.contains(words)), "{outcome:?}");
}

#[tokio::test]
async fn a_status_from_200_to_399_passes_and_no_redirect_is_followed() {
    for (answer, passes) in [
        ("HTTP/1.1 199 Odd\r\ncontent-length: 0\r\n\r\nHTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", true),
        ("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", true),
        ("HTTP/1.1 399 Odd\r\ncontent-length: 0\r\n\r\n", true),
        ("HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n", false),
        ("HTTP/1.1 503 Later\r\ncontent-length: 0\r\n\r\n", false),
        ("hello\r\n", false),
    ] {
        let (port, served) = answering(answer).await;
        let outcome = reached(http(port, "/healthz?deep=1"), LONG).await;
        assert_eq!(outcome == Outcome::Passed, passes, "{answer}: {outcome:?}");
        let request = served.await.unwrap();
        assert!(request.starts_with("GET /healthz?deep=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.to_lowercase().contains("x-token: hunter2\r\n"), "{request}");
        assert!(request.contains(&format!("127.0.0.1:{port}")), "{request}");
    }
}

#[tokio::test]
async fn silence_and_a_closed_port_fail() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = silent.local_addr().unwrap().port();
    failed(reached(http(port, "/"), Duration::from_millis(20)).await, "no answer within 20ms");
    let (port, _kept) = deaf();
    failed(reached(http(port, "/"), LONG).await, "no connection to 127.0.0.1");
    failed(reached(ProbeCheck::Tcp(TcpCheck { port }), LONG).await, "refused");
    let endless = "x".repeat(200_000).leak();
    let (port, served) = answering(endless).await;
    failed(reached(http(port, "/"), LONG).await, "no answer in HTTP");
    served.abort();
}

#[tokio::test]
async fn a_connection_that_is_accepted_passes() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(reached(ProbeCheck::Tcp(TcpCheck { port }), LONG).await, Outcome::Passed);
}

#[tokio::test(start_paused = true)]
async fn only_what_the_session_is_to_blame_for_fails() {
    let (fake, session) = (Fake::new(), SessionId::random());
    let check = ProbeCheck::Exec(ExecCheck { command: vec!["check".to_owned()] });
    let run = async || asked(&fake, &spec(), &session, check.clone(), LONG).await;
    assert_eq!(run().await, Outcome::Passed);
    for (end, words) in [
        (CommandEnd::Code(1), "exit code 1"),
        (CommandEnd::Signal(9), "killed by signal 9"),
        (CommandEnd::TimedOut, "longer than 30s"),
    ] {
        fake.set_commands(&session, end);
        failed(run().await, words);
    }
    let no_program = Problem { field: "command".to_owned(), message: "there is no program check".to_owned() };
    fake.once("exec", Chaos::Error(Error::Invalid(InvalidSpec { problems: vec![no_program] })));
    failed(run().await, "no program check");

    for (error, words) in [
        (Error::unavailable("away"), "away"),
        (Error::Unsupported("older".to_owned()), "older"),
        (Error::Denied("not granted".to_owned()), "not granted"),
        (Error::conflict("it does not run"), "does not run"),
    ] {
        fake.once("exec", Chaos::Error(error));
        unknown(run().await, words);
    }
    fake.once("exec", Chaos::Panic);
    unknown(run().await, "panicked");
    fake.always("exec", Chaos::Hang);
    unknown(run().await, "deadline");
}
