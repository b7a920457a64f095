//! Compiled code on disk, so that a daemon with a warm cache starts without a compiler.
//!
//! Machine code that is loaded is run, so a file is trusted only if this user wrote it: the directory and everything
//! above it must be safe from others, and each file begins with a keyed hash over its name and its content, made with a
//! key that never leaves the directory. What does not hold is compiled again and replaced. The bytes are read into
//! memory first and checked there: what is loaded is what was checked.
//!
//! A file's name is a hash of the component, of everything about the engine that code depends on, and of the version
//! of this format.

use std::fs::{File, OpenOptions};
use std::hash::{Hash as _, Hasher};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::OFlags;
use wasmtime::Engine;

use crate::code::Code;
use crate::secure::{self, Untrusted};

/// Counts changes of the format of a file.
const FORMAT: &[u8] = b"seawall compiled component 1";
/// The keyed hash in front of the code.
const MAC: usize = 32;
const KEY_FILE: &str = "key";
const SUFFIX: &str = "code";
/// More than any component compiles to; a file that is larger is none of ours.
const LARGEST: u64 = 1 << 30;
/// The files used longest ago go when there are more.
const MOST_FILES: usize = 64;

/// Why there is no cache.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    /// Others could have written to it.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// Its key cannot be read or made.
    #[error("the key {} cannot be used", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A directory of compiled components.
pub(crate) struct Cache {
    dir: PathBuf,
    key: [u8; 32],
    engine: blake3::Hash,
}

impl Cache {
    /// Opens or makes it.
    pub(crate) fn open(dir: &Path, engine: &Engine) -> Result<Self, CacheError> {
        let dir = secure::directory(dir)?;
        let path = dir.join(KEY_FILE);
        let key = key(&dir, &path).map_err(|source| CacheError::Key { path, source })?;
        let mut hasher = EngineHasher(blake3::Hasher::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { dir, key, engine: hasher.0.finalize() })
    }

    /// The compiled component, if it is there and can be trusted.
    pub(crate) fn get(&self, wasm: &[u8]) -> Option<Code> {
        let name = self.name(wasm);
        let path = self.path(&name);
        match self.read(&path, &name) {
            Ok(code) => code,
            Err(error) => {
                let path = path.display().to_string();
                tracing::warn!(path, %error, "a file of the cache is not used; it will be replaced");
                None
            }
        }
    }

    /// Keeps a compiled component. Failing to is no failure of the load: a warning says why.
    pub(crate) fn put(&self, wasm: &[u8], code: &Code) {
        if let Err(error) = self.write(&self.name(wasm), code.bytes()) {
            let dir = self.dir.display().to_string();
            tracing::warn!(dir, %error, "compiled code could not be kept");
        }
        self.prune();
    }

    fn name(&self, wasm: &[u8]) -> blake3::Hash {
        blake3::Hasher::new_keyed(&self.key)
            .update(FORMAT)
            .update(self.engine.as_bytes())
            .update(blake3::hash(wasm).as_bytes())
            .finalize()
    }

    fn path(&self, name: &blake3::Hash) -> PathBuf {
        self.dir.join(format!("{}.{SUFFIX}", name.to_hex()))
    }

    fn mac(&self, name: &blake3::Hash, code: &[u8]) -> blake3::Hash {
        blake3::Hasher::new_keyed(&self.key).update(name.as_bytes()).update(code).finalize()
    }

    fn read(&self, path: &Path, name: &blake3::Hash) -> io::Result<Option<Code>> {
        let Some(mut file) = open(path)? else { return Ok(None) };
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > LARGEST {
            return Err(io::Error::other("it is no file that Seawall wrote"));
        }
        let mut mac = [0; MAC];
        file.read_exact(&mut mac)?;
        let mut code = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        (&file).take(LARGEST).read_to_end(&mut code)?;
        // Comparing two of these hashes takes the same time whatever they are.
        if self.mac(name, &code) != blake3::Hash::from_bytes(mac) {
            return Err(io::Error::other("it is damaged, or Seawall did not write it"));
        }
        // For `prune`; a file system without times only makes it choose worse.
        let _ = file.set_modified(SystemTime::now());
        // Vouched for: whoever made that hash had the key, and `write` makes it over what a `Code` holds.
        Ok(Some(Code::vouched_for(code)))
    }

    fn write(&self, name: &blake3::Hash, code: &[u8]) -> io::Result<()> {
        // The name is not guessed by others, for nobody else can list or write the directory.
        let temporary = self.dir.join(format!("{}.{}.new", name.to_hex(), std::process::id()));
        let written = private(&temporary).and_then(|mut file| {
            file.write_all(self.mac(name, code).as_bytes())?;
            file.write_all(code)
        });
        // Not made durable: after a crash of the machine the MAC says whether it is whole.
        let kept = written.and_then(|()| std::fs::rename(&temporary, self.path(name)));
        if kept.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        kept
    }

    /// Removes what was used longest ago. Errors leave a file more, which does no harm.
    fn prune(&self) {
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return };
        let mut files: Vec<_> = entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == SUFFIX))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort();
        let surplus = files.len().saturating_sub(MOST_FILES);
        for (_, path) in files.into_iter().take(surplus) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The directory's key; a new one if there is none, or none that can be used.
fn key(dir: &Path, path: &Path) -> io::Result<[u8; 32]> {
    let us = rustix::process::geteuid().as_raw();
    if let Some(key) = read_key(path, us)? {
        return Ok(key);
    }
    let mut key = [0; 32];
    let mut filled = 0;
    while let Some(rest) = key.get_mut(filled..)
        && !rest.is_empty()
    {
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
    }
    let temporary = dir.join(format!("{KEY_FILE}.{}.new", std::process::id()));
    private(&temporary)?.write_all(&key)?;
    // Of two daemons that come here at once, one links its key and both use it.
    let linked = std::fs::hard_link(&temporary, path);
    std::fs::remove_file(&temporary)?;
    match linked {
        Ok(()) => Ok(key),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            read_key(path, us)?.ok_or_else(|| io::Error::other("it is not a key; remove it, and a new one is made"))
        }
        Err(error) => Err(error),
    }
}

fn read_key(path: &Path, us: u32) -> io::Result<Option<[u8; 32]>> {
    let Some(mut file) = open(path)? else { return Ok(None) };
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.uid() != us || metadata.mode() & 0o077 != 0 || metadata.len() != 32 {
        // Others may have read it or put it there, or it was cut off: everything made with it is worth nothing.
        std::fs::remove_file(path)?;
        return Ok(None);
    }
    let mut key = [0; 32];
    file.read_exact(&mut key)?;
    Ok(Some(key))
}

/// Opens for reading. A link is not followed, and what waits for a writer is not waited for.
fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn private(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Lets whatever can be hashed be hashed with more than the 64 bits of a `Hasher`.
struct EngineHasher(blake3::Hasher);

impl Hasher for EngineHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let (first, _) =
            self.0.finalize().as_bytes().split_first_chunk().map_or(([0; 8], ()), |(first, _)| (*first, ()));
        u64::from_le_bytes(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    /// The smallest component: one that is empty.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn compiled() -> (Engine, Code) {
        let engine = Engine::default();
        let code = Code::vouched_for(engine.precompile_component(EMPTY).unwrap());
        (engine, code)
    }

    /// A cache in this directory that has been given the component.
    fn filled(dir: &Path) -> (Cache, Engine, Code) {
        let (engine, code) = compiled();
        let cache = Cache::open(dir, &engine).unwrap();
        cache.put(EMPTY, &code);
        (cache, engine, code)
    }

    fn entry(dir: &Path) -> PathBuf {
        let code = |path: &PathBuf| path.extension().is_some_and(|extension| extension == SUFFIX);
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).find(code).unwrap()
    }

    #[test]
    fn what_was_kept_is_found_again_by_another_daemon() {
        let temp = tempfile::tempdir().unwrap();
        let (engine, code) = compiled();
        let cache = Cache::open(temp.path(), &engine).unwrap();
        assert!(cache.get(EMPTY).is_none());
        cache.put(EMPTY, &code);
        assert!(Cache::open(temp.path(), &engine).unwrap().get(EMPTY).is_some());
        assert!(cache.get(b"another").is_none());
    }

    #[test]
    fn a_changed_byte_anywhere_is_noticed() {
        let temp = tempfile::tempdir().unwrap();
        let (cache, _, code) = filled(temp.path());
        let path = entry(temp.path());
        let good = std::fs::read(&path).unwrap();
        for at in [0, MAC - 1, MAC, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, bad).unwrap();
            assert!(cache.get(EMPTY).is_none(), "byte {at}");
        }
        for length in [0, MAC - 1, MAC, good.len() - 1] {
            std::fs::write(&path, &good[..length]).unwrap();
            assert!(cache.get(EMPTY).is_none(), "{length} bytes");
        }
        cache.put(EMPTY, &code);
        assert!(cache.get(EMPTY).is_some());
    }

    #[test]
    fn a_file_made_with_another_key_is_not_trusted() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (cache, ..) = filled(ours.path());
        filled(theirs.path());
        std::fs::copy(entry(theirs.path()), entry(ours.path())).unwrap();
        assert!(cache.get(EMPTY).is_none());
    }

    /// Another component: one with an empty custom section.
    const OTHER: &[u8] = b"\0asm\x0d\0\x01\0\0\x01\0";

    #[test]
    fn entries_that_change_places_are_not_trusted() {
        let temp = tempfile::tempdir().unwrap();
        let (cache, engine, _) = filled(temp.path());
        cache.put(OTHER, &Code::vouched_for(engine.precompile_component(OTHER).unwrap()));
        let (first, second) = (cache.path(&cache.name(EMPTY)), cache.path(&cache.name(OTHER)));
        let aside = temp.path().join("aside");
        std::fs::rename(&first, &aside).unwrap();
        std::fs::rename(&second, &first).unwrap();
        std::fs::rename(&aside, &second).unwrap();
        assert!(cache.get(EMPTY).is_none() && cache.get(OTHER).is_none());
    }

    #[test]
    fn a_link_or_a_pipe_in_place_of_an_entry_is_neither_followed_nor_waited_for() {
        let temp = tempfile::tempdir().unwrap();
        let (cache, _, code) = filled(temp.path());
        let path = entry(temp.path());
        let elsewhere = temp.path().join("elsewhere");
        std::fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(cache.get(EMPTY).is_none(), "a link to the right bytes");
        std::fs::remove_file(&path).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        assert!(cache.get(EMPTY).is_none(), "a pipe that nobody writes to");
        cache.put(EMPTY, &code);
        assert!(cache.get(EMPTY).is_some());
        assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
    }

    #[test]
    fn what_was_checked_is_what_is_loaded_whoever_writes_to_the_file_meanwhile() {
        let temp = tempfile::tempdir().unwrap();
        let (cache, ..) = filled(temp.path());
        let path = entry(temp.path());
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[MAC..].fill(0xcc);
        let over = AtomicBool::new(false);
        std::thread::scope(|threads| {
            // One writes into the file that may be open, the other puts another in its place.
            threads.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    for bytes in [&bad, &good] {
                        let _ = File::options().write(true).open(&path).and_then(|mut file| file.write_all(bytes));
                    }
                }
            });
            threads.spawn(|| {
                let new = temp.path().join("new");
                while !over.load(Ordering::Relaxed) {
                    for bytes in [&bad, &good] {
                        std::fs::write(&new, bytes).unwrap();
                        std::fs::rename(&new, &path).unwrap();
                    }
                }
            });
            let (mut loaded, mut refused) = (0, 0);
            while loaded < 200 || refused < 200 {
                match cache.get(EMPTY) {
                    Some(found) => {
                        assert_eq!(found.bytes(), &good[MAC..]);
                        loaded += 1;
                    }
                    None => refused += 1,
                }
            }
            over.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_key_that_somebody_else_put_there_is_made_anew() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join(KEY_FILE);
        private(&path).unwrap().write_all(&[7; 32]).unwrap();
        let us = rustix::process::geteuid().as_raw();
        assert_eq!(read_key(&path, us).unwrap(), Some([7; 32]));
        // Seen by another user it is somebody else's.
        assert_eq!(read_key(&path, us + 1).unwrap(), None);
        assert!(!path.exists());
    }

    #[test]
    fn a_link_in_place_of_the_key_is_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let known = temp.path().join("known");
        private(&known).unwrap().write_all(&[7; 32]).unwrap();
        let dir = temp.path().join("cache");
        std::fs::create_dir(&dir).unwrap();
        std::os::unix::fs::symlink(&known, dir.join(KEY_FILE)).unwrap();
        assert!(matches!(Cache::open(&dir, &compiled().0), Err(CacheError::Key { .. })));
    }

    #[test]
    fn a_directory_that_others_could_write_is_closed_and_what_they_left_is_not_trusted() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("cache");
        let (_, engine, _) = filled(&dir);
        let path = entry(&dir);
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).unwrap();
        std::fs::write(&path, [0xcc; 1000]).unwrap();
        let cache = Cache::open(&dir, &engine).unwrap();
        assert_eq!(std::fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        assert!(cache.get(EMPTY).is_none());
    }

    #[test]
    fn code_of_another_engine_has_another_name() {
        let temp = tempfile::tempdir().unwrap();
        filled(temp.path());
        let other = Engine::new(wasmtime::Config::new().consume_fuel(true)).unwrap();
        assert!(Cache::open(temp.path(), &other).unwrap().get(EMPTY).is_none());
    }

    #[test]
    fn a_key_that_others_could_read_is_made_anew() {
        let temp = tempfile::tempdir().unwrap();
        let (_, engine, _) = filled(temp.path());
        let key = temp.path().join(KEY_FILE);
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Cache::open(temp.path(), &engine).unwrap().get(EMPTY).is_none());
        assert_eq!(std::fs::metadata(&key).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let temp = tempfile::tempdir().unwrap();
        let (engine, code) = compiled();
        let cache = Cache::open(temp.path(), &engine).unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        for at in 0..MOST_FILES + 5 {
            let file = File::create(temp.path().join(format!("{at}.{SUFFIX}"))).unwrap();
            file.set_modified(long_ago).unwrap();
        }
        cache.put(EMPTY, &code);
        let files = std::fs::read_dir(temp.path()).unwrap().count();
        assert_eq!(files, MOST_FILES + 1, "the files and the key");
        assert!(cache.get(EMPTY).is_some());
    }
}
