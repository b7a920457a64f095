//! A capability with a directory of its own, and what its tests keep asking. Everything it started is gone when it is
//! dropped.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use seawall_backend::{LogStream, Source};
use seawall_model::{Key, LogOptions, SessionId, State, Status, StoreId};
use seawall_process::{Process, ProcessGrant, Program, Scope};
use seawall_supervisor::RunDir;
use seawall_supervisor::protocol::{Reply, Request};
use seawall_supervisor::record::{self, Started};

/// Nothing here takes this long unless it never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) struct Bench {
    dir: tempfile::TempDir,
    scope: Scope,
    pub(crate) process: Process,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(ProcessGrant::default())
    }

    pub(crate) fn with(grant: ProcessGrant) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The session's user must be able to pass.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let scope = Scope {
            store: StoreId::random(),
            backend: "process".parse().unwrap(),
            runs: dir.path().join("runs"),
            supervisor: env!("CARGO_BIN_EXE_seawall-supervisor").into(),
        };
        let process = Process::new(scope.clone(), grant).unwrap();
        Self { dir, scope, process }
    }

    /// As of a daemon that a shell started in the background, with the keyboard's signals ignored.
    pub(crate) fn in_the_background() -> Self {
        let mut bench = Self::new();
        let path = bench.dir.path().join("supervisor");
        let script = format!("#!/bin/sh\ntrap '' INT QUIT HUP\nexec {} \"$@\"\n", bench.scope.supervisor.display());
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        bench.scope.supervisor = path;
        bench.process = bench.again();
        bench
    }

    /// As a daemon that was started again would make it.
    pub(crate) fn again(&self) -> Process {
        Process::new(self.scope.clone(), ProcessGrant::default()).unwrap()
    }

    /// Another backend of the same daemon.
    pub(crate) fn neighbour(&self) -> Process {
        let scope = Scope { backend: "other".parse().unwrap(), ..self.scope.clone() };
        Process::new(scope, ProcessGrant::default()).unwrap()
    }

    pub(crate) fn scope(&self) -> Scope {
        self.scope.clone()
    }

    /// A directory for the test's own files that the session's user can use.
    pub(crate) fn shared(&self) -> PathBuf {
        let path = self.dir.path().join("shared");
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        path
    }

    pub(crate) fn run_dir(&self, key: &Key) -> RunDir {
        RunDir::new(self.scope.runs.join(key.session.as_str()).join(key.incarnation.to_string()))
    }

    pub(crate) fn started(&self, key: &Key) -> Started {
        record::read(&self.run_dir(key).started()).unwrap().expect("it was started")
    }

    /// Creates and starts it.
    pub(crate) async fn run(&self, program: &Program) -> Status {
        self.process.create(program).await.unwrap();
        self.process.start(&program.key).await.unwrap()
    }

    /// Creates and starts a shell with this script.
    pub(crate) async fn sh(&self, script: &str) -> Key {
        let program = shell(script);
        self.run(&program).await;
        program.key
    }

    /// Runs a shell with this script to its end and gives what it wrote.
    pub(crate) async fn output(&self, program: &Program) -> String {
        self.run(program).await;
        self.ended(&program.key).await;
        String::from_utf8(self.log(&program.key, LogOptions::default()).await).unwrap()
    }

    pub(crate) async fn status(&self, key: &Key) -> Option<Status> {
        self.process.inspect(std::slice::from_ref(key)).await.unwrap().pop().map(|found| found.status)
    }

    pub(crate) async fn ended(&self, key: &Key) -> Status {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.status(key).await.expect("it is there");
            if status.state.ended() {
                return status;
            }
            assert!(Instant::now() < end, "it has not ended: {status:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn log(&self, key: &Key, options: LogOptions) -> Vec<u8> {
        collect(self.process.logs(key, &options).await.unwrap()).await.concat()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let process = self.process.clone();
        let clean = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                for workload in process.list(None).await.unwrap().workloads {
                    let key = Key { session: workload.session, incarnation: workload.incarnation, handle: None };
                    process.remove(&key, true).await.unwrap();
                }
            });
        });
        assert!(clean.join().is_ok() || std::thread::panicking(), "something was left behind");
    }
}

pub(crate) fn key() -> Key {
    Key { session: SessionId::random(), incarnation: 1, handle: None }
}

pub(crate) fn shell(script: &str) -> Program {
    Program::new(key(), ["sh", "-c", script].map(str::to_owned).to_vec())
}

/// Everything of a stream, its pieces in order.
pub(crate) async fn collect(stream: LogStream) -> Vec<Vec<u8>> {
    let all = stream.map(|chunk| chunk.unwrap().bytes.to_vec()).collect::<Vec<_>>();
    tokio::time::timeout(PATIENCE, all).await.expect("the stream ends")
}

/// Everything that came from one source.
pub(crate) async fn only(stream: LogStream, source: Source) -> Vec<u8> {
    let all = stream.map(Result::unwrap).filter(|chunk| std::future::ready(chunk.source == source));
    all.map(|chunk| chunk.bytes.to_vec()).collect::<Vec<_>>().await.concat()
}

/// So many bytes of every kind, without a newline at their end.
pub(crate) fn noise(length: u32) -> Vec<u8> {
    let mut noise: Vec<u8> = (0..length).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
    noise.push(0xff);
    noise
}

pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "it never came true that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The number that a session wrote into a file, once it is there whole.
pub(crate) async fn number_in(path: &Path) -> i32 {
    let read = || fs::read_to_string(path).ok().filter(|text| text.ends_with('\n'))?.trim().parse().ok();
    eventually(&format!("{} holds a number", path.display()), || read().is_some()).await;
    read().unwrap()
}

/// Whether the process is there and no zombie.
pub(crate) fn alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')))
}

/// Sends a signal to a process that this test started.
pub(crate) fn send(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a test that needs `what` goes on. In CI it must.
pub(crate) fn has(what: &str, is: bool) -> bool {
    if !is {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must have {what}");
        eprintln!("SKIPPED: this test needs {what}");
    }
    is
}

pub(crate) fn ended_with(status: &Status, code: Option<u8>, signal: Option<u8>) {
    let exit = status.exit.as_ref().expect("it ended");
    assert_eq!((status.state, exit.code, exit.signal, exit.oom), (State::Exited, code, signal, false), "{status:?}");
    assert!(exit.at.is_some());
}

/// Asks a supervisor over its socket, as the capability does.
pub(crate) fn request(dir: &RunDir, request: Request) -> Reply {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(dir.ctl()).unwrap();
    stream.write_all(&Request::Hello { min: 1, max: 9 }.encode()).unwrap();
    stream.write_all(&[5, 0, 0, 0, 0xee, 0xee, 1, 2, 3]).unwrap();
    stream.write_all(&request.encode()).unwrap();
    let (mut buffer, mut piece) = (Vec::new(), [0; 64]);
    let mut replies = Vec::new();
    while replies.len() < 3 {
        let length = stream.read(&mut piece).unwrap();
        assert!(length > 0, "it hung up after {replies:?}");
        buffer.extend_from_slice(&piece[..length]);
        while let Some(reply) = Reply::decode(&mut buffer) {
            replies.push(reply.unwrap());
        }
    }
    assert!(matches!(replies[..2], [Reply::Hello(1), Reply::Unsupported(_)]), "{replies:?}");
    replies.pop().unwrap()
}
