//! The command line's side of the API: HTTP over the daemon's Unix socket, or over TCP where [`Place`] says so.
//!
//! Every failure is a [`Failure`]: no daemon, a connection that broke, or the daemon's own problem document.

use std::time::Duration;

use reqwest::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use reqwest::{Method, Response, StatusCode, Upgraded, Url};
use seawall_model::{Incarnation, Session};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{STREAM_PROTOCOL, Until};
use crate::exit::Failure;
use crate::place::{self, Place};
use crate::problem::{Kind, Problem};

/// How long one request of a long wait is held open; the daemon's own bound is above it.
pub(crate) const POLL: Duration = Duration::from_secs(25);

/// No session or backend has a longer one, and an address has its bounds.
const LONGEST_NAME: usize = 1024;

/// A connection to the daemon.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    place: Place,
    base: Url,
}

/// Query parameters.
pub(crate) type Query<'a> = [(&'a str, String)];

/// What a command does is a part of what it was called for, if its caller says so in `TRACEPARENT`.
fn within_the_callers_trace(traceparent: Option<String>) -> HeaderMap {
    let good = traceparent.filter(|text| crate::api::traceparent(text).is_some());
    let value = good.and_then(|text| HeaderValue::try_from(text).ok());
    value.map(|value| (HeaderName::from_static("traceparent"), value)).into_iter().collect()
}

impl Client {
    /// Connects with the first request, not before.
    ///
    /// # Errors
    /// The token or the CA cannot be used.
    pub(crate) fn new(place: Place) -> Result<Self, Failure> {
        let (builder, base) = match &place {
            // The host's name goes nowhere: the connection is the Unix socket.
            Place::Socket(socket) => {
                (place::at(socket), Url::parse("http://seawall/").map_err(|error| Failure::Other(error.into()))?)
            }
            Place::Host(host) => (host.builder()?, host.url.clone()),
        };
        let http = builder
            .default_headers(within_the_callers_trace(std::env::var("TRACEPARENT").ok()))
            .build()
            .map_err(|error| Failure::Other(anyhow::Error::new(error).context("failed to set up the HTTP client")))?;
        Ok(Self { http, place, base })
    }

    /// A request that answers with JSON.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &Query<'_>) -> Result<T, Failure> {
        let response = self.send(Method::GET, path, query).await?;
        self.json(response).await
    }

    /// A request with a JSON body.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &Query<'_>,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let request = self.http.post(self.url(path, query)?).json(body);
        let response = self.checked(request.send().await).await?;
        self.json(response).await
    }

    /// A request with a JSON body that is answered with a stream.
    pub(crate) async fn stream(&self, path: &[&str], body: &impl Serialize) -> Result<Response, Failure> {
        self.checked(self.http.post(self.url(path, &[])?).json(body).send().await).await
    }

    /// A request without a body; the answer's status is a success.
    pub(crate) async fn send(&self, method: Method, path: &[&str], query: &Query<'_>) -> Result<Response, Failure> {
        let request = self.http.request(method, self.url(path, query)?);
        self.checked(request.send().await).await
    }

    /// A request with a JSON body, after which the connection goes on with frames both ways. `None`: the daemon did it and
    /// has no more to say.
    pub(crate) async fn converse(&self, path: &[&str], body: &impl Serialize) -> Result<Option<Upgraded>, Failure> {
        let request =
            self.http.post(self.url(path, &[])?).header(CONNECTION, "Upgrade").header(UPGRADE, STREAM_PROTOCOL);
        let response = self.checked(request.json(body).send().await).await?;
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => response.upgrade().await.map(Some).map_err(|error| self.broken(error)),
            _ => Ok(None),
        }
    }

    /// A request whose body is sent as it comes.
    pub(crate) async fn send_on<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &Query<'_>,
        body: reqwest::Body,
    ) -> Result<T, Failure> {
        let request =
            self.http.post(self.url(path, query)?).header(CONTENT_TYPE, "application/octet-stream").body(body);
        let response = self.checked(request.send().await).await?;
        self.json(response).await
    }

    /// One session.
    pub(crate) async fn session(&self, id: &str) -> Result<Session, Failure> {
        self.get(&["sessions", id], &[]).await
    }

    /// Waits until a session is as asked. `None`: it is gone. Without `timeout` for as long as it takes.
    pub(crate) async fn wait(
        &self,
        id: &str,
        until: Until,
        timeout: Option<Duration>,
    ) -> Result<Option<Session>, Failure> {
        self.wait_after(id, until, 0, timeout).await
    }

    /// The same, of an incarnation later than `after`.
    pub(crate) async fn wait_after(
        &self,
        id: &str,
        until: Until,
        after: Incarnation,
        timeout: Option<Duration>,
    ) -> Result<Option<Session>, Failure> {
        // One that no clock reaches is none.
        let deadline = timeout.and_then(|timeout| tokio::time::Instant::now().checked_add(timeout));
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(tokio::time::Instant::now()));
            let hold = left.map_or(POLL, |left| left.min(POLL));
            let hold_for = format!("{}ms", hold.as_millis());
            let query = [("for", until.as_str().to_owned()), ("after", after.to_string()), ("timeout", hold_for)];
            let response = self.send(Method::GET, &["sessions", id, "wait"], &query).await?;
            match response.status() {
                StatusCode::NO_CONTENT => return Ok(None),
                StatusCode::ACCEPTED => {
                    let session: Session = self.json(response).await?;
                    if left.is_some_and(|left| left <= hold) {
                        let words = match &session.reason {
                            Some(reason) => format!("{} ({reason})", session.state),
                            None => session.state.to_string(),
                        };
                        return Err(Failure::Timeout(format!("session {id} is still {words}")));
                    }
                }
                _ => return Ok(Some(self.json(response).await?)),
            }
        }
    }

    /// Waits until a session is over for good, or a later incarnation than this one runs or is over. `None`: it is gone.
    pub(crate) async fn wait_past(&self, id: &str, incarnation: Incarnation) -> Result<Option<Session>, Failure> {
        tokio::select! {
            // Nothing is waited for any more once one of them has its answer.
            over = self.wait(id, Until::Ended, None) => over,
            // Of one that is gone the other one knows more.
            Ok(Some(again)) = self.wait_after(id, Until::Running, incarnation, None) => Ok(Some(again)),
        }
    }

    /// An answer's JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let bytes = response.bytes().await.map_err(|error| self.broken(error))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            self.connection(anyhow::Error::new(error).context("the daemon's answer is not what this client expects"))
        })
    }

    /// What a connection that broke in the middle of an answer is.
    pub(crate) fn broken(&self, error: reqwest::Error) -> Failure {
        self.connection(error.without_url().into())
    }

    /// The same of any other.
    pub(crate) fn connection(&self, source: anyhow::Error) -> Failure {
        Failure::Connection { place: self.place.to_string(), source }
    }

    fn url(&self, path: &[&str], query: &Query<'_>) -> Result<Url, Failure> {
        let other = |message: &str| Failure::Other(anyhow::anyhow!("failed to build an address: {message}"));
        let mut url = self.base.clone();
        for part in path {
            // An address cannot carry these as names, and no session has them.
            if matches!(*part, "" | "." | "..") || part.len() > LONGEST_NAME {
                let shown: String = part.chars().take(80).collect();
                let detail = format!("there is no session or backend {shown:?}");
                return Err(Problem::new(Kind::NotFound, detail).into());
            }
        }
        url.path_segments_mut().map_err(|()| other("no path"))?.pop_if_empty().push("v1").extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn checked(&self, result: Result<Response, reqwest::Error>) -> Result<Response, Failure> {
        let response = match result {
            Ok(response) => response,
            Err(error) if error.is_connect() => {
                return Err(self.place.no_daemon(error));
            }
            Err(error) => return Err(self.broken(error)),
        };
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let bytes = response.bytes().await.map_err(|error| self.broken(error))?;
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => Err(problem.into()),
            Err(_) => Err(self.connection(anyhow::anyhow!("what answers there is no Seawall daemon: HTTP {status}"))),
        }
    }
}
