//! The places where bytes from outside are read, for the fuzz targets in `tests/fuzz` and for nobody else: the types of
//! this program stay its own, and what comes out is plain data.

use std::collections::BTreeMap;
use std::path::Path;

use axum::Router;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use seawall_backend::LogChunk;
use seawall_control::Control;
use seawall_model::{BackendName, Problem, Timestamp};
use seawall_store::Store;
use serde_json::Value;

use crate::api::{Frame, FrameReader, Peer, Version, router};
use crate::config::{Document, Overrides, Settings};
use crate::metrics::Metrics;
use crate::reload::Reload;
use crate::schema::Schema;
use crate::tokens::Tokens;

/// What a configuration file comes to, written as one.
///
/// # Errors
/// What a user is told.
pub fn settings(text: &str) -> Result<String, String> {
    let document = Document::new(Path::new("/etc/seawall/seawall.toml"), text.to_owned());
    let given = Overrides { data_dir: Some("/var/lib/seawall".into()), ..Overrides::default() };
    let settings = Settings::read(given, Some(document)).map_err(|error| error.to_string())?;
    let written = settings.effective().and_then(|table| toml::to_string(&table));
    written.map_err(|error| format!("THE EFFECTIVE SETTINGS CANNOT BE WRITTEN: {error}"))
}

/// What a plugin's schema finds wrong with a value.
///
/// # Errors
/// It is no schema.
pub fn problems(schema: &str, value: &Value) -> Result<Vec<Problem>, String> {
    Ok(Schema::new(schema)?.problems("options", value))
}

/// A chunk of a log as the API writes it.
pub fn frame(chunk: &LogChunk) -> Vec<u8> {
    [&crate::api::frame_header(chunk.source, chunk.bytes.len())[..], &chunk.bytes].concat()
}

/// The frames of a log as the command line reads them: kind and bytes of each. An error's bytes are its text.
///
/// # Errors
/// They are none.
pub fn frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<(u8, Bytes)>, String> {
    let (mut reader, mut read) = (FrameReader::default(), Vec::new());
    for piece in pieces {
        reader.feed(piece);
        while let Some(frame) = reader.next()? {
            read.push(match frame {
                Frame::Stdout(bytes) => (1, bytes),
                Frame::Stderr(bytes) => (2, bytes),
                Frame::Error(problem) => (3, problem.detail.into()),
                other => {
                    let mut bytes = other.encode();
                    let header = bytes.split_to(8);
                    (header.first().copied().unwrap_or_default(), bytes)
                }
            });
        }
    }
    Ok(read)
}

/// The messages of an event stream as the command line reads them: the event's name and its data.
pub fn messages<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<(String, String)> {
    crate::cli::messages(pieces)
}

/// A time as the command line takes it.
///
/// # Errors
/// It is none.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    crate::cli::moment(text)
}

/// The API without a socket.
pub struct Api(TowerToHyperService<Router>);

/// What the API answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The media type; empty if there is none.
    pub media: String,
    /// As much of the body as was there at once: a stream that goes on is left.
    pub body: Vec<u8>,
}

impl Api {
    /// With the schema of each backend's options.
    ///
    /// # Errors
    /// One is no schema, or the store cannot be read.
    pub async fn new(control: Control, store: Store, schemas: &BTreeMap<BackendName, String>) -> Result<Self, String> {
        let schema = |(name, text): (&BackendName, &String)| Ok((name.clone(), Schema::new(text)?));
        let options = schemas.iter().map(schema).collect::<Result<BTreeMap<_, _>, String>>()?;
        let version = Version { version: "0", api: 1, store: String::new(), pid: 1, started_at: Timestamp::now() };
        let tokens = Tokens::load(store).await.map_err(|error| error.to_string())?;
        let api = crate::api::Api::new(control, version, options.into(), Reload::never(), Metrics::default(), tokens);
        Ok(Self(TowerToHyperService::new(router(api))))
    }

    /// Answers a request; `None` if HTTP cannot carry it.
    pub async fn answer(&self, method: &str, uri: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Option<Answer> {
        let mut request = hyper::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Full::new(Bytes::copy_from_slice(body))).ok()?;
        request.extensions_mut().insert(Peer::Local("outside".into()));
        let Ok(response) = self.0.call(request).await;
        let media = response.headers().get(hyper::header::CONTENT_TYPE);
        let media = media.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let (status, mut stream) = (response.status().as_u16(), response.into_body());
        let mut body = Vec::new();
        while let Some(Some(Ok(piece))) = stream.frame().now_or_never() {
            body.extend_from_slice(&piece.into_data().unwrap_or_default());
        }
        Some(Answer { status, media, body })
    }
}
