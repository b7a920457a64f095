//! A plain request to the Engine, for the answers that bollard does not read as we need them.
//!
//! *Logs*: bollard tells a terminal's bytes from framed ones by looking at the first byte, holds them back to the end
//! of a line, and panics at a frame of an unknown kind; so with a command's output. *Lists*: a sweep needs six fields of each container, and
//! bollard decodes all of them.
//!
//! *Hijacked connections*: after its head the answer is a stream in both directions, which bollard closes for writing only
//! together with reading.
//!
//! There is no task: whoever reads the answer drives the connection, and dropping it closes the connection.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bollard::errors::Error as Bollard;
use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, select};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{Builder, SendRequest, handshake};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, UPGRADE};
use hyper::rt::{Read, Write};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf, split};
use tokio::net::{TcpStream, UnixStream};

use crate::endpoint::Endpoint;

/// The most that a whole answer may take: a listing has about 1.5 KiB for each container.
const MAX_ANSWER: usize = 256 << 20;
/// Read at once of output, which may wait here for as long as its reader does. hyper takes no less.
const PIECE: usize = 8 << 10;
/// The most of an error's text.
const MAX_ERROR: usize = 64 << 10;

/// The body of an answer, with the connection that it comes over.
pub(crate) struct Answer {
    connection: Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>,
    body: Incoming,
    // Without it the connection would count as given up.
    _sender: SendRequest<Full<Bytes>>,
}

/// Asks for `path`, query included, and returns when the head of the answer is there.
pub(crate) async fn get(endpoint: &Endpoint, path: &str) -> Result<Answer, Bollard> {
    send(endpoint, Request::get(path).body(Full::default())?, &Builder::new()).await
}

/// The same of output.
pub(crate) async fn get_output(endpoint: &Endpoint, path: &str) -> Result<Answer, Bollard> {
    send(endpoint, Request::get(path).body(Full::default())?, Builder::new().max_buf_size(PIECE)).await
}

/// The same for a POST of JSON.
pub(crate) async fn post(endpoint: &Endpoint, path: &str, json: &'static str) -> Result<Answer, Bollard> {
    let request = Request::post(path).header(CONTENT_TYPE, "application/json");
    send(endpoint, request.body(Full::from(json))?, Builder::new().max_buf_size(PIECE)).await
}

/// The same where the connection is both sides' own after the head of the answer.
pub(crate) async fn hijack(endpoint: &Endpoint, path: &str, json: String) -> Result<(Hijacked, Writer), Bollard> {
    let request = Request::post(path)
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "tcp")
        .body(Full::from(json))?;
    match endpoint {
        Endpoint::Unix(socket) => upgrade(UnixStream::connect(socket).await?, "docker", request).await,
        Endpoint::Tcp(address) => upgrade(TcpStream::connect(address).await?, address, request).await,
    }
}

async fn upgrade<S>(stream: S, host: &str, mut request: Request<Full<Bytes>>) -> Result<(Hijacked, Writer), Bollard>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let mut connection = Box::pin(connection.with_upgrades());
    let host = HeaderValue::from_str(host).map_err(hyper::http::Error::from)?;
    request.headers_mut().insert(HOST, host);
    let (response, connection) = match select(std::pin::pin!(sender.send_request(request)), &mut connection).await {
        Either::Left((response, _)) => (response?, Some(connection)),
        Either::Right((_, response)) => (response.await?, None),
    };
    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let connection: Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>> =
            connection.map(|connection| connection as _);
        let mut answer = Answer { connection, body: response.into_body(), _sender: sender };
        let message = message(&answer.collect(MAX_ERROR).await?);
        return Err(Bollard::DockerResponseServerError { status_code: status.as_u16(), message });
    }
    let upgraded = hyper::upgrade::on(response);
    if let Some(connection) = connection {
        // It ends when the stream is handed over.
        connection.await?;
    }
    let parts = upgraded.await?.downcast::<TokioIo<S>>();
    let parts = parts.map_err(|_| std::io::Error::other("the connection cannot be taken over"))?;
    let stream: Box<dyn Duplex> = Box::new(parts.io.into_inner());
    let (reader, writer) = split(stream);
    Ok((Hijacked { received: parts.read_buf, reader }, writer))
}

/// Both directions of a connection.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// What comes over a hijacked connection.
pub(crate) struct Hijacked {
    received: Bytes,
    reader: ReadHalf<Box<dyn Duplex>>,
}

/// Where to write. Shutting it down closes this direction and no other.
pub(crate) type Writer = WriteHalf<Box<dyn Duplex>>;

/// Bytes that come piece by piece.
pub(crate) trait Pieces: Send {
    /// The next; `None` at the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<std::io::Result<Bytes>>>;
}

impl Pieces for Answer {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<std::io::Result<Bytes>>> {
        let broken = |error| std::io::Error::new(std::io::ErrorKind::ConnectionAborted, error);
        self.poll_data(cx).map(|data| data.map(|data| data.map_err(broken)))
    }
}

impl Pieces for Hijacked {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<std::io::Result<Bytes>>> {
        if !self.received.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.received))));
        }
        let mut piece = [0; PIECE];
        let mut buffer = ReadBuf::new(&mut piece);
        match ready!(Pin::new(&mut self.reader).poll_read(cx, &mut buffer)) {
            Ok(()) if buffer.filled().is_empty() => Poll::Ready(None),
            Ok(()) => Poll::Ready(Some(Ok(Bytes::copy_from_slice(buffer.filled())))),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }
}

async fn send(endpoint: &Endpoint, request: Request<Full<Bytes>>, how: &Builder) -> Result<Answer, Bollard> {
    match endpoint {
        Endpoint::Unix(socket) => ask(UnixStream::connect(socket).await?, "docker", request, how).await,
        Endpoint::Tcp(address) => ask(TcpStream::connect(address).await?, address, request, how).await,
    }
}

async fn ask<S>(stream: S, host: &str, mut request: Request<Full<Bytes>>, how: &Builder) -> Result<Answer, Bollard>
where
    TokioIo<S>: Read + Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = how.handshake(TokioIo::new(stream)).await?;
    let mut connection: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>> = Box::pin(connection);
    let host = HeaderValue::from_str(host).map_err(hyper::http::Error::from)?;
    request.headers_mut().insert(HOST, host);
    let (response, connection) = match select(std::pin::pin!(sender.send_request(request)), &mut connection).await {
        Either::Left((response, _)) => (response?, Some(connection)),
        // The connection is over; if it brought an answer, that is here already.
        Either::Right((_, response)) => (response.await?, None),
    };
    let status = response.status();
    let mut answer = Answer { connection, body: response.into_body(), _sender: sender };
    if status.is_success() {
        return Ok(answer);
    }
    let message = message(&answer.collect(MAX_ERROR).await?);
    Err(Bollard::DockerResponseServerError { status_code: status.as_u16(), message })
}

/// What the Engine says of an error.
fn message(text: &[u8]) -> String {
    serde_json::from_slice::<Message>(text)
        .map_or_else(|_| String::from_utf8_lossy(text).into_owned(), |message| message.message)
}

#[derive(serde::Deserialize)]
struct Message {
    message: String,
}

impl Answer {
    /// The next piece of the body.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Bytes>>> {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(cx).is_ready()
        {
            // What went wrong with it, the body says.
            self.connection = None;
        }
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }

    async fn collect(&mut self, limit: usize) -> Result<BytesMut, Bollard> {
        let mut all = BytesMut::new();
        while let Some(piece) = std::future::poll_fn(|cx| self.poll_data(cx)).await {
            let piece = piece?;
            if all.len() + piece.len() > limit {
                let message = format!("an answer of more than {limit} bytes");
                return Err(Bollard::JsonDataError { message, column: 0 });
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    /// The whole body.
    pub(crate) async fn bytes(mut self) -> Result<Bytes, Bollard> {
        Ok(self.collect(MAX_ANSWER).await?.freeze())
    }
}
