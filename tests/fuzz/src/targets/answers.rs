//! Values lifted from a guest. The input is the guest's memory from address 0, where every function says that its answer
//! lies: lengths, pointers, discriminants and handles are what the input says.
//!
//! The guest is compiled once. It reads the input from its configuration, in hexadecimal with the digits `a` to `p`.

use seawall_backend::ExecutionBackend as _;
use seawall_model::{LogOptions, SessionSpec, Signal};
use seawall_runtime::{RuntimeConfig, WasmBackend};
use serde_json::{Map, Value};

use super::guest::{
    Guest, checked, executor, found_is_sound, key, page_is_sound, plugin, report_is_sound, runtime, status_is_sound,
};
use crate::{Run, Target};

pub(crate) const TARGET: Target = Target { name: "answers", longest: 2048, tries: 300, seeds, make };

/// Where `config.get` leaves its answer, and the key that it is asked for, above what the input can cover.
const FILL: &str = r#"
    (data (i32.const 60000) "x")
    (func $fill (result i32) (local $from i32) (local $end i32) (local $to i32)
      (call $get (i32.const 60000) (i32.const 1) (i32.const 60008))
      (if (i32.eqz (i32.load8_u (i32.const 60008))) (then unreachable))
      ;; A JSON text: without its quotes.
      (local.set $from (i32.add (i32.load (i32.const 60012)) (i32.const 1)))
      (local.set $end (i32.sub (i32.add (local.get $from) (i32.load (i32.const 60016))) (i32.const 2)))
      (loop $next
        (if (i32.lt_u (local.get $from) (local.get $end)) (then
          (i32.store8 (local.get $to)
            (i32.or
              (i32.shl (i32.sub (i32.load8_u (local.get $from)) (i32.const 97)) (i32.const 4))
              (i32.sub (i32.load8_u offset=1 (local.get $from)) (i32.const 97))))
          (local.set $from (i32.add (local.get $from) (i32.const 2)))
          (local.set $to (i32.add (local.get $to) (i32.const 1)))
          (br $next))))
      (i32.const 0))"#;

fn guest() -> Vec<u8> {
    let functions = ["check", "create", "start", "signal", "remove", "inspect", "list", "logs"];
    let guest = Guest::new().logs().import("config", "get", "(param i32 i32 i32)").field(FILL);
    functions.into_iter().fold(guest, |guest, function| guest.body(function, "call $fill")).component().into_owned()
}

/// Memory in the making: words of four bytes.
fn words(words: &[u32], text: &[u8]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).chain(text.iter().copied()).collect()
}

fn seeds() -> Vec<Vec<u8>> {
    let id = b"0123456789abcdef";
    vec![
        // ok(status): running, healthy, started at 9 ms, with the handle of one byte at 88.
        words(&[0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 9, 0, 1, 88, 1], b"h"),
        // ok: a list of two, for `inspect`; no workloads and a cursor, for `list`; a version, for `check`.
        words(&[0, 0, 24, 2, 0, 0, 0, 0, 1, 0, 1, 0, 0], &[0; 200]),
        words(&[0, 0, 0, 0, 1, 32, 3, 0], b"abc"),
        words(&[0, 0, 32, 3, 40, 1, 0, 0, u32::from_le_bytes(*b"1.2\0"), 0, 60, 1, 62, 1, 0], b"kv"),
        // ok: a page of one workload, at 32, with its id at 200.
        words(
            &[0, 0, 32, 1, 0, 0, 0, 0, 200, 16, 1, 0, 3, 1, 1, 7, 0, 0, 0, 0, 0, 0, 0, 0],
            &[&[0; 104][..], id].concat(),
        ),
        // err: each kind, with a text; `invalid` with a list.
        words(&[1, 0, 0, 0, 64, 5], &[0; 80]),
        words(&[1, 0, 1, 0, 64, 5, 1, 0, 77], &[b'x'; 80]),
        words(&[1, 0, 2, 0, 32, 1, 0, 0, 48, 4, 52, 4], b"nameshort"),
        words(&[1, 0, 5, 0, 32, 2, 1, 0], b"no"),
        words(&[1, 0, 7, 0, 0, u32::MAX], b""),
        words(&[0, 0, 1, 0], b""),
    ]
}

fn make() -> Run {
    let (executor, runtime) = (executor(), runtime(RuntimeConfig::default()));
    let backend = executor.block_on(runtime.load_ungranted(plugin(guest()))).unwrap();
    Box::new(move |input| executor.block_on(run(&backend, input)))
}

async fn run(backend: &WasmBackend, input: &[u8]) {
    let digit = |nibble: u8| char::from(b'a' + (nibble & 15));
    let text: String = input.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect();
    let backend = backend.reconfigured(&Map::from_iter([("x".to_owned(), Value::String(text))]));
    let key = key(1);
    let spec = SessionSpec::new("box".parse().unwrap());

    checked(backend.check().await, report_is_sound);
    checked(backend.create(&key, &"web".parse().unwrap(), &spec).await, status_is_sound);
    checked(backend.start(&key).await, status_is_sound);
    checked(backend.signal(&key, Signal::TERM).await, |()| ());
    checked(backend.remove(&key, true).await, |()| ());
    let keys = [key.clone(), super::guest::key(2), super::guest::key(3)];
    checked(backend.inspect(&keys).await, |answer| {
        assert!(answer.unknown.is_empty());
        found_is_sound(&answer.found, keys.len());
    });
    checked(backend.list(None).await, |page| page_is_sound(page, None));
    checked(backend.list(Some("abc")).await, |page| page_is_sound(page, Some("abc")));
    // There is no stream in it that could be given: every handle is of somebody else.
    checked(backend.logs(&key, &LogOptions::default()).await.map(drop), |()| panic!("a stream of nobody"));
}
