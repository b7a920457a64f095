//! Carrying out one probe: a command by the backend, a request or a connection by the host.
//!
//! What the session is to blame for is a failure. What the backend, the bulkhead or this machine is to blame for is
//! unknown, and never read as unhealthy (A2, B8).

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use seawall_backend::{Bulkhead, Error, ExecutionBackend};
use seawall_model::{CommandEnd, ExecCheck, ExecOptions, HttpCheck, Key, ProbeCheck, Redactor, SessionSpec, one_line};
use tokio::net::TcpStream;

use crate::backend::call;
use crate::probe::{Outcome, Question};

/// An engine has so much longer to say how a command ended.
const LAST_WORD: Duration = Duration::from_secs(5);
/// So much of what a command wrote is looked at, and of that what is told.
const KEPT: usize = 4096;
const TOLD: usize = 200;
/// A head of an answer that is longer is none.
const LONGEST_HEAD: usize = 64 << 10;

/// Asks a session one question.
pub(crate) async fn ask(
    driver: &Bulkhead<dyn ExecutionBackend>,
    key: &Key,
    spec: &SessionSpec,
    secrets: Option<&Redactor>,
    question: &Question,
) -> Outcome {
    let reach = |port| seawall_model::address(spec, port).map_err(|why| Outcome::Unknown(why.to_owned()));
    let asked = match &question.check {
        ProbeCheck::Exec(exec) => return command(driver, key, secrets, exec, question.timeout).await,
        ProbeCheck::Http(http) => match reach(http.port) {
            Ok(address) => tokio::time::timeout(question.timeout, request(address, http)).await,
            Err(unknown) => return unknown,
        },
        ProbeCheck::Tcp(tcp) => match reach(tcp.port) {
            Ok(address) => tokio::time::timeout(question.timeout, connection(address)).await,
            Err(unknown) => return unknown,
        },
    };
    asked.unwrap_or_else(|_| {
        Outcome::Failed(format!("no answer within {}", humantime::format_duration(question.timeout)))
    })
}

async fn command(
    driver: &Bulkhead<dyn ExecutionBackend>,
    key: &Key,
    secrets: Option<&Redactor>,
    exec: &ExecCheck,
    timeout: Duration,
) -> Outcome {
    let options = ExecOptions { command: exec.command.clone(), timeout: Some(timeout), ..ExecOptions::default() };
    let execution = match call("exec", driver.exec(key, &options)).await {
        Ok(execution) => execution,
        // There is no such program: what the session is made of is at fault.
        Err(Error::Invalid(invalid)) => return Outcome::Failed(invalid.to_string()),
        Err(error) => return Outcome::Unknown(error.to_string()),
    };
    let limit = timeout.saturating_add(LAST_WORD);
    let (output, end) = match tokio::time::timeout(limit, execution.finish(KEPT)).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) => return Outcome::Unknown(error.to_string()),
        Err(_) => return Outcome::Unknown("nobody said how the command ended".to_owned()),
    };
    let how = match end {
        CommandEnd::Code(0) => return Outcome::Passed,
        CommandEnd::Code(code) => format!("exit code {code}"),
        CommandEnd::Signal(signal) => format!("killed by signal {signal}"),
        CommandEnd::TimedOut => format!("it took longer than {}", humantime::format_duration(timeout)),
    };
    let wrote = String::from_utf8_lossy(&output).trim().to_owned();
    let wrote = match secrets {
        Some(secrets) => secrets.clean(wrote),
        None => wrote,
    };
    Outcome::Failed(if wrote.is_empty() { how } else { format!("{how}: {}", one_line(wrote, TOLD)) })
}

async fn connection(address: SocketAddr) -> Outcome {
    match TcpStream::connect(address).await {
        Ok(_) => Outcome::Passed,
        Err(error) => judge(&error, &format!("no connection to {address}")),
    }
}

async fn request(address: SocketAddr, http: &HttpCheck) -> Outcome {
    let stream = match TcpStream::connect(address).await {
        Ok(stream) => stream,
        Err(error) => return judge(&error, &format!("no connection to {address}")),
    };
    match status(stream, address, http).await {
        Ok(status) if (200..400).contains(&status) => Outcome::Passed,
        Ok(status) => Outcome::Failed(format!("HTTP status {status}")),
        Err(error) => Outcome::Failed(format!("no answer in HTTP from {address}: {error}")),
    }
}

/// The status of the answer. Its body is not read.
async fn status(
    stream: TcpStream,
    address: SocketAddr,
    http: &HttpCheck,
) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
    let mut request = Request::get(&http.path).header(CONNECTION, "close");
    for (name, value) in &http.headers {
        request = request.header(name, value.reveal());
    }
    let given = |name: &str| http.headers.keys().any(|given| given.eq_ignore_ascii_case(name));
    if !given(HOST.as_str()) {
        request = request.header(HOST, address.to_string());
    }
    if !given(USER_AGENT.as_str()) {
        request = request.header(USER_AGENT, concat!("seawall/", env!("CARGO_PKG_VERSION")));
    }
    let request = request.body(Empty::<Bytes>::new())?;
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(LONGEST_HEAD).handshake(TokioIo::new(stream)).await?;
    let answer = match select(std::pin::pin!(sender.send_request(request)), std::pin::pin!(connection)).await {
        Either::Left((answer, _)) => answer?,
        // The connection is over; if it brought an answer, that is here already.
        Either::Right((_, answer)) => answer.await?,
    };
    Ok(answer.status().as_u16())
}

/// Whose fault it is that a connection did not come about.
fn judge(error: &io::Error, what: &str) -> Outcome {
    let said = format!("{what}: {error}");
    match error.kind() {
        ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::TimedOut => Outcome::Failed(said),
        // No descriptor, no port, no memory: this machine's own.
        _ => Outcome::Unknown(said),
    }
}
