//! `cargo xtask demo`: builds Seawall and plays its story on a private stage, with every claim checked as it is made.
//!
//! Sessions on three backends; a process and a container killed behind the daemon's back; the daemon itself killed; a
//! plugin that spins for ever. After each step `ps --json` is held against `docker ps` and the process table. Without
//! Docker the story is told with the other two backends.

mod facts;
mod stage;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use seawall_testing::daemon::Home;
use seawall_testing::docker::{Engine, NoEngine};
use seawall_testing::interrupt::Interrupt;
use seawall_testing::processes;

use self::stage::{Stage, typed};
use crate::setup::Docker;
use crate::{plugins, say, setup, workspace};

/// How long the daemon may take to bring a session back. Its backoff begins at a second.
const BACK: Duration = Duration::from_secs(30);

/// What the demo's daemon is told besides the defaults: to look more often than one would, so that it is not dull.
const CONFIG: &str = "[control]\nsweep-interval = \"500ms\"\n";

/// A backend that is not healthy is asked again at once, so that the spinning one spins most of the time.
const EAGER: &str = "[control.check]\nretry-interval = \"50ms\"\n";

/// What every session of the demo runs, where the backend runs programs.
const TICK: &str = "while :; do echo tick; sleep 1; done";

/// Builds, plays, cleans up.
pub(crate) fn run() -> Result<()> {
    let began = Instant::now();
    say::heading("Setup");
    let docker = setup::docker()?;
    if docker == Docker::Available {
        say::holds("what a private Docker Engine needs is installed");
    }

    say::heading("Building");
    plugins::run(false)?;
    let built = workspace::build_seawall(false)?;
    let spin = workspace::root()?.join("tests/fixtures/dist/spin.wasm");
    ensure!(spin.is_file(), "{} was not built", spin.display());
    let building = began.elapsed();

    let playing = Instant::now();
    let interrupt = Interrupt::watch()?;
    let engine = engine(docker)?;
    let home = Home::new(&built.seawall)?;
    let home = match &engine {
        Some(engine) => home.with_docker(&engine.host()),
        None => home,
    };
    // Whatever goes wrong from here on, the stage takes everything down with it.
    let stage = play(Stage::new(home, engine, interrupt), &spin)?;

    say::heading("6. Nothing is left");
    stage.clear_away()?;
    let target = target_dir(&built.seawall);
    say::note(format_args!("what was compiled stays in {target} and plugins/target, for the next build"));
    println!(
        "\nDone in {}: {} building, {} playing.",
        say::duration(began.elapsed()),
        say::duration(building),
        say::duration(playing.elapsed())
    );
    Ok(())
}

fn engine(docker: Docker) -> Result<Option<Engine>> {
    let because = match docker {
        Docker::Missing(why) => why,
        Docker::Available => match Engine::start() {
            Ok(engine) => {
                let version = engine.docker(["version", "--format", "{{.Server.Version}}"])?;
                say::holds(format_args!("a private Docker Engine {version} runs, with the image busybox"));
                return Ok(Some(engine));
            }
            Err(NoEngine::Skipped(why)) => why,
            Err(failed @ NoEngine::Failed(_)) => return Err(failed.into()),
        },
    };
    say::warn(format_args!("the demo goes on WITHOUT Docker: {because}"));
    Ok(None)
}

fn target_dir(seawall: &Path) -> String {
    seawall.ancestors().nth(2).unwrap_or(seawall).display().to_string()
}

fn play(mut stage: Stage, spin: &Path) -> Result<Stage> {
    sessions(&mut stage)?;
    behind_its_back(&stage)?;
    killed_daemon(&mut stage)?;
    spinning_plugin(&mut stage, spin)?;
    the_end(&mut stage)?;
    Ok(stage)
}

fn sessions(stage: &mut Stage) -> Result<()> {
    say::heading("1. Sessions on three backends, each a WebAssembly component");
    stage.home.configure(CONFIG).context("write the configuration")?;
    stage.serve()?;
    stage.show(&["backend", "ls"])?;
    let run = ["run", "--restart", "on-failure"];
    stage.show(&[&run[..], &["--backend", "mock", "--name", "dream"]].concat())?;
    stage.show(&[&run[..], &["--backend", "process", "--name", "clock", "--", "sh", "-c", TICK]].concat())?;
    stage.show(&[&run[..], &["--backend", "process", "--name", "sleeper", "--", "sleep", "1000"]].concat())?;
    if stage.has_docker() {
        let docker = ["--backend", "docker", "--image", "busybox", "--memory", "64MiB"];
        stage.show(&[&run[..], &docker[..], &["--name", "web", "--", "sh", "-c", TICK]].concat())?;
        stage.show(&[&run[..], &docker[..], &["--name", "cache", "--", "sleep", "1000"]].concat())?;
    }
    stage.show(&["ps"])?;
    stage.agreement()?;

    stage.interrupt.wait_for("a line in the log of clock", Duration::from_secs(10), || {
        Ok(stage.home.ok(&["logs", "clock"])?.contains("tick").then_some(()))
    })?;
    stage.show(&["logs", "--tail", "1", "clock"])?;
    if stage.has_docker() {
        stage.interrupt.wait_for("a line in the log of web", Duration::from_secs(10), || {
            Ok(stage.home.ok(&["logs", "web"])?.contains("tick").then_some(()))
        })?;
        stage.show(&["logs", "--tail", "1", "web"])?;
    }
    Ok(())
}

fn behind_its_back(stage: &Stage) -> Result<()> {
    say::heading("2. A process and a container are killed behind the daemon's back, and brought back");
    let before = stage.identities()?;

    let clock = stage.session("clock")?;
    let process = stage.processes().remove(&clock.workload()).context("the process of clock is not in the table")?;
    say::command(&format!("kill -9 {}    # {}", process.pid, process.command.join(" ")));
    processes::signal(&process, Signal::KILL).context("kill the process of clock")?;

    let mut killed = vec!["clock"];
    if stage.has_docker() {
        let web = stage.session("web")?;
        let container = stage.containers()?.remove(&web.workload()).context("the container of web is not there")?;
        say::command(&typed("docker", &["kill", &container.name]));
        stage.docker(&["kill", &container.name])?;
        killed.push("web");
    }
    for name in &killed {
        stage.interrupt.wait_for(&format!("{name} runs again"), BACK, || {
            let now = stage.session(name)?;
            let older = before.get(*name).context("the session was there before")?;
            Ok((now.runs() && now.incarnation > older.incarnation()).then_some(()))
        })?;
    }
    stage.show(&["ps"])?;
    stage.agreement()?;

    let after = stage.identities()?;
    for (name, was) in &before {
        let is = after.get(name).with_context(|| format!("{name} has vanished"))?;
        let expected = killed.contains(&name.as_str());
        ensure!(is.differs_really(was) == expected, "{name} was {was:?} and is {is:?}");
        ensure!((stage.session(name)?.restarts == 1) == expected, "{name} has the wrong number of restarts");
    }
    say::holds(format_args!("{} restarted once, every other session was left alone", killed.join(" and ")));
    Ok(())
}

fn killed_daemon(stage: &mut Stage) -> Result<()> {
    say::heading("3. The daemon is killed and started again: every session is adopted, none restarted");
    let before = stage.identities()?;
    let daemon = stage.take_daemon()?;
    say::command(&format!("kill -9 {}    # seawall serve", daemon.pid()));
    daemon.kill().context("kill the daemon")?;
    let orphaned = stage.processes().len();
    let containers = stage.containers()?.into_values().filter(|container| container.running).count();
    say::note(format_args!("no daemon; process sessions that run: {orphaned}, containers that run: {containers}"));
    stage.serve()?;
    all_running(stage)?;
    stage.show(&["ps"])?;
    stage.agreement()?;
    let after = stage.identities()?;
    ensure!(after == before, "sessions changed over the restart:\nbefore {before:#?}\nafter {after:#?}");
    say::holds("same incarnations, same pids, same containers, same start times");
    Ok(())
}

fn spinning_plugin(stage: &mut Stage, spin: &Path) -> Result<()> {
    say::heading("4. A plugin that spins for ever joins; its calls end, and nobody else notices");
    let before = stage.identities()?;
    let backend = format!("[backend.spin]\nplugin = {:?}\n", spin.display().to_string());
    stage.home.configure(&format!("{CONFIG}{EAGER}{backend}")).context("write the configuration")?;
    for line in EAGER.lines().chain(backend.lines()) {
        say::note(format_args!("seawall.toml: {line}"));
    }
    let daemon = stage.take_daemon()?;
    say::command(&format!("kill {}    # seawall serve; sessions are left running", daemon.pid()));
    let status = daemon.terminate()?;
    ensure!(status.success(), "the daemon ended with {status} when it was asked to");
    stage.serve()?;

    // The neighbours are at work while it spins: a new session from the command line to the engine and back.
    say::command("seawall run --backend process -- true    # five times, while it spins");
    let mut times = Vec::new();
    for _ in 0..5 {
        stage.interrupt.check()?;
        let one = Instant::now();
        let id = stage.home.ok(&["run", "--backend", "process", "--", "true"])?;
        times.push(one.elapsed());
        stage.home.ok(&["rm", "--force", id.trim()])?;
    }
    times.sort();
    say::output(&format!("each took {}", times.iter().map(|time| say::duration(*time)).collect::<Vec<_>>().join(", ")));

    stage.interrupt.wait_for("the spinning backend is unhealthy", Duration::from_secs(60), || {
        let status = stage.home.ok(&["backend", "inspect", "spin"])?;
        let cut_off = ["fuel", "deadline", "longer than"].iter().any(|word| status.contains(word));
        Ok((cut_off && status.contains("unhealthy")).then_some(()))
    })?;
    stage.show(&["backend", "inspect", "spin"])?;
    stage.show(&["backend", "ls"])?;
    stage.agreement()?;
    all_running(stage)?;
    let after = stage.identities()?;
    for (name, was) in &before {
        ensure!(after.get(name) == Some(was), "{name} was {was:?} and is {:?}", after.get(name));
    }
    say::holds("the other sessions are the same as before, and new ones start");
    Ok(())
}

fn the_end(stage: &mut Stage) -> Result<()> {
    say::heading("5. The end");
    stage.show(&["down"])?;
    stage.show(&["ps", "--all"])?;
    stage.agreement()?;
    let running = stage.sessions()?.into_iter().filter(stage::runs).count();
    ensure!(running == 0, "{running} sessions run after `seawall down`");
    let sessions = stage.sessions()?;
    let names: Vec<&str> = sessions.iter().map(|session| session.name.as_str()).collect();
    stage.show(&[&["rm"], names.as_slice()].concat())?;
    let left = stage.sessions()?;
    if !left.is_empty() {
        bail!("sessions are left after `seawall rm`: {left:?}");
    }
    let daemon = stage.take_daemon()?;
    say::command(&format!("kill {}    # seawall serve", daemon.pid()));
    let status = daemon.terminate()?;
    ensure!(status.success(), "the daemon ended with {status} when it was asked to");
    Ok(())
}

/// Waits until each session runs. After a start of the daemon one may be `unknown` until its backend was asked.
fn all_running(stage: &Stage) -> Result<()> {
    stage.interrupt.wait_for("every session runs", BACK, || {
        let sessions = stage.sessions()?;
        Ok(sessions.iter().all(stage::runs).then_some(()))
    })
}
