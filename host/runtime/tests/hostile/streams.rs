//! A guest that leaks the handles of streams, or hands over what is not its to give.

use std::time::Duration;

use futures_util::StreamExt as _;
use seawall_backend::{Deadlines, ExecutionBackend, FaultKind};
use seawall_model::{CommandEnd, ExecOptions, LogOptions};
use seawall_runtime::{Grants, Plugin, WasmBackend};
use serde_json::{Value, json};

use crate::arena::{Arena, arena, key, limits, refused};
use crate::engine::{Engine, Manner};
use crate::guest::{Guest, SCRATCH};
use crate::told::{Premises, steps};

const SESSION: &str = "0123456789abcdef";

/// Everything that the caller may use.
fn grants(engine: &Engine) -> Value {
    let mut grants = engine.grant();
    grants["state"] = json!(true);
    grants
}

fn opens(times: u64) -> Value {
    json!([{"logs": {"key": {"session": SESSION}, "times": times}}])
}

#[test]
fn streams_that_are_never_given_back_are_closed_with_the_call() {
    arena(async |arena| {
        let premises = Premises::new().await;
        let engine = Engine::start(premises.dir.path(), Manner::Answers);
        let load = async |times| {
            let limits = limits(json!({"check": {"resources": 20}}));
            let caller = premises.caller("hostile", grants(&engine), opens(times));
            premises.load(arena, Plugin { limits, ..caller }).await
        };
        let just = load(20).await;
        assert_eq!(steps(&just).await, ["20 opened"]);
        assert!(engine.most() >= 20, "{} connections at one time", engine.most());
        engine.is_left_alone().await;
        let target = (just, load(21).await);
        arena
            .attack(&target, |(just, more)| async move {
                assert_eq!(steps(&just).await, ["20 opened"]);
                refused(more.check().await, FaultKind::Limit, "held more host resources than one call may");
            })
            .await;
        engine.is_left_alone().await;
    });
}

#[test]
fn a_call_to_an_engine_that_never_answers_ends_at_the_deadline_and_lets_go_of_it() {
    arena(async |arena| {
        let premises = Premises::new().await;
        let engine = Engine::start(premises.dir.path(), Manner::Silent);
        let deadlines = Deadlines { check: Duration::from_millis(50), ..Deadlines::default() };
        let steps = json!([{"ping": {"times": 1}}]);
        let caller = premises.caller("hostile", grants(&engine), steps);
        let hostile = premises.load(arena, Plugin { deadlines: Some(deadlines), ..caller }).await;
        arena
            .attack(&hostile, |hostile| async move {
                refused(hostile.check().await, FaultKind::Deadline, "deadline of 50ms");
            })
            .await;
        assert!(engine.most() > 0);
        engine.is_left_alone().await;
    });
}

#[test]
fn the_output_of_another_session_is_not_handed_over() {
    arena(async |arena| {
        let premises = Premises::new().await;
        let engine = Engine::start(premises.dir.path(), Manner::Answers);
        let load = async |open: Value| {
            let mut caller = premises.caller("hostile", grants(&engine), json!([]));
            caller.config.insert("open".to_owned(), open);
            premises.load(arena, caller).await
        };
        // Its own, which outlives the call that opened it.
        let honest = load(json!({"session": SESSION})).await;
        let mut stream = honest.logs(&key_without_handle(), &LogOptions::default()).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap().bytes, "hello\n");
        drop(stream);
        engine.is_left_alone().await;

        let another = load(json!({"session": "fedcba9876543210"})).await;
        let earlier = load(json!({"session": SESSION, "incarnation": 7})).await;
        let target = (another, earlier);
        arena
            .attack(&target, |(another, earlier)| async move {
                is_not_handed_over(&another, "session fedcba9876543210, incarnation 1").await;
                is_not_handed_over(&earlier, "session 0123456789abcdef, incarnation 7").await;
            })
            .await;
        engine.is_left_alone().await;
    });
}

fn key_without_handle() -> seawall_model::Key {
    seawall_model::Key { handle: None, ..key() }
}

async fn is_not_handed_over(hostile: &WasmBackend, words: &str) {
    let answer = hostile.logs(&key_without_handle(), &LogOptions::default()).await.map(|_| "a stream");
    refused(answer, FaultKind::BadAnswer, words);
}

/// Opens the stream it was asked for, then does something with its handle.
fn opening(then: &str) -> Guest {
    let forwarded: String = (0..16).map(|at| format!("(local.get {at}) ")).collect();
    Guest::new()
        .logs()
        .import("docker", "logs", "(param i32 i32 i64 i32 i32 i32 i32 i32 i64 i32 i64 i32 i64 i32 i32 i32 i32)")
        .import("streams", "[resource-drop]byte-stream", "(param i32)")
        .body(
            "logs",
            format!(
                "(call $host-logs {forwarded} (i32.const {SCRATCH}))
                 (if (i32.load8_u (i32.const {SCRATCH})) (then unreachable))
                 {then}
                 i32.const {SCRATCH}"
            ),
        )
}

/// Where the handle is.
const HANDLE: u32 = SCRATCH + 8;

async fn load(arena: &Arena, premises: &Premises, engine: &Engine, guest: &Guest) -> WasmBackend {
    let grants: Grants = serde_json::from_value(grants(engine)).unwrap();
    premises.load(arena, Plugin { grants, ..arena.plugin(guest) }).await
}

#[test]
fn a_handle_that_is_none_is_a_bad_answer() {
    arena(async |arena| {
        let premises = Premises::new().await;
        let engine = Engine::start(premises.dir.path(), Manner::Answers);
        let good = load(arena, &premises, &engine, &opening("")).await;
        let mut stream = good.logs(&key_without_handle(), &LogOptions::default()).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap().bytes, "hello\n");
        drop(stream);

        let dropped = opening(&format!("(call $byte-stream (i32.load (i32.const {HANDLE})))"));
        let invented = |handle: i64| opening(&format!("(i32.store (i32.const {HANDLE}) (i32.const {handle}))"));
        // The output stream of WASI is a resource too, and no byte stream.
        let foreign = opening(&format!("(i32.store (i32.const {HANDLE}) (call $stdout))")).wasi();
        let mut liars = Vec::new();
        for (guest, words) in [
            (dropped, "unknown handle index"),
            (invented(0), "unknown handle index"),
            (invented(77), "unknown handle index"),
            (invented(-1), "unknown handle index"),
            (foreign, "handle index"),
        ] {
            liars.push((load(arena, &premises, &engine, &guest).await, words));
        }
        let liars = std::sync::Arc::new(liars);
        arena
            .attack(&liars, |liars| async move {
                for (liar, words) in liars.iter() {
                    let answer = liar.logs(&key_without_handle(), &LogOptions::default()).await.map(|_| "a stream");
                    refused(answer, FaultKind::BadAnswer, words);
                }
            })
            .await;
        engine.is_left_alone().await;
    });
}

#[test]
fn a_stream_is_dropped_once_and_not_kept_once_it_was_handed_over() {
    arena(async |arena| {
        let premises = Premises::new().await;
        let engine = Engine::start(premises.dir.path(), Manner::Answers);
        let give_back = format!("(call $byte-stream (i32.load (i32.const {HANDLE})))");
        let twice = opening(&format!("{give_back} {give_back}"));
        // Once the answer was taken it is too late.
        let kept = opening("").post_return("logs", give_back);
        let target = (load(arena, &premises, &engine, &twice).await, load(arena, &premises, &engine, &kept).await);
        arena
            .attack(&target, |(twice, kept)| async move {
                for (hostile, words) in [(twice, "unknown handle index"), (kept, "cannot leave component instance")] {
                    let answer = hostile.logs(&key_without_handle(), &LogOptions::default()).await.map(|_| "a stream");
                    refused(answer, FaultKind::Trap, words);
                }
            })
            .await;
        engine.is_left_alone().await;
    });
}

/// Runs a command by answering with a result of its own, for the session whose id is at this place.
fn running(session: u32) -> Guest {
    let (id, other) = (SCRATCH + 64, SCRATCH + 128);
    Guest::new()
        .full()
        .import(
            "streams",
            "[static]execution.from-result",
            "(param i32 i32 i64 i32 i32 i32 i32 i32 i32 i32 i64) (result i32)",
        )
        .field(&format!("(data (i32.const {id}) \"{SESSION}\") (data (i32.const {other}) \"fedcba9876543210\")"))
        .body(
            "exec",
            format!(
                "(i32.store (i32.const {HANDLE})
                   (call $execution.from-result
                     (i32.const {session}) (i32.const 16) (i64.const 1) (i32.const 0) (i32.const 0) (i32.const 0)
                     (i32.const {id}) (i32.const 4) (i32.const 1) (i32.const 3) (i64.const 5)))
                 i32.const {SCRATCH}"
            ),
        )
}

#[test]
fn a_command_of_another_session_is_not_handed_over() {
    arena(async |arena| {
        let options = ExecOptions { command: vec!["true".to_owned()], ..ExecOptions::default() };
        let honest = arena.load(arena.plugin(&running(SCRATCH + 64))).await;
        let execution = honest.exec(&key_without_handle(), &options).await.unwrap();
        assert_eq!(execution.finish(9).await.unwrap(), (b"0123".to_vec(), CommandEnd::Code(3)));

        let another = arena.load(arena.plugin(&running(SCRATCH + 128))).await;
        let nobody = arena.load(arena.plugin(&running(SCRATCH + 65))).await;
        arena
            .attack(&(another, nobody), |(another, nobody)| async move {
                let options = ExecOptions::default();
                let answer = another.exec(&key_without_handle(), &options).await.map(|_| "a command");
                refused(answer, FaultKind::BadAnswer, "session fedcba9876543210, incarnation 1");
                let answer = nobody.exec(&key_without_handle(), &options).await.map(|_| "a command");
                refused(answer, FaultKind::Trap, "key.session");
            })
            .await;
    });
}
