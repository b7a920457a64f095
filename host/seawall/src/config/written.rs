//! What is written in the file and in variables, laid over one another key by key, with the place that each came from.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::error::{ConfigError, given};
use super::file::ConfigFile;
use super::load::Document;
use super::variables::{self, Variable};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Origin {
    /// Nobody said anything.
    Default,
    /// The file.
    File {
        /// Its path.
        file: String,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// A variable of the environment.
    Variable {
        /// Its name.
        name: String,
    },
    /// A flag.
    Flag {
        /// With its dashes.
        name: String,
    },
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line, column: _ } => write!(f, "{file}:{line}"),
            Self::Variable { name } | Self::Flag { name } => f.write_str(name),
        }
    }
}

/// All that is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    document: Option<Document>,
    table: toml::Table,
    /// The variable that said what stands under these keys.
    variables: BTreeMap<Vec<String>, String>,
}

impl Written {
    /// Puts variables over the file.
    ///
    /// # Errors
    /// The file is wrong, with its place; or the first variable that is.
    pub(super) fn read(
        document: Option<Document>,
        variables: &[(String, String)],
    ) -> Result<(Self, ConfigFile), ConfigError> {
        let mut file = document.as_ref().map_or_else(|| Ok(ConfigFile::default()), Document::parse)?;
        let table = document.as_ref().and_then(|document| document.table(&[])).unwrap_or_default();
        let mut written = Self { document, table, variables: BTreeMap::new() };
        let mut variables: Vec<&(String, String)> = variables.iter().collect();
        // One that says a whole table comes before those that say a part of it.
        variables.sort_by_key(|(name, _)| (name.matches("__").count(), name.as_str()));
        for (name, value) in variables {
            let variable = Variable::parse(name, value, &written.table)?;
            (written.table, file) = variable.put_over(&written.table)?;
            written.variables.insert(variable.keys, name.clone());
        }
        Ok((written, file))
    }

    /// The file, if there is one.
    pub(crate) fn document(&self) -> Option<&Document> {
        self.document.as_ref()
    }

    /// Where the relative path under these keys begins: beside the file, or in the working directory.
    pub(super) fn folder_of(&self, keys: &[&str]) -> &Path {
        match &self.document {
            Some(document) if self.variable(keys).is_none() => document.folder(),
            _ => Path::new("."),
        }
    }

    /// The table under `keys` as it is written.
    pub(super) fn table(&self, keys: &[&str]) -> toml::Table {
        let mut table = &self.table;
        for key in keys {
            match table.get(*key) {
                Some(toml::Value::Table(inner)) => table = inner,
                _ => return toml::Table::new(),
            }
        }
        table.clone()
    }

    /// Whether there is something under `keys`.
    pub(super) fn has(&self, keys: &[&str]) -> bool {
        let Some((last, above)) = keys.split_last() else { return true };
        let mut table = &self.table;
        for key in above {
            match table.get(*key) {
                Some(toml::Value::Table(inner)) => table = inner,
                _ => return false,
            }
        }
        table.contains_key(*last)
    }

    /// Who said what stands under `keys`, if anybody did.
    pub(super) fn origin(&self, keys: &[&str]) -> Option<Origin> {
        if !self.has(keys) {
            return None;
        }
        if let Some(name) = self.variable(keys) {
            return Some(Origin::Variable { name: name.to_owned() });
        }
        let document = self.document.as_ref()?;
        let place = document.place(keys)?;
        let file = document.path().display().to_string();
        Some(Origin::File { file, line: place.line, column: place.column })
    }

    /// Where a backend is written, or its plugin: what an error about it begins with. Empty for what nobody wrote.
    pub(crate) fn place_of_backend(&self, name: &str) -> String {
        let origin = self.origin(&["backend", name, "plugin"]).or_else(|| self.origin(&["backend", name]));
        match origin {
            Some(Origin::File { file, line, column }) => format!("{file}:{line}:{column}: "),
            Some(Origin::Variable { name } | Origin::Flag { name }) => format!("{name}: "),
            Some(Origin::Default) | None => String::new(),
        }
    }

    /// Something wrong about the value under `keys`, with its place.
    pub(crate) fn wrong(&self, keys: &[&str], message: impl Into<String>) -> ConfigError {
        let within = || {
            let below = |of: &&Vec<String>| of.len() > keys.len() && of.iter().zip(keys).all(|(of, key)| of == key);
            self.variables.keys().find(below).and_then(|of| self.variables.get(of)).map(String::as_str)
        };
        match (self.variable(keys).or_else(within), &self.document) {
            (Some(name), _) => given(name, message),
            (None, Some(document)) => document.wrong(keys, message),
            (None, None) => given(keys.join("."), message),
        }
    }

    /// The variable that said this, or a table that it is in.
    fn variable(&self, keys: &[&str]) -> Option<&str> {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let found = (1..=keys.len()).rev().find_map(|length| self.variables.get(keys.get(..length)?));
        found.map(String::as_str)
    }
}

/// Variables whose names begin as Seawall's do and mean nothing to it.
pub(crate) fn unknown_variables() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter(|name| name.starts_with(variables::PREFIX) && !variables::is_known(name)).collect()
}
