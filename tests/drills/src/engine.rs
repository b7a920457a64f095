//! The Docker Engine is hung (SIGSTOP), killed, stopped and restarted under load. Its sessions become unknown and
//! nothing else; neighbours on other backends do not notice; what the Engine kept goes on as the same container, and what
//! it took down comes back by policy, never as an orphan.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::seq::SliceRandom as _;
use seawall_model::{RestartPolicy, Session, SessionState};
use seawall_testing::docker::Engine;
use serde_json::json;

use crate::load::{Client, Ledger, Promise, under_load};
use crate::run::Course;
use crate::stage::Stage;
use crate::verdict::{clear_away, settle_and_judge};

const SHORT: usize = 1;
const FULL: usize = 8;

/// The longest pause between two requests of a client.
const BREATH: Duration = Duration::from_millis(200);

/// Deadlines that a drill can wait for, and a breaker that opens and closes often.
const CONFIG: &str = r#"
[backend.docker]
deadlines = { check = "2s", observe = "2s", control = "3s" }
bulkhead.breaker = { open-for = "2s" }
"#;

/// What is done to the Engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Hang,
    Kill,
    Stop,
    Restart,
}

impl Trouble {
    const ALL: [Self; 4] = [Self::Hang, Self::Kill, Self::Stop, Self::Restart];

    fn begin(self, engine: &Engine) -> Result<()> {
        match self {
            Self::Hang => engine.pause_process(),
            Self::Kill => engine.kill(),
            Self::Stop => engine.down(),
            Self::Restart => engine.restart(),
        }
    }

    fn end(self, engine: &Engine) -> Result<()> {
        match self {
            Self::Hang => engine.resume(),
            Self::Kill | Self::Stop => engine.up(),
            Self::Restart => Ok(()),
        }
    }
}

pub(crate) fn play(course: &mut Course) -> Result<()> {
    let Some(engine) = course.engine()? else { return Ok(()) };
    let mut stage = Stage::set(Some(engine), &course.interrupt, CONFIG)?;
    let mut rng = course.rng(0);
    let mut clients = Client::all(&stage, BREATH, &mut rng);
    stage.serve()?;
    watched(&stage)?;

    let rounds = if course.full { FULL } else { SHORT };
    let mut troubles = Trouble::ALL.repeat(rounds);
    troubles.shuffle(&mut rng);
    for (done, trouble) in (1..).zip(&troubles) {
        under_load(&mut clients, &stage, || suffer(&stage, *trouble))
            .with_context(|| format!("{trouble:?}, trouble {done}"))?;
        course.tally.add("troubles", 1);
        course.note(format_args!("{done} of {} troubles: {trouble:?}", troubles.len()));
    }

    for client in &clients {
        course.tally.add("requests", client.answered + client.cut_off);
        course.tally.add("sessions", client.ledger.len() as u64);
    }
    stage.kill()?;
    let mut ledger: Ledger = clients.into_iter().flat_map(|client| client.ledger).collect();
    ledger.insert("w-always".to_owned(), Promise::There { running: Some(true) });
    ledger.insert("w-never".to_owned(), Promise::There { running: None });
    settle_and_judge(&mut stage, &ledger, &mut course.tally)?;
    ensure!(course.tally.clean(), "the daemon's last words:\n{}", stage.home.log_end());
    clear_away(&mut stage, &mut course.tally)
}

/// Two containers that no client touches: one that is always brought back, one that never is.
fn watched(stage: &Stage) -> Result<()> {
    for (name, restart) in [("w-always", "always"), ("w-never", "never")] {
        // The first process of a container hears of TERM only if it listens; the Engine would wait for ten seconds.
        let command = ["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done"];
        let spec =
            json!({"backend": "docker", "image": "busybox", "name": name, "restart": restart, "command": command});
        stage.create(&spec)?;
    }
    Ok(())
}

/// One trouble from its beginning until all is well.
fn suffer(stage: &Stage, trouble: Trouble) -> Result<()> {
    let engine = stage.engine.as_ref().context("an engine")?;
    let before = [Watched::look(stage, engine, "w-always")?, Watched::look(stage, engine, "w-never")?];
    trouble.begin(engine)?;
    if trouble != Trouble::Restart {
        for watched in &before {
            let session =
                stage.until_session(&watched.name, "is not known", |now| now.state == SessionState::Unknown)?;
            // A polite end takes the containers down first, which may be seen.
            ensure!(
                trouble == Trouble::Stop || watched.is(&session),
                "{} was known to be {:?}: {session:#?}",
                watched.name,
                watched.session.state
            );
        }
        neighbour(stage)?;
    }
    trouble.end(engine)?;
    for watched in before {
        watched.comes_back(stage, engine, trouble)?;
    }
    Ok(())
}

/// A session of another backend runs and is removed while the Engine is away.
fn neighbour(stage: &Stage) -> Result<()> {
    stage.create(&json!({"backend": "process", "name": "neighbour", "command": ["sleep", "100000"]}))?;
    stage.remove("neighbour")
}

/// A session that no client touches, and its container.
struct Watched {
    name: String,
    session: Session,
    container: String,
}

impl Watched {
    /// As it is while it runs.
    fn look(stage: &Stage, engine: &Engine, name: &str) -> Result<Self> {
        let session = stage.until_session(name, "runs", |now| now.state == SessionState::Running)?;
        let container = facts(stage, engine, &session)?;
        Ok(Self { name: name.to_owned(), session, container })
    }

    /// What is last known of it is the same.
    fn is(&self, now: &Session) -> bool {
        now.last_state.unwrap_or(now.state) == SessionState::Running
            && (now.incarnation, now.restarts) == (self.session.incarnation, self.session.restarts)
    }

    /// The same container goes on, or the Engine took it down and the policy says what follows.
    fn comes_back(self, stage: &Stage, engine: &Engine, trouble: Trouble) -> Result<()> {
        let always = self.session.spec.restart == RestartPolicy::Always;
        let over = |now: &Session| now.state == SessionState::Running || (!always && now.state.is_final());
        let session = stage.until_session(&self.name, "is well again", over)?;
        if self.is(&session) {
            let container = facts(stage, engine, &session)?;
            ensure!(container == self.container, "{} is {container} and was {}", self.name, self.container);
            return Ok(());
        }
        ensure!(trouble != Trouble::Hang, "{} did not outlive a hang: {session:#?}", self.name);
        ensure!(session.exit.as_ref().is_some_and(|exit| !exit.unknown()), "its end was not seen: {session:#?}");
        if always {
            ensure!(session.restarts > self.session.restarts, "it was not restarted: {session:#?}");
        } else {
            ensure!(session.restarts == 0, "it was restarted against its policy: {session:#?}");
            // Nothing is started on a backend before a check has found its engine again.
            stage.until_healthy("docker")?;
            stage.start(&self.name)?;
        }
        Ok(())
    }
}

/// Which container it is, and since when it runs.
fn facts(stage: &Stage, engine: &Engine, session: &Session) -> Result<String> {
    engine.docker(["inspect", "--format", "{{.Id}} {{.State.StartedAt}}", &stage.container(session)?])
}
