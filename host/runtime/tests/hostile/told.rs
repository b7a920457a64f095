//! Guests of `tests/fixtures` that do what a test tells them to, in words of JSON: the `puppet` answers so, the `caller`
//! calls the host so.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use seawall_backend::{Error, ExecutionBackend};
use seawall_model::Report;
use seawall_runtime::{Grants, Plugin, Services, WasmBackend};
use seawall_store::Store;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::arena::Arena;

/// A guest by name.
fn fixture(name: &str, told: Value) -> Plugin {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/dist");
    let file = dist.join(name).with_extension("wasm");
    let wasm = std::fs::read(&file)
        .unwrap_or_else(|error| panic!("{}: {error}: build the guests with `cargo xtask plugins`", file.display()));
    let Value::Object(config) = told else { panic!("a configuration is an object: {told}") };
    Plugin { config, ..Plugin::new("hostile".parse().unwrap(), wasm) }
}

/// A guest that answers as it is told.
pub(crate) fn puppet(told: Value) -> Plugin {
    fixture("puppet", told)
}

/// One puppet for each lie, with what the host must say of it.
pub(crate) async fn puppets(arena: &Arena, lies: Vec<(Value, &'static str)>) -> Arc<Vec<(WasmBackend, &'static str)>> {
    let mut all = Vec::new();
    for (told, words) in lies {
        all.push((arena.load(puppet(told)).await, words));
    }
    Arc::new(all)
}

/// What plugins with grants share: a store in a directory of its own.
pub(crate) struct Premises {
    pub(crate) store: Store,
    pub(crate) dir: TempDir,
}

impl Premises {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("data")).await.unwrap();
        Self { store, dir }
    }

    /// Loads a plugin with what it is granted.
    pub(crate) async fn load(&self, arena: &Arena, plugin: Plugin) -> WasmBackend {
        arena.runtime.load(plugin, &self.services()).await.unwrap()
    }

    pub(crate) fn services(&self) -> Services {
        Services {
            store: self.store.clone(),
            runs: self.dir.path().join("runs"),
            // Never started: there only has to be something.
            supervisor: std::env::current_exe().unwrap(),
            protected: vec![],
        }
    }

    /// A guest that makes these calls in `check`, under this name and with these grants, as configuration writes them.
    pub(crate) fn caller(&self, name: &str, grants: Value, steps: Value) -> Plugin {
        self.granted(name, grants, fixture("caller", json!({"check": steps})))
    }

    /// A guest that makes any call on `docker` and `process`, with the steps of each of its functions.
    pub(crate) fn intruder(&self, grants: Value, told: Value) -> Plugin {
        self.granted("hostile", grants, fixture("intruder", told))
    }

    /// What such guests import they have; an Engine that is not named is nowhere.
    fn granted(&self, name: &str, mut grants: Value, plugin: Plugin) -> Plugin {
        let granted = grants.as_object_mut().unwrap();
        granted.entry("state").or_insert(true.into());
        granted.entry("docker").or_insert(json!({"host": "unix:///no/engine"}));
        granted.entry("process").or_insert(json!({}));
        let grants: Grants = serde_json::from_value(grants).unwrap();
        Plugin { backend: name.parse().unwrap(), grants, ..plugin }
    }
}

/// What each step of `check` came to.
pub(crate) fn outcomes(answer: Result<Report, Error>) -> Vec<String> {
    answer.unwrap().attributes.into_iter().map(|(_, outcome)| outcome).collect()
}

/// What each step of another function came to.
pub(crate) fn refusals<T: Debug>(answer: Result<T, Error>) -> Vec<String> {
    let Err(Error::Invalid(refused)) = answer else { panic!("no steps were taken: {answer:?}") };
    refused.problems.into_iter().map(|problem| problem.message).collect()
}

/// Makes the steps once.
pub(crate) async fn steps(backend: &WasmBackend) -> Vec<String> {
    outcomes(backend.check().await)
}
