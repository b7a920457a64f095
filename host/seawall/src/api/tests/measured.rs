//! Health of backends, as the list, readiness and the metrics tell it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use seawall_backend::Error;
use seawall_control::{BackendChange, CheckConfig, ControlConfig, Shutdown};
use seawall_store::StoreConfig;
use seawall_testing::exposition::{Family, read};
use seawall_testing::memory::Memory;
use serde_json::json;

use super::{Daemon, PATIENCE};

impl Daemon {
    /// With checks that come so fast that tests need not wait, and say nothing of how busy the machine is.
    async fn checking(fakes: impl IntoIterator<Item = (&'static str, Memory)>) -> Self {
        let soon = Duration::from_millis(10);
        let check = CheckConfig {
            interval: soon,
            retry_interval: soon,
            timeout: PATIENCE,
            degraded_after: PATIENCE,
            ..CheckConfig::default()
        };
        let config = ControlConfig { check, ..ControlConfig::default() };
        Self::with(config, fakes, StoreConfig::default(), PATIENCE).await
    }

    async fn metrics(&self) -> String {
        let response = self.http.get("http://s/metrics").send().await.unwrap();
        let media = response.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!((response.status(), media.as_str()), (StatusCode::OK, crate::metrics::MEDIA_TYPE));
        response.text().await.unwrap()
    }
}

/// The samples of a family: labels and value.
fn samples<'a>(metrics: &'a str, name: &str) -> Vec<(&'a str, f64)> {
    let samples = metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "));
    samples.map(|(labels, value)| (labels, value.parse().unwrap())).collect()
}

/// B7: whoever asks, and for whatever, is told the same.
#[tokio::test]
async fn list_readiness_and_metrics_never_disagree() {
    let fakes = [
        ("well", Memory::default()),
        ("busy", Memory::checked(|| Err(Error::Exhausted { message: "busy".to_owned(), retry_after: None }))),
        ("away", Memory::checked(|| Err(Error::unavailable("away")))),
        ("gone", Memory::checked(|| Err(Error::unavailable("gone")))),
        ("shut", Memory::checked(|| Err(Error::Denied("who are you?".to_owned())))),
    ];
    let daemon = Daemon::checking(fakes).await;
    daemon.create(json!({"backend": "well", "name": "web"})).await;
    daemon.send(Method::GET, "/v1/sessions/web/wait?for=settled&timeout=30s").await;
    let settled = json!({"healthy": 1, "degraded": 1, "unhealthy": 2, "unauthenticated": 1});
    let overview = loop {
        let (_, overview) = daemon.send(Method::GET, "/v1/backends").await;
        if overview["summary"]["health"] == settled {
            break overview;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(overview["summary"]["phase"], "degraded");
    let (status, ready) = daemon.send(Method::GET, "/readyz").await;
    assert_eq!((status, &ready["phase"]), (StatusCode::OK, &json!("degraded")));

    let metrics = daemon.metrics().await;
    let health = [("healthy", 1.0), ("degraded", 1.0), ("unhealthy", 2.0), ("unknown", 0.0), ("unauthenticated", 1.0)];
    let label = |(word, count)| (format!("health=\"{word}\""), count);
    let counted = samples(&metrics, "seawall_backends").into_iter().map(|(label, count)| (label.to_owned(), count));
    assert_eq!(counted.collect::<Vec<_>>(), health.map(label));
    let phases: Vec<_> = samples(&metrics, "seawall_phase").into_iter().filter(|(_, value)| *value > 0.0).collect();
    assert_eq!(phases, [("phase=\"degraded\"", 1.0)]);
    let each = samples(&metrics, "seawall_backend_health");
    for status in overview["backends"].as_array().unwrap() {
        let label = format!("backend={},health={}", status["name"], status["health"]);
        assert!(each.contains(&(label.as_str(), 1.0)), "{label}\n{metrics}");
    }
    let sessions = samples(&metrics, "seawall_sessions");
    assert_eq!(sessions.len(), 5 * 9);
    assert!(sessions.contains(&("backend=\"well\",state=\"running\"", 1.0)), "{metrics}");
    assert!((sessions.iter().map(|(_, count)| count).sum::<f64>() - 1.0).abs() < 0.5, "{metrics}");
    daemon.stop().await;
}

#[tokio::test]
async fn one_answer_agrees_with_itself_while_health_changes_all_the_time() {
    let flips = || {
        static CHECKS: AtomicUsize = AtomicUsize::new(0);
        let good = CHECKS.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        if good { Ok(()) } else { Err(Error::Denied("no".to_owned())) }
    };
    let daemon = Daemon::checking([("one", Memory::checked(flips)), ("two", Memory::checked(flips))]).await;
    for _ in 0..200 {
        let (_, overview) = daemon.send(Method::GET, "/v1/backends").await;
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let all = overview["backends"].as_array().unwrap();
        all.iter().for_each(|status| *counts.entry(status["health"].as_str().unwrap().to_owned()).or_default() += 1);
        assert_eq!(overview["summary"]["health"], json!(counts));
        let metrics = daemon.metrics().await;
        let each = samples(&metrics, "seawall_backend_health");
        for (health, count) in samples(&metrics, "seawall_backends") {
            let suffix = format!(",{health}");
            let so: f64 = each.iter().filter(|(labels, _)| labels.ends_with(&suffix)).map(|(_, value)| value).sum();
            assert!((count - so).abs() < 0.5, "{health}\n{metrics}");
        }
    }
    daemon.stop().await;
}

/// As a liveness and a readiness probe are meant, with and without a listing.
#[tokio::test]
async fn a_daemon_lives_while_it_answers_and_is_ready_until_it_is_told_to_end() {
    let fakes = [("well", Memory::default()), ("away", Memory::checked(|| Err(Error::unavailable("away"))))];
    let mut daemon = Daemon::checking(fakes).await;
    loop {
        let (_, overview) = daemon.send(Method::GET, "/v1/backends").await;
        let (status, ready) = daemon.send(Method::GET, "/readyz").await;
        if overview["summary"]["health"] == json!({"healthy": 1, "unhealthy": 1}) {
            assert_eq!(
                (status, &ready["ready"]),
                (StatusCode::OK, &json!(true)),
                "one engine that is away is no reason"
            );
            break;
        }
        assert_eq!(ready["ready"], ready["phase"] != "pending" && ready["phase"] != "failed", "{ready}");
        tokio::task::yield_now().await;
    }
    let (status, listing) = daemon.send(Method::GET, "/readyz?verbose").await;
    let listed = "[+]store ok\n[+]shutdown ok\n[+]backends ok\n[+]backend-away (unhealthy) ok\n\
                  [+]backend-well (healthy) ok\nreadyz check passed\n";
    assert_eq!((status, listing), (StatusCode::OK, json!(listed)));
    let (status, listing) = daemon.send(Method::GET, "/healthz?verbose=true").await;
    assert_eq!((status, listing), (StatusCode::OK, json!("[+]ping ok\n[+]store ok\nhealthz check passed\n")));

    // From the moment on that it is told to end; and whoever comes only then is told so, too.
    daemon.server.drain();
    for _ in 0..2 {
        let (status, ready) = daemon.send(Method::GET, "/readyz").await;
        assert_eq!((status, &ready["ready"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(false)));
        assert_eq!(ready["reasons"], json!(["the daemon is shutting down"]));
        assert_eq!(daemon.send(Method::GET, "/healthz").await, (StatusCode::OK, json!("ok\n")));
        daemon.http = crate::place::at(&daemon.socket()).build().unwrap();
    }

    daemon.store.close().await;
    let (status, listing) = daemon.send(Method::GET, "/healthz?verbose").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(listing.as_str().unwrap().contains("[-]store failed: "), "{listing}");
    assert_eq!(daemon.send(Method::GET, "/healthz?verbose=false").await.1, json!("failed\n"));
    let (status, ready) = daemon.send(Method::GET, "/readyz").await;
    assert_eq!((status, ready["reasons"].as_array().unwrap().len()), (StatusCode::SERVICE_UNAVAILABLE, 2));
    daemon.control.shutdown(Shutdown::Leave, PATIENCE).await.ok();
    daemon.server.shutdown(PATIENCE).await;
}

#[tokio::test]
async fn a_daemon_without_a_backend_that_can_be_used_is_not_ready_and_lives() {
    let daemon = Daemon::checking([("away", Memory::checked(|| Err(Error::unavailable("away"))))]).await;
    let not_ready = loop {
        let (status, ready) = daemon.send(Method::GET, "/readyz").await;
        assert_eq!(status == StatusCode::OK, ready["ready"] == true);
        if ready["phase"] == "failed" {
            break (status, ready);
        }
        tokio::task::yield_now().await;
    };
    let said = json!({"ready": false, "phase": "failed", "reasons": ["no backend can be used"]});
    assert_eq!(not_ready, (StatusCode::SERVICE_UNAVAILABLE, said));
    assert_eq!(daemon.send(Method::GET, "/healthz").await.0, StatusCode::OK);
    daemon.stop().await;
}

/// A client cannot make series: neither by what it asks for, nor by how.
#[tokio::test]
async fn requests_are_counted_by_their_described_address() {
    let daemon = Daemon::checking([("fake", Memory::default())]).await;
    for path in ["/v1/sessions/some-one", "/v1/sessions/another-one", "/no/such/address", "/nor/this"] {
        daemon.send(Method::GET, path).await;
    }
    daemon.send(Method::PUT, "/v1/sessions").await;
    daemon.send(Method::from_bytes(b"FROBNICATE").unwrap(), "/v1/sessions").await;
    let families = read(&daemon.metrics().await).unwrap();
    let counts = families["seawall_api_request_duration_seconds"].samples.iter();
    let counts = counts.filter(|sample| sample.name.ends_with("_count")).map(|sample| {
        let of = |label: &str| sample.labels[label].clone();
        format!("{} {} {}: {}", of("method"), of("route"), of("status"), sample.value)
    });
    let counts: Vec<_> = counts.collect();
    assert_eq!(
        counts,
        ["GET /v1/sessions/{id} 404: 2", "GET none 404: 2", "PUT /v1/sessions 405: 1", "other /v1/sessions 405: 1",]
    );
    daemon.stop().await;
}

#[tokio::test]
async fn the_series_of_a_backend_go_when_it_goes() {
    let daemon = Daemon::checking([("kept", Memory::default()), ("gone", Memory::default())]).await;
    for backend in ["kept", "gone"] {
        daemon.create(json!({"backend": backend, "name": backend})).await;
        daemon.send(Method::GET, &format!("/v1/sessions/{backend}/wait?for=settled&timeout=30s")).await;
    }
    daemon.send(Method::POST, "/v1/sessions/gone/kill").await;
    daemon.send(Method::GET, "/v1/sessions/gone/wait?for=ended&timeout=30s").await;
    assert!(daemon.send(Method::DELETE, "/v1/sessions/gone").await.0.is_success());
    while daemon.send(Method::GET, "/v1/sessions/gone").await.0 != StatusCode::NOT_FOUND {
        tokio::task::yield_now().await;
    }
    let named = |metrics: &str, name: &str| {
        let families = read(metrics).unwrap();
        let of = |(family, found): (&String, &Family)| {
            let has = found.samples.iter().any(|sample| sample.labels.get("backend").is_some_and(|it| it == name));
            has.then(|| family.clone())
        };
        families.iter().filter_map(of).collect::<Vec<_>>()
    };
    // One may have been swept already, and the other not.
    let before = loop {
        let metrics = daemon.metrics().await;
        if named(&metrics, "gone") == named(&metrics, "kept") {
            break metrics;
        }
        tokio::task::yield_now().await;
    };
    assert!(named(&before, "gone").contains(&"seawall_call_duration_seconds".to_owned()));
    let change = BackendChange::Remove { message: "the test says so".to_owned() };
    daemon.control.change_backends([("gone".parse().unwrap(), change)].into()).await.unwrap();
    let after = daemon.metrics().await;
    assert_eq!(named(&after, "gone"), Vec::<String>::new(), "{after}");
    let kept = named(&after, "kept");
    assert!(named(&before, "kept").iter().all(|family| kept.contains(family)), "{after}");
    daemon.stop().await;
}

/// Dashboards are built on these.
#[tokio::test]
async fn what_is_measured_has_these_names_and_labels_and_no_session_among_them() {
    let daemon = Daemon::checking([("fake", Memory::default())]).await;
    let (_, session) = daemon.create(json!({"backend": "fake", "name": "web-of-lies"})).await;
    daemon.send(Method::GET, "/v1/sessions/web-of-lies/wait?for=settled&timeout=30s").await;
    let metrics = loop {
        let metrics = daemon.metrics().await;
        if metrics.contains("seawall_backend_sweep_duration_seconds_count{") && metrics.contains("function=\"check\"") {
            break metrics;
        }
        tokio::task::yield_now().await;
    };
    let id = session["id"].as_str().unwrap();
    assert!(!metrics.contains("web-of-lies") && !metrics.contains(id), "a session is a label");
    let create = "backend=\"fake\",function=\"create\",outcome=\"ok\"";
    assert!(samples(&metrics, "seawall_call_duration_seconds_count").contains(&(create, 1.0)), "{metrics}");
    let families = read(&metrics).unwrap();
    let shown = families.iter().map(|(name, Family { kind, samples, .. })| {
        let labels = samples.iter().flat_map(|sample| sample.labels.keys()).filter(|label| *label != "le");
        let labels: BTreeSet<&str> = labels.map(String::as_str).collect();
        format!("{name} {kind} {{{}}}", labels.into_iter().collect::<Vec<_>>().join(", "))
    });
    insta::assert_snapshot!(shown.collect::<Vec<_>>().join("\n"));
    daemon.stop().await;
}
