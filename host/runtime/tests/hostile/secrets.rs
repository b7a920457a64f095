//! A guest that gives away what a session was given.
//!
//! What is found is the value itself, and each line of one that has several. Who was given a secret can write it in
//! another form, and nobody finds that: a plugin is trusted with the secrets of its own sessions.

use seawall_backend::{Error, ExecutionBackend};
use seawall_model::{Secret, SessionSpec};
use seawall_runtime::WasmBackend;
use serde_json::{Value, json};

use crate::arena::{Arena, arena, key};
use crate::log::logged;
use crate::told::puppet;

const KEY: &str = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\n-----END KEY-----";

async fn load(arena: &Arena, told: Value) -> WasmBackend {
    arena.load(puppet(told)).await
}

fn given(secret: &str) -> SessionSpec {
    let mut spec = SessionSpec::new("hostile".parse().unwrap());
    spec.env.insert("TOKEN".to_owned(), Secret::new(secret));
    spec
}

#[test]
fn a_session_is_created_without_its_secrets_being_told() {
    arena(async |arena| {
        let line = load(arena, json!({"create-log": "it has {env}, and {env}{env}"})).await;
        let refusal = load(arena, json!({"create-error": "{env} is no good"})).await;
        let end = load(arena, json!({"create": {"state": "dead", "exit": {"message": "bad {env}"}}})).await;
        let target = (line, refusal, end);
        arena
            .attack(&target, |(line, refusal, end)| async move {
                let name = "it".parse().unwrap();
                for secret in ["hunter2", KEY, "p\u{e4}ss \u{1f511} word", "\"quoted\\\""] {
                    let (status, said) = logged(line.create(&key(), &name, &given(secret))).await;
                    status.unwrap();
                    assert!(!said.contains(secret), "{said}");
                    let Err(Error::Invalid(invalid)) = refusal.create(&key(), &name, &given(secret)).await else {
                        panic!("not refused")
                    };
                    assert_eq!(invalid.problems[0].message, "[redacted] is no good");
                    assert_eq!(invalid.problems[0].field, "[redacted] is no good");
                    let status = end.create(&key(), &name, &given(secret)).await.unwrap();
                    assert_eq!(status.exit.unwrap().message.as_deref(), Some("bad [redacted]"));
                }
            })
            .await;
        let line = load(arena, json!({"create-log": "it has {env}, and {env}{env}"})).await;
        let (_, said) = logged(line.create(&key(), &"it".parse().unwrap(), &given("hunter2"))).await;
        assert!(said.contains("it has [redacted], and [redacted][redacted]"), "{said}");
    });
}

#[test]
fn each_line_of_a_secret_of_several_lines_is_found() {
    arena(async |arena| {
        let line = load(arena, json!({"create-log": "its key has MIIEvQIBADANBgkq in it"})).await;
        let (_, said) = logged(line.create(&key(), &"it".parse().unwrap(), &given(KEY))).await;
        assert!(said.contains("its key has [redacted] in it"), "{said}");
    });
}
