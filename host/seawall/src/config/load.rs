//! Reads the file, and finds the place of a key in it again for what is only noticed later.

use std::path::{Path, PathBuf};

use super::error::{ConfigError, Place};
use super::file::ConfigFile;

/// A configuration file that was read.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    /// Reads it.
    ///
    /// # Errors
    /// The file cannot be read, or is larger than 1 MiB.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let fail = |source| ConfigError::Read { file: path.to_owned(), source };
        let length = std::fs::metadata(path).map_err(fail)?.len();
        if length > MAX_BYTES {
            return Err(fail(std::io::Error::other("it is larger than 1 MiB")));
        }
        Ok(Self::new(path, std::fs::read_to_string(path).map_err(fail)?))
    }

    /// What a file says that was read already.
    pub(crate) fn new(path: &Path, text: String) -> Self {
        Self { path: path.to_owned(), text }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where relative paths in it begin.
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// What it says.
    ///
    /// # Errors
    /// It is no TOML, or has an unknown key or a wrong value; with its line and column.
    pub(crate) fn parse(&self) -> Result<ConfigFile, ConfigError> {
        toml::from_str(&self.text).map_err(|error| ConfigError::from_toml(&self.path, &self.text, &error))
    }

    /// The table under `keys` as it is written.
    pub(super) fn table(&self, keys: &[&str]) -> Option<toml::Table> {
        let mut table: toml::Table = self.text.parse().ok()?;
        for key in keys {
            match table.remove(*key) {
                Some(toml::Value::Table(inner)) => table = inner,
                _ => return None,
            }
        }
        Some(table)
    }

    /// Something wrong about the value under `keys`, with its place.
    pub(crate) fn wrong(&self, keys: &[&str], message: impl Into<String>) -> ConfigError {
        let key = Some(keys.join("."));
        ConfigError::Wrong { file: self.path.clone(), place: self.place(keys), key, message: message.into() }
    }

    /// Where the deepest of `keys` that the file has stands.
    pub(super) fn place(&self, keys: &[&str]) -> Option<Place> {
        place_of(&self.text, keys)
    }
}

/// Where the deepest of `keys` that a text has stands.
pub(crate) fn place_of(text: &str, keys: &[&str]) -> Option<Place> {
    let root = toml::de::DeTable::parse(text).ok()?;
    let mut table = root.get_ref();
    let mut start = None;
    for key in keys {
        let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == key) else { break };
        start = Some(name.span().start);
        let Some(inner) = value.get_ref().as_table() else { break };
        table = inner;
    }
    start.map(|byte| Place::of(text, byte))
}

const MAX_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::new(Path::new("/etc/seawall.toml"), text.to_owned())
    }

    fn said(text: &str) -> String {
        document(text).parse().unwrap_err().to_string()
    }

    #[test]
    fn every_mistake_has_its_line_and_column() {
        let mistakes = [
            "sokcet = \"/x\"",
            "data-dir = 3",
            "[control]\nsweep-interval = \"soon\"",
            "[control]\nsweepinterval = \"1s\"",
            "shutdown = \"never\"",
            "[backend.Docker]\nenabled = true",
            "[backend.docker]\nplugin = \"builtin:podman\"",
            "[backend.docker]\n[backend.docker]",
            "[backend.docker.grants]\ndoker = {}",
            "[backend.x]\nfoo = 1",
            "= 1",
        ];
        insta::assert_snapshot!(mistakes.map(|text| format!("{text}\n  -> {}", said(text))).join("\n\n"));
    }

    #[test]
    fn the_place_of_a_key_is_found_again() {
        let document = document("a = 1\n[backend.docker.config]\nmemory = 3\n");
        let place = document.place(&["backend", "docker", "config", "memory"]);
        assert_eq!(place, Some(Place { line: 3, column: 1 }));
        let place = document.place(&["backend", "docker", "config", "absent"]);
        assert_eq!(place, Some(Place { line: 2, column: 17 }));
        assert_eq!(document.place(&["nothing"]), None);
    }
}
