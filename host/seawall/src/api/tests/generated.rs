//! Bodies that nobody wrote: whole specs with any words in them, and specs that are broken in one place. What is refused is
//! named and leaves nothing, and the daemon is never at fault.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::{Daemon, answer};

/// Words as people write them, and as they do not.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9-]{0,12}",
        "/[a-z]{1,8}(/[a-z]{1,8}){0,3}",
        "\\PC{0,24}",
        any::<String>(),
        Just(String::new()),
        Just("../..".to_owned()),
        Just("a\0b".to_owned()),
        Just("x".repeat(70_000)),
    ]
}

fn words(most: usize) -> impl Strategy<Value = Value> {
    prop::collection::vec(word(), 0..most).prop_map(|words| json!(words))
}

fn table(most: usize) -> impl Strategy<Value = Value> {
    prop::collection::btree_map(word(), word(), 0..most).prop_map(|table| json!(table))
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u64>().prop_map(|n| json!(n)),
        any::<i64>().prop_map(|n| json!(n)),
        any::<f64>().prop_map(|n| json!(n))
    ]
}

fn text() -> impl Strategy<Value = Value> {
    word().prop_map(Value::from)
}

fn time() -> impl Strategy<Value = Value> {
    prop_oneof!["[0-9]{1,20}(ms|s|m|h|days|y)", Just("soon".to_owned())].prop_map(Value::from)
}

/// Every field, with values of the right kind.
fn fields() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    let size = || prop_oneof![number(), "[0-9]{1,12}(KiB|MiB|GB)?".prop_map(Value::from)];
    let mount = (text(), text(), any::<bool>(), 0..3_u8).prop_map(|(from, to, read_only, kind)| {
        let source = match kind {
            0 => json!({"bind": from}),
            1 => json!({"volume": from}),
            _ => json!({"tmpfs": null}),
        };
        json!({"source": source, "target": to, "read_only": read_only})
    });
    let port = (any::<u16>(), any::<u16>()).prop_map(|(container, host)| json!({"container": container, "host": host}));
    let check = (words(3), time(), time()).prop_map(|(command, interval, timeout)| {
        json!({"command": {"command": command, "interval": interval, "timeout": timeout}})
    });
    let probe =
        (any::<u16>(), time()).prop_map(|(port, period)| json!({"check": {"tcp": {"port": port}}, "interval": period}));
    let resources = (size(), number(), number())
        .prop_map(|(memory, cpus, processes)| json!({"memory": memory, "cpus": cpus, "processes": processes}));
    let restart = prop_oneof![Just("never".to_owned()), Just("always".to_owned()), "on-failure:[0-9]{1,12}", word()];
    let signal = prop_oneof![Just("TERM".to_owned()), "[A-Z]{2,5}", "-?[0-9]{1,4}", word()];
    vec![
        ("name", text().boxed()),
        ("labels", table(4).boxed()),
        ("image", text().boxed()),
        ("command", words(5).boxed()),
        ("env", table(4).boxed()),
        ("working_dir", text().boxed()),
        ("user", text().boxed()),
        ("hostname", text().boxed()),
        ("mounts", prop::collection::vec(mount, 0..3).prop_map(|all| json!(all)).boxed()),
        ("resources", resources.boxed()),
        ("network", prop_oneof![Just(json!("isolated")), Just(json!("internet")), text()].boxed()),
        ("ports", prop::collection::vec(port, 0..3).prop_map(|all| json!(all)).boxed()),
        ("tty", any::<bool>().prop_map(Value::from).boxed()),
        ("stdin", any::<bool>().prop_map(Value::from).boxed()),
        ("init", any::<bool>().prop_map(Value::from).boxed()),
        ("stop_signal", signal.prop_map(Value::from).boxed()),
        ("stop_grace", time().boxed()),
        ("restart", restart.prop_map(Value::from).boxed()),
        ("health_check", check.boxed()),
        ("restart_unhealthy", any::<bool>().prop_map(Value::from).boxed()),
        ("probes", probe.prop_map(|probe| json!({"liveness": probe})).boxed()),
        ("logs", size().prop_map(|size| json!({"max_size": size})).boxed()),
        ("options", number().prop_map(|speed| json!({"speed": speed})).boxed()),
    ]
}

/// A spec with some of the fields.
fn spec() -> impl Strategy<Value = Map<String, Value>> {
    let maybe = |(key, value): (&'static str, BoxedStrategy<Value>)| {
        prop::option::weighted(0.15, value).prop_map(move |value| value.map(|value| (key.to_owned(), value)))
    };
    let all: Vec<_> = fields().into_iter().map(maybe).collect();
    all.prop_map(|fields| {
        let backend = ("backend".to_owned(), json!("fake"));
        std::iter::once(backend).chain(fields.into_iter().flatten()).collect()
    })
}

/// What is wrong in any place.
fn junk() -> impl Strategy<Value = Value> {
    prop_oneof![Just(json!({"no such": [null]})), Just(json!(-1.5)), Just(json!([[]])), Just(json!([{"a": 1}, 2]))]
}

struct House {
    runtime: tokio::runtime::Runtime,
    daemon: Daemon,
}

impl House {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let daemon = runtime.block_on(Daemon::start());
        Self { runtime, daemon }
    }

    fn post(&self, body: Vec<u8>) -> (StatusCode, Value) {
        self.runtime.block_on(async {
            let request = self.daemon.http.post("http://s/v1/sessions").header("content-type", "application/json");
            answer(request.body(body).send().await.unwrap()).await
        })
    }

    /// What was made is taken away again, and then there must be nothing.
    fn tidy(&self, made: Option<&Value>) {
        self.runtime.block_on(async {
            if let Some(session) = made {
                let path = format!("/v1/sessions/{}?force=true&wait=true", session["id"].as_str().unwrap());
                assert_eq!(self.daemon.send(Method::DELETE, &path).await.0, StatusCode::NO_CONTENT, "{session}");
            }
            assert_eq!(self.daemon.control.sessions().len(), 0, "something is left");
        });
    }

    fn end(self) {
        self.runtime.block_on(async {
            assert_eq!(self.daemon.send(Method::GET, "/v1/sessions?all=true").await.1, json!([]));
            self.daemon.stop().await;
        });
    }
}

/// The first part of each field at fault.
fn blamed(problem: &Value) -> BTreeSet<String> {
    let all = problem["problems"].as_array().into_iter().flatten();
    let first = |field: &str| field.split(['.', '[']).next().unwrap_or_default().to_owned();
    all.map(|one| first(one["field"].as_str().unwrap())).collect()
}

fn cases(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() })
}

#[test]
fn a_spec_of_any_words_is_taken_whole_or_refused_by_the_name_of_a_field() {
    let house = House::new();
    let known: BTreeSet<String> =
        fields().into_iter().map(|(key, _)| key.to_owned()).chain(["backend", "spec"].map(str::to_owned)).collect();
    let done = cases(400).run(&spec(), |spec| {
        let (status, answer) = house.post(serde_json::to_vec(&spec).unwrap());
        if status == StatusCode::CREATED {
            house.tidy(Some(&answer));
            return Ok(());
        }
        prop_assert!(matches!(status.as_u16(), 400 | 413 | 422), "{status} {answer}");
        let blamed = blamed(&answer);
        if status != StatusCode::PAYLOAD_TOO_LARGE {
            prop_assert!(!blamed.is_empty() && blamed.is_subset(&known), "{answer}");
            // `spec` is all of it.
            prop_assert!(blamed.iter().any(|field| field == "spec" || spec.contains_key(field)), "{answer}");
        }
        house.tidy(None);
        Ok(())
    });
    done.unwrap_or_else(|error| panic!("{error}"));
    house.end();
}

#[test]
fn a_field_with_something_else_in_it_is_the_one_that_is_named() {
    let house = House::new();
    let keys: Vec<&str> = fields().into_iter().map(|(key, _)| key).chain(["backend", "no_such_field"]).collect();
    let done = cases(400).run(&(prop::sample::select(keys), junk()), |(key, junk)| {
        let mut spec = Map::from_iter([("backend".to_owned(), json!("fake"))]);
        spec.insert(key.to_owned(), junk);
        let (status, problem) = house.post(serde_json::to_vec(&spec).unwrap());
        prop_assert!(matches!(status.as_u16(), 400 | 422), "{key}: {status} {problem}");
        prop_assert_eq!(blamed(&problem), BTreeSet::from([key.to_owned()]), "{}", problem);
        house.tidy(None);
        Ok(())
    });
    done.unwrap_or_else(|error| panic!("{error}"));
    house.end();
}

#[test]
fn a_body_that_breaks_off_or_has_other_bytes_in_it_makes_nothing() {
    let house = House::new();
    let how = (spec(), any::<prop::sample::Index>(), prop::option::of(any::<u8>()));
    let done = cases(400).run(&how, |(spec, at, byte)| {
        let mut body = serde_json::to_vec(&spec).unwrap();
        let at = at.index(body.len());
        match byte {
            None => body.truncate(at),
            Some(byte) => body[at] = byte,
        }
        let (status, answer) = house.post(body);
        let made = (status == StatusCode::CREATED).then_some(&answer);
        prop_assert!(made.is_some() || matches!(status.as_u16(), 400 | 413 | 422), "{status} {answer}");
        house.tidy(made);
        Ok(())
    });
    done.unwrap_or_else(|error| panic!("{error}"));
    house.end();
}
