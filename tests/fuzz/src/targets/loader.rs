//! The loader, with components that were changed: a backend, or one typed reason why it is none. A backend is then
//! called, with its changed code, and ends in an answer or one typed error.

use seawall_backend::ExecutionBackend as _;
use seawall_model::Signal;
use seawall_runtime::{LoadError, Runtime, RuntimeConfig};

use super::guest::{
    Guest, NOT_FOUND, REPORT, ZERO, checked, executor, found_is_sound, key, page_is_sound, plugin, report_is_sound,
    runtime, status_is_sound,
};
use crate::{Run, Target};

pub(crate) const TARGET: Target = Target { name: "loader", longest: 16 << 10, tries: 60, seeds, make };

/// Components that use one thing each.
const COMPONENTS: [&str; 8] = [
    "(component)",
    "(component (core module (func unreachable) (start 0)) (core instance (instantiate 0)))",
    "(component (core module (memory 1) (table 1 funcref) (func (export \"f\") (loop br 0))) (core instance $i (instantiate 0)) (func (export \"f\") (canon lift (core func $i \"f\"))))",
    "(component (component (component)) (instance (instantiate 0)) (export \"x\" (instance 0)))",
    "(component (type $r (resource (rep i32))) (core func (canon resource.new $r)) (core func (canon resource.drop $r)) (core func (canon resource.rep $r)))",
    "(component (import \"seawall:host/log@0.1.0\" (instance (export \"log\" (func (param \"m\" string))))) (import \"a\" (func)))",
    "(component (type (record (field \"a\" u8) (field \"b\" (list string)))) (type (variant (case \"x\" 0) (case \"y\"))) (type (flags \"a\" \"b\")) (type (tuple f32 s64 char)) (type (result 0 (error 1))))",
    "(component (import \"seawall:host/state@0.1.0\" (instance)) (import \"wasi:cli/environment@0.2.0\" (instance)) (import \"seawall:host/config@9.0.0\" (instance)))",
];

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = COMPONENTS.iter().map(|text| ::wat::parse_str(text).unwrap()).collect();
    let good = Guest::new().logs();
    let busy = Guest::new()
        .import("config", "all", "(param i32)")
        .body("check", format!("(call $all (i32.const 50000)) (i32.const {REPORT})"))
        .body("start", format!("(local $n i32) (loop $l (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 99)))) (i32.const {NOT_FOUND})"))
        .body("list", format!("(drop (memory.grow (i32.const 1))) (i32.const {ZERO})"));
    let guests = [good.component().into_owned(), busy.component().into_owned(), ::wat::parse_str("(module)").unwrap()];
    seeds.extend(guests);
    seeds
}

fn make() -> Run {
    let (executor, runtime) = (executor(), runtime(RuntimeConfig::default()));
    Box::new(move |input| executor.block_on(run(&runtime, input)))
}

async fn run(runtime: &Runtime, input: &[u8]) {
    let backend = match runtime.load_ungranted(plugin(input.to_vec())).await {
        Ok(backend) => backend,
        Err(LoadError::Internal(message)) => panic!("the host is to blame: {message}"),
        Err(error) => {
            let message = error.to_string();
            assert!(message.len() < input.len() * 16 + 4096, "{} bytes of error", message.len());
            return;
        }
    };
    checked(backend.check().await, report_is_sound);
    checked(backend.start(&key(1)).await, status_is_sound);
    checked(backend.signal(&key(1), Signal::KILL).await, |()| ());
    checked(backend.inspect(&[key(1)]).await, |answer| found_is_sound(&answer.found, 1));
    checked(backend.list(None).await, |page| page_is_sound(page, None));
}
