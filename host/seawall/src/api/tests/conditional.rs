//! Entity tags: a change of what was seen, and of nothing else.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{Daemon, answer};

async fn tag(daemon: &Daemon, path: &str) -> String {
    let response = daemon.http.get(format!("http://s{path}")).send().await.unwrap();
    let tag = response.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(answer(response).await.0, StatusCode::OK);
    tag
}

async fn with(daemon: &Daemon, method: Method, path: &str, (name, value): (&str, &str)) -> (StatusCode, String) {
    let response = daemon.http.request(method, format!("http://s{path}")).header(name, value).send().await.unwrap();
    let (status, body) = answer(response).await;
    (status, body["detail"].as_str().unwrap_or_default().to_owned())
}

async fn running() -> Daemon {
    let daemon = Daemon::start().await;
    let (status, _) = daemon.create(json!({"backend": "fake", "name": "web"})).await;
    assert_eq!(status, StatusCode::CREATED);
    daemon.send(Method::GET, "/v1/sessions/web/wait?for=running&timeout=30s").await;
    daemon
}

#[tokio::test]
async fn a_change_is_refused_if_the_session_is_another_one_by_now() {
    let daemon = running().await;
    let seen = tag(&daemon, "/v1/sessions/web").await;
    assert_eq!(tag(&daemon, "/v1/sessions/web").await, seen, "nothing has changed");
    let (status, _) = with(&daemon, Method::POST, "/v1/sessions/web/stop?wait=true", ("if-match", &seen)).await;
    assert_eq!(status, StatusCode::OK);
    let stopped = tag(&daemon, "/v1/sessions/web").await;
    assert_ne!(stopped, seen);

    let changes = [
        (Method::POST, "/v1/sessions/web/start"),
        (Method::POST, "/v1/sessions/web/stop"),
        (Method::POST, "/v1/sessions/web/kill"),
        (Method::POST, "/v1/sessions/web/restart"),
        (Method::DELETE, "/v1/sessions/web"),
        (Method::DELETE, "/v1/sessions/web?force=true"),
        (Method::DELETE, "/v1/sessions/web?break_glass=true&forget=true"),
    ];
    for (method, path) in changes {
        // A weak tag equals none: what is changed has to be exactly what was seen.
        for tags in [seen.clone(), format!("\"x\", {seen}"), format!("W/{stopped}")] {
            let (status, detail) = with(&daemon, method.clone(), path, ("if-match", &tags)).await;
            assert_eq!(status, StatusCode::PRECONDITION_FAILED, "{method} {path} {tags}: {detail}");
            assert!(detail.contains("not as you saw it"), "{detail}");
        }
    }
    assert_eq!(tag(&daemon, "/v1/sessions/web").await, stopped, "nothing was done");

    let (status, _) = with(&daemon, Method::POST, "/v1/sessions/web/start?wait=true", ("if-match", "*")).await;
    assert_eq!(status, StatusCode::OK);
    let now = tag(&daemon, "/v1/sessions/web").await;
    let tags = format!("{seen}, {now}");
    let (status, _) = with(&daemon, Method::DELETE, "/v1/sessions/web?force=true&wait=true", ("if-match", &tags)).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    daemon.stop().await;
}

#[tokio::test]
async fn a_session_that_the_client_has_is_not_sent_again() {
    let daemon = running().await;
    let seen = tag(&daemon, "/v1/sessions/web").await;
    let known = async |tags: &str| with(&daemon, Method::GET, "/v1/sessions/web", ("if-none-match", tags)).await.0;
    assert_eq!(known(&seen).await, StatusCode::NOT_MODIFIED);
    assert_eq!(known(&format!("\"x\", W/{seen}")).await, StatusCode::NOT_MODIFIED);
    assert_eq!(known("*").await, StatusCode::NOT_MODIFIED);
    assert_eq!(known("\"x\"").await, StatusCode::OK);
    daemon.send(Method::POST, "/v1/sessions/web/stop?wait=true").await;
    assert_eq!(known(&seen).await, StatusCode::OK);
    daemon.stop().await;
}

#[tokio::test]
async fn a_tag_that_is_none_is_named_and_nothing_is_done() {
    let daemon = running().await;
    let seen = tag(&daemon, "/v1/sessions/web").await;
    let many = vec!["\"x\""; 101].join(",");
    for tags in ["x", "\"x", "\"a\"b\"", "", ",", "\u{e4}", many.as_str()] {
        let (status, detail) = with(&daemon, Method::DELETE, "/v1/sessions/web?force=true", ("if-match", tags)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{tags}");
        assert!(detail.starts_with("If-Match: "), "{tags}: {detail}");
    }
    assert_eq!(tag(&daemon, "/v1/sessions/web").await, seen);
    daemon.stop().await;
}
