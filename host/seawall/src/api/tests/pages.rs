//! Which sessions a list gives, and in which pages.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Daemon, answer};

async fn names(daemon: &Daemon, query: &str) -> Vec<String> {
    let (status, list) = daemon.send(Method::GET, &format!("/v1/sessions?{query}")).await;
    assert_eq!(status, StatusCode::OK, "{query}: {list}");
    of(&list)
}

fn of(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|session| session["name"].as_str().unwrap().to_owned()).collect()
}

async fn filled() -> Daemon {
    let daemon = Daemon::start().await;
    for (name, labels) in [
        ("web-1", json!({"tier": "front"})),
        ("web-2", json!({"tier": "front", "canary": ""})),
        ("db", json!({"tier": "back"})),
        ("old", json!({})),
    ] {
        let (status, session) = daemon.create(json!({"backend": "fake", "name": name, "labels": labels})).await;
        assert_eq!(status, StatusCode::CREATED, "{session}");
        daemon.send(Method::GET, &format!("/v1/sessions/{name}/wait?for=running&timeout=30s")).await;
    }
    daemon.send(Method::POST, "/v1/sessions/old/stop?wait=true").await;
    daemon
}

#[tokio::test]
async fn a_list_has_what_was_asked_for() {
    let daemon = filled().await;
    for (query, expected) in [
        ("", &["web-1", "web-2", "db"][..]),
        ("all=true", &["web-1", "web-2", "db", "old"]),
        ("state=stopped", &["old"]),
        ("state=stopped&state=running", &["web-1", "web-2", "db", "old"]),
        ("state=lost", &[]),
        ("backend=fake", &["web-1", "web-2", "db"]),
        ("backend=other", &[]),
        ("label=tier", &["web-1", "web-2", "db"]),
        ("label=tier=front", &["web-1", "web-2"]),
        ("label=tier=front&label=canary", &["web-2"]),
        ("label=tier=front&label=tier=back", &[]),
        ("label=canary=", &["web-2"]),
        ("name=web", &["web-1", "web-2"]),
        ("name=1&name=d", &["web-1", "db"]),
        ("name=o&all=true", &["old"]),
        ("health=healthy", &["web-1", "web-2", "db"]),
        ("health=unhealthy&health=starting", &[]),
    ] {
        assert_eq!(names(&daemon, query).await, expected, "{query}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn pages_follow_one_another_and_each_session_is_on_one() {
    let daemon = filled().await;
    for (query, expected) in [
        ("all=true&limit=1", vec![1, 1, 1, 1]),
        ("all=true&limit=3", vec![3, 1]),
        ("all=true&limit=4", vec![4]),
        ("all=true&limit=1000", vec![4]),
        ("label=tier=front&state=running&health=healthy&name=web&backend=fake&limit=1", vec![1, 1]),
        ("state=lost&limit=1", vec![0]),
    ] {
        let (mut path, mut sizes, mut seen) = (format!("/v1/sessions?{query}"), Vec::new(), BTreeSet::new());
        loop {
            let response = daemon.http.get(format!("http://s{path}")).send().await.unwrap();
            let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
            let (status, list) = answer(response).await;
            assert_eq!(status, StatusCode::OK, "{path}: {list}");
            sizes.push(of(&list).len());
            for name in of(&list) {
                assert!(seen.insert(name.clone()), "{name} is on two pages");
            }
            let Some(link) = link else { break };
            let next = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
            path = next.unwrap_or_else(|| panic!("{link}")).to_owned();
        }
        assert_eq!(sizes, expected, "{query}");
    }
    daemon.stop().await;
}

/// A session that comes or goes between two pages moves no other to another page.
#[tokio::test]
async fn a_page_goes_on_where_the_one_before_ended_even_if_that_is_gone() {
    let daemon = filled().await;
    let first = daemon.http.get("http://s/v1/sessions?limit=2").send().await.unwrap();
    let link = first.headers()["link"].to_str().unwrap().to_owned();
    let path = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
    daemon.send(Method::DELETE, "/v1/sessions/web-2?force=true&wait=true").await;
    daemon.create(json!({"backend": "fake", "name": "late"})).await;
    let (status, list) = daemon.send(Method::GET, &path).await;
    assert_eq!((status, of(&list)), (StatusCode::OK, vec!["db".to_owned(), "late".to_owned()]));
    daemon.stop().await;
}

#[tokio::test]
async fn a_parameter_that_is_given_too_often_is_named() {
    let daemon = Daemon::start().await;
    for key in ["state=running", "backend=fake", "label=a", "health=healthy", "name=a"] {
        let query = vec![key; 101].join("&");
        let (status, problem) = daemon.send(Method::GET, &format!("/v1/sessions?{query}")).await;
        let field = key.split('=').next().unwrap();
        assert_eq!((status, &problem["problems"][0]["field"]), (StatusCode::BAD_REQUEST, &json!(field)));
        assert_eq!(names(&daemon, &query[..query.len() - key.len() - 1]).await, Vec::<String>::new());
    }
    daemon.stop().await;
}
