//! Clients that never rest: one a backend, each with sessions of its own, which it creates, starts, stops, restarts and
//! removes as chance has it. Each remembers what it was promised, and goes on when nobody answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, IteratorRandom as _};
use rand::{Rng as _, SeedableRng as _};
use seawall_testing::daemon::Home;
use serde_json::{Value, json};

use crate::api::{Told, ask};
use crate::stage::Stage;

/// What a client knows of a session, by its name.
pub(crate) type Ledger = BTreeMap<String, Promise>;

/// What was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// It is there; and it runs, or does not, or nobody knows.
    There { running: Option<bool> },
    /// It was removed, or the removal was accepted.
    Gone,
    /// Nobody knows: the answer never came.
    Perhaps,
}

/// Of one client at one time.
const MOST: usize = 6;

/// A client.
pub(crate) struct Client {
    backend: &'static str,
    breath: Duration,
    rng: StdRng,
    made: u64,
    pub(crate) ledger: Ledger,
    /// Requests that were answered with success.
    pub(crate) answered: u64,
    /// Requests of which nobody knows.
    pub(crate) cut_off: u64,
}

/// Does something while every client works.
pub(crate) fn under_load<T>(clients: &mut [Client], stage: &Stage, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for client in clients {
            let stop = &stop;
            scope.spawn(move || client.work(&stage.home, stop));
        }
        let acted = act();
        stop.store(true, Ordering::Relaxed);
        acted
    })
}

impl Client {
    /// One for each backend.
    pub(crate) fn all(stage: &Stage, breath: Duration, rng: &mut StdRng) -> Vec<Self> {
        stage.backends().into_iter().map(|backend| Self::new(backend, breath, rng)).collect()
    }

    /// Pauses for up to `breath` between two requests.
    pub(crate) fn new(backend: &'static str, breath: Duration, rng: &mut StdRng) -> Self {
        let rng = StdRng::seed_from_u64(rng.random());
        Self { backend, breath, rng, made: 0, ledger: Ledger::new(), answered: 0, cut_off: 0 }
    }

    /// Asks for one thing after the other until it is told to stop.
    pub(crate) fn work(&mut self, home: &Home, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let before = self.cut_off;
            self.step(home);
            // Without a daemon there is nothing to wait for but time.
            let pause = if self.cut_off > before { 1.0 } else { self.rng.random_range(0.0..1.0) };
            std::thread::sleep(self.breath.mul_f64(pause));
        }
    }

    fn step(&mut self, home: &Home) {
        let alive = self.ledger.iter().filter(|(_, promise)| **promise != Promise::Gone).count();
        let known = self.ledger.iter().filter(|(_, promise)| matches!(promise, Promise::There { .. }));
        let name = known.map(|(name, _)| name.clone()).choose(&mut self.rng);
        let dice = self.rng.random_range(0..100);
        match name {
            Some(name) if dice < 20 => self.stop(home, &name),
            Some(name) if dice < 40 => self.start(home, &name),
            Some(name) if dice < 50 => {
                self.stop_and_wait(home, &name);
                self.start(home, &name);
            }
            Some(name) if dice < 65 || alive >= MOST => self.remove(home, &name),
            _ if alive < MOST * 2 => self.create(home),
            _ => self.forget_doubt(home),
        }
    }

    fn create(&mut self, home: &Home) {
        self.made += 1;
        let name = format!("{}-{}", self.backend, self.made);
        let (spec, mortal) = self.spec(&name);
        let told = self.ask(home, "POST", "/v1/sessions", Some(&spec));
        let running = (!mortal).then_some(true);
        match told {
            Told::Yes(_) => drop(self.ledger.insert(name, Promise::There { running })),
            Told::No(..) => {}
            Told::Silence(_) => drop(self.ledger.insert(name, Promise::Perhaps)),
        }
    }

    /// Most run until they are told to end; some end by themselves, with a failure, and may do so three times.
    fn spec(&mut self, name: &str) -> (Value, bool) {
        let mortal = self.rng.random_bool(0.25);
        let restart = if mortal { "on-failure:2" } else { "always" };
        let mut spec = json!({ "backend": self.backend, "name": name, "restart": restart, "stop_grace": "500ms" });
        let script = if mortal { "sleep 0.2; exit 3" } else { "trap 'exit 0' TERM; while :; do sleep 0.1; done" };
        let Some(fields) = spec.as_object_mut() else { return (spec, mortal) };
        match self.backend {
            "mock" if mortal => drop(fields.insert("options".into(), json!({"exit_after": "200ms", "exit_code": 3}))),
            "mock" => {}
            backend => {
                fields.insert("command".into(), json!(["sh", "-c", script]));
                if backend == "docker" {
                    fields.insert("image".into(), "busybox".into());
                }
            }
        }
        (spec, mortal)
    }

    fn start(&mut self, home: &Home, name: &str) {
        let told = self.ask(home, "POST", &format!("/v1/sessions/{name}/start"), None);
        let mortal = |told: &Value| told.get("spec").and_then(|spec| spec.get("restart")) != Some(&"always".into());
        match told {
            Told::Yes(session) => self.expect(name, (!mortal(&session)).then_some(true)),
            Told::No(..) => {}
            Told::Silence(_) => self.expect(name, None),
        }
    }

    fn stop(&mut self, home: &Home, name: &str) {
        let grace = ["0s", "100ms", "500ms"].choose(&mut self.rng).copied().unwrap_or("0s");
        let told = self.ask(home, "POST", &format!("/v1/sessions/{name}/stop?grace={grace}"), None);
        self.stopped(name, told);
    }

    fn stop_and_wait(&mut self, home: &Home, name: &str) {
        let told = self.ask(home, "POST", &format!("/v1/sessions/{name}/stop?grace=100ms&wait=true"), None);
        self.stopped(name, told);
    }

    fn stopped(&mut self, name: &str, told: Told) {
        match told {
            Told::Yes(_) => self.expect(name, Some(false)),
            Told::No(..) => {}
            Told::Silence(_) => self.expect(name, None),
        }
    }

    fn remove(&mut self, home: &Home, name: &str) {
        let told = self.ask(home, "DELETE", &format!("/v1/sessions/{name}?force=true"), None);
        match told {
            Told::Yes(_) => drop(self.ledger.insert(name.to_owned(), Promise::Gone)),
            Told::No(..) => {}
            Told::Silence(_) => drop(self.ledger.insert(name.to_owned(), Promise::Perhaps)),
        }
    }

    /// Asks for the removal of what may be there, so that doubt does not fill the world.
    fn forget_doubt(&mut self, home: &Home) {
        let doubtful = self.ledger.iter().filter(|(_, promise)| **promise == Promise::Perhaps);
        let Some(name) = doubtful.map(|(name, _)| name.clone()).choose(&mut self.rng) else { return };
        match self.ask(home, "DELETE", &format!("/v1/sessions/{name}?force=true"), None) {
            Told::Yes(_) | Told::No(404, _) => drop(self.ledger.insert(name, Promise::Gone)),
            Told::No(..) | Told::Silence(_) => {}
        }
    }

    fn expect(&mut self, name: &str, running: Option<bool>) {
        self.ledger.insert(name.to_owned(), Promise::There { running });
    }

    /// Asks, and counts what came of it.
    fn ask(&mut self, home: &Home, method: &str, target: &str, body: Option<&Value>) -> Told {
        let told = ask(home, method, target, body);
        match told {
            Told::Yes(_) => self.answered += 1,
            Told::No(..) => {}
            Told::Silence(_) => self.cut_off += 1,
        }
        told
    }
}
