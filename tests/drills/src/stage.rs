//! Where a drill plays: a daemon in a home of its own, and an engine of its own. Dropped in this order: daemon, home with
//! every process in it, engine with every container.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use seawall_model::Session;
use seawall_testing::PATIENCE;
use seawall_testing::daemon::{Daemon, Home, QUICK, seawall_binary};
use seawall_testing::docker::Engine;
use seawall_testing::interrupt::Interrupt;
use seawall_testing::workloads::Workload;
use serde_json::Value;

use crate::api::{Told, ask, sessions};

/// A daemon that is killed again and again leaves many creates that land late: none waits for an operator here.
const MANY_ORPHANS: &str = "[control]\norphan-minimum = 1000\n";

pub(crate) struct Stage {
    daemon: Option<Daemon>,
    pub(crate) home: Home,
    pub(crate) engine: Option<Engine>,
    pub(crate) interrupt: Interrupt,
}

impl Stage {
    /// With the quick configuration and this behind it; no daemon runs yet.
    pub(crate) fn set(engine: Option<Engine>, interrupt: &Interrupt, more_config: &str) -> Result<Self> {
        let seawall = seawall_binary()?;
        // Compiled plugins are shared with other tests, in Cargo's own directory for these.
        let target = seawall.ancestors().nth(2).context("find the target directory")?;
        let mut home = Home::new(&seawall)?.with_cache(&target.join("tmp/seawall-cache"));
        if let Some(engine) = &engine {
            home = home.with_docker(&engine.host());
        }
        let docker = if engine.is_some() { "" } else { "[backend.docker]\nenabled = false\n" };
        let quick = QUICK.replacen("[control]\n", MANY_ORPHANS, 1);
        home.configure(&format!("{quick}{more_config}{docker}"))?;
        Ok(Self { daemon: None, home, engine, interrupt: interrupt.clone() })
    }

    /// The backends that are there to be drilled.
    pub(crate) fn backends(&self) -> Vec<&'static str> {
        let docker = self.engine.as_ref().map(|_| "docker");
        ["process", "mock"].into_iter().chain(docker).collect()
    }

    pub(crate) fn serves(&self) -> bool {
        self.daemon.is_some()
    }

    pub(crate) fn daemon_pid(&self) -> Option<i32> {
        self.daemon.as_ref().and_then(|daemon| i32::try_from(daemon.pid()).ok())
    }

    /// Starts a daemon, and waits for nothing.
    pub(crate) fn launch(&mut self) -> Result<()> {
        self.daemon = Some(self.home.launch()?);
        Ok(())
    }

    /// Waits until the daemon serves and every backend was asked.
    pub(crate) fn ready(&mut self) -> Result<()> {
        let daemon = self.daemon.as_mut().context("no daemon runs")?;
        self.home.await_daemon(daemon, true)
    }

    pub(crate) fn serve(&mut self) -> Result<()> {
        self.launch()?;
        self.ready()
    }

    /// The daemon that runs, for whoever ends it.
    pub(crate) fn take_daemon(&mut self) -> Result<Daemon> {
        self.daemon.take().context("no daemon runs")
    }

    /// `kill -9`; one that has ended by itself is only buried.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.take_daemon()?.kill().context("kill the daemon")
    }

    /// Ends the daemon politely; sessions go on.
    pub(crate) fn terminate(&mut self) -> Result<()> {
        let status = self.take_daemon()?.terminate()?;
        if status.success() { Ok(()) } else { bail!("the daemon ended with {status}\n{}", self.home.log_end()) }
    }

    /// Lets time go by.
    pub(crate) fn rest(&self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.interrupt.check()?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits until something is so; `look` says what is in the way.
    pub(crate) fn until<T>(&self, what: &str, mut look: impl FnMut() -> Result<Result<T, String>>) -> Result<T> {
        let mut instead = String::new();
        let found = self.interrupt.wait_for(what, PATIENCE, || match look()? {
            Ok(found) => Ok(Some(found)),
            Err(other) => {
                instead = other;
                Ok(None)
            }
        });
        found.with_context(|| format!("instead: {instead}\n{}", self.home.log_end()))
    }

    /// Makes a session, which must run.
    pub(crate) fn create(&self, spec: &Value) -> Result<Session> {
        self.asked("POST", "/v1/sessions?wait=true", Some(spec))
    }

    /// Stops one, and waits for its end.
    pub(crate) fn stop(&self, name: &str) -> Result<Session> {
        self.asked("POST", &format!("/v1/sessions/{name}/stop?wait=true"), None)
    }

    /// Starts one that is over, and waits until it runs.
    pub(crate) fn start(&self, name: &str) -> Result<Session> {
        self.asked("POST", &format!("/v1/sessions/{name}/start?wait=true"), None)
    }

    /// Removes one, and waits until it is gone.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        match ask(&self.home, "DELETE", &format!("/v1/sessions/{name}?force=true&wait=true"), None) {
            Told::Yes(_) => Ok(()),
            Told::No(_, why) | Told::Silence(why) => bail!("remove {name}: {why}"),
        }
    }

    /// One session.
    pub(crate) fn session(&self, name: &str) -> Result<Session> {
        self.asked("GET", &format!("/v1/sessions/{name}"), None)
    }

    fn asked(&self, method: &str, target: &str, body: Option<&Value>) -> Result<Session> {
        match ask(&self.home, method, target, body) {
            Told::Yes(session) => serde_json::from_value(session).context("understand a session"),
            Told::No(_, why) | Told::Silence(why) => bail!("{method} {target}: {why}"),
        }
    }

    /// The name of a session's container.
    pub(crate) fn container(&self, session: &Session) -> Result<String> {
        match ask(&self.home, "GET", "/v1/version", None) {
            Told::Yes(version) => {
                let store = version.get("store").and_then(Value::as_str).context("the version has no store")?;
                Ok(format!("seawall-{store}-{}-{}", session.id, session.incarnation))
            }
            Told::No(_, why) | Told::Silence(why) => bail!("GET /v1/version: {why}"),
        }
    }

    /// Waits until a backend is healthy.
    pub(crate) fn until_healthy(&self, backend: &str) -> Result<()> {
        self.until(&format!("{backend} is healthy"), || {
            let told = ask(&self.home, "GET", &format!("/v1/backends/{backend}"), None);
            let healthy = matches!(&told, Told::Yes(status) if status.get("health") == Some(&"healthy".into()));
            Ok(if healthy { Ok(()) } else { Err(format!("{told:?}")) })
        })
    }

    /// Waits until one of the sessions is so.
    pub(crate) fn until_session(&self, name: &str, what: &str, so: impl Fn(&Session) -> bool) -> Result<Session> {
        self.until(&format!("{name} {what}"), || {
            let session = self.session(name)?;
            Ok(if so(&session) { Ok(session) } else { Err(describe(&session)) })
        })
    }

    /// Waits until all of the sessions are so.
    pub(crate) fn until_sessions(&self, what: &str, so: impl Fn(&Session) -> bool) -> Result<Vec<Session>> {
        self.until(what, || {
            let Some(sessions) = sessions(&self.home) else { return Ok(Err("no answer".to_owned())) };
            let other: Vec<String> = sessions.iter().filter(|session| !so(session)).map(describe).collect();
            Ok(if other.is_empty() { Ok(sessions) } else { Err(other.join("; ")) })
        })
    }
}

/// The newest start of a session.
pub(crate) fn workload(session: &Session) -> Workload {
    Workload { session: session.id.to_string(), incarnation: session.incarnation }
}

/// A session in a line.
pub(crate) fn describe(session: &Session) -> String {
    let reason = session.reason.as_deref().unwrap_or_default();
    let Session { name, backend, state, incarnation, .. } = session;
    format!("{name} on {backend} is {state}, incarnation {incarnation}, wanted {:?} {reason}", session.desired)
}
