//! Variables whose values are files of the host (A9): read when a session is about to be made, handed to the backend, and kept
//! in memory only, to be taken out of what others say.
//!
//! A file lies in a directory that the configuration names, and links in it lead nowhere else: who may ask for sessions
//! may not read the host by that.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use seawall_model::{InvalidSpec, Problem, Secret, SessionSpec};

use crate::core::Core;
use crate::state::Entry;

/// Of one file.
const MAX_BYTES: u64 = 64 << 10;
/// Of all files of a session.
const MOST_BYTES: usize = 256 << 10;
/// The kernel gives up where something is renamed meanwhile.
const TRIES: u32 = 5;

/// The values of a spec's `env_from`.
///
/// # Errors
/// Each variable whose file is not there, or is none that may be read.
pub(crate) async fn read(directories: &[PathBuf], spec: &SessionSpec) -> Result<BTreeMap<String, Secret>, InvalidSpec> {
    if spec.env_from.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (directories, files) = (directories.to_vec(), spec.env_from.clone());
    let all = move || {
        let (mut values, mut problems, mut bytes) = (BTreeMap::new(), Vec::new(), 0);
        for (name, path) in files {
            let value = value(&directories, Path::new(&path)).and_then(|value| {
                bytes += value.reveal().len();
                if bytes <= MOST_BYTES { Ok(value) } else { Err("with it the files have more than 256 KiB".to_owned()) }
            });
            match value {
                Ok(value) => drop(values.insert(name, value)),
                Err(message) => problems.push(Problem { field: format!("env_from.{name}"), message }),
            }
        }
        if problems.is_empty() { Ok(values) } else { Err(InvalidSpec { problems }) }
    };
    // A file system may take its time.
    tokio::task::spawn_blocking(all).await.unwrap_or_else(|_| {
        let message = "the files could not be read".to_owned();
        Err(InvalidSpec { problems: vec![Problem { field: "env_from".to_owned(), message }] })
    })
}

fn value(directories: &[PathBuf], path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let beneath = |directory: &PathBuf| Some((directory.clone(), path.strip_prefix(directory).ok()?.to_owned()));
    let Some((directory, rest)) = directories.iter().find_map(beneath) else {
        return Err(format!(
            "{shown} is in no directory that variables may come from: name one with `env-files` in [control]"
        ));
    };
    let file = match open(&directory, &rest) {
        Err(Errno::XDEV) => return Err(format!("{shown} leads out of {}", directory.display())),
        Err(error) => return Err(format!("{shown} cannot be read: {}", io::Error::from(error))),
        Ok(file) => file,
    };
    let text = text(&file).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    Ok(Secret::new(text))
}

/// Opens it beneath the directory, whatever links there are; a pipe does not hold it up.
fn open(directory: &Path, rest: &Path) -> Result<File, Errno> {
    let directory = openat(CWD, directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut tries = 0;
    loop {
        tries += 1;
        match openat2(&directory, rest, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if tries < TRIES => {}
            opened => return opened.map(File::from),
        }
    }
}

/// Its text, without the end of its last line, which editors and `echo` put there.
fn text(file: &File) -> io::Result<String> {
    let other = io::Error::other::<&str>;
    if !file.metadata()?.is_file() {
        return Err(other("it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(other("it is larger than 64 KiB"));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| other("it is no text in UTF-8"))?;
    if text.contains('\0') {
        return Err(other("it contains a NUL character"));
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

impl Core {
    /// Refuses what could not be made for want of a file.
    pub(crate) async fn readable(&self, spec: &SessionSpec) -> Result<(), InvalidSpec> {
        read(&self.config.env_files, spec).await.map(drop)
    }

    /// The same of a session that is there.
    pub(crate) async fn readable_by(&self, entry: &Entry) -> Result<(), InvalidSpec> {
        let record = entry.with(|cell| Arc::clone(&cell.record));
        self.readable(&record.spec).await
    }

    /// Reads again what sessions that run were given, so that it is known what others must not say.
    pub(crate) fn recall(self: &Arc<Self>) {
        let with_files = |entry: &Arc<Entry>| {
            let record = entry.with(|cell| Arc::clone(&cell.record));
            (!record.spec.env_from.is_empty()).then_some((Arc::clone(entry), record))
        };
        let sessions: Vec<_> = self.sessions.all().iter().filter_map(with_files).collect();
        if sessions.is_empty() {
            return;
        }
        let core = Arc::clone(self);
        self.tasks.spawn(async move {
            for (entry, record) in sessions {
                // One that is no longer there is missed when it is needed.
                drop(core.given(&entry, &record.spec).await);
            }
        });
    }

    /// The values of its files, which are remembered to be taken out of what others say.
    async fn given(&self, entry: &Entry, spec: &SessionSpec) -> Result<BTreeMap<String, Secret>, InvalidSpec> {
        let values = read(&self.config.env_files, spec).await?;
        let given: Arc<[Secret]> = values.values().cloned().collect();
        entry.with(|cell| cell.given = given);
        Ok(values)
    }

    /// The spec with the values of its files.
    pub(crate) async fn filled(&self, entry: &Entry, spec: &SessionSpec) -> Result<Option<SessionSpec>, InvalidSpec> {
        if spec.env_from.is_empty() {
            return Ok(None);
        }
        let values = self.given(entry, spec).await?;
        let mut filled = spec.clone();
        filled.env_from.clear();
        filled.env.extend(values);
        Ok(Some(filled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn said(directories: &[PathBuf], path: &Path) -> Result<String, String> {
        let mut spec = SessionSpec::new("mock".parse().unwrap());
        spec.env_from.insert("A".to_owned(), path.display().to_string());
        match read(directories, &spec).await {
            Ok(values) => Ok(values["A"].reveal().to_owned()),
            Err(invalid) => Err(invalid.to_string()),
        }
    }

    #[tokio::test]
    async fn a_value_is_a_file_beneath_a_named_directory_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let granted = root.join("granted");
        std::fs::create_dir_all(granted.join("deep")).unwrap();
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(root.join(name), bytes).unwrap();
            root.join(name)
        };
        let outside = write("outside", b"no");
        let roots = [granted.clone()];
        assert_eq!(said(&roots, &write("granted/plain", b"a b")).await, Ok("a b".to_owned()));
        assert_eq!(said(&roots, &write("granted/deep/line", b"token\n")).await, Ok("token".to_owned()));
        assert_eq!(said(&roots, &write("granted/lines", b"a\n\r\n")).await, Ok("a\n".to_owned()));
        std::os::unix::fs::symlink("deep/line", granted.join("within")).unwrap();
        assert_eq!(said(&roots, &granted.join("within")).await, Ok("token".to_owned()));

        std::os::unix::fs::symlink(&outside, granted.join("out")).unwrap();
        std::os::unix::fs::symlink("../outside", granted.join("up")).unwrap();
        for (path, wrong) in [
            (granted.join("out"), "leads out of"),
            (granted.join("up"), "leads out of"),
            (granted.join("../outside"), "leads out of"),
            (outside.clone(), "`env-files` in [control]"),
            (granted.join("absent"), "absent cannot be read: No such file"),
            (granted.join("deep"), "it is no file"),
            (write("granted/large", &[b'x'; (64 << 10) + 1]), "larger than 64 KiB"),
            (write("granted/binary", &[0xff]), "no text"),
            (write("granted/nul", b"a\0"), "NUL"),
        ] {
            let refused = said(&roots, &path).await.unwrap_err();
            assert!(refused.starts_with("env_from.A: ") && refused.contains(wrong), "{path:?}: {refused}");
        }
        assert!(said(&[], &granted.join("plain")).await.is_err());
    }
}
