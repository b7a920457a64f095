//! A real daemon in a world of its own: private directory, private socket, nothing of the caller's environment.
//!
//! [`Home`] is that world and outlives the daemons that run in it, so that one can be killed and another started.
//! Whatever it started or what was started through it is gone when it is dropped, also after a failed test.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::PATIENCE;
use crate::http::{self, Response};
use crate::processes::{self, Process};

/// A configuration that looks often and waits little, so that tests are quick. What is slow because the machine is busy
/// says nothing of a backend's health, only the deadline of its own call does; and a session that it keeps running for long
/// has no more starts for that.
pub const QUICK: &str = r#"
[control]
sweep-interval = "200ms"
list-interval = "500ms"
orphan-grace = "500ms"
restart = { first = "50ms", most = "500ms" }
healthy-uptime = "1h"
retry = { first = "50ms", most = "500ms" }
[control.check]
interval = "500ms"
retry-interval = "300ms"
timeout = "60s"
degraded-after = "60s"
"#;

/// Finds `seawall`: `SEAWALL_BIN`, else in the target directory that the running test or tool was built in.
///
/// # Errors
/// It has not been built.
pub fn seawall_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SEAWALL_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe().context("find the running executable")?;
    let found = own.ancestors().skip(1).take(2).map(|dir| dir.join("seawall")).find(|path| path.is_file());
    found.context(
        "`seawall` has not been built: `cargo xtask test` builds it, or `cargo build -p seawall -p seawall-supervisor`",
    )
}

/// What a command answered.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// The world of a daemon.
#[derive(Debug)]
pub struct Home {
    seawall: PathBuf,
    dir: PathBuf,
    cache: PathBuf,
    docker_host: String,
}

impl Home {
    /// A new one. No Docker Engine can be found from it.
    ///
    /// # Errors
    /// Its directory cannot be made.
    pub fn new(seawall: &Path) -> Result<Self> {
        // A socket's path has at most 108 bytes, so the directory is short whatever TMPDIR says. The path that the
        // kernel shows for processes has no links in it.
        let dir = tempfile::Builder::new().prefix("sw-").tempdir_in("/tmp").context("make a directory in /tmp")?;
        let dir = dir.keep().canonicalize().context("find the new directory")?;
        let docker_host = format!("unix://{}/no-docker.sock", dir.display());
        let home = Self { seawall: seawall.to_path_buf(), cache: dir.join("cache"), dir, docker_host };
        // Even an empty file keeps the daemon from the one of this machine.
        home.configure("").context("write an empty configuration")?;
        Ok(home)
    }

    /// Keeps compiled plugins in `dir`, where other homes find them.
    pub fn with_cache(mut self, dir: &Path) -> Self {
        self.cache = dir.to_path_buf();
        self
    }

    /// Uses the engine at `host`.
    pub fn with_docker(mut self, host: &str) -> Self {
        host.clone_into(&mut self.docker_host);
        self
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The daemon's data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The API's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("api.sock")
    }

    /// Where compiled plugins are kept.
    pub fn cache_dir(&self) -> &Path {
        &self.cache
    }

    /// The configuration file; empty unless [configured](Self::configure).
    pub fn config(&self) -> PathBuf {
        self.dir.join("seawall.toml")
    }

    /// What every daemon of this home wrote, one after the other.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("daemon.log")).unwrap_or_default()
    }

    /// Writes the configuration that the next daemon starts with.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn configure(&self, text: &str) -> io::Result<()> {
        fs::write(self.config(), text)
    }

    /// `seawall` with these arguments, in this home.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(&self.seawall);
        command.args(arguments).current_dir(&self.dir).stdin(Stdio::null()).env_clear();
        for name in ["PATH", "CI", "RUST_BACKTRACE"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.env("HOME", &self.dir).env("DOCKER_HOST", &self.docker_host);
        command.env("SEAWALL_SOCKET", self.socket()).env("SEAWALL_CACHE_DIR", &self.cache);
        command
    }

    /// Runs `seawall` to its end.
    ///
    /// # Errors
    /// It could not be started.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<Output> {
        let output = self.command(arguments).output().context("start seawall")?;
        Ok(Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs `seawall`, which must succeed, and gives what it printed.
    ///
    /// # Errors
    /// It failed; with what it said.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        ensure!(
            output.code == Some(0),
            "`seawall {}` ended with {:?}\n{}{}",
            arguments.join(" "),
            output.code,
            output.stdout,
            output.stderr
        );
        Ok(output.stdout)
    }

    /// Runs `seawall` with `--json`, which must succeed, and reads what it printed.
    ///
    /// # Errors
    /// It failed, or printed no JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut arguments = arguments.to_vec();
        // What stands behind `--` is the session's, not ours.
        let at = arguments.iter().position(|argument| *argument == "--").unwrap_or(arguments.len());
        arguments.insert(at, "--json");
        let text = self.ok(&arguments)?;
        serde_json::from_str(&text)
            .with_context(|| format!("`seawall {}` printed no JSON: {text}", arguments.join(" ")))
    }

    /// One request to the API.
    ///
    /// # Errors
    /// There is no HTTP answer.
    pub fn http(&self, method: &str, target: &str, body: Option<&str>) -> io::Result<Response> {
        http::request(&self.socket(), method, target, body)
    }

    /// The command that starts a daemon here.
    pub fn serve_command(&self) -> Command {
        let mut command = self.command(["serve"]);
        command.arg("--data-dir").arg(self.data_dir()).arg("--socket").arg(self.socket());
        command.arg("--config").arg(self.config());
        command
    }

    /// Starts a daemon and waits until it serves. `ready` waits until every backend had its first check, too.
    ///
    /// # Errors
    /// It ended, or does not serve in time; with the end of its log.
    pub fn serve(&self, ready: bool) -> Result<Daemon> {
        let mut daemon = self.launch()?;
        self.await_daemon(&mut daemon, ready)?;
        Ok(daemon)
    }

    /// Starts a daemon and waits for nothing.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn launch(&self) -> Result<Daemon> {
        use std::os::unix::process::CommandExt;

        let log =
            File::options().create(true).append(true).open(self.dir.join("daemon.log")).context("open its log")?;
        let mut command = self.serve_command();
        command.stdout(log.try_clone().context("share its log")?).stderr(log);
        // Its own group: a Ctrl-C at the terminal is for whoever runs the test.
        let began = Instant::now();
        let child = command.process_group(0).spawn().context("start seawall serve")?;
        Ok(Daemon { child, began, ready_after: Duration::ZERO })
    }

    /// Waits until a daemon that was [launched](Self::launch) serves.
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    pub fn await_daemon(&self, daemon: &mut Daemon, ready: bool) -> Result<()> {
        let path = if ready { "/readyz" } else { "/healthz" };
        loop {
            if self.http("GET", path, None).is_ok_and(|answer| answer.status == 200) {
                daemon.ready_after = daemon.began.elapsed();
                return Ok(());
            }
            if let Some(status) = daemon.child.try_wait().context("look after the daemon")? {
                bail!("`seawall serve` ended ({status}) instead of serving\n{}", self.log_end());
            }
            ensure!(
                daemon.began.elapsed() < PATIENCE,
                "the daemon does not answer {path} with 200\n{}",
                self.log_end()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Where a daemon that serves over TCP listens, as it says itself: after its socket answers.
    ///
    /// # Errors
    /// It does not say it in time; with the end of its log.
    pub fn url(&self) -> Result<String> {
        let began = Instant::now();
        let ready = loop {
            let log = self.log();
            if let Some(ready) = log.lines().rev().find_map(|line| line.strip_prefix("ready on ")) {
                break ready.to_owned();
            }
            ensure!(began.elapsed() < PATIENCE, "the daemon does not say that it is ready\n{}", self.log_end());
            std::thread::sleep(Duration::from_millis(5));
        };
        let url = ready.split(' ').find(|word| word.starts_with("http://") || word.starts_with("https://"));
        Ok(url.with_context(|| format!("it does not serve over TCP: {ready}"))?.to_owned())
    }

    /// The last lines of [`log`](Self::log).
    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n")
    }

    /// What runs in this home: daemon, supervisors, sessions.
    pub fn processes(&self) -> Vec<Process> {
        processes::belonging_to(&self.dir)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let groups: BTreeSet<_> = self.processes().iter().flat_map(Process::control_groups).collect();
        let left = processes::sweep_away(&self.dir);
        if !left.is_empty() {
            // The test harness captures `eprintln!` of a passing test; this must be seen.
            let _ = writeln!(io::stderr(), "LEFT BEHIND by a test in {}: {left:?}", self.dir.display());
        }
        // A supervisor that is killed cannot remove its control group. Only an empty one can be removed.
        for group in groups.iter().rev() {
            let _ = fs::remove_dir(group);
        }
        if std::thread::panicking() {
            let _ = writeln!(io::stderr(), "--- the daemon's log\n{}", self.log_end());
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A daemon that serves. Dropped, it is killed; sessions stay until its [`Home`] is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    began: Instant,
    ready_after: Duration,
}

impl Daemon {
    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// From the start of the program to the first good answer.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Its line in the process table.
    pub fn process(&self) -> Option<Process> {
        Process::read(i32::try_from(self.child.id()).ok()?)
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// It had ended already.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Asks it to end, as a service manager does, and waits.
    ///
    /// # Errors
    /// It does not end within [`PATIENCE`].
    pub fn terminate(self) -> Result<ExitStatus> {
        self.end(Signal::TERM)
    }

    /// Sends a signal and waits for its end.
    ///
    /// # Errors
    /// It does not end within [`PATIENCE`].
    pub fn end(mut self, signal: Signal) -> Result<ExitStatus> {
        let process = self.process().context("the daemon has ended already")?;
        processes::signal(&process, signal).context("signal the daemon")?;
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end within [`PATIENCE`].
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().context("wait for the daemon")? {
                return Ok(status);
            }
            ensure!(Instant::now() < until, "the daemon does not end within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
