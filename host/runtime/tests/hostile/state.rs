//! A guest that abuses its persistent map.

use std::time::Duration;

use seawall_backend::{ExecutionBackend, FaultKind};
use seawall_runtime::Plugin;
use seawall_store::{Change, Expectation, StateMap, StateQuota};
use serde_json::{Value, json};

use crate::arena::{arena, limits, refused};
use crate::told::{Premises, steps};

fn text(repeat: &str, times: usize) -> Value {
    json!({"repeat": repeat, "times": times})
}

fn write(key: &str, value: &str) -> Vec<Change> {
    vec![Change { key: key.to_owned(), expect: Expectation::Anything, value: Some(value.as_bytes().to_vec()) }]
}

async fn map(premises: &Premises, backend: &str) -> StateMap {
    premises.store.state(&backend.parse().unwrap(), StateQuota::default()).await.unwrap()
}

#[test]
fn a_map_is_full_at_its_quota_and_another_backends_is_not() {
    arena(async |arena| {
        let premises = Premises::new().await;
        let quota = json!({"state": {"bytes": "1KiB", "keys": 10}});
        // 24 bytes with the value; the quota counts keys and values together.
        let fill = json!([
            {"commit": {"key": "{n}", "value": "12345678", "changes": 10}},
            {"commit": {"key": "one-too-many", "value": ""}},
            {"commit": {"key": "{n}", "value": text("v", 784)}},
            {"commit": {"key": "{n}", "value": text("v", 793)}},
            {"commit": {"key": "{n}", "value": text("v", 792)}},
            {"commit": {"key": "{n}", "changes": 10}},
            {"scan": {"prefix": "", "limit": 10}},
        ]);
        let hostile = premises.load(arena, premises.caller("hostile", quota, fill)).await;
        assert_eq!(
            steps(&hostile).await,
            [
                "1 commits",
                "after 0: quota: 11 keys, and 10 are allowed",
                "1 commits",
                "after 0: quota: 1025 bytes, and 1024 are allowed",
                "1 commits",
                "1 commits",
                "0 entries ",
            ]
        );

        let neighbour = map(&premises, "neighbour").await;
        let flood = json!([{"commit": {"key": "k{n}", "value": text("v", 100), "changes": 20, "commits": 5}}]);
        let quota = json!({"state": {"bytes": "1KiB", "keys": 10}});
        let hostile = premises.load(arena, premises.caller("hostile", quota, flood)).await;
        let target = (hostile, neighbour);
        arena
            .attack(&target, |(hostile, neighbour)| async move {
                let outcome = steps(&hostile).await;
                assert!(outcome[0].starts_with("after 0: quota: "), "{outcome:?}");
                neighbour.commit(write("mine", "is written")).await.unwrap();
                assert_eq!(&*neighbour.get(&["mine".to_owned()]).unwrap()[0].as_ref().unwrap().value, b"is written");
            })
            .await;
    });
}

#[test]
fn a_key_reaches_nothing_of_another_backend() {
    arena(async |arena| {
        let premises = Premises::new().await;
        map(&premises, "neighbour").await.commit(write("token", "of the neighbour")).await.unwrap();
        let get = |key: &str| json!({"get": {"key": key, "times": 1}});
        let keys =
            ["token", "../neighbour/token", "/neighbour/token", "neighbour/token", "neighbour:token", "%2e%2e/token"];
        let mut told: Vec<_> = keys.iter().map(|key| get(key)).collect();
        let scan = |prefix: &str, after: Value| json!({"scan": {"prefix": prefix, "after": after, "limit": u32::MAX}});
        told.extend([
            scan("", Value::Null),
            scan("../", json!("")),
            scan("", json!("\u{0}")),
            scan("n", json!("\u{10ffff}")),
        ]);
        let reads = told.len();
        // What looks like a path is a key like any other, and its own.
        told.push(json!({"commit": {"key": "../neighbour/token", "value": "forged"}}));
        told.push(json!({"commit": {"key": "neighbour'; DROP TABLE state; --", "value": "forged"}}));
        let hostile = premises.caller("hostile", json!({"state": true}), Value::Array(told));
        let hostile = premises.load(arena, hostile).await;
        let found = steps(&hostile).await;
        for outcome in &found[..reads] {
            assert!(outcome == "0 found" || outcome == "0 entries ", "{outcome}");
        }
        assert_eq!(found[reads..], ["1 commits", "1 commits"]);
        let neighbour = map(&premises, "neighbour").await;
        let kept = neighbour.scan("", None, 10).unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!((kept[0].key.as_str(), &*kept[0].value), ("token", &b"of the neighbour"[..]));
    });
}

#[test]
fn a_key_or_a_batch_out_of_range_is_refused_and_writes_nothing() {
    arena(async |arena| {
        let premises = Premises::new().await;
        let commit = |key: Value| json!({"commit": {"key": key, "value": "v"}});
        let told = json!([
            commit(json!("")),
            commit(text("k", 257)),
            commit(text("k", 1 << 20)),
            commit(json!("a\u{0}b")),
            commit(json!("a\nb")),
            commit(json!("\u{1b}[2J")),
            {"get": {"key": text("k", 257), "times": 1}},
            {"commit": {"key": "twice", "value": "v", "changes": 2}},
            {"commit": {"key": "{n}", "value": "v", "changes": 4097}},
            {"get": {"key": "{n}", "times": 4097}},
            // The first of them would do; the second does not.
            {"commit": {"key": "b{n}", "value": "v"}},
            {"commit": {"key": "b{n}", "value": "w", "expect": 7, "changes": 2}},
            {"scan": {"prefix": "", "limit": 10}},
            // Just below.
            commit(text("k", 256)),
            {"commit": {"key": "{n}", "value": "v", "changes": 4096}},
            {"get": {"key": "{n}", "times": 4096}},
            {"scan": {"prefix": "", "limit": u32::MAX}},
        ]);
        let hostile = premises.load(arena, premises.caller("hostile", json!({"state": true}), told)).await;
        let said = steps(&hostile).await;
        let expected = [
            "a key has at least one byte",
            "257 bytes, and 256 are allowed",
            "1048576 bytes, and 256 are allowed",
            "contains a control character",
            "contains a control character",
            "contains a control character",
            "257 bytes, and 256 are allowed",
            "stands in the batch twice",
            "4097 in one batch, where 4096 is the most",
            "4097 in one batch, where 4096 is the most",
            "1 commits",
            "conflict: b0000000000000000",
            "1 entries b0000000000000000",
            "1 commits",
            "1 commits",
            "4096 found",
            "1000 entries",
        ];
        assert_eq!(said.len(), expected.len());
        for (said, expected) in said.iter().zip(expected) {
            assert!(said.contains(expected) && !said.contains(char::is_control), "{expected:?}: {said:?}");
        }
    });
}

#[test]
fn reading_again_and_again_ends_at_the_calls_budget_of_bytes() {
    arena(async |arena| {
        let premises = Premises::new().await;
        map(&premises, "hostile").await.commit(write("big", &"v".repeat(1 << 20))).await.unwrap();
        let read = |times: u64| json!([{"get": {"key": "big", "times": times}}]);
        let load = async |steps: Value| {
            let limits = limits(json!({"check": {"bytes": "8MiB"}}));
            let plugin = Plugin { limits, ..premises.caller("hostile", json!({"state": true}), steps) };
            premises.load(arena, plugin).await
        };
        assert_eq!(steps(&load(read(7)).await).await, ["7 found"]);
        let hostile = load(read(8)).await;
        arena
            .attack(&hostile, |hostile| async move {
                refused(hostile.check().await, FaultKind::Limit, "moved more bytes to and from the host");
            })
            .await;
    });
}

/// The store has one writer. What waits for it is written in one transaction, and a backend has one commit in it at a
/// time: so a neighbour waits for a commit or two of a backend that floods it, however many more want to follow.
#[test]
fn a_flood_of_writes_does_not_keep_a_neighbour_from_the_store() {
    arena(async |arena| {
        let premises = Premises::new().await;
        let flood = json!([{"commit": {"key": "k{n}", "value": text("v", 4096), "commits": 300}}]);
        let hostile = premises.load(arena, premises.caller("hostile", json!({"state": true}), flood)).await;
        let (theirs, ours) = (map(&premises, "hostile").await, map(&premises, "neighbour").await);
        // Each commit of theirs counts one up.
        let commits = || theirs.scan("", None, 1000).unwrap().iter().map(|entry| entry.version).max().unwrap_or(0);
        let floods: Vec<_> = (0..4)
            .map(|_| {
                let hostile = hostile.clone();
                tokio::spawn(async move { steps(&hostile).await })
            })
            .collect();
        let begins = async {
            while commits() < 5 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), begins).await.expect("the flood begins");
        let before = commits();
        for _ in 0..20 {
            ours.commit(write("mine", "is written")).await.unwrap();
        }
        let waited = commits() - before;
        assert!(floods.iter().any(|flood| !flood.is_finished()), "the flood was over before the neighbour was done");
        // Two or three for each; a busy machine may be slow to tell the neighbour that its own is done.
        assert!(waited <= 20 * 8, "20 commits of the neighbour waited for {waited} of the flood");
        for flood in floods {
            flood.abort();
        }
    });
}
