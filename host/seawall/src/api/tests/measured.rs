//! Health of backends, as the list, readiness and the metrics tell it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use seawall_backend::Error;
use seawall_control::{CheckConfig, ControlConfig};
use seawall_store::StoreConfig;
use seawall_testing::memory::Memory;
use serde_json::json;

use super::{Daemon, PATIENCE};

impl Daemon {
    /// With checks that come so fast that tests need not wait.
    async fn checking(fakes: impl IntoIterator<Item = (&'static str, Memory)>) -> Self {
        let soon = Duration::from_millis(10);
        let check = CheckConfig { interval: soon, retry_interval: soon, ..CheckConfig::default() };
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

/// Dashboards are built on these.
#[tokio::test]
async fn what_is_measured_has_these_names_and_labels_and_no_session_among_them() {
    let daemon = Daemon::checking([("fake", Memory::default())]).await;
    let (_, session) = daemon.create(json!({"backend": "fake", "name": "web-of-lies"})).await;
    daemon.send(Method::GET, "/v1/sessions/web-of-lies/wait?for=settled&timeout=30s").await;
    let metrics = loop {
        let metrics = daemon.metrics().await;
        if metrics.contains("seawall_backend_sweep_timestamp_seconds{") && metrics.contains("function=\"check\"") {
            break metrics;
        }
        tokio::task::yield_now().await;
    };
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    let id = session["id"].as_str().unwrap();
    assert!(!metrics.contains("web-of-lies") && !metrics.contains(id), "a session is a label");
    let create = "backend=\"fake\",function=\"create\",outcome=\"ok\"";
    assert!(samples(&metrics, "seawall_call_duration_seconds_count").contains(&(create, 1.0)), "{metrics}");
    let families: Vec<_> = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let shown = families.iter().map(|family| {
        let name = family.split(' ').next().unwrap();
        let sample = metrics.lines().find(|line| !line.starts_with('#') && line.starts_with(name));
        let labels = sample.and_then(|sample| sample.split_once('{')?.1.split_once('}')).map_or("", |found| found.0);
        let labels: Vec<_> = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)).collect();
        format!("{family} {{{}}}", labels.join(", "))
    });
    insta::assert_snapshot!(shown.collect::<Vec<_>>().join("\n"));
    daemon.stop().await;
}
