//! Requests with an `Idempotency-Key`: sent again, they make nothing again. And for whom a request is done.

use std::sync::Arc;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Daemon, answer};

async fn create(daemon: &Daemon, key: &str, query: &str, spec: &Value) -> (StatusCode, Value) {
    let request = daemon.http.post(format!("http://s/v1/sessions{query}")).header("idempotency-key", key).json(spec);
    answer(request.send().await.unwrap()).await
}

async fn count(daemon: &Daemon) -> usize {
    daemon.send(Method::GET, "/v1/sessions?all=true").await.1.as_array().unwrap().len()
}

#[tokio::test]
async fn a_request_that_is_sent_again_makes_nothing_again() {
    let daemon = Daemon::start().await;
    let spec = json!({"backend": "fake", "env": {"A": "1"}});
    let (status, first) = create(&daemon, "k-1", "", &spec).await;
    assert_eq!(status, StatusCode::CREATED);
    // The same wishes, written in another way.
    let (status, again) = create(&daemon, "k-1", "?wait=true", &json!({"env": {"A": "1"}, "backend": "fake"})).await;
    assert_eq!((status, &again["id"], &again["state"]), (StatusCode::CREATED, &first["id"], &json!("running")));
    assert_eq!(count(&daemon).await, 1);

    for other in [json!({"backend": "fake", "env": {"A": "2"}}), json!({"backend": "fake"})] {
        let (status, problem) = create(&daemon, "k-1", "", &other).await;
        let field = &problem["problems"][0]["field"];
        assert_eq!((status, field), (StatusCode::UNPROCESSABLE_ENTITY, &json!("Idempotency-Key")));
    }
    let (status, other) = create(&daemon, "k-2", "", &spec).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_ne!(other["id"], first["id"]);
    assert_eq!(count(&daemon).await, 2);

    let id = first["id"].as_str().unwrap();
    daemon.send(Method::DELETE, &format!("/v1/sessions/{id}?force=true&wait=true")).await;
    let (status, problem) = create(&daemon, "k-1", "", &spec).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("is gone"), "{problem}");
    assert_eq!(count(&daemon).await, 1);
    daemon.stop().await;
}

#[tokio::test]
async fn of_many_requests_with_one_key_at_once_one_makes_a_session() {
    let daemon = Arc::new(Daemon::start().await);
    let requests: Vec<_> = (0..32)
        .map(|_| {
            let daemon = Arc::clone(&daemon);
            tokio::spawn(async move { create(&daemon, "the-same", "", &json!({"backend": "fake"})).await })
        })
        .collect();
    let mut ids = std::collections::BTreeSet::new();
    for request in requests {
        let (status, session) = request.await.unwrap();
        assert_eq!(status, StatusCode::CREATED, "{session}");
        ids.insert(session["id"].as_str().unwrap().to_owned());
    }
    assert_eq!((ids.len(), count(&daemon).await), (1, 1));
    Arc::into_inner(daemon).unwrap().stop().await;
}

#[tokio::test]
async fn a_refused_request_leaves_its_key_free() {
    let daemon = Daemon::start().await;
    let (status, _) = create(&daemon, "k", "", &json!({"backend": "nobody"})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let bad = json!({"backend": "fake", "labels": {"bad": "yes"}});
    let (status, _) = create(&daemon, "k", "?wait=true", &bad).await;
    assert_eq!((status, count(&daemon).await), (StatusCode::UNPROCESSABLE_ENTITY, 0));
    let (status, _) = create(&daemon, "k", "", &json!({"backend": "fake"})).await;
    assert_eq!(status, StatusCode::CREATED);

    let long = "x".repeat(129);
    for key in ["", "a b", long.as_str(), "\u{e4}"] {
        let (status, problem) = create(&daemon, key, "", &json!({"backend": "fake"})).await;
        assert_eq!((status, &problem["problems"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("Idempotency-Key")));
    }
    let twice = daemon.http.post("http://s/v1/sessions").header("idempotency-key", "a").header("idempotency-key", "b");
    let (status, problem) = answer(twice.json(&json!({"backend": "fake"})).send().await.unwrap()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    assert_eq!(count(&daemon).await, 1);
    daemon.stop().await;
}

#[tokio::test]
async fn what_a_request_causes_says_for_whom() {
    let daemon = Daemon::start().await;
    daemon.create(json!({"backend": "fake", "name": "web"})).await;
    daemon.send(Method::GET, "/v1/sessions/web/wait?for=running&timeout=30s").await;
    daemon.send(Method::POST, "/v1/sessions/web/stop?wait=true").await;
    daemon.send(Method::DELETE, "/v1/sessions/web?wait=true").await;
    let events = daemon.http.get("http://s/v1/events?session=web&kind=session.").header("accept", "application/json");
    let (_, page) = answer(events.send().await.unwrap()).await;
    let me = format!("uid {}", rustix::process::geteuid().as_raw());
    let told: Vec<_> =
        page["events"].as_array().unwrap().iter().map(|e| (e["kind"].as_str().unwrap(), &e["actor"])).collect();
    let (me, nobody) = (json!(me), Value::Null);
    // What came of it later is nobody's request.
    let expected = [
        ("session.created", &me),
        ("session.started", &nobody),
        ("session.stopping", &me),
        ("session.stopped", &nobody),
        ("session.removed", &nobody),
    ];
    assert_eq!(told, expected);
    daemon.stop().await;
}
