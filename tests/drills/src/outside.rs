//! What happens to sessions behind the daemon's back: they are killed, removed, renamed, paused; their supervisors are
//! killed; they try to escape by a double fork; and strangers carry their labels. Each victim ends as its policy says,
//! nothing of a tree is left, strangers are not touched, and bystanders are the same processes and containers as before.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use rand::Rng as _;
use rustix::process::Signal;
use seawall_model::{Session, SessionState};
use seawall_testing::docker::Engine;
use seawall_testing::processes::{self, Process};
use seawall_testing::workloads;
use serde_json::json;

use crate::load::{Ledger, Promise};
use crate::run::Course;
use crate::stage::{Stage, workload};
use crate::verdict::{clear_away, settle_and_judge};

const SHORT: u32 = 1;
const FULL: u32 = 20;

pub(crate) fn play(course: &mut Course) -> Result<()> {
    let engine = course.engine()?;
    let mut stage = Stage::set(engine, &course.interrupt, "")?;
    let mut rng = course.rng(0);
    let rounds = if course.full { FULL } else { SHORT };
    for round in 1..=rounds {
        stage.serve()?;
        let mut scene =
            Scene { stage: &stage, ledger: Ledger::new(), marker: rng.random_range(10_000..u16::MAX), tricks: 0 };
        scene.processes()?;
        if let Some(engine) = &stage.engine {
            scene.containers(engine)?;
        }
        let Scene { ledger, tricks, .. } = scene;
        course.tally.add("tricks", tricks);
        course.tally.add("sessions", ledger.len() as u64);
        stage.kill()?;
        settle_and_judge(&mut stage, &ledger, &mut course.tally)?;
        ensure!(course.tally.clean(), "the daemon's last words:\n{}", stage.home.log_end());
        clear_away(&mut stage, &mut course.tally)?;
        if let Some(engine) = &stage.engine {
            dismiss_strangers(engine)?;
        }
        course.note(format_args!("{round} of {rounds} rounds"));
    }
    Ok(())
}

/// One round.
struct Scene<'a> {
    stage: &'a Stage,
    ledger: Ledger,
    /// Stands in the arguments of everything that this round's sessions run.
    marker: u16,
    tricks: u64,
}

impl Scene<'_> {
    /// A session that runs this script; each `SLEEP` in it sleeps for long, and can be found by its argument.
    fn cast(&mut self, backend: &str, name: &str, restart: &str, script: &str) -> Result<Session> {
        let script = script.replace("SLEEP", &format!("sleep {}", self.sleep(name)));
        let mut spec = json!({
            "backend": backend, "name": name, "restart": restart, "stop_grace": "500ms", "command": ["sh", "-c", script],
        });
        if backend == "docker"
            && let Some(fields) = spec.as_object_mut()
        {
            fields.insert("image".into(), "busybox".into());
        }
        let running = (restart == "always").then_some(true);
        self.ledger.insert(name.to_owned(), Promise::There { running });
        self.stage.create(&spec)
    }

    /// How long this session sleeps: a number that nobody else has, and small enough for every `sleep`.
    fn sleep(&self, name: &str) -> String {
        let number = name.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        (u64::from(self.marker) * 10_000 + u64::from(number % 10_000)).to_string()
    }

    /// What runs of this session, wherever it went.
    fn sleepers(&self, name: &str) -> Vec<Process> {
        let argument = self.sleep(name);
        let is = |process: &Process| {
            process.alive()
                && process.command.first().is_some_and(|c| c == "sleep")
                && process.command.contains(&argument)
        };
        processes::table().into_iter().filter(is).collect()
    }

    fn until(&self, name: &str, what: &str, so: impl Fn(&Session) -> bool) -> Result<Session> {
        self.stage.until_session(name, what, so)
    }

    /// It was ended from outside, once, and the policy brought it back.
    fn until_back(&self, name: &str) -> Result<Session> {
        self.until(name, "runs again", |now| now.state == SessionState::Running && now.restarts == 1)
    }

    fn until_asleep(&self, name: &str, count: usize) -> Result<()> {
        self.stage.until(&format!("{count} sleepers of {name}"), || {
            let found = self.sleepers(name).len();
            Ok(if found == count { Ok(()) } else { Err(format!("{found}")) })
        })
    }

    fn processes(&mut self) -> Result<()> {
        const ESCAPE: &str = "cd /; (setsid sh -c 'setsid SLEEP & exec SLEEP' &); exec SLEEP";
        self.cast("process", "p-bystander", "always", "exec SLEEP")?;
        let killed = self.cast("process", "p-killed", "always", "exec SLEEP")?;
        let bossless = self.cast("process", "p-bossless", "always", ESCAPE)?;
        let headless = self.cast("process", "p-headless", "never", ESCAPE)?;
        self.cast("process", "p-escaper", "never", ESCAPE)?;
        self.cast(
            "process",
            "p-leaver",
            "never",
            "cd /; (setsid sh -c 'setsid SLEEP & exec SLEEP' &); sleep 0.3; exit 4",
        )?;
        for name in ["p-bossless", "p-headless", "p-escaper"] {
            self.until_asleep(name, 3)?;
        }
        self.until_asleep("p-bystander", 1)?;
        let bystander = self.sleepers("p-bystander");

        processes::signal(&self.first(&killed)?, Signal::KILL).context("kill a session's process")?;
        for session in [&bossless, &headless] {
            processes::signal(&self.supervisor(session)?, Signal::KILL).context("kill a supervisor")?;
        }
        self.stage.stop("p-escaper")?;
        self.tricks += 5;

        ensure!(self.until_back("p-killed")?.exit.is_some_and(|exit| exit.signal == Some(9)), "its exit was kept");
        let bossless = self.until_back("p-bossless")?;
        ensure!(bossless.exit.is_some_and(|exit| exit.unknown()), "nobody can say how it ended");
        self.until("p-headless", "is lost", |now| now.state == SessionState::Lost)?;
        self.until("p-escaper", "is stopped", |now| now.state == SessionState::Stopped)?;
        let left = self.until("p-leaver", "failed", |now| now.state == SessionState::Failed)?;
        ensure!(left.exit.is_some_and(|exit| exit.code == Some(4)), "its exit is its own");
        // Of the trees of the incarnation before nothing is left: what sleeps is the new one's.
        for (name, count) in [("p-headless", 0), ("p-escaper", 0), ("p-leaver", 0), ("p-bossless", 3), ("p-killed", 1)]
        {
            self.until_asleep(name, count)?;
        }
        ensure!(bystander.iter().all(Process::still_runs), "the bystander was ended");
        self.untouched("p-bystander")
    }

    fn containers(&mut self, engine: &Engine) -> Result<()> {
        self.cast("docker", "d-bystander", "always", "exec SLEEP")?;
        let mut names: BTreeMap<&str, String> = BTreeMap::new();
        for name in ["d-killed", "d-stopped", "d-removed", "d-renamed", "d-paused", "d-squatted"] {
            let session = self.cast("docker", name, "always", "exec SLEEP")?;
            names.insert(name, self.stage.container(&session)?);
        }
        let container = |name: &str| names.get(name).cloned().with_context(|| format!("{name} was cast"));
        let bystander = self.stage.session("d-bystander")?;
        let bystander = (self.stage.container(&bystander)?, bystander);
        let before = facts(engine, &bystander.0)?;

        // Strangers with all of our labels: one under a name of its own, one under the name that comes next.
        let squatted = container("d-squatted")?;
        engine.docker(["commit", &squatted, "committed"])?;
        let next = squatted.strip_suffix("-1").map(|name| format!("{name}-2")).context("a first incarnation")?;
        for name in ["stranger", &next] {
            engine.docker(["run", "--detach", "--name", name, "committed", "sleep", "100000"])?;
        }
        let strangers = ["stranger", &next].map(|name| facts(engine, name));

        engine.docker(["kill", &container("d-killed")?])?;
        engine.docker(["stop", "--time", "0", &container("d-stopped")?])?;
        engine.docker(["rm", "--force", &container("d-removed")?])?;
        engine.docker(["rename", &container("d-renamed")?, "renamed"])?;
        engine.docker(["pause", &container("d-paused")?])?;
        engine.docker(["kill", &squatted])?;
        self.tricks += 8;

        for name in ["d-killed", "d-stopped", "d-removed"] {
            self.until_back(name)?;
        }
        // Whoever renames a container takes it out of our hands: it is left alone, and the session is made anew.
        self.until_back("d-renamed")?;
        ensure!(facts(engine, "renamed")?.contains("running"), "what was renamed is somebody else's");
        self.until("d-paused", "is paused", |now| now.state == SessionState::Paused && now.restarts == 0)?;
        engine.docker(["unpause", &container("d-paused")?])?;
        self.until("d-paused", "goes on", |now| now.state == SessionState::Running && now.restarts == 0)?;
        // A stranger under its next name is not met, not adopted and not removed; when it goes, the session comes.
        self.until("d-squatted", "cannot be made", |now| now.incarnation == 2 && now.reason.is_some())?;
        for (name, before) in ["stranger", &next].into_iter().zip(strangers) {
            ensure!(facts(engine, name)? == before?, "{name} was touched");
        }
        engine.docker(["rm", "--force", &next])?;
        self.until_back("d-squatted")?;
        // Under its own name again it is what is left of an earlier incarnation.
        engine.docker(["rename", "renamed", &container("d-renamed")?])?;
        self.stage.until("what is left of an earlier incarnation is removed", || {
            let all = engine.docker(["ps", "--all", "--format", "{{.Names}}"])?;
            let gone = !all.lines().any(|name| Some(name) == names.get("d-renamed").map(String::as_str));
            Ok(if gone { Ok(()) } else { Err(all) })
        })?;
        ensure!(facts(engine, &bystander.0)? == before, "the bystander is the same container");
        self.untouched("d-bystander")
    }

    fn untouched(&self, name: &str) -> Result<()> {
        let now = self.stage.session(name)?;
        ensure!(now.restarts == 0 && now.incarnation == 1, "{name} was restarted");
        Ok(())
    }

    /// The first process of a session.
    fn first(&self, session: &Session) -> Result<Process> {
        let all = workloads::processes(self.stage.home.dir());
        all.get(&workload(session)).cloned().with_context(|| format!("{} has no process", session.name))
    }

    fn supervisor(&self, session: &Session) -> Result<Process> {
        let all = workloads::supervisors(self.stage.home.dir());
        all.get(&workload(session)).cloned().with_context(|| format!("{} has no supervisor", session.name))
    }
}

/// All of a container that somebody could change.
fn facts(engine: &Engine, name: &str) -> Result<String> {
    engine.docker(["inspect", "--format", "{{.Id}} {{.Name}} {{json .State}}", name])
}

/// Removes every container, and the image that one was committed to. None of ours is left.
fn dismiss_strangers(engine: &Engine) -> Result<()> {
    let all = engine.docker(["ps", "--all", "--quiet"])?;
    for id in all.lines() {
        engine.docker(["rm", "--force", id])?;
    }
    engine.docker(["rmi", "committed"]).map(drop)
}
