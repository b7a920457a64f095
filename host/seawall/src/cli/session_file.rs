//! A session in a file, and variables in one.
//!
//! `run --file` reads TOML with the fields of the API by the same names. `--env-file` reads what Docker's does: a
//! `KEY=VALUE` a line as it stands, a `KEY` alone for the caller's own, `#` for a comment.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use seawall_model::{BackendName, InvalidSpec, Secret, SessionSpec};

use crate::config::{Place, place_of, suggest};
use crate::exit::Failure;

/// A file that was read: what it says, and where each field stands.
pub(super) struct SessionFile {
    name: String,
    text: String,
}

/// As much as the daemon would take, in the wordier form.
const MAX_BYTES: u64 = 1 << 20;

impl SessionFile {
    /// Reads it; `-` is standard input.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            let text = text(std::io::stdin().lock(), "standard input")?;
            return Ok(Self { name: "standard input".to_owned(), text });
        }
        let name = path.display().to_string();
        let text = text(open(path)?, &name)?;
        Ok(Self { name, text })
    }

    /// For tests: this text, as if a file had it.
    #[cfg(test)]
    pub(super) fn of(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: text.to_owned() }
    }

    /// What it says. `backend` is for one that names none.
    pub(super) fn spec(&self, backend: Option<&BackendName>) -> Result<SessionSpec, Failure> {
        let names_one = self.text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("backend"));
        let text = match backend {
            // It is to be the first key, and no line of the file's.
            Some(backend) if !names_one => format!("backend = \"{backend}\"\n{}", self.text),
            _ => self.text.clone(),
        };
        let added = text.len() - self.text.len();
        let place = |error: &toml::de::Error| {
            let byte = error.span()?.start.checked_sub(added)?;
            Some(Place::of(&self.text, byte))
        };
        let reader =
            toml::Deserializer::parse(&text).map_err(|error| self.wrong(place(&error), None, error.message()))?;
        serde_path_to_error::deserialize(reader).map_err(|error| {
            let field = error.path().to_string();
            let error = error.into_inner();
            self.wrong(place(&error), Some(&field).filter(|field| *field != ".").map(String::as_str), error.message())
        })
    }

    /// What cannot be as it is, with the place of each field that stands in the file.
    pub(super) fn invalid(&self, invalid: &InvalidSpec) -> Failure {
        let lines = invalid.problems.iter().map(|problem| {
            let keys: Vec<&str> = problem.field.split(['.', '[']).collect();
            match place_of(&self.text, &keys) {
                Some(place) => self.line(Some(place), Some(&problem.field), &problem.message),
                None => format!("{}: {}", problem.field, problem.message),
            }
        });
        Failure::Spec(lines.collect::<Vec<_>>().join("\n"))
    }

    fn wrong(&self, place: Option<Place>, field: Option<&str>, message: &str) -> Failure {
        Failure::Spec(self.line(place, field, &suggest(message)))
    }

    fn line(&self, place: Option<Place>, field: Option<&str>, message: &str) -> String {
        let place = place.map(|Place { line, column }| format!(":{line}:{column}")).unwrap_or_default();
        let field = field.map(|field| format!(" {field}:")).unwrap_or_default();
        format!("{}{place}:{field} {message}", self.name)
    }
}

fn open(path: &Path) -> Result<std::fs::File, Failure> {
    std::fs::File::open(path).map_err(|source| Failure::File { file: path.to_owned(), source })
}

fn text(reader: impl std::io::Read, name: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let read = reader.take(MAX_BYTES + 1).read_to_string(&mut text);
    read.map_err(|source| Failure::File { file: name.into(), source })?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Failure::Spec(format!("{name}: larger than 1 MiB")));
    }
    Ok(text)
}

/// The variables of an `--env-file`, over those that are there.
pub(super) fn variables(path: &Path, env: &mut BTreeMap<String, Secret>) -> Result<(), Failure> {
    let name = path.display().to_string();
    for (at, line) in text(open(path)?, &name)?.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: &str| Failure::Spec(format!("{name}:{}: {what}", at + 1));
        let (key, value) = match line.split_once('=') {
            Some((key, value)) => (key, value.to_owned()),
            None => match std::env::var(line) {
                Ok(value) => (line, value),
                // As in Docker: what the caller does not have, the session has not either.
                Err(std::env::VarError::NotPresent) => continue,
                Err(std::env::VarError::NotUnicode(_)) => return Err(wrong("its value here is no text")),
            },
        };
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(wrong("no variable: write KEY=VALUE without spaces around the name"));
        }
        env.insert(key.to_owned(), Secret::new(value));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> SessionFile {
        SessionFile::of("session.toml", text)
    }

    fn mock() -> BackendName {
        "mock".parse().unwrap()
    }

    #[test]
    fn every_mistake_in_a_session_file_has_its_line_and_field() {
        let mistakes = [
            "",
            "backend = 3",
            "backend = \"Mock\"",
            "backend = \"mock\"\ncomand = [\"x\"]",
            "backend = \"mock\"\n[resources]\nmemory = \"lots\"",
            "backend = \"mock\"\n\n[[mounts]]\ntarget = 1",
            "backend = \"mock\"\n[health_check]\ncommand = \"true\"",
            "backend = ",
        ];
        let said = |text: &str| file(text).spec(None).unwrap_err().chain();
        insta::assert_snapshot!(mistakes.map(|text| format!("{text}\n  -> {}", said(text))).join("\n\n"));
    }

    #[test]
    fn a_backend_that_is_added_moves_no_line() {
        let text = "# mine\nname = \"a b\"";
        let said = file(text).spec(Some(&mock())).unwrap_err().chain();
        assert!(said.starts_with("session.toml:2:8: name: "), "{said}");
        let spec = file("[labels]\na = \"b\"").spec(Some(&mock())).unwrap();
        assert_eq!((spec.backend, spec.labels.len()), (mock(), 1));
        let spec = file("backend = \"other\"").spec(Some(&mock())).unwrap();
        assert_eq!(spec.backend.as_str(), "other");
    }

    #[test]
    fn what_the_types_cannot_say_is_told_with_its_place_too() {
        let file = file("backend = \"mock\"\n[env]\nA = \"b\"\n1X = \"y\"");
        let mut spec = file.spec(None).unwrap();
        spec.working_dir = Some("here".to_owned());
        let said = file.invalid(&spec.validate().unwrap_err()).chain();
        assert!(said.contains("session.toml:4:1: env.1X: ") && said.contains("\nworking_dir: an absolute"), "{said}");
    }

    #[test]
    fn variables_are_read_as_docker_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let mut env = BTreeMap::new();
            variables(&path, &mut env).map(|()| env)
        };
        let env = read("# one\n\nA=1=2\n  B= x \nNOT_SET_ANYWHERE_AT_ALL\n").unwrap();
        let env: Vec<_> = env.iter().map(|(key, value)| (key.as_str(), value.reveal())).collect();
        assert_eq!(env, [("A", "1=2"), ("B", " x ")]);
        let said = read("A=1\nB C=2\n").unwrap_err().chain();
        assert!(said.contains("env:2: no variable"), "{said}");
        assert!(read("=x").is_err());
    }
}
