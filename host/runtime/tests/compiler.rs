//! Components that attack the compiler: what is large, slow or hungry is compiled in a child process under bounds, and
//! whatever becomes of the child, the host has a typed answer and nothing is left.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

#[expect(dead_code, reason = "each test binary uses another part")]
mod guest;

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use guest::Guest;
use rustix::process::{Pid, Signal, kill_process};
use seawall_backend::ExecutionBackend as _;
use seawall_model::Size;
use seawall_runtime::{
    CompileConfig, CompileError, Compiler, LoadError, Plugin, Pool, Runtime, RuntimeConfig, WasmBackend,
};
use tokio::sync::{Mutex, MutexGuard};

/// Compilers need both processors and are looked for in the process table: one test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Far more than any of them needs, on a machine that does other things too.
const LONG: Duration = Duration::from_secs(600);

/// A runtime whose compiler is this one, and the name by which its processes are found.
struct Bench {
    runtime: Runtime,
    tag: String,
    _alone: MutexGuard<'static, ()>,
}

impl Bench {
    async fn new(name: &str, compile: CompileConfig) -> Self {
        let tag = format!("seawall-test-{}-{name}", std::process::id());
        let program = env!("CARGO_BIN_EXE_compile").into();
        Self::with(Compiler::Child { program, arguments: vec![tag.clone().into()] }, tag, compile).await
    }

    /// A program that answers as it likes instead. `$0` is the parent.
    async fn script(name: &str, script: &str, compile: CompileConfig) -> Self {
        let tag = format!("seawall-test-{}-{name}", std::process::id());
        let arguments = vec!["-c".into(), format!(": {tag}; {script}").into()];
        Self::with(Compiler::Child { program: "/bin/sh".into(), arguments }, tag, compile).await
    }

    async fn with(compiler: Compiler, tag: String, compile: CompileConfig) -> Self {
        let _alone = ALONE.lock().await;
        let pool = Pool { calls: 16, ..Pool::default() };
        let config = RuntimeConfig { pool, compiler, compile, ..RuntimeConfig::default() };
        Self { runtime: Runtime::new(config).unwrap(), tag, _alone }
    }

    async fn load(&self, wasm: Vec<u8>) -> Result<WasmBackend, LoadError> {
        self.runtime.load_ungranted(Plugin::new("box".parse().unwrap(), wasm)).await
    }

    async fn refused(&self, wasm: Vec<u8>) -> CompileError {
        match self.load(wasm).await {
            Err(LoadError::Compile(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    /// The processes that compile for it.
    fn children(&self) -> Vec<Pid> {
        let has = |path: &Path| std::fs::read(path.join("cmdline")).is_ok_and(|line| contains(&line, &self.tag));
        let pids = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()).filter(|path| has(path));
        pids.filter_map(|path| Pid::from_raw(path.file_name()?.to_str()?.parse().ok()?)).collect()
    }

    async fn until(&self, count: usize) {
        let waiting = async {
            while self.children().len() != count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(LONG, waiting).await.expect("there are that many children");
    }
}

fn contains(line: &[u8], tag: &str) -> bool {
    line.windows(tag.len()).any(|part| part == tag.as_bytes())
}

fn ample() -> CompileConfig {
    CompileConfig { time: LONG, memory: Size(4 << 30), ..CompileConfig::default() }
}

/// What it answers when nothing is wrong with it.
async fn works(backend: Result<WasmBackend, LoadError>) {
    assert_eq!(backend.unwrap().check().await.unwrap().version, "7");
}

/// A number as WebAssembly's binary format has it.
fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        bytes.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}

fn section(id: u8, contents: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(contents.len()), contents].concat()
}

/// A good guest with one more core module in it, which is never instantiated, but has to be compiled.
fn carrying(module: &[u8]) -> Vec<u8> {
    [&Guest::new().component()[..], &section(1, module)].concat()
}

fn module(sections: &[Vec<u8>]) -> Vec<u8> {
    [b"\0asm\x01\0\0\0".to_vec(), sections.concat()].concat()
}

/// A module with a data segment of this size.
fn data(size: usize) -> Vec<u8> {
    let segment = [&[1, 1][..], &leb(size), &vec![b'x'; size]].concat();
    module(&[section(12, &[1]), section(11, &segment)])
}

/// A module of so many functions `(param i32) (result i32)` with this body.
fn functions(count: usize, body: &[u8]) -> Vec<u8> {
    let body = [&[0][..], body, &[0x0b]].concat();
    let body = [&leb(body.len())[..], &body].concat();
    let types = section(1, &[1, 0x60, 1, 0x7f, 1, 0x7f]);
    let indices = section(3, &[leb(count), vec![0; count]].concat());
    module(&[types, indices, section(10, &[leb(count), body.repeat(count)].concat())])
}

/// So many blocks that a branch may leave, each of which may change the variable: wherever two ways meet the compiler has
/// to know what is in it.
fn tangle(size: usize) -> Vec<u8> {
    let turn: &[u8] = &[0x02, 0x40, 0x20, 0, 0x0d, 0, 0x20, 0, 0x41, 3, 0x6c, 0x21, 0, 0x0b];
    [&turn.repeat(size)[..], &[0x20, 0]].concat()
}

/// So many multiplications one after the other: all of a function is in memory at once, in several forms.
fn long(size: usize) -> Vec<u8> {
    [&[0x20, 0, 0x41, 3, 0x6c, 0x21, 0].repeat(size)[..], &[0x20, 0]].concat()
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn a_plugin_compiled_in_a_child_works() {
    let bench = Bench::new("works", ample()).await;
    works(bench.load(Guest::new().component().into_owned()).await).await;
    assert_eq!(bench.children(), []);
}

#[tokio::test]
async fn what_does_not_validate_is_refused_in_the_compilers_words() {
    let bench = Bench::new("invalid", ample()).await;
    let error = bench.refused(carrying(b"\0asm\x01\0\0\0\x0a")).await;
    assert!(matches!(&error, CompileError::Invalid(words) if words.len() < 2_500), "{error}");
}

#[tokio::test]
async fn a_component_of_fifty_megabytes_is_loaded() {
    let bench = Bench::new("large", ample()).await;
    works(bench.load(carrying(&data(50_000_000))).await).await;
}

#[tokio::test]
async fn a_file_may_have_64_mebibytes_and_not_a_byte_more() {
    const LARGEST: usize = 64 << 20;
    let bench = Bench::new("largest", ample()).await;
    let guest = Guest::new().component().into_owned();
    // A custom section without a name: id, five bytes of length, a zero, padding.
    let padding = LARGEST - guest.len() - 6;
    let mut largest = guest;
    largest.extend_from_slice(&[0]);
    largest.extend((0..5).map(|at| ((padding >> (7 * at)) & 0x7f) as u8 | if at < 4 { 0x80 } else { 0 }));
    largest.resize(LARGEST, 0);
    let mut larger = largest.clone();
    larger.push(0);
    assert!(matches!(bench.load(larger).await, Err(LoadError::TooLarge)));
    works(bench.load(largest).await).await;
}

#[tokio::test]
async fn a_component_of_ten_thousand_functions_is_loaded() {
    let bench = Bench::new("many", ample()).await;
    works(bench.load(carrying(&functions(10_000, &[0x20, 0]))).await).await;
}

#[tokio::test]
async fn what_is_slow_to_compile_is_cut_off_and_leaves_no_process() {
    let limit = Duration::from_millis(50);
    let bench = Bench::new("slow", CompileConfig { time: limit, ..ample() }).await;
    // Only now: it takes memory, which other tests count.
    let slow = carrying(&functions(200, &tangle(2_000)));
    let error = bench.refused(slow.clone()).await;
    assert!(matches!(error, CompileError::Time { limit: named } if named == limit), "{error}");
    assert!(error.to_string().contains("`runtime.compile.time`"), "{error}");
    assert_eq!(bench.children(), [], "it is killed and reaped when the answer is there");
    drop(bench);
    // Nothing else was wrong with it.
    works(Bench::new("slow", ample()).await.load(slow).await).await;
}

#[tokio::test]
async fn what_needs_much_memory_to_compile_is_cut_off_and_costs_the_host_none() {
    let hungry = carrying(&functions(1, &long(20_000)));
    let limit = Size(64 << 20);
    let bench = Bench::new("hungry", CompileConfig { memory: limit, ..ample() }).await;
    // The first of anything leaves something behind: threads, arenas, tables.
    works(bench.load(Guest::new().component().into_owned()).await).await;
    let _ = bench.refused(hungry.clone()).await;
    let before = resident();
    for _ in 0..3 {
        let error = bench.refused(hungry.clone()).await;
        assert!(matches!(error, CompileError::Memory { limit: named } if named == limit), "{error}");
        assert!(error.to_string().contains("`runtime.compile.memory`"), "{error}");
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more than before");
    drop(bench);
    works(Bench::new("hungry", ample()).await.load(hungry).await).await;
}

#[tokio::test]
async fn compiled_code_may_have_as_much_as_is_said_and_not_a_byte_more() {
    let guest = || Guest::new().component().into_owned();
    let with = async |code: u64| Bench::new("code", CompileConfig { code: Size(code), ..ample() }).await;
    let error = with(1).await.refused(guest()).await;
    let CompileError::Code { size: Size(size), limit: Size(1) } = error else { panic!("{error}") };
    works(with(size).await.load(guest()).await).await;
    let error = with(size - 1).await.refused(guest()).await;
    assert!(matches!(error, CompileError::Code { .. }), "{error}");
    assert!(error.to_string().contains("`runtime.compile.code`"), "{error}");
}

#[tokio::test]
async fn a_load_that_is_cancelled_leaves_no_compiler() {
    let bench = Bench::new("cancelled", ample()).await;
    let slow = carrying(&functions(1_000, &tangle(2_000)));
    let (runtime, plugin) = (bench.runtime.clone(), Plugin::new("box".parse().unwrap(), slow));
    let loading = tokio::spawn(async move { runtime.load_ungranted(plugin).await.map(drop) });
    bench.until(1).await;
    loading.abort();
    assert!(loading.await.unwrap_err().is_cancelled());
    bench.until(0).await;
}

#[tokio::test]
async fn a_compiler_that_is_killed_is_a_typed_error() {
    let bench = Bench::new("killed", ample()).await;
    let slow = carrying(&functions(1_000, &tangle(2_000)));
    let killing = async {
        bench.until(1).await;
        kill_process(bench.children()[0], Signal::KILL).unwrap();
    };
    let (error, ()) = tokio::join!(bench.refused(slow), killing);
    assert!(matches!(&error, CompileError::Crashed(how) if how.contains("SIGKILL")), "{error}");
    assert_eq!(bench.children(), []);
}

#[tokio::test]
async fn no_more_are_compiled_at_one_time_than_is_said() {
    let temp = tempfile::tempdir().unwrap();
    let pipe = temp.path().join("go");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let started = temp.path().join("started");
    // Open both ways it has always a writer, and a reader waits for a line.
    let mut gate = std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let script = format!("echo >> {}; read go < {}", started.display(), pipe.display());
    let bench = Bench::script("parallel", &script, CompileConfig { parallel: 2, ..ample() }).await;
    let lines = || std::fs::read_to_string(&started).map_or(0, |text| text.lines().count());
    let load = || bench.refused(Guest::new().component().into_owned());
    let watching = async {
        while lines() < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(bench.children().len(), 2);
        gate.write_all(b"go\ngo\ngo\ngo\n").unwrap();
    };
    tokio::join!(load(), load(), load(), load(), watching);
    assert_eq!(lines(), 4);
}

#[tokio::test]
async fn whatever_a_compiler_answers_is_an_error_unless_it_is_code() {
    let guest = || Guest::new().component().into_owned();
    let answers = [
        ("true", "exit status: 0"),
        ("echo broken >&2; exit 3", "exit status: 3: broken"),
        ("kill -SEGV $$", "SIGSEGV"),
        ("printf 'C\\377\\0\\0\\0\\0\\0\\0\\0half'", "exit status: 0"),
        ("printf 'X\\0\\0\\0\\0\\0\\0\\0\\0'", "its answer is none"),
        ("printf 'C\\0\\0\\0\\0\\0\\0\\0\\0'; exit 1", "exit status: 1"),
        ("printf 'C\\005\\0\\0\\0\\0\\0\\0\\0hello'", "does not compile"),
        ("exec cat /dev/zero", "SIGPIPE"),
        ("exec cat /dev/zero >&2", "longer than 1s"),
        ("exec sleep 1000", "longer than 1s"),
    ];
    for (at, (script, words)) in answers.into_iter().enumerate() {
        // Only what never comes to an end is to be cut off.
        let time = if words.contains("1s") { Duration::from_secs(1) } else { LONG };
        let bench = Bench::script(&format!("answer-{at}"), script, CompileConfig { time, ..ample() }).await;
        let before = resident();
        let error = bench.refused(guest()).await;
        assert!(error.to_string().contains(words), "{script}: {error}");
        let grown = resident().saturating_sub(before);
        assert!(grown < 4 << 20, "{script}: {grown} bytes more than before");
        assert_eq!(bench.children(), [], "{script}");
    }
}

#[tokio::test]
async fn a_compiler_that_is_not_there_is_named() {
    let compiler = Compiler::Child { program: "/no/such/compiler".into(), arguments: Vec::new() };
    let bench = Bench::with(compiler, "none".to_owned(), ample()).await;
    let error = bench.refused(Guest::new().component().into_owned()).await;
    assert!(error.to_string().contains("/no/such/compiler"), "{error}");
}

#[test]
fn bounds_that_let_nothing_be_compiled_are_refused_by_name() {
    for (compile, field) in [
        (CompileConfig { time: Duration::ZERO, ..ample() }, "runtime.compile.time"),
        (CompileConfig { memory: Size(0), ..ample() }, "runtime.compile.memory"),
        (CompileConfig { code: Size(0), ..ample() }, "runtime.compile.code"),
        (CompileConfig { parallel: 0, ..ample() }, "runtime.compile.parallel"),
    ] {
        let error = Runtime::new(RuntimeConfig { compile, ..RuntimeConfig::default() }).unwrap_err();
        assert!(error.to_string().starts_with(field), "{error}");
    }
}
