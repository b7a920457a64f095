//! Whole requests against the API, with a control plane, a store and a backend behind it. The input is written as HTTP
//! is: a line with method and address, lines with headers, an empty line, the body. Whatever is asked, the daemon is not
//! at fault (never 500), and every refusal is a problem document that says the same status.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use seawall::outside::{Answer, Api};
use seawall_backend::limit::Ceiling;
use seawall_backend::{Bulkhead, BulkheadConfig, ExecutionBackend};
use seawall_control::{Control, ControlConfig, Shutdown};
use seawall_model::{BackendName, SessionSpec};
use seawall_store::Store;
use seawall_testing::memory::{Memory, OPTIONS};
use serde_json::Value;

use super::guest::executor;
use crate::{Run, Target};

pub(crate) const TARGET: Target = Target { name: "api", longest: 4096, tries: 300, seeds, make };

/// How long a request is listened to that waits for something.
const PATIENCE: Duration = Duration::from_millis(20);

fn seeds() -> Vec<Vec<u8>> {
    let json = "content-type: application/json";
    let spec = r#"{"backend":"fake","name":"web2","env":{"TOKEN":"x"},"labels":{"a":"b"},"options":{"speed":3},"restart":"on-failure:3","stop_grace":"1s"}"#;
    let lines = [
        "GET /v1/sessions?all=true&backend=fake",
        "GET /v1/sessions?state=running&label=a%3Db&health=healthy&name=w&limit=1&after=1769860800000-45aa47856c6865a3",
        "GET /v1/sessions/web\nif-none-match: \"x\", W/\"y\"",
        "DELETE /v1/sessions/web?force=true\nif-match: \"x\"",
        "GET /v1/tokens",
        "DELETE /v1/tokens/ci",
        "GET /v1/sessions/web",
        "GET /v1/sessions/web/logs?tail=3&timestamps=true&since=2026-01-31T12:00:00Z",
        "GET /v1/sessions/web/wait?for=settled&timeout=1s",
        "GET /v1/sessions/web/wait?for=removed&timeout=18446744073709551615s",
        "POST /v1/sessions/web/stop?grace=1ms",
        "POST /v1/sessions/web/start",
        "DELETE /v1/sessions/web?force=true&wait=true",
        "GET /v1/events?since=3&tail=2",
        "GET /v1/events?follow=true\nlast-event-id: 1",
        "GET /v1/backends/fake",
        "GET /v1/backends",
        "POST /v1/down?grace=1s",
        "GET /v1/version",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        "POST /v1/reload",
        "PUT /v1/sessions",
        "GET /v1/sessions/%ff",
        "OPTIONS *",
        "GET http://x:1/v1/version?a",
    ];
    let mut seeds: Vec<_> = lines.iter().map(|line| format!("{line}\n\n").into_bytes()).collect();
    for body in [
        spec,
        "{}",
        "[",
        r#"{"backend":"fake","options":{"speed":"x"},"env":{"1":"\u0000"}}"#,
        r#"{"backend":"nobody"}"#,
    ] {
        seeds.push(format!("POST /v1/sessions?wait=true&timeout=1ms\n{json}\n\n{body}").into_bytes());
    }
    seeds
}

/// The daemon, as far as the API sees it.
struct House {
    executor: tokio::runtime::Runtime,
    control: Control,
    store: Store,
    api: Api,
    _folder: tempfile::TempDir,
}

fn make() -> Run {
    // Nothing is to survive: memory is as good as a disk here, and a hundred times faster.
    let folder = match std::env::var_os("TMPDIR") {
        None => tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()),
        Some(_) => tempfile::tempdir(),
    };
    let folder = folder.unwrap();
    let executor = executor();
    let house = executor.block_on(async {
        let store = Store::open(&folder.path().join("data")).await.unwrap();
        let fake = Bulkhead::new(Memory::default(), &BulkheadConfig::default(), Ceiling::new(100));
        let fake: Arc<Bulkhead<dyn ExecutionBackend>> = Arc::new(fake);
        let name: BackendName = "fake".parse().unwrap();
        let backends = BTreeMap::from([(name.clone(), fake)]);
        let control = Control::start(ControlConfig::default(), store.clone(), backends).await.unwrap();
        let api =
            Api::new(control.clone(), store.clone(), &BTreeMap::from([(name, OPTIONS.to_owned())])).await.unwrap();
        while api.answer("GET", "/readyz", &[], b"").await.unwrap().status != 200 {
            tokio::task::yield_now().await;
        }
        (control, store, api)
    });
    let (control, store, api) = house;
    let house = House { executor, control, store, api, _folder: folder };
    Box::new(move |input| house.executor.block_on(house.run(input)))
}

impl House {
    async fn run(&self, input: &[u8]) {
        self.tidy().await;
        let Some((method, uri, headers, body)) = request(input) else { return };
        let asked = self.api.answer(method, uri, &headers, body);
        // `None` twice: it is no request, or it waits for something that does not come.
        let Ok(Some(answer)) = tokio::time::timeout(PATIENCE, asked).await else { return };
        sound(&answer);
    }

    /// One session, which runs.
    async fn tidy(&self) {
        let sessions = self.control.sessions();
        if let [only] = sessions.as_slice()
            && only.name.as_str() == "web"
            && only.state == seawall_model::SessionState::Running
            && only.desired == seawall_model::Desired::Running
        {
            return;
        }
        for session in sessions {
            let _ = self.control.remove(&session.id, true).await;
            let _ = self.control.wait(&session.id, |_| false).await;
        }
        let mut spec = SessionSpec::new("fake".parse().unwrap());
        spec.name = Some("web".parse().unwrap());
        let web = self.control.create(spec).await.unwrap();
        let running = |session: &seawall_model::Session| session.state == seawall_model::SessionState::Running;
        self.control.wait(&web.id, running).await.unwrap();
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.executor.block_on(async {
            let _ = self.control.shutdown(Shutdown::Leave, Duration::from_secs(10)).await;
            self.store.close().await;
        });
    }
}

type Request<'a> = (&'a str, &'a str, Vec<(&'a str, &'a [u8])>, &'a [u8]);

fn request(input: &[u8]) -> Option<Request<'_>> {
    let end = input.windows(2).position(|two| two == b"\n\n")?;
    let (head, body) = (&input[..end], &input[end + 2..]);
    let mut lines = head.split(|byte| *byte == b'\n');
    let (method, uri) = std::str::from_utf8(lines.next()?).ok()?.split_once(' ')?;
    let header = |line: &'_ [u8]| line.iter().position(|byte| *byte == b':');
    let mut headers = Vec::new();
    for line in lines {
        let at = header(line)?;
        headers.push((std::str::from_utf8(&line[..at]).ok()?, line[at + 1..].trim_ascii()));
    }
    Some((method, uri, headers, body))
}

fn sound(answer: &Answer) {
    let text = || String::from_utf8_lossy(&answer.body).into_owned();
    // The backend here does all that it is asked, so nothing but a client's mistake is left.
    assert!((200..500).contains(&answer.status), "{}: {}", answer.status, text());
    assert!(answer.body.len() < 1 << 20, "{} bytes", answer.body.len());
    if answer.status < 400 {
        assert!(!text().contains("hunter2"));
        return;
    }
    assert_eq!(answer.media, "application/problem+json", "{}: {}", answer.status, text());
    // An answer to HEAD has no body.
    if answer.body.is_empty() {
        return;
    }
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(problem["status"], answer.status, "{problem}");
    assert!(problem["type"].as_str().unwrap().starts_with("urn:seawall:problem:"));
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty() && detail.len() < 64 << 10));
    for problem in problem["problems"].as_array().into_iter().flatten() {
        assert!(problem["field"].as_str().is_some_and(|field| field.len() < 2048), "{problem}");
    }
}
