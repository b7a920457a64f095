//! A guest whose calls to the host carry too much, or what no well-made guest could say.

use seawall_backend::{Error, ExecutionBackend, FaultKind};
use seawall_model::{SessionSpec, Signal, Status};
use seawall_runtime::{Grants, LoadError, Plugin, WasmBackend};
use serde_json::{Value, json};

use crate::arena::{arena, key, limits, refused};
use crate::engine::{Engine, Manner};
use crate::guest::{Guest, REPORT, SCRATCH};
use crate::told::{Premises, refusals, steps};

fn text(repeat: &str, times: usize) -> Value {
    json!({"repeat": repeat, "times": times})
}

/// Everything that the caller may use.
fn grants(engine: &Engine) -> Value {
    let mut grants = engine.grant();
    grants["state"] = json!(true);
    grants
}

async fn create(backend: &WasmBackend) -> Result<Status, Error> {
    backend.create(&key(), &"it".parse().unwrap(), &SessionSpec::new("hostile".parse().unwrap())).await
}

/// Every field of a container that can be long. What is nested counts like what is not, and what is empty counts too.
#[test]
fn each_field_of_an_argument_counts_and_the_engine_sees_none_that_is_too_much() {
    arena(async |arena| {
        let premises = Premises::new().await;
        let engine = Engine::start(premises.dir.path(), Manner::Answers);
        let load = async |field: &str, text: Value, times: u64| {
            let create = json!([{"create": {"key": {}, "field": field, "text": text, "times": times}}]);
            let limits = limits(json!({"control": {"bytes": "256KiB"}}));
            let caller = premises.caller("hostile", grants(&engine), json!([]));
            let config = json!({"create": create}).as_object().unwrap().clone();
            premises.load(arena, Plugin { limits, config, ..caller }).await
        };
        let one = [("image", 1), ("hostname", 1), ("working-dir", 1), ("user", 1)];
        let many = [
            "entrypoint",
            "command",
            "env",
            "labels",
            "mounts",
            "ports",
            "ulimits",
            "drop-capabilities",
            "add-capabilities",
            "health-check",
        ];
        let mut too_much = Vec::new();
        for (field, times) in one {
            too_much.push(load(field, text("x", 300 << 10), times).await);
        }
        for field in many {
            too_much.push(load(field, json!("{n}"), 20_000).await);
            too_much.push(load(field, json!(""), 20_000).await);
        }
        let too_much = std::sync::Arc::new(too_much);
        arena
            .attack(&too_much, |too_much| async move {
                for hostile in too_much.iter() {
                    refused(create(hostile).await, FaultKind::Limit, "moved more bytes to and from the host");
                }
            })
            .await;
        assert_eq!(engine.most(), 0, "the engine was asked all the same");
        // Just below it is the capability's to refuse.
        for field in ["image", "user", "command", "env"] {
            let said = refusals(create(&load(field, text("x", 100 << 10), 1).await).await);
            assert!(said[0].contains(": ") && !said[0].contains("this call"), "{field}: {said:?}");
        }
    });
}

#[test]
fn one_crossing_is_bounded_however_much_the_call_may_move() {
    arena(async |arena| {
        let premises = Premises::new().await;
        let engine = Engine::start(premises.dir.path(), Manner::Answers);
        let load = async |keys: u64| {
            let get = json!([{"get": {"key": "{n}", "times": keys}}]);
            let limits = limits(json!({"check": {"crossing": "64KiB"}}));
            let caller = premises.caller("hostile", grants(&engine), get);
            premises.load(arena, Plugin { limits, ..caller }).await
        };
        assert_eq!(steps(&load(500).await).await, ["0 found"]);
        let hostile = load(4000).await;
        arena
            .attack(&hostile, |hostile| async move {
                refused(hostile.check().await, FaultKind::Limit, "too much data");
            })
            .await;
    });
}

#[test]
fn what_reaches_a_capability_as_an_id_is_an_id() {
    arena(async |arena| {
        let premises = Premises::new().await;
        let engine = Engine::start(premises.dir.path(), Manner::Answers);
        let inspect = |key: Value| json!({"inspect": {"key": key, "times": 1}});
        let remove = |key: Value| json!({"remove": {"key": key}});
        let id = "0123456789abcdef";
        let (mut told, mut removed) = (Vec::new(), Vec::new());
        for session in [
            "",
            "../../images/x",
            "0123456789abcde/",
            "0123456789ABCDEF",
            "0123456789abcde?",
            "0123456789abcde\u{0}",
            "0123456789abcde\r\nHost: x",
            "%2e%2e%2f0123456",
            "０１２３４５６７８９ａｂｃｄｅｆ",
        ] {
            told.push(inspect(json!({"session": session})));
            removed.push(remove(json!({"session": session})));
        }
        told.push(inspect(json!({"session": text("a", 1 << 20)})));
        told.push(inspect(json!({"session": id, "incarnation": 0})));
        told.push(inspect(json!({"session": id, "handle": text("a", 4097)})));
        for handle in ["", "../../images/json", "web", "0123456789ab", "\u{0}", "id/../../images"] {
            removed.push(remove(json!({"handle": handle})));
        }
        told.push(json!({"list": {"cursor": text("c", 4097)}}));
        told.push(json!({"inspect": {"key": {"session": id}, "times": 1001}}));
        told.push(json!({"list": {"cursor": ""}}));
        let mut caller = premises.caller("hostile", grants(&engine), Value::Array(told));
        caller.config.insert("remove".to_owned(), Value::Array(removed));
        let hostile = premises.load(arena, caller).await;
        arena
            .attack(&hostile, |hostile| async move {
                let removals = refusals(hostile.remove(&key(), true).await);
                for said in steps(&hostile).await.into_iter().chain(removals) {
                    assert!(said.starts_with("invalid: ") && said.len() < 400, "{said}");
                    assert!(!said.contains(char::is_control), "{said:?}");
                }
            })
            .await;
        assert!(!engine.was_asked("images") && !engine.was_asked("containers"), "the engine was asked");
    });
}

/// Its own backend's too: each call is about one workload at most, and that is the only one it may change.
#[test]
fn a_call_changes_the_workload_that_it_is_about_and_no_other() {
    arena(async |arena| {
        let premises = Premises::new().await;
        let engine = Engine::start(premises.dir.path(), Manner::Answers);
        let changes = |key: Value| -> Vec<Value> {
            let step = |on, call| json!({"on": on, "call": call, "key": key.clone()});
            let calls = |on| ["create", "start", "signal", "remove"].map(|call| step(on, call));
            [calls("docker"), calls("process")].concat()
        };
        let handle = "0".repeat(64);
        let others = [
            json!({"session": "00000000000000ab"}),
            json!({"session": "00000000000000ab", "handle": handle}),
            // Another incarnation of the same session.
            json!({"incarnation": 2}),
        ];
        let others: Vec<_> = others.into_iter().flat_map(&changes).collect();
        let own = changes(json!({"session": "0123456789abcdef"}));
        let told = json!({
            "check": own, "inspect": own, "list": own,
            "create": others, "start": others, "signal": others, "remove": others,
        });
        let hostile = premises.load(arena, premises.intruder(grants(&engine), told)).await;
        let (none, one) =
            ("denied: this call changes no workload", "denied: this call is about session 0123456789abcdef");
        arena
            .attack(&hostile, |hostile| async move {
                for (said, words, count) in [
                    (steps(&hostile).await, none, 8),
                    (refusals(hostile.inspect(&[key()]).await), none, 8),
                    (refusals(hostile.list(None).await), none, 8),
                    (refusals(create(&hostile).await), one, 24),
                    (refusals(hostile.start(&key()).await), one, 24),
                    (refusals(hostile.signal(&key(), Signal::KILL).await), one, 24),
                    (refusals(hostile.remove(&key(), true).await), one, 24),
                ] {
                    assert_eq!(said.len(), count);
                    assert!(said.iter().all(|said| said.starts_with(words)), "{words}: {said:?}");
                }
            })
            .await;
        assert_eq!(engine.most(), 0, "the engine was asked");

        // What it is about may be changed, by whichever call it likes.
        let told = json!({"start": changes(json!({}))});
        let hostile = premises.load(arena, premises.intruder(grants(&engine), told)).await;
        let said = refusals(hostile.start(&key()).await);
        assert!(said.iter().all(|said| !said.starts_with("denied: this call")), "{said:?}");
        assert!(engine.was_asked("containers/create") && engine.was_asked("0123456789abcdef-1"), "{said:?}");
    });
}

/// Pointer and length of a text or a list that is not in the guest's memory, or is no text.
#[test]
fn an_argument_that_cannot_be_read_ends_the_call() {
    arena(async |arena| {
        let premises = Premises::new().await;
        let engine = Engine::start(premises.dir.path(), Manner::Answers);
        let write = |pointer: i64, length: i64| {
            Guest::new()
                .import("log", "write", "(param i32 i32 i32)")
                .field("(data (i32.const 20000) \"\\ff\\fe\\c0\\80\\ed\\a0\\80\")")
                .body(
                    "check",
                    format!(
                        "(call $write (i32.const 2) (i32.const {pointer}) (i32.const {length})) i32.const {REPORT}"
                    ),
                )
        };
        let get = |pointer: i64, length: i64| {
            Guest::new().import("state", "get", "(param i32 i32 i32)").body(
                "check",
                format!(
                    "(call $get (i32.const {pointer}) (i32.const {length}) (i32.const {SCRATCH})) i32.const {REPORT}"
                ),
            )
        };
        let config = |length: i64| {
            Guest::new()
                .import("config", "get", "(param i32 i32 i32)")
                .field("(data (i32.const 20000) \"\\ff\\fe\")")
                .body(
                    "check",
                    format!(
                        "(call $get (i32.const 20000) (i32.const {length}) (i32.const {SCRATCH})) i32.const {REPORT}"
                    ),
                )
        };
        // Keys of a batch, whose element is laid out at 40 bytes.
        let keys = |pointer: i64, length: i64| {
            Guest::new().import("docker", "inspect", "(param i32 i32 i32)").body(
                "check",
                format!("(call $host-inspect (i32.const {pointer}) (i32.const {length}) (i32.const {SCRATCH})) i32.const {REPORT}"),
            )
        };
        let mut liars = Vec::new();
        for guest in [
            write(0, -1),
            write(-1, -1),
            write(-1, 1),
            write(131_072, 1),
            write(131_071, 2),
            write(20000, 1),
            write(20002, 2),
            write(20004, 3),
            config(2),
            config(-1),
            get(0, -1),
            get(1, 1),
            get(8, 0x2000_0000),
            get(-8, 1),
            get(131_064, 2),
            keys(0, -1),
            keys(0, 0x0666_6667),
            keys(4, 1),
        ] {
            let grants: Grants = serde_json::from_value(grants(&engine)).unwrap();
            liars.push(premises.load(arena, Plugin { grants, ..arena.plugin(&guest) }).await);
        }
        let liars = std::sync::Arc::new(liars);
        arena
            .attack(&liars, |liars| async move {
                for liar in liars.iter() {
                    refused(liar.check().await, FaultKind::Trap, "");
                }
            })
            .await;
    });
}

/// `describe` is asked of plugins that nobody has decided to trust yet, and a start function runs before anything.
#[test]
fn no_capability_answers_while_a_plugin_is_loaded() {
    arena(async |arena| {
        let premises = Premises::new().await;
        let engine = Engine::start(premises.dir.path(), Manner::Answers);
        let ping = || Guest::new().import("docker", "ping", "(param i32)");
        let scan = || Guest::new().import("state", "scan", "(param i32 i32 i32 i32 i32 i32 i32)");
        let process = || Guest::new().import("process", "ping", "(param i32)");
        let ask = format!("(call $ping (i32.const {SCRATCH}))");
        let look = format!(
            "(call $scan (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const {SCRATCH}))"
        );
        let at_start = |guest: Guest, call: &str| guest.field(&format!("(func $early {call}) (start $early)"));
        for (guest, words) in [
            (ping().body("describe", format!("{ask} i32.const 2048")), "used docker in `describe`"),
            (scan().body("describe", format!("{look} i32.const 2048")), "used state in `describe`"),
            (process().body("describe", format!("{ask} i32.const 2048")), "used process in `describe`"),
            // What takes the guest's memory is not even connected yet.
            (at_start(ping(), &ask), "could not be instantiated"),
            (at_start(scan(), &look), "could not be instantiated"),
        ] {
            let mut granted = grants(&engine);
            granted["process"] = json!({});
            let grants: Grants = serde_json::from_value(granted).unwrap();
            let plugin = Plugin { grants, ..arena.plugin(&guest) };
            let error = arena.runtime.load(plugin, &premises.services()).await.unwrap_err();
            let LoadError::Trial(fault) = &error else { panic!("{error}") };
            assert!(fault.message.contains(words), "{fault}");
        }
        assert_eq!(engine.most(), 0, "the engine was asked");
        // What may be used there can be: the log, the time.
        let guest =
            Guest::new().import("log", "write", "(param i32 i32 i32)").import("clock", "now", "(result i64)").body(
                "describe",
                "(drop (call $now)) (call $write (i32.const 0) (i32.const 1024) (i32.const 4)) i32.const 2048",
            );
        assert!(arena.load(arena.plugin(&guest)).await.check().await.is_ok());
    });
}
