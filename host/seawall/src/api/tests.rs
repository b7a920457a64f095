//! The API over a real socket, with a store, a control plane and a backend made here.

mod again;
mod conditional;
mod described;
mod generated;
mod measured;
mod pages;
mod tcp;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use reqwest::{Method, StatusCode};
use seawall_backend::limit::Ceiling;
use seawall_backend::{Bulkhead, BulkheadConfig, ExecutionBackend};
use seawall_control::{Control, ControlConfig, Shutdown};
use seawall_model::{BackendName, Timestamp};
use seawall_store::{Store, StoreConfig};
use seawall_testing::memory::Memory;
use serde_json::{Value, json};

use super::{Api, Door, Server, Version, bind, router};
use crate::metrics::Metrics;
use crate::schema::Schema;
use crate::tokens::Tokens;

pub(super) struct Daemon {
    pub(super) http: reqwest::Client,
    pub(super) server: Server,
    pub(super) control: Control,
    pub(super) store: Store,
    folder: tempfile::TempDir,
}

/// Longer than any test takes.
const PATIENCE: Duration = Duration::from_secs(600);

impl Daemon {
    pub(super) async fn start() -> Self {
        Self::start_with(Memory::default(), StoreConfig::default(), PATIENCE).await
    }

    pub(super) async fn start_with(backend: Memory, bounds: StoreConfig, patience: Duration) -> Self {
        Self::with(ControlConfig::default(), [("fake", backend)], bounds, patience).await
    }

    /// With these doors beside its socket, by these names.
    async fn with_doors(doors: impl IntoIterator<Item = Door>, hosts: &[&str]) -> (Self, Tokens) {
        let fakes = [("fake", Memory::default())];
        Self::whole(ControlConfig::default(), fakes, StoreConfig::default(), PATIENCE, doors, hosts).await
    }

    async fn with(
        config: ControlConfig,
        fakes: impl IntoIterator<Item = (&'static str, Memory)>,
        bounds: StoreConfig,
        patience: Duration,
    ) -> Self {
        Self::whole(config, fakes, bounds, patience, [], &[]).await.0
    }

    async fn whole(
        config: ControlConfig,
        fakes: impl IntoIterator<Item = (&'static str, Memory)>,
        bounds: StoreConfig,
        patience: Duration,
        doors: impl IntoIterator<Item = Door>,
        hosts: &[&str],
    ) -> (Self, Tokens) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_with(&folder.path().join("data"), bounds).await.unwrap();
        let (mut backends, mut options) = (BTreeMap::new(), BTreeMap::new());
        let (ceiling, metrics) = (Ceiling::new(100), Metrics::default());
        for (name, fake) in fakes {
            let name: BackendName = name.parse().unwrap();
            options.insert(name.clone(), Schema::new(&fake.info().options_schema).unwrap());
            let bulkhead = Bulkhead::new(fake, &BulkheadConfig::default(), ceiling.clone());
            let driver: Arc<Bulkhead<dyn ExecutionBackend>> = Arc::new(bulkhead.observed_by(metrics.of(&name)));
            backends.insert(name, driver);
        }
        let control = Control::start(config, store.clone(), backends).await.unwrap();
        let version = Version {
            version: "0",
            api: 1,
            store: store.id().to_string(),
            pid: std::process::id(),
            started_at: Timestamp::now(),
        };
        let socket = folder.path().join("s");
        let bound = bind(&socket).unwrap();
        let tokens = Tokens::load(store.clone()).await.unwrap();
        let reload = crate::reload::Reload::never();
        let mut api = Api::new(control.clone(), version, options.into(), reload, metrics, tokens.clone());
        api.hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        let drain = api.drain.clone();
        let server = Server::spawn(std::iter::once(Door::Unix(bound)).chain(doors), router(api), drain, patience);
        let http = crate::place::at(&socket).build().unwrap();
        (Self { http, server, control, store, folder }, tokens)
    }

    pub(super) fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("s")
    }

    pub(super) async fn stop(self) {
        self.server.drain();
        self.control.shutdown(Shutdown::Leave, PATIENCE).await.unwrap();
        self.server.shutdown(PATIENCE).await;
        self.store.close().await;
    }

    pub(super) async fn send(&self, method: Method, path: &str) -> (StatusCode, Value) {
        answer(self.http.request(method, format!("http://s{path}")).send().await.unwrap()).await
    }

    pub(super) async fn create(&self, spec: Value) -> (StatusCode, Value) {
        self.post("/v1/sessions", &spec).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        answer(self.http.post(format!("http://s{path}")).json(body).send().await.unwrap()).await
    }
}

async fn answer(response: reqwest::Response) -> (StatusCode, Value) {
    let status = response.status();
    let media = response.headers().get("content-type").map(|media| media.to_str().unwrap().to_owned());
    let path = response.url().path().to_owned();
    let headers = response.headers().clone();
    let bytes = response.bytes().await.unwrap();
    // A probe that fails is no request that failed.
    let probe = ["/healthz", "/readyz"].contains(&path.as_str()) && status == StatusCode::SERVICE_UNAVAILABLE;
    if (status.is_client_error() || status.is_server_error()) && !probe {
        assert_eq!(media.as_deref(), Some("application/problem+json"), "{status} {bytes:?}");
    }
    let value =
        serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into()));
    described::check(&path, status, media.as_deref().unwrap_or_default(), &value, &headers);
    (status, value)
}

#[tokio::test]
async fn every_bad_request_is_a_problem_that_says_what_is_wrong() {
    let daemon = Daemon::start().await;
    let long = "x".repeat(2000);
    let mut said = Vec::new();
    for (method, path) in [
        (Method::GET, "/".to_owned()),
        (Method::GET, "/v1/nothing".to_owned()),
        (Method::PUT, "/v1/sessions".to_owned()),
        (Method::POST, "/healthz".to_owned()),
        (Method::GET, "/healthz?verbose=loudly".to_owned()),
        (Method::GET, "/readyz?verbos".to_owned()),
        (Method::GET, "/v1/sessions?al=true".to_owned()),
        (Method::GET, "/v1/sessions?all=maybe".to_owned()),
        (Method::GET, "/v1/sessions?state=runing".to_owned()),
        (Method::GET, "/v1/sessions?health=fine".to_owned()),
        (Method::GET, "/v1/sessions?limit=0".to_owned()),
        (Method::GET, "/v1/sessions?limit=1001".to_owned()),
        (Method::GET, "/v1/sessions?after=nobody".to_owned()),
        (Method::GET, "/v1/sessions?all=true&all=false".to_owned()),
        (Method::GET, "/v1/sessions?backend=..".to_owned()),
        (Method::GET, "/v1/sessions/nobody".to_owned()),
        (Method::GET, "/v1/sessions/%2e%2e%2f%2e%2e%2fetc%2fpasswd".to_owned()),
        (Method::GET, "/v1/sessions/%ff%fe".to_owned()),
        (Method::GET, "/v1/sessions/%00".to_owned()),
        (Method::GET, format!("/v1/sessions/{long}")),
        (Method::DELETE, "/v1/sessions/nobody?force=1".to_owned()),
        (Method::DELETE, "/v1/sessions/nobody?break_glass=true".to_owned()),
        (Method::DELETE, "/v1/sessions/nobody?forget=true".to_owned()),
        (Method::POST, "/v1/sessions/nobody/start".to_owned()),
        (Method::POST, "/v1/sessions/nobody/stop?grace=9h".to_owned()),
        (Method::POST, "/v1/sessions/nobody/stop?grace=soon".to_owned()),
        (Method::POST, "/v1/sessions/nobody/kill?signal=NOTHING".to_owned()),
        (Method::POST, "/v1/sessions/nobody/kill?signal=0".to_owned()),
        (Method::POST, "/v1/sessions/nobody/kill?sig=HUP".to_owned()),
        (Method::POST, "/v1/sessions/nobody/kill".to_owned()),
        (Method::GET, "/v1/sessions/nobody/kill".to_owned()),
        (Method::POST, "/v1/sessions/nobody/restart?grace=9h".to_owned()),
        (Method::POST, "/v1/sessions/nobody/restart?force=true".to_owned()),
        (Method::POST, "/v1/sessions/nobody/restart".to_owned()),
        (Method::GET, "/v1/sessions/nobody/wait?for=ever".to_owned()),
        (Method::GET, "/v1/sessions/nobody/wait?after=never".to_owned()),
        (Method::GET, "/v1/sessions/nobody/logs?tail=-1".to_owned()),
        (Method::GET, "/v1/sessions/nobody/logs?stdout=false&stderr=false".to_owned()),
        (Method::GET, "/v1/events?since=yesterday".to_owned()),
        (Method::GET, "/v1/events?until=17".to_owned()),
        (Method::GET, "/v1/events?follow=true&until=2026-01-31T12:00:00Z".to_owned()),
        (Method::GET, "/v1/events?tail=all".to_owned()),
        (Method::GET, "/v1/events?tail=1&tail=2".to_owned()),
        (Method::GET, "/v1/events?limit=10".to_owned()),
        (Method::GET, "/v1/events?limit=0".to_owned()),
        (Method::GET, "/v1/events?kind=sesion.started".to_owned()),
        (Method::GET, "/v1/events?kind=".to_owned()),
        (Method::GET, "/v1/events?session=a%20b".to_owned()),
        (Method::GET, "/v1/events?backend=..".to_owned()),
        (Method::GET, "/v1/events?knd=session.".to_owned()),
        (Method::GET, "/v1/backends/nobody".to_owned()),
        (Method::GET, "/v1/backends/..%2f".to_owned()),
        (Method::GET, "/v1/backends/fake/gc".to_owned()),
        (Method::POST, "/v1/backends/nobody/gc".to_owned()),
        (Method::POST, "/v1/backends/fake/gc?dry-run=true".to_owned()),
        (Method::POST, "/v1/backends/fake/gc?dry_run=perhaps".to_owned()),
        (Method::POST, "/v1/backends/fake/gc?dry_run=true&confirm=true".to_owned()),
        (Method::GET, "/v1/backends/fake/confirm-lost".to_owned()),
        (Method::POST, "/v1/backends/nobody/confirm-lost".to_owned()),
        (Method::POST, "/v1/backends/fake/confirm-lost?dry_run=perhaps".to_owned()),
        (Method::POST, "/v1/backends/fake/confirm-lost?confirm=true".to_owned()),
    ] {
        let shown = path.replace(&long, "x{2000}");
        let (status, problem) = daemon.send(method.clone(), &path).await;
        assert!(status.is_client_error(), "{method} {shown}: {status}");
        assert_eq!(problem["status"], status.as_u16(), "{method} {shown}");
        said.push(format!(
            "{method} {shown}\n  {status}: {}",
            problem["detail"].as_str().unwrap().replace(&long, "x{2000}")
        ));
    }
    insta::assert_snapshot!(said.join("\n"));
    daemon.stop().await;
}

#[tokio::test]
async fn every_bad_body_is_a_problem_that_names_the_field() {
    let daemon = Daemon::start().await;
    let mut said = Vec::new();
    for body in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"backend":"fake","comand":["x"]}"#,
        r#"{"backend":"fake","resources":{"memory":"lots"}}"#,
        r#"{"backend":"fake","env":{"1X":"y"},"working_dir":"here"}"#,
        r#"{"backend":"fake","options":{"sped":1}}"#,
        r#"{"backend":"fake","options":{"speed":"fast"}}"#,
        r#"{"backend":"nobody"}"#,
        r#"{"backend":"../x"}"#,
        r#"{"backend":"fake","name":"a b"}"#,
    ] {
        let request = daemon.http.post("http://s/v1/sessions").header("content-type", "application/json").body(body);
        let (status, problem) = answer(request.send().await.unwrap()).await;
        assert!(status.is_client_error(), "{body}: {status}");
        said.push(format!("{body}\n  {status}: {}\n  {}", problem["detail"], problem["problems"]));
    }
    insta::assert_snapshot!(said.join("\n"));

    let request = daemon.http.post("http://s/v1/sessions").header("content-type", "text/plain").body("{}");
    assert_eq!(answer(request.send().await.unwrap()).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let huge = json!({"backend": "fake", "command": ["x".repeat(2 << 20)]});
    assert_eq!(daemon.create(huge).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(daemon.send(Method::GET, "/v1/sessions?all=true").await.1, json!([]), "nothing was half-applied");
    daemon.stop().await;
}

#[tokio::test]
async fn a_daemon_says_who_it_is_and_when_it_is_ready() {
    let daemon = Daemon::start().await;
    assert_eq!(daemon.send(Method::GET, "/healthz").await, (StatusCode::OK, json!("ok\n")));
    let (status, version) = daemon.send(Method::GET, "/v1/version").await;
    assert_eq!((status, &version["store"]), (StatusCode::OK, &json!(daemon.store.id().as_str())));
    loop {
        let (status, ready) = daemon.send(Method::GET, "/readyz").await;
        if status == StatusCode::OK {
            assert_eq!(ready, json!({"ready": true, "phase": "ready", "reasons": []}));
            break;
        }
        assert_eq!((&ready["ready"], &ready["phase"]), (&json!(false), &json!("pending")));
        tokio::task::yield_now().await;
    }
    let (_, backends) = daemon.send(Method::GET, "/v1/backends").await;
    assert_eq!(backends["summary"], json!({"phase": "ready", "health": {"healthy": 1}}));
    let backend = &backends["backends"][0];
    assert_eq!((&backend["name"], &backend["health"]), (&json!("fake"), &json!("healthy")));
    assert_eq!(daemon.send(Method::GET, "/v1/backends/fake").await.1["info"]["version"], "1.2.3");
    daemon.stop().await;
}

#[tokio::test]
async fn a_session_goes_the_whole_way() {
    let daemon = Daemon::start().await;
    let spec = json!({"backend": "fake", "name": "web", "env": {"TOKEN": "hunter2"}, "options": {"speed": 3}});
    let (status, session) = daemon.create(spec.clone()).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(session["spec"]["env"]["TOKEN"], "[redacted]");
    let id = session["id"].as_str().unwrap().to_owned();

    let (status, settled) = daemon.send(Method::GET, "/v1/sessions/web/wait?for=settled&timeout=30s").await;
    assert_eq!((status, &settled["state"]), (StatusCode::OK, &json!("running")));
    assert_eq!(daemon.send(Method::GET, &format!("/v1/sessions/{}", &id[..6])).await.1["id"], json!(id));
    assert_eq!(daemon.send(Method::GET, "/v1/sessions").await.1.as_array().unwrap().len(), 1);

    let (status, problem) = daemon.create(spec).await;
    assert_eq!((status, &problem["problems"][0]["field"]), (StatusCode::CONFLICT, &json!("name")));
    assert_eq!(daemon.send(Method::DELETE, "/v1/sessions/web").await.0, StatusCode::CONFLICT);
    let (status, _) = daemon.send(Method::GET, "/v1/sessions/web/wait?for=ended&timeout=1ms").await;
    assert_eq!(status, StatusCode::ACCEPTED);

    let logs = daemon.http.get("http://s/v1/sessions/web/logs").send().await.unwrap().bytes().await.unwrap();
    assert_eq!(&logs[..], b"\x01\0\0\0\0\0\0\x04out\xff\x02\0\0\0\0\0\0\x03err");
    let plain = daemon.http.get("http://s/v1/sessions/web/logs").header("accept", "text/plain").send().await.unwrap();
    assert_eq!(plain.headers()["content-type"], "text/plain");
    assert_eq!(&plain.bytes().await.unwrap()[..], b"out\xfferr");

    let (status, stopped) = daemon.send(Method::POST, "/v1/sessions/web/stop?wait=true").await;
    assert_eq!((status, &stopped["state"]), (StatusCode::OK, &json!("stopped")));
    assert_eq!(daemon.send(Method::GET, "/v1/sessions").await.1, json!([]), "only with ?all=true");
    assert_eq!(daemon.send(Method::GET, "/v1/sessions?all=true").await.1.as_array().unwrap().len(), 1);
    assert_eq!(daemon.send(Method::DELETE, "/v1/sessions/web?wait=true").await.0, StatusCode::NO_CONTENT);
    assert_eq!(daemon.send(Method::GET, &format!("/v1/sessions/{id}")).await.0, StatusCode::NOT_FOUND);
    daemon.stop().await;
}

#[tokio::test]
async fn a_session_is_sent_signals_and_restarted() {
    let daemon = Daemon::start().await;
    daemon.create(json!({"backend": "fake", "name": "web", "restart": "always"})).await;
    daemon.send(Method::GET, "/v1/sessions/web/wait?for=running&timeout=30s").await;
    let (status, session) = daemon.send(Method::POST, "/v1/sessions/web/restart?wait=true&grace=1s").await;
    assert_eq!((status, &session["state"]), (StatusCode::OK, &json!("running")), "{session}");
    assert_eq!((&session["incarnation"], &session["restarts"]), (&json!(2), &json!(0)));
    let (status, session) = daemon.send(Method::GET, "/v1/sessions/web/wait?for=running&after=2&timeout=1ms").await;
    assert_eq!((status, &session["incarnation"]), (StatusCode::ACCEPTED, &json!(2)));

    let (status, session) = daemon.send(Method::POST, "/v1/sessions/web/kill?wait=true").await;
    assert_eq!((status, &session["state"]), (StatusCode::OK, &json!("stopped")), "{session}");
    let (status, problem) = daemon.send(Method::POST, "/v1/sessions/web/kill?signal=HUP").await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    let (status, session) = daemon.send(Method::POST, "/v1/sessions/web/restart?wait=true").await;
    assert_eq!((status, &session["incarnation"]), (StatusCode::OK, &json!(3)), "what is over is started");
    daemon.stop().await;
}

#[tokio::test]
async fn a_session_that_cannot_be_made_stays_visible_with_its_reason() {
    let daemon = Daemon::start().await;
    daemon.create(json!({"backend": "fake", "name": "bad", "labels": {"bad": "yes"}})).await;
    let (status, session) = daemon.send(Method::GET, "/v1/sessions/bad/wait?for=settled&timeout=30s").await;
    assert_eq!((status, &session["state"]), (StatusCode::OK, &json!("failed")));
    assert!(session["reason"].as_str().unwrap().contains("there is no such image"), "{session}");
    daemon.stop().await;
}

#[tokio::test]
async fn what_a_backend_refuses_is_a_problem_that_leaves_nothing_when_the_outcome_was_waited_for() {
    let daemon = Daemon::start().await;
    let spec = json!({"backend": "fake", "name": "bad", "labels": {"bad": "yes"}});
    let request = daemon.http.post("http://s/v1/sessions?wait=true").json(&spec);
    let (status, problem) = answer(request.send().await.unwrap()).await;
    assert_eq!((status, &problem["problems"][0]["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("image")));
    assert_eq!(daemon.send(Method::GET, "/v1/sessions?all=true").await.1, json!([]));

    let request = daemon.http.post("http://s/v1/sessions?wait=true").json(&json!({"backend": "fake", "name": "bad"}));
    let (status, session) = answer(request.send().await.unwrap()).await;
    assert_eq!((status, &session["state"]), (StatusCode::CREATED, &json!("running")));
    daemon.stop().await;
}

#[tokio::test]
async fn streams_are_told_when_the_daemon_goes() {
    let daemon = Daemon::start().await;
    daemon.create(json!({"backend": "fake", "name": "web"})).await;
    daemon.send(Method::GET, "/v1/sessions/web/wait?for=settled&timeout=30s").await;
    let mut logs = daemon.http.get("http://s/v1/sessions/web/logs?follow=true").send().await.unwrap().bytes_stream();
    let plain = daemon.http.get("http://s/v1/sessions/web/logs?follow=true").header("accept", "text/plain");
    let mut plain = plain.send().await.unwrap().bytes_stream();
    let mut events = daemon.http.get("http://s/v1/events?follow=true&since=0").send().await.unwrap().bytes_stream();
    assert!(logs.next().await.unwrap().unwrap().starts_with(&[1, 0, 0, 0]));
    assert!(plain.next().await.unwrap().unwrap().starts_with(b"out"));
    assert!(events.next().await.unwrap().unwrap().starts_with(b"id: 1\nevent: "));
    daemon.stop().await;
    let rest = |mut stream: std::pin::Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<Bytes>>>>| async move {
        let mut text = Vec::new();
        while let Some(bytes) = stream.next().await {
            text.extend_from_slice(&bytes.unwrap());
        }
        String::from_utf8_lossy(&text).into_owned()
    };
    assert!(rest(Box::pin(logs)).await.contains("the daemon is shutting down"));
    assert!(rest(Box::pin(events)).await.contains("event: end\n"));
    // There is no room for words between the bytes of a log: that it did not come to its end is seen all the same.
    assert!(plain.any(|bytes| std::future::ready(bytes.is_err())).await);
}

#[tokio::test]
async fn events_go_on_where_a_reader_left_off() {
    let daemon = Daemon::start().await;
    daemon.create(json!({"backend": "fake", "name": "web"})).await;
    daemon.send(Method::GET, "/v1/sessions/web/wait?for=settled&timeout=30s").await;
    let ids = |text: &str| -> Vec<u64> {
        text.lines().filter_map(|line| line.strip_prefix("id: ")).map(|id| id.parse().unwrap()).collect()
    };
    let text = daemon.http.get("http://s/v1/events").send().await.unwrap().text().await.unwrap();
    let all = ids(&text);
    assert!(all.len() >= 2 && all.is_sorted(), "{text}");
    let request = daemon.http.get("http://s/v1/events").header("last-event-id", all[0].to_string());
    assert_eq!(ids(&request.send().await.unwrap().text().await.unwrap())[0], all[1]);
    let text = daemon.http.get("http://s/v1/events?tail=1").send().await.unwrap().text().await.unwrap();
    assert_eq!(ids(&text).len(), 1, "{text}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_request_goes_on_with_the_trace_of_its_caller() {
    let daemon = Daemon::start().await;
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traced = |request: reqwest::RequestBuilder| async {
        let response = request.header("traceparent", format!("00-{id}-00f067aa0ba902b7-01")).send().await.unwrap();
        let answer = response.headers()["traceresponse"].to_str().unwrap().to_owned();
        assert!(answer.starts_with(&format!("00-{id}-")) && answer.len() == 55, "{answer}");
        response.json::<Value>().await.unwrap()
    };
    let missing = traced(daemon.http.get("http://s/v1/sessions/nobody")).await;
    assert_eq!(missing["trace_id"], id);
    let spec = json!({"backend": "fake", "name": "web", "labels": {"bad": "yes"}});
    let refused = traced(daemon.http.post("http://s/v1/sessions?wait=true").json(&spec)).await;
    assert_eq!((&refused["trace_id"], &refused["status"]), (&json!(id), &json!(422)));

    let spec = json!({"backend": "fake", "name": "web"});
    traced(daemon.http.post("http://s/v1/sessions?wait=true").json(&spec)).await;
    let (_, why) = daemon.send(Method::GET, "/v1/sessions/web/why").await;
    assert_eq!(why["observed"]["by"], json!({"kind": "act", "trace_id": id}));

    let own = daemon.http.get("http://s/v1/sessions/nobody").send().await.unwrap();
    let answer = own.headers()["traceresponse"].to_str().unwrap().to_owned();
    let problem = own.json::<Value>().await.unwrap();
    assert!(answer.contains(problem["trace_id"].as_str().unwrap()) && problem["trace_id"] != id, "{answer}");
    daemon.stop().await;
}

#[tokio::test]
async fn events_are_given_as_asked_for() {
    let daemon = Daemon::start().await;
    for name in ["web", "db"] {
        daemon.create(json!({"backend": "fake", "name": name})).await;
        daemon.send(Method::GET, &format!("/v1/sessions/{name}/wait?for=settled&timeout=30s")).await;
    }
    daemon.send(Method::POST, "/v1/sessions/web/stop?wait=true").await;
    daemon.send(Method::DELETE, "/v1/sessions/web?wait=true").await;
    let page = async |query: &str| {
        let request = daemon.http.get(format!("http://s/v1/events?{query}")).header("accept", "application/json");
        let (status, page) = answer(request.send().await.unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        page
    };
    let told = |page: &Value| -> Vec<String> {
        let word =
            |event: &Value| format!("{} {}", event["name"].as_str().unwrap_or("-"), event["kind"].as_str().unwrap());
        page["events"].as_array().unwrap().iter().map(word).collect()
    };
    let of_web = page("session=web&kind=session.").await;
    let story = ["created", "started", "stopping", "stopped", "removed"].map(|word| format!("web session.{word}"));
    assert_eq!(told(&of_web), story, "also of a session that is gone");
    assert_eq!(told(&page("session=web&session=db&kind=session.started&backend=fake").await).len(), 2);
    assert_eq!(told(&page("session=web&tail=1").await), ["web session.removed"]);
    assert_eq!(told(&page("until=2020-01-01T00:00:00Z").await), Vec::<String>::new());
    assert_eq!(page("since=2020-01-01T00:00:00Z").await, page("").await);

    let (mut since, mut all) = (0, Vec::new());
    loop {
        let part = page(&format!("since={since}&limit=2&session=web")).await;
        all.extend(told(&part));
        since = part["next"].as_u64().unwrap();
        if part["more"] == false {
            break;
        }
    }
    assert_eq!(all, story);

    let text = daemon.http.get("http://s/v1/events?kind=session.removed").send().await.unwrap().text().await.unwrap();
    assert!(text.starts_with("id: ") && text.matches("event: ").count() == 1, "{text}");
    let json = |query: &str| daemon.http.get(format!("http://s/v1/events{query}")).header("accept", "application/json");
    let (status, problem) = answer(json("?follow=true").send().await.unwrap()).await;
    assert_eq!((status, &problem["problems"][0]["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("follow")));
    let (status, _) = answer(json("").header("last-event-id", "x").send().await.unwrap()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    daemon.stop().await;
}
