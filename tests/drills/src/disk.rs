//! What is kept is in trouble: the disk is full, read-only, the database locked by somebody else, put back to what it
//! was a while ago; and the machine seems to have been started anew.
//!
//! While the store cannot write, the daemon lives, answers what it knows, and says no to what it could not keep; no
//! session notices. Whatever was put back, every session is there once afterwards or not at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rusqlite::Connection;
use rustix::process::{Signal, geteuid};
use seawall_model::{Desired, Session, SessionState};
use seawall_supervisor::RunDir;
use seawall_supervisor::record::{self, Started};
use seawall_testing::PATIENCE;
use seawall_testing::processes;
use seawall_testing::workloads;
use serde_json::{Value, json};

use crate::api::{Told, ask};
use crate::load::{Client, Ledger, Promise, under_load};
use crate::run::Course;
use crate::stage::{Stage, workload};
use crate::verdict::{clear_away, settle_and_judge};

const SHORT: u32 = 1;
const FULL: u32 = 10;
/// The longest pause between two requests of a client.
const BREATH: Duration = Duration::from_millis(50);
/// What the data directory may take: the write-ahead log alone grows to 4 MiB before it is copied back.
const DISK: &str = "size=12m,mode=0700";
/// So long a client's requests meet the trouble; longer than the store waits for a lock.
const TROUBLE: Duration = Duration::from_secs(7);

pub(crate) fn play(course: &mut Course) -> Result<()> {
    let rounds = if course.full { FULL } else { SHORT };
    let mut rng = course.rng(0);
    for round in 1..=rounds {
        if geteuid().is_root() {
            let mut stage = Stage::set(None, &course.interrupt, "")?;
            let disk = Disk::mount(&stage.home.data_dir())?;
            full(course, &mut stage, &disk, &mut rng).context("a full disk")?;
            read_only(course, &mut stage, &disk).context("a read-only disk")?;
            clear_away(&mut stage, &mut course.tally)?;
        } else {
            seawall_testing::skipped("a disk that is full or read-only", "it takes root to mount one");
        }
        let engine = course.engine()?;
        let mut stage = Stage::set(engine, &course.interrupt, "")?;
        locked(course, &mut stage, &mut rng).context("a locked database")?;
        restored(course, &mut stage).context("a database that was put back")?;
        rebooted(course, &mut stage).context("a machine started anew")?;
        clear_away(&mut stage, &mut course.tally)?;
        course.note(format_args!("{round} of {rounds} rounds"));
    }
    Ok(())
}

/// A small disk of its own, mounted where the data directory is to be.
struct Disk {
    place: PathBuf,
}

impl Disk {
    fn mount(place: &Path) -> Result<Self> {
        fs::create_dir_all(place).context("make the data directory")?;
        run(Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "seawall-drill"]).arg(place))?;
        Ok(Self { place: place.to_owned() })
    }

    /// The same disk over itself, for reading only: what is open stays as it is, nothing new can be written.
    fn read_only(&self) -> Result<Self> {
        run(Command::new("mount").arg("--bind").args([&self.place, &self.place]))?;
        let cover = Self { place: self.place.clone() };
        run(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(&self.place))?;
        Ok(cover)
    }

    /// Takes every byte that is left.
    fn fill(&self) -> Result<()> {
        use std::io::Write as _;

        let mut ballast = fs::File::create(self.ballast()).context("make the ballast")?;
        for size in [1 << 20, 4096, 1] {
            let piece = vec![0; size];
            while ballast.write_all(&piece).is_ok() {}
        }
        Ok(())
    }

    fn empty(&self) -> Result<()> {
        fs::remove_file(self.ballast()).context("remove the ballast")
    }

    fn ballast(&self) -> PathBuf {
        self.place.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whatever still uses it keeps it until it ends; nobody finds it any more.
        let _ = run(Command::new("umount").arg("-l").arg(&self.place));
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {:?}", command.get_program()))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Under load the disk fills up; the daemon is killed while it is full, and started with no room at all.
fn full(course: &mut Course, stage: &mut Stage, disk: &Disk, rng: &mut StdRng) -> Result<()> {
    stage.serve()?;
    let daemon = stage.take_daemon()?;
    let mut clients = Client::all(stage, BREATH, rng);
    let mut tried = Ledger::new();
    under_load(&mut clients, stage, || {
        stage.rest(TROUBLE / 4)?;
        disk.fill()?;
        // What was written before may be written over for a while.
        stage.until("the daemon says that it cannot keep a session", || {
            let name = format!("tried-{}", tried.len());
            let told = ask(&stage.home, "POST", "/v1/sessions", Some(&json!({"backend": "mock", "name": name})));
            tried.insert(name, Promise::Perhaps);
            Ok(if matches!(&told, Told::Silence(why) if why.contains("no space")) {
                Ok(())
            } else {
                Err(format!("{told:?}"))
            })
        })?;
        stage.rest(TROUBLE / 4)?;
        // What is known is still told.
        ensure!(matches!(ask(&stage.home, "GET", "/v1/sessions", None), Told::Yes(_)), "the daemon does not answer");
        // With it end the requests that wait for something to be done.
        daemon.kill().context("kill the daemon")
    })?;
    // It may serve or refuse to; either way nothing is lost.
    stage.launch()?;
    stage.rest(TROUBLE / 4)?;
    disk.empty()?;
    stage.kill()?;
    verdict(course, stage, &clients, tried)?;
    course.tally.add("full disks", 1);
    course.note("a disk was full");
    Ok(())
}

/// A daemon that cannot write refuses to start, says why, and touches nothing.
fn read_only(course: &mut Course, stage: &mut Stage, disk: &Disk) -> Result<()> {
    stage.serve()?;
    let bystander = workload(&stage.create(&spec("process", "bystander"))?);
    stage.kill()?;
    let process = workloads::processes(stage.home.dir()).remove(&bystander).context("its process")?;
    let cover = disk.read_only()?;
    let refused = stage.home.serve_command().output().context("start a daemon on a read-only disk")?;
    drop(cover);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code().is_some_and(|code| code != 0), "it ended with {}: {said}", refused.status);
    ensure!(
        said.contains(&stage.home.data_dir().display().to_string()),
        "it does not name what it cannot write: {said}"
    );
    ensure!(!said.contains("panicked"), "{said}");
    ensure!(process.still_runs(), "a session was ended");
    course.note("a disk was read-only");
    course.tally.add("read-only disks", 1);
    Ok(())
}

/// Somebody else holds the database's lock for longer than the daemon waits for it.
fn locked(course: &mut Course, stage: &mut Stage, rng: &mut StdRng) -> Result<()> {
    stage.serve()?;
    let mut clients = Client::all(stage, BREATH, rng);
    let database = stage.home.data_dir().join("seawall.db");
    under_load(&mut clients, stage, || {
        let connection = Connection::open(&database).context("open the database beside the daemon")?;
        connection.busy_timeout(PATIENCE).context("wait for the database")?;
        connection.execute_batch("BEGIN IMMEDIATE").context("lock the database")?;
        stage.rest(TROUBLE)?;
        connection.execute_batch("ROLLBACK").context("unlock the database")
    })?;
    stage.kill()?;
    verdict(course, stage, &clients, Ledger::new())?;
    course.note("a database was locked");
    course.tally.add("locked databases", 1);
    clear_away(stage, &mut course.tally)
}

/// Holds what is there against what the clients know, and what is known besides.
fn verdict(course: &mut Course, stage: &mut Stage, clients: &[Client], mut ledger: Ledger) -> Result<()> {
    for client in clients {
        course.tally.add("requests", client.answered + client.cut_off);
        course.tally.add("requests cut off", client.cut_off);
    }
    ledger.extend(clients.iter().flat_map(|client| client.ledger.clone()));
    judged(course, stage, &ledger)
}

fn judged(course: &mut Course, stage: &mut Stage, ledger: &Ledger) -> Result<()> {
    settle_and_judge(stage, ledger, &mut course.tally)?;
    ensure!(course.tally.clean(), "the daemon's last words:\n{}", stage.home.log_end());
    Ok(())
}

/// A session that runs until it is told to end, and is always brought back.
fn spec(backend: &str, name: &str) -> Value {
    let mut spec = json!({"backend": backend, "name": name, "restart": "always", "stop_grace": "500ms"});
    if let Some(fields) = spec.as_object_mut().filter(|_| backend != "mock") {
        fields.insert("command".into(), json!(["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done"]));
        if backend == "docker" {
            fields.insert("image".into(), "busybox".into());
        }
    }
    spec
}

fn cast(stage: &Stage, backend: &str, what: &str) -> Result<String> {
    let name = format!("{backend}-{what}");
    stage.create(&spec(backend, &name))?;
    Ok(name)
}

/// The database is put back to what it was, while the world has moved on: some sessions are unknown to it, some are gone,
/// some are several starts ahead.
fn restored(course: &mut Course, stage: &mut Stage) -> Result<()> {
    let mut ledger = Ledger::new();
    stage.serve()?;
    for backend in stage.backends() {
        for what in ["kept", "removed", "ahead", "stopped"] {
            ledger.insert(cast(stage, backend, what)?, Promise::There { running: Some(true) });
        }
        let started_since = cast(stage, backend, "started")?;
        stage.stop(&started_since)?;
        ledger.insert(started_since, Promise::There { running: Some(false) });
    }
    stage.terminate()?;
    let (data, copy) = (stage.home.data_dir(), stage.home.dir().join("copy"));
    fs::create_dir(&copy).context("make a directory for the copy")?;
    let files = ["seawall.db", "seawall.db-wal", "seawall.db-shm"];
    for file in files.iter().filter(|file| data.join(file).exists()) {
        fs::copy(data.join(file), copy.join(file)).context("copy the database")?;
    }

    stage.serve()?;
    for backend in stage.backends() {
        stage.remove(&format!("{backend}-removed"))?;
        stage.stop(&format!("{backend}-stopped"))?;
        stage.start(&format!("{backend}-started"))?;
        for _ in 0..2 {
            stage.stop(&format!("{backend}-ahead"))?;
            stage.start(&format!("{backend}-ahead"))?;
        }
        ledger.insert(cast(stage, backend, "unknown")?, Promise::Gone);
    }
    stage.kill()?;
    for file in files {
        let _ = fs::remove_file(data.join(file));
        if copy.join(file).exists() {
            fs::copy(copy.join(file), data.join(file)).context("put the database back")?;
        }
    }
    fs::remove_dir_all(&copy).context("remove the copy")?;

    judged(course, stage, &ledger)?;
    course.note("a database was put back");
    course.tally.add("databases put back", 1);
    Ok(())
}

/// Daemon, supervisors and containers are gone at once, and the numbers of their processes belong to others by now.
fn rebooted(course: &mut Course, stage: &mut Stage) -> Result<()> {
    let supervisors = workloads::supervisors(stage.home.dir());
    let innocent = Innocent::start()?;
    for (workload, supervisor) in &supervisors {
        processes::signal(supervisor, Signal::KILL).context("kill a supervisor")?;
        let runs = stage.home.data_dir().join("runs");
        let dir = RunDir::new(runs.join(&workload.session).join(workload.incarnation.to_string()));
        let file = dir.started();
        let started: Started = record::read(&file)?.with_context(|| format!("{workload} was not started"))?;
        let pid = innocent.pid()?;
        fs::remove_file(&file).context("remove a record")?;
        record::write(&file, &Started { pid, supervisor: pid, ..started }, false).context("write a record")?;
    }
    if let Some(engine) = &stage.engine {
        engine.restart()?;
    }
    stage.serve()?;
    let wanted = |now: &Session| now.desired == Desired::Running;
    let sessions = stage.until_sessions("every session runs again", |now| {
        !wanted(now) || (now.state == SessionState::Running && (now.backend.as_str() == "mock" || now.restarts > 0))
    })?;
    let promise = |session: &Session| Promise::There { running: Some(wanted(session)) };
    let ledger = sessions.iter().map(|session| (session.name.to_string(), promise(session))).collect();
    stage.kill()?;
    judged(course, stage, &ledger)?;
    innocent.spared()?;
    course.note("a machine was started anew");
    course.tally.add("reboots", 1);
    Ok(())
}

/// A process that has nothing to do with any of this.
struct Innocent(Child);

impl Innocent {
    fn start() -> Result<Self> {
        Ok(Self(Command::new("sleep").arg("100000").stdin(Stdio::null()).spawn().context("start a process")?))
    }

    fn pid(&self) -> Result<i32> {
        self.0.id().try_into().context("a pid")
    }

    fn spared(mut self) -> Result<()> {
        let ended = self.0.try_wait().context("look after a process")?;
        ensure!(ended.is_none(), "a process that has nothing to do with this was ended: {ended:?}");
        Ok(())
    }
}

impl Drop for Innocent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
