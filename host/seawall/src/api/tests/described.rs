//! The description of the API against what answers: addresses, methods and bodies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jsonschema::Validator;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Daemon, answer};
use crate::api::{openapi, routes};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(openapi::document()).unwrap());

/// By the operation, its answer and the media type.
static VALIDATORS: LazyLock<BTreeMap<String, Validator>> = LazyLock::new(|| {
    let mut validators = BTreeMap::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                for (media, content) in response["content"].as_object().into_iter().flatten() {
                    let mut schema = content["schema"].clone();
                    schema["components"] = DOCUMENT["components"].clone();
                    let key = key(path, method, status, media);
                    let built = jsonschema::draft202012::options().build(&schema);
                    validators.insert(key.clone(), built.unwrap_or_else(|error| panic!("{key}: {error}")));
                }
            }
        }
    }
    validators
});

fn key(path: &str, method: &str, status: &str, media: &str) -> String {
    let media = media.split(';').next().unwrap_or(media);
    format!("{method} {path} {status} {media}")
}

/// The described address that stands for this one.
fn described(path: &str) -> Option<(&'static String, &'static Value)> {
    let fits = |template: &str| {
        let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        template.len() == path.len()
            && template.iter().zip(&path).all(|(part, given)| part == given || part.starts_with('{'))
    };
    DOCUMENT["paths"].as_object().unwrap().iter().find(|(template, _)| fits(template))
}

/// Holds an answer against what is described for its address.
pub(super) fn check(path: &str, status: StatusCode, media: &str, body: &Value, headers: &HeaderMap) {
    let Some((path, item)) = described(path) else {
        // Over TCP nobody is told what there is without a token.
        let told = matches!(status, StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED);
        assert!(told, "{path} is not described: {status}");
        return;
    };
    let mut why = vec![format!("no operation of {path} has an answer {status} {media}")];
    for (method, operation) in item.as_object().unwrap() {
        let responses = operation["responses"].as_object().unwrap();
        let known = responses.get_key_value(status.as_str());
        let default = || responses.get_key_value("default").filter(|_| status.as_u16() >= 400);
        let Some((code, response)) = known.or_else(default) else { continue };
        if body == "" && response.get("content").is_none() {
            return;
        }
        match VALIDATORS.get(&key(path, method, code, media)) {
            None => {}
            Some(validator) => match validator.validate(body) {
                Ok(()) => match missing(response, headers) {
                    None => return,
                    Some(name) => why.push(format!("{method} {path} {code}: the answer has no {name}")),
                },
                Err(error) => why.push(format!("{method} {path} {code}: {error} at {}", error.instance_path())),
            },
        }
    }
    panic!("{}\n{body:#}", why.join("\n"));
}

/// A header that is described and that the answer does not have. There is not always a next page.
fn missing<'a>(response: &'a Value, headers: &HeaderMap) -> Option<&'a String> {
    let described = response["headers"].as_object().into_iter().flat_map(|headers| headers.keys());
    described.filter(|name| *name != "Link").find(|name| !headers.contains_key(name.as_str()))
}

#[test]
fn every_address_is_described_and_every_description_has_an_address() {
    let (router, document) = routes().split_for_parts();
    // Axum shows its addresses in no other way.
    let shown = format!("{router:?}");
    let mut routed: BTreeSet<&str> = shown.split('"').filter(|text| text.starts_with('/')).collect();
    // What stands where nothing stands.
    routed.retain(|path| *path != "/" && !path.contains("__private__axum_fallback"));
    let described: BTreeSet<&str> = document.paths.paths.keys().map(String::as_str).collect();
    assert!(described.len() > 15);
    assert_eq!(routed, described);
}

#[tokio::test]
async fn every_described_method_is_known_and_no_other() {
    let daemon = Daemon::start().await;
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        let known: BTreeSet<String> = item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        let address = path.replace("{id}", "nobody").replace("{name}", "nobody");
        for method in [Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::PATCH, Method::TRACE] {
            let request = daemon.http.request(method.clone(), format!("http://s{address}"));
            let response = request.send().await.unwrap();
            let refused = response.status() == StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(!refused, known.contains(method.as_str()), "{method} {path}: {}", response.status());
            if refused {
                let allow = response.headers()["allow"].to_str().unwrap();
                let allow: BTreeSet<String> = allow.split(',').map(|method| method.trim().to_owned()).collect();
                let head = known.contains("GET").then(|| "HEAD".to_owned());
                assert_eq!(allow, known.iter().cloned().chain(head).collect(), "{method} {path}");
                answer(response).await;
            }
        }
    }
    daemon.stop().await;
}

#[tokio::test]
async fn the_description_is_served_and_every_operation_is_named_once_and_tagged() {
    let daemon = Daemon::start().await;
    let (status, document) = daemon.send(Method::GET, "/openapi.json").await;
    assert_eq!((status, &document["openapi"]), (StatusCode::OK, &json!("3.1.0")));
    assert_eq!(document, *DOCUMENT);
    let tags: BTreeSet<_> = document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str()).collect();
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(names.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
            assert!(operation["summary"].is_string(), "{method} {path}");
            assert!(tags.contains(&operation["tags"][0].as_str()), "{method} {path}");
            assert!(operation["responses"]["default"].is_object(), "{method} {path}");
        }
    }
    daemon.stop().await;
}

/// What a session may be asked to be is described as it is read.
#[test]
fn the_fields_of_a_spec_are_described_as_they_are_read() {
    let schema = json!({"$ref": "#/components/schemas/SessionSpec", "components": DOCUMENT["components"]});
    let validator = jsonschema::draft202012::options().build(&schema).unwrap();
    let good = [
        json!({"backend": "mock"}),
        json!({"backend": "mock", "name": "web", "labels": {"a": "b"}, "env": {"A": "b"}, "command": ["x"], "tty": true}),
        json!({"backend": "mock", "resources": {"memory": "64MiB", "cpus": 1.5, "processes": 10}}),
        json!({"backend": "mock", "resources": {"memory": 67_108_864, "ulimits": [{"name": "nofile", "soft": 1, "hard": 2}]}}),
        json!({"backend": "mock", "stop_signal": "TERM", "stop_grace": "1m 30s", "restart": "on-failure:5"}),
        json!({"backend": "mock", "mounts": [{"source": {"bind": "/a"}, "target": "/b", "read_only": false}]}),
        json!({"backend": "mock", "mounts": [{"source": {"tmpfs": null}, "target": "/b"}]}),
        json!({"backend": "mock", "health_check": {"command": {"command": ["x"], "interval": "1s"}}}),
        json!({"backend": "mock", "probes": {"liveness": {"check": {"tcp": {"port": 80}}, "timeout": "500ms"}}}),
        json!({"backend": "mock", "options": {"anything": [1, {"else": null}]}}),
    ];
    for spec in good {
        serde_json::from_value::<seawall_model::SessionSpec>(spec.clone()).unwrap();
        assert!(validator.is_valid(&spec), "{spec}: {:?}", validator.iter_errors(&spec).next());
    }
    let bad = [
        json!({}),
        json!({"backend": "Mock"}),
        json!({"backend": "mock", "comand": []}),
        json!({"backend": "mock", "name": "a b"}),
        json!({"backend": "mock", "resources": {"memory": "lots"}}),
        json!({"backend": "mock", "resources": {"cpus": 0}}),
        json!({"backend": "mock", "restart": "sometimes"}),
        json!({"backend": "mock", "stop_grace": "soon"}),
        json!({"backend": "mock", "mounts": [{"source": {"cloud": "/a"}, "target": "/b"}]}),
        json!({"backend": "mock", "mounts": [{"source": {"bind": "/a", "cloud": "/a"}, "target": "/b"}]}),
        json!({"backend": "mock", "ports": [{"container": 65536}]}),
        json!({"backend": "mock", "stop_signal": "SOON"}),
    ];
    for spec in bad {
        assert!(serde_json::from_value::<seawall_model::SessionSpec>(spec.clone()).is_err(), "{spec}");
        assert!(!validator.is_valid(&spec), "{spec}");
    }
}
