//! A Docker Engine of our own, which nobody else uses and which leaves nothing behind.
//!
//! Everything of it lies in one temporary directory: socket, images, containers, its own containerd. It has a mount
//! namespace, a bridge and a cgroup of its own and no packet filter, so that any number run beside each other and beside the machine's
//! own Docker. A shell script ([`docker.sh`](../src/docker.sh)) is its parent and holds the other end of a pipe: when
//! [`Engine`] is dropped, or its process dies in whatever way, the script ends the daemon and every container, removes
//! the directory, the bridge and the cgroup.

use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::PATIENCE;

const SCRIPT: &str = include_str!("docker.sh");

/// Why there is no Engine.
#[derive(Debug)]
pub enum NoEngine {
    /// This machine cannot run one: what is missing, and how to get it.
    Skipped(String),
    /// It should have come up and did not.
    Failed(anyhow::Error),
}

impl fmt::Display for NoEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped(because) => write!(f, "no Docker Engine can be started here: {because}"),
            Self::Failed(error) => write!(f, "the private Docker Engine did not start: {error:#}"),
        }
    }
}

impl std::error::Error for NoEngine {}

/// A running private Engine with the image `busybox:latest`.
#[derive(Debug)]
pub struct Engine {
    dir: PathBuf,
    script: Child,
    pipes: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
}

impl Engine {
    /// Starts one and imports `busybox:latest`.
    ///
    /// # Errors
    /// [`NoEngine::Skipped`] where root, `dockerd`, `containerd`, `docker` or a static `busybox` is missing.
    pub fn start() -> Result<Self, NoEngine> {
        if let Some(because) = missing() {
            return Err(NoEngine::Skipped(because));
        }
        Self::launch().map_err(NoEngine::Failed)
    }

    /// For a test: the Engine, or `None` after [saying loudly](crate::skipped) why `what` is not tested.
    ///
    /// # Panics
    /// Where it should have started and did not, and for a skip where `CI=true`.
    #[expect(clippy::panic, reason = "this is how a test fails")]
    pub fn start_or_skip(what: &str) -> Option<Self> {
        match Self::start() {
            Ok(engine) => Some(engine),
            Err(NoEngine::Skipped(because)) => {
                crate::skipped(what, &because);
                None
            }
            Err(failed @ NoEngine::Failed(_)) => panic!("{failed}"),
        }
    }

    fn launch() -> Result<Self> {
        // A socket's path has at most 107 bytes, and containerd adds to it.
        let base = Some(std::env::temp_dir()).filter(|dir| dir.as_os_str().len() <= 40);
        let dir = tempfile::Builder::new()
            .prefix("sw-")
            .rand_bytes(6)
            .tempdir_in(base.unwrap_or_else(|| PathBuf::from("/tmp")))
            .context("a temporary directory")?
            .keep();
        let dir = dir.canonicalize()?;
        write_configuration(&dir)?;

        let tag = dir.file_name().and_then(OsStr::to_str).context("a temporary directory with a plain name")?;
        let tag = tag.trim_start_matches("sw-").to_owned();
        let mut script = Command::new("unshare");
        script
            .args(["--mount", "/bin/sh", "-c", SCRIPT, "seawall-engine"])
            .arg(&dir)
            .arg(format!("seawall-test-{tag}"));
        script.arg(format!("sw{tag}")).arg(free_address()?);
        // A group of its own: Ctrl-C reaches whoever asked for the Engine, who then closes the pipe.
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        script.env_remove("DOCKER_HOST").env_remove("NOTIFY_SOCKET").current_dir("/");
        let mut script = script.spawn().context("the shell that looks after the daemon")?;
        let pipes = script.stdin.take().zip(script.stdout.take().map(BufReader::new));
        let engine = Self { dir, script, pipes: Mutex::new(pipes) };
        engine.answer("started")?;
        engine.ready()?;
        engine.import_busybox()?;
        Ok(engine)
    }

    /// Its address, `unix://...`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("d.sock")
    }

    /// Its directory, which is removed with it: a place for files of tests that containers are to see.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A command line of `docker` that speaks to it and touches no file of the user.
    pub fn command(&self) -> Command {
        let mut docker = Command::new("docker");
        docker.env("DOCKER_HOST", self.host()).env("DOCKER_CONFIG", self.dir.join("cli"));
        docker.env_remove("DOCKER_CONTEXT").env_remove("DOCKER_TLS_VERIFY").stdin(Stdio::null());
        docker
    }

    /// Runs `docker` with these arguments.
    ///
    /// # Errors
    /// Only if `docker` cannot be run at all.
    pub fn output<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Output> {
        self.command().args(args).output().context("run docker")
    }

    /// Runs `docker` with these arguments and gives its output, trimmed.
    ///
    /// # Errors
    /// If it does not end with 0: its own words.
    pub fn docker<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String> {
        let mut command = self.command();
        let output = command.args(args).output().context("run docker")?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?} ended with {}: {}", output.status, error.trim());
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// From now on, which containers the daemon has heard to want memory. It hears that by the way, and tells of the end of
    /// one without it if that comes first. It remembers few events, so that who asks later may be too late.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn want_of_memory(&self) -> Result<WantOfMemory> {
        let heard = tempfile::NamedTempFile::new_in(&self.dir).context("a file for the daemon's events")?;
        let mut command = self.command();
        command.args(["events", "--since", "1m", "--filter", "event=oom", "--format", "{{.Actor.Attributes.name}}"]);
        let events = command.stdout(heard.reopen()?).spawn().context("run docker")?;
        Ok(WantOfMemory { events, heard })
    }

    /// The daemon's process id.
    ///
    /// # Errors
    /// If it does not run.
    pub fn pid(&self) -> Result<u32> {
        let text = std::fs::read_to_string(self.dir.join("docker.pid")).context("the daemon's pid file")?;
        text.trim().parse().context("the daemon's pid file")
    }

    fn send(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()?).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process(pid, signal).context("a signal to the daemon")
    }

    /// Stops the daemon as a hung one is: its socket accepts and nobody answers. Returns when it stands still.
    ///
    /// # Errors
    /// If it does not run.
    pub fn pause_process(&self) -> Result<()> {
        self.send(Signal::STOP)?;
        let pid = self.pid()?;
        // The signal takes a moment to reach all of its threads.
        crate::wait_until("the paused daemon stands still", PATIENCE, || stands_still(pid));
        Ok(())
    }

    /// Lets a paused daemon go on.
    ///
    /// # Errors
    /// If it does not run.
    pub fn resume(&self) -> Result<()> {
        self.send(Signal::CONT)
    }

    /// Ends the daemon with SIGKILL; its containers may go on. [`up`](Self::up) brings it back.
    ///
    /// # Errors
    /// If the script that looks after it is gone.
    pub fn kill(&self) -> Result<()> {
        self.tell("kill")
    }

    /// Shuts the daemon down politely; that ends its containers. [`up`](Self::up) brings it back.
    ///
    /// # Errors
    /// If the script that looks after it is gone.
    pub fn down(&self) -> Result<()> {
        self.tell("stop")
    }

    /// Starts the daemon again, and returns when it answers.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn up(&self) -> Result<()> {
        self.tell("start")?;
        self.ready()
    }

    /// [`down`](Self::down), then [`up`](Self::up).
    ///
    /// # Errors
    /// If it does not come up.
    pub fn restart(&self) -> Result<()> {
        self.down()?;
        self.up()
    }

    /// What the daemon has logged so far.
    pub fn log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.dir.join(name)).unwrap_or_default();
        format!("{}{}", read("containerd.log"), read("dockerd.log"))
    }

    fn tell(&self, command: &str) -> Result<()> {
        {
            let mut pipes = self.pipes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let (stdin, _) = pipes.as_mut().context("the engine was shut down")?;
            writeln!(stdin, "{command}").context("the script that looks after the daemon is gone")?;
        }
        self.answer(command)
    }

    fn answer(&self, expected: &str) -> Result<()> {
        let mut pipes = self.pipes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (_, stdout) = pipes.as_mut().context("the engine was shut down")?;
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        ensure!(line.trim() == expected, "the script that looks after the daemon answered {line:?} to {expected}");
        Ok(())
    }

    fn ready(&self) -> Result<()> {
        let start = Instant::now();
        while !self.answers() {
            let dead = self.tell("alive").is_err();
            if dead || start.elapsed() > PATIENCE {
                let log = self.log();
                let tail = log.lines().rev().take(15).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>();
                let what = if dead { "it ended" } else { "it does not answer" };
                bail!("{what}; the end of its log:\n{}", tail.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn answers(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = UnixStream::connect(self.socket())?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.contains(" 200 "))
    }

    fn import_busybox(&self) -> Result<()> {
        let root = self.dir.join("image");
        let bin = root.join("bin");
        std::fs::create_dir_all(&bin)?;
        for dir in ["tmp", "etc", "dev", "proc", "sys"] {
            std::fs::create_dir_all(root.join(dir))?;
        }
        std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")?;
        std::fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
        std::fs::copy(busybox().context("busybox")?, bin.join("busybox"))?;
        let list = Command::new("busybox").arg("--list").output()?;
        for applet in String::from_utf8_lossy(&list.stdout).lines().filter(|name| *name != "busybox") {
            std::os::unix::fs::symlink("busybox", bin.join(applet))?;
        }
        let archive = self.dir.join("busybox.tar");
        let tar = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".").status()?;
        ensure!(tar.success(), "tar cannot pack the image");
        self.docker([OsStr::new("import"), archive.as_os_str(), OsStr::new("busybox:latest")])?;
        std::fs::remove_dir_all(root)?;
        std::fs::remove_file(archive)?;
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Closing standard input tells the script to clean up; it ends when that is done.
        let pipes = self.pipes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some((stdin, mut stdout)) = pipes {
            drop(stdin);
            let _ = stdout.read_to_string(&mut String::new());
        }
        let _ = self.script.wait();
    }
}

/// See [`Engine::want_of_memory`].
#[derive(Debug)]
pub struct WantOfMemory {
    events: Child,
    heard: tempfile::NamedTempFile,
}

impl WantOfMemory {
    /// Whether it was heard of this one.
    ///
    /// # Errors
    /// What was heard cannot be read.
    pub fn of(&self, container: &str) -> Result<bool> {
        Ok(std::fs::read_to_string(self.heard.path())?.lines().any(|name| name == container))
    }
}

impl Drop for WantOfMemory {
    fn drop(&mut self) {
        // One that has ended is no failure.
        let _ = self.events.kill();
        let _ = self.events.wait();
    }
}

/// Whether every thread of the process is stopped.
fn stands_still(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state stands behind the program's name, which is in parentheses.
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['T', 't']))
    })
}

fn write_configuration(dir: &Path) -> Result<()> {
    let shown = dir.display();
    std::fs::create_dir(dir.join("cli"))?;
    std::fs::write(dir.join("daemon.json"), "{}\n")?;
    let containerd = format!(
        "version = 2\nroot = \"{shown}/c\"\nstate = \"{shown}/s\"\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{shown}/c.sock\"\n"
    );
    std::fs::write(dir.join("containerd.toml"), containerd)?;
    Ok(())
}

/// What this machine lacks, in words.
fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it takes root".to_owned());
    }
    let absent: Vec<_> =
        ["dockerd", "containerd", "docker", "tar", "unshare"].into_iter().filter(|name| find(name).is_none()).collect();
    if !absent.is_empty() {
        let names = absent.join(", ");
        return Some(format!("{names} not found; on Debian: apt-get install docker.io iptables busybox-static"));
    }
    if busybox().is_none() {
        return Some("no static busybox found; on Debian: apt-get install busybox-static".to_owned());
    }
    None
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// The machine's busybox, if it needs no shared library: the image has none.
fn busybox() -> Option<PathBuf> {
    let file = find("busybox")?;
    let bytes = std::fs::read(&file).ok()?;
    (needs_interpreter(&bytes) == Some(false)).then_some(file)
}

/// Whether a 64-bit ELF program asks for a dynamic linker, by its program headers.
fn needs_interpreter(elf: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    let at = |from: usize, bytes: usize| -> Option<usize> {
        let mut number = [0; 8];
        number.get_mut(..bytes)?.copy_from_slice(elf.get(from..from.checked_add(bytes)?)?);
        usize::try_from(u64::from_le_bytes(number)).ok()
    };
    if elf.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    let (table, size, count) = (at(32, 8)?, at(54, 2)?, at(56, 2)?);
    let mut kinds = (0..count).map(|index| at(table.checked_add(index * size)?, 4));
    Some(kinds.any(|kind| kind == usize::try_from(PT_INTERP).ok()))
}

/// An address for the bridge: 10.A.B.1 in a net that this machine has no route to.
fn free_address() -> Result<String> {
    let routes = std::fs::read_to_string("/proc/net/route").context("the table of routes")?;
    // Destinations stand there as little-endian hexadecimal numbers: 10.200.7.0 is 0007C80A.
    let taken: Vec<u32> = routes
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .filter_map(|text| u32::from_str_radix(text, 16).ok())
        .map(|number| u32::from_be(number.to_be().swap_bytes()) >> 8)
        .collect();
    let mut seed = std::process::id().wrapping_mul(2_654_435_761)
        ^ std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.subsec_nanos());
    for _ in 0..100 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (a, b) = (200 + (seed >> 16) % 50, (seed >> 8) % 256);
        if !taken.contains(&((10 << 16) | (a << 8) | b)) {
            return Ok(format!("10.{a}.{b}.1"));
        }
    }
    bail!("no free net was found for the bridge")
}

/// What carries the name of the Engine whose directory this is or was: its bridge and its cgroups, wherever in the
/// hierarchies they lie.
pub fn named_after(dir: &Path) -> Vec<PathBuf> {
    let tag = dir.display().to_string().rsplit('-').next().unwrap_or_default().to_owned();
    let mut found = Vec::new();
    let mut places = vec![PathBuf::from("/sys/class/net"), PathBuf::from("/sys/fs/cgroup")];
    while let Some(place) = places.pop() {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            if entry.path().display().to_string().ends_with(&tag) {
                found.push(entry.path());
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                places.push(entry.path());
            }
        }
    }
    found
}
