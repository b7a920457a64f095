//! What is refused at load, and that each refusal says what to do.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

#[expect(dead_code, reason = "each test binary uses another part")]
mod guest;

use guest::{Guest, SCRATCH, ZERO};
use seawall_backend::{ExecutionBackend, FaultKind, Interface};
use seawall_runtime::{Grants, LoadError, Plugin, Pool, Runtime, RuntimeConfig, Services, WasmBackend};
use seawall_store::Store;
use std::path::Path;

fn runtime() -> Runtime {
    let pool = Pool { calls: 16, ..Pool::default() };
    Runtime::new(RuntimeConfig { pool, ..RuntimeConfig::default() }).unwrap()
}

fn plugin(wasm: impl Into<std::borrow::Cow<'static, [u8]>>) -> Plugin {
    Plugin::new("box".parse().unwrap(), wasm)
}

async fn refusal(wasm: impl Into<std::borrow::Cow<'static, [u8]>>) -> LoadError {
    runtime().load_ungranted(plugin(wasm)).await.unwrap_err()
}

async fn services(dir: &Path) -> Services {
    Services {
        store: Store::open(&dir.join("data")).await.unwrap(),
        runs: dir.join("runs"),
        supervisor: dir.join("supervisor"),
        protected: Vec::new(),
    }
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn a_core_module_is_told_from_garbage() {
    assert!(matches!(refusal(component("(module)")).await, LoadError::CoreModule));
    assert!(matches!(refusal(b"hello".to_vec()).await, LoadError::NotWasm { .. }));
    let mut broken = Guest::new().component().into_owned();
    broken.truncate(broken.len() / 2);
    assert!(matches!(refusal(broken).await, LoadError::Compile(_)));
}

#[tokio::test]
async fn a_component_for_another_world_says_what_it_exports() {
    let error = refusal(component(
        r#"(component
            (core module $m (func (export "run")))
            (core instance $i (instantiate $m))
            (func $run (canon lift (core func $i "run")))
            (instance $command (export "run" (func $run)))
            (export "test:other/run@1.0.0" (instance $command)))"#,
    ))
    .await;
    let message = error.to_string();
    assert!(matches!(error, LoadError::WrongWorld { .. }), "{message}");
    assert!(message.contains("it exports test:other/run@1.0.0"), "{message}");
    assert!(refusal(component("(component)")).await.to_string().contains("it exports nothing"));
}

#[tokio::test]
async fn a_component_for_another_version_names_both() {
    let error = refusal(component(
        r#"(component
            (instance $backend)
            (export "seawall:backend/execution-backend@0.2.0" (instance $backend)))"#,
    ))
    .await;
    let message = error.to_string();
    assert!(message.contains("seawall:backend@0.2.0") && message.contains("0.1.0"), "{message}");
}

#[tokio::test]
async fn a_missing_or_mistyped_export_is_named() {
    let error = refusal(component(
        r#"(component
            (core module $m (func (export "f") (result i32) i32.const 1))
            (core instance $i (instantiate $m))
            (func $f (result u32) (canon lift (core func $i "f")))
            (instance $backend (export "describe" (func $f)) (export "check" (func $f)))
            (export "seawall:backend/execution-backend@0.1.0" (instance $backend)))"#,
    ))
    .await;
    assert!(error.to_string().contains("has no function `create`"), "{error}");

    let error = refusal(component(
        r#"(component
            (core module $m (func (export "f") (result i32) i32.const 1))
            (core instance $i (instantiate $m))
            (func $f (result u32) (canon lift (core func $i "f")))
            (instance $backend
              (export "describe" (func $f)) (export "check" (func $f)) (export "create" (func $f))
              (export "start" (func $f)) (export "signal" (func $f)) (export "remove" (func $f))
              (export "inspect" (func $f)) (export "list" (func $f)))
            (export "seawall:backend/execution-backend@0.1.0" (instance $backend)))"#,
    ))
    .await;
    assert!(error.to_string().contains("`execution-backend.describe` has another type"), "{error}");
}

#[tokio::test]
async fn an_import_that_is_not_granted_names_the_line_that_grants_it() {
    let guest = Guest::new()
        .import("docker", "ping", "(param i32)")
        .import("state", "get", "(param i32 i32 i32)")
        .body("check", format!("(call $ping (i32.const {SCRATCH})) (call $get (i32.const 0) (i32.const 0) (i32.const {SCRATCH})) i32.const {ZERO}"));
    let message = refusal(guest.component()).await.to_string();
    assert!(
        message.contains("seawall:host/docker@0.1.0") && message.contains("[backend.box.grants.docker]"),
        "{message}"
    );
    assert!(message.contains("`grants.state = true` under [backend.box]"), "{message}");
}

#[tokio::test]
async fn an_import_of_nothing_that_is_offered_is_named() {
    let message = refusal(component(
        r#"(component
            (import "wasi:http/outgoing-handler@0.2.0" (instance))
            (core module $m (func (export "f") (result i32) i32.const 1))
            (core instance $i (instantiate $m))
            (func $f (result u32) (canon lift (core func $i "f")))
            (instance $backend
              (export "describe" (func $f)) (export "check" (func $f)) (export "create" (func $f))
              (export "start" (func $f)) (export "signal" (func $f)) (export "remove" (func $f))
              (export "inspect" (func $f)) (export "list" (func $f)))
            (export "seawall:backend/execution-backend@0.1.0" (instance $backend)))"#,
    ))
    .await
    .to_string();
    assert!(message.contains("wasi:http/outgoing-handler@0.2.0"), "{message}");
}

/// `state.get` of one key, and what it says is the version that `check` reports.
fn stateful() -> Guest {
    // commit(list of one change: key "k", expect anything, value some("v")), then get(["k"]).
    Guest::new()
        .import("state", "commit", "(param i32 i32 i32)")
        .import("state", "get", "(param i32 i32 i32)")
        .field(r#"(data (i32.const 20000) "k") (data (i32.const 20008) "42")"#)
        .body(
            "check",
            format!(
                "(local $change i32) (local.set $change (i32.const {SCRATCH}))
                 (i32.store (local.get $change) (i32.const 20000))
                 (i32.store offset=4 (local.get $change) (i32.const 1))
                 (i32.store8 offset=24 (local.get $change) (i32.const 1))
                 (i32.store offset=28 (local.get $change) (i32.const 20008))
                 (i32.store offset=32 (local.get $change) (i32.const 2))
                 (call $commit (local.get $change) (i32.const 1) (i32.const {answer}))
                 (if (i32.load8_u (i32.const {answer})) (then unreachable))
                 (i32.store (i32.const {keys}) (i32.const 20000))
                 (i32.store (i32.const {keys_length}) (i32.const 1))
                 (call $get (i32.const {keys}) (i32.const 1) (i32.const {answer}))
                 (if (i32.load8_u (i32.const {answer})) (then unreachable))
                 ;; the list's first element: option at 0, value's pointer at 8, its length at 12
                 (i32.store (i32.const {report}) (i32.load offset=8 (i32.load (i32.const {answer_list}))))
                 (i32.store (i32.const {report_length}) (i32.load offset=12 (i32.load (i32.const {answer_list}))))
                 i32.const {result}",
                answer = SCRATCH + 256,
                answer_list = SCRATCH + 260,
                keys = SCRATCH + 512,
                keys_length = SCRATCH + 516,
                result = SCRATCH + 1024,
                report = SCRATCH + 1032,
                report_length = SCRATCH + 1036,
            ),
        )
}

async fn load(runtime: &Runtime, guest: &Guest, grants: serde_json::Value, services: &Services) -> WasmBackend {
    let grants: Grants = serde_json::from_value(grants).unwrap();
    runtime.load(Plugin { grants, ..plugin(guest.component()) }, services).await.unwrap()
}

#[tokio::test]
async fn granted_state_reaches_the_store() {
    let temp = tempfile::tempdir().unwrap();
    let services = services(temp.path()).await;
    let backend = load(&runtime(), &stateful(), serde_json::json!({"state": true}), &services).await;
    assert_eq!(backend.check().await.unwrap().version, "42");
    drop(backend);
    services.store.close().await;
}

#[tokio::test]
async fn a_grant_does_not_work_while_the_plugin_describes_itself() {
    let temp = tempfile::tempdir().unwrap();
    let services = services(temp.path()).await;
    let guest = Guest::new()
        .import("state", "get", "(param i32 i32 i32)")
        .body("describe", format!("(call $get (i32.const 0) (i32.const 0) (i32.const {SCRATCH})) i32.const 2048"));
    let grants = serde_json::from_value(serde_json::json!({"state": true})).unwrap();
    let refused = runtime().load(Plugin { grants, ..plugin(guest.component()) }, &services).await.unwrap_err();
    let LoadError::Trial(fault) = &refused else { panic!("{refused}") };
    assert_eq!(fault.kind, FaultKind::Trap);
    assert!(fault.message.contains("state"), "{}", fault.message);
    services.store.close().await;
}

#[tokio::test]
async fn a_plugin_that_does_not_describe_itself_well_is_refused() {
    let error = refusal(Guest::new().body("describe", "unreachable").component()).await;
    assert!(matches!(&error, LoadError::Trial(fault) if fault.kind == FaultKind::Trap), "{error}");
    // A name of no characters.
    let error = refusal(Guest::new().body("describe", format!("i32.const {ZERO}")).component()).await;
    assert!(error.to_string().contains("info.name"), "{error}");
    // A start function that traps, and one that never ends.
    let error = refusal(Guest::new().field("(func $begin unreachable) (start $begin)").component()).await;
    assert!(matches!(&error, LoadError::Trial(fault) if fault.kind == FaultKind::Instantiate), "{error}");
    let error = refusal(Guest::new().field("(func $begin (loop $for (br $for))) (start $begin)").component()).await;
    assert!(matches!(&error, LoadError::Trial(fault) if fault.kind == FaultKind::Fuel), "{error}");
}

#[tokio::test]
async fn a_component_too_large_for_the_pool_is_refused() {
    let pool = Pool { memory: seawall_model::Size(1 << 20), ..Pool::default() };
    let limits = serde_json::from_value(serde_json::json!({"all": {"memory": "1MiB"}})).unwrap();
    let runtime = Runtime::new(RuntimeConfig { pool, limits, ..RuntimeConfig::default() }).unwrap();
    let guest = Guest::new().field("(memory $large 100)");
    let error = runtime.load_ungranted(plugin(guest.component())).await.unwrap_err();
    assert!(matches!(&error, LoadError::Compile(_)), "{error}");
}

#[tokio::test]
async fn optional_interfaces_are_found_by_what_is_exported() {
    let runtime = runtime();
    let plain = runtime.load_ungranted(plugin(Guest::new().component())).await.unwrap();
    assert!(!plain.info().has(Interface::Logs));
    let with_logs = runtime.load_ungranted(plugin(Guest::new().logs().component())).await.unwrap();
    assert_eq!(with_logs.info().interfaces, [Interface::Logs]);
    let full = runtime.load_ungranted(plugin(Guest::new().full().component())).await.unwrap();
    let all = [
        Interface::Logs,
        Interface::Exec,
        Interface::HealthChecks,
        Interface::Attach,
        Interface::Input,
        Interface::Stats,
        Interface::Endpoint,
        Interface::Pause,
        Interface::Images,
        Interface::Watch,
    ];
    assert_eq!(full.info().interfaces, all);
}

#[tokio::test]
async fn an_inspection_shows_a_plugin_that_is_granted_nothing() {
    let guest = Guest::new()
        .logs()
        .import("docker", "ping", "(param i32)")
        .body("check", format!("(call $ping (i32.const {SCRATCH})) i32.const {ZERO}"));
    let wasm = guest.component();
    let inspection = runtime().inspect(wasm.clone()).await.unwrap();
    assert_eq!(inspection.size, wasm.len());
    assert_eq!(inspection.problem, None);
    assert_eq!(inspection.info.unwrap().name, "test");
    assert_eq!(inspection.interfaces, [Interface::Logs]);
    let docker = inspection.imports.iter().find(|import| import.name.contains("docker")).unwrap();
    assert_eq!((docker.offered, docker.grant.as_deref()), (true, Some("docker")));

    let other = runtime().inspect(component("(component)").into()).await.unwrap();
    assert!(other.problem.unwrap().contains("no backend"));
}

#[tokio::test]
async fn a_warm_cache_compiles_nothing_and_a_damaged_one_is_replaced() {
    let temp = tempfile::tempdir().unwrap();
    let cache = temp.path().join("cache");
    let config = || RuntimeConfig { cache: Some(cache.clone()), ..RuntimeConfig::default() };
    let wasm = Guest::new().component();
    let answers = |runtime: Runtime| {
        let wasm = wasm.clone();
        async move { runtime.load_ungranted(plugin(wasm)).await.unwrap().check().await.unwrap().version }
    };
    let code = || {
        let files = std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "code")).collect::<Vec<_>>()
    };
    assert_eq!(answers(Runtime::new(config()).unwrap()).await, "7");
    let [file] = &code()[..] else { panic!("one file: {:?}", code()) };
    let good = std::fs::read(file).unwrap();
    assert_eq!(answers(Runtime::new(config()).unwrap()).await, "7");
    assert_eq!(std::fs::read(file).unwrap(), good);

    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    std::fs::write(file, bad).unwrap();
    assert_eq!(answers(Runtime::new(config()).unwrap()).await, "7");
    std::fs::write(file, &good[..10]).unwrap();
    assert_eq!(answers(Runtime::new(config()).unwrap()).await, "7");
    assert!(std::fs::read(file).unwrap().len() > 1000);
}
