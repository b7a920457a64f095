//! `seawall:host/config`. Answers nothing while `describe` runs, so that a plugin describes itself the same whatever
//! its configuration is.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::bindings::config;
use crate::context::{Context, Phase};

/// A backend's configuration as JSON text, written once at load.
#[derive(Debug)]
pub(crate) struct ConfigText {
    all: String,
    keys: BTreeMap<String, String>,
}

impl ConfigText {
    pub(crate) fn new(table: &Map<String, Value>) -> Self {
        let keys = table.iter().map(|(key, value)| (key.clone(), value.to_string())).collect();
        Self { all: Value::Object(table.clone()).to_string(), keys }
    }
}

impl config::Host for Context {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        self.enter(key.len())?;
        if self.phase == Phase::Describe {
            return Ok(None);
        }
        let value = self.granted.config().keys.get(&key).cloned();
        self.answer(value.as_ref().map_or(0, String::len))?;
        Ok(value)
    }

    fn all(&mut self) -> wasmtime::Result<String> {
        self.enter(0)?;
        if self.phase == Phase::Describe {
            return Ok("{}".to_owned());
        }
        let all = self.granted.config().all.clone();
        self.answer(all.len())?;
        Ok(all)
    }
}
