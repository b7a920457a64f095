//! The small files of a run directory.
//!
//! Each is two bytes of version and then the record. A reader refuses a version it does not know; when a record changes,
//! its version does, and the reader goes on to know the older ones.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::cgroup::Plan;
use crate::plain;

/// No record is larger: a spec has at most 256 KiB.
const MAX: u64 = 4 << 20;

/// Something kept in a file of a run directory.
pub trait Record: Serialize + DeserializeOwned {
    /// The version written.
    const VERSION: u16;
}

/// Whose run directory it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Id of the data directory.
    pub store: String,
    /// Name of the backend.
    pub backend: String,
    /// Id of the session.
    pub session: String,
    /// Which start of it.
    pub incarnation: u64,
    /// When it was made, in ms since the Unix epoch.
    pub created_at: u64,
}

impl Record for Stamp {
    const VERSION: u16 = 1;
}

/// What to run. Everything is decided already: the supervisor carries it out as it stands.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The file to execute, absolute.
    pub file: String,
    /// The arguments, the program's own name first.
    pub arguments: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Absent: the private directory `work`.
    pub working_dir: Option<String>,
    /// Absent: whoever runs the supervisor.
    pub user: Option<User>,
    /// Limits of each process.
    pub rlimits: Vec<Rlimit>,
    /// Give it a terminal.
    pub tty: bool,
    /// Keep its standard input open.
    pub stdin: bool,
    /// Bounds on its log.
    pub log: crate::log::Limits,
    /// Where its tree of processes is held.
    pub cgroup: Plan,
}

impl Record for Program {
    const VERSION: u16 = 1;
}

/// A command to run in the session, in the control groups and with the limits of its program.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The file to execute, absolute.
    pub file: String,
    /// The arguments, the program's own name first.
    pub arguments: Vec<String>,
    /// Besides the environment of the session's program, and over it.
    pub env: Vec<(String, String)>,
    /// Absent: that of the session's program.
    pub working_dir: Option<String>,
    /// Absent: that of the session's program.
    pub user: Option<User>,
    /// It is killed this many ms after it began. Absent: never.
    pub timeout: Option<u64>,
}

impl Record for Command {
    const VERSION: u16 = 1;
}

/// A command with what somebody at a keyboard needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interactive {
    /// The command.
    pub command: Command,
    /// It has a terminal of this size. Absent: it has none.
    pub terminal: Option<Size>,
    /// Its standard input is open. Otherwise it reads end of file.
    pub stdin: bool,
}

impl Record for Interactive {
    const VERSION: u16 = 1;
}

impl From<Command> for Interactive {
    fn from(command: Command) -> Self {
        Self { command, terminal: None, stdin: false }
    }
}

/// How much a terminal shows, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// In a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

impl Size {
    /// What a terminal has that nobody has said anything about.
    pub const USUAL: Self = Self { columns: 80, rows: 24 };
}

/// Its environment is secret.
impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command").field("file", &self.file).finish_non_exhaustive()
    }
}

/// A user to run as, with no supplementary groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A limit of each process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// As in `ulimit`.
    pub name: String,
    /// `u64::MAX` is none.
    pub soft: u64,
    /// `u64::MAX` is none.
    pub hard: u64,
}

/// The program was executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// When, in ms since the Unix epoch.
    pub at: u64,
    /// Its process, session and process group. A hint: the lock is the identity.
    pub pid: i32,
    /// The supervisor's process. A hint.
    pub supervisor: i32,
}

impl Record for Started {
    const VERSION: u16 = 1;
}

/// How it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When, in ms since the Unix epoch; absent when nobody saw it.
    pub at: Option<u64>,
    /// What it returned.
    pub code: Option<u8>,
    /// What ended it.
    pub signal: Option<u8>,
    /// The kernel killed something of its tree for want of memory, and it did not end with 0.
    pub oom: bool,
    /// In words.
    pub message: Option<String>,
    /// It was never executed, and this is why.
    pub failure: Option<Failure>,
}

impl Record for Ended {
    const VERSION: u16 = 1;
}

/// Why a program was not executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which field of the session spec is at fault; absent if none is.
    pub field: Option<String>,
    /// What happened, and to what.
    pub message: String,
}

impl Record for Failure {
    const VERSION: u16 = 1;
}

/// The bytes of a record.
///
/// # Errors
/// It cannot be written down; that does not happen to the records of this module.
pub fn encode<R: Record>(record: &R) -> io::Result<Vec<u8>> {
    postcard::to_extend(record, R::VERSION.to_le_bytes().to_vec()).map_err(io::Error::other)
}

/// The record of these bytes.
///
/// # Errors
/// Another version, or damaged.
pub fn decode<R: Record>(bytes: &[u8]) -> io::Result<R> {
    let (version, body) = bytes.split_first_chunk::<2>().ok_or_else(|| invalid("it is too short"))?;
    let version = u16::from_le_bytes(*version);
    if version != R::VERSION {
        return Err(invalid(&format!("its version is {version}, and only {} is known", R::VERSION)));
    }
    postcard::from_bytes(body).map_err(|error| invalid(&format!("it is damaged: {error}")))
}

/// Reads a record; `None` if the file is not there.
///
/// # Errors
/// The file cannot be read, or is none of ours.
pub fn read<R: Record>(path: &Path) -> io::Result<Option<R>> {
    let file = match plain::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX).read_to_end(&mut bytes)?;
    decode(&bytes)
        .map(Some)
        .map_err(|error| io::Error::new(error.kind(), format!("{} cannot be read: {error}", path.display())))
}

/// Writes a record so that it is there whole or not at all, and never over one that is there already.
///
/// # Errors
/// The file is there (`AlreadyExists`) or cannot be written.
pub fn write<R: Record>(path: &Path, record: &R, durable: bool) -> io::Result<()> {
    let draft = draft_of(path);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(&encode(record)?)?;
    publish(&file, &draft, path, durable)
}

/// No record is as long as this.
const RESERVED: [u8; 4096] = [0; 4096];

/// A record that will be written even if the disk is full by then: its space is taken now.
#[derive(Debug)]
pub struct Reserved {
    file: File,
    path: PathBuf,
}

impl Reserved {
    /// Takes the space of a small record.
    ///
    /// # Errors
    /// There is none.
    pub fn new(path: &Path) -> io::Result<Self> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(draft_of(path))?;
        file.write_all(&RESERVED)?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Writes the record durably.
    ///
    /// # Errors
    /// As for [`fn@write`]. It can be tried again.
    pub fn write<R: Record>(&mut self, record: &R) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let bytes = encode(record)?;
        self.file.write_all_at(&bytes, 0)?;
        self.file.set_len(bytes.len() as u64)?;
        publish(&self.file, &draft_of(&self.path), &self.path, true)
    }
}

/// A record that was written whole where its space was reserved and could not be put in its place: the writer was killed
/// in between, or the directory could not be changed.
///
/// # Errors
/// The directory cannot be read.
pub fn left<R: Record>(path: &Path) -> io::Result<Option<R>> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let mut prefix = name.to_owned();
    prefix.push(".");
    for entry in std::fs::read_dir(parent)? {
        let entry = entry?;
        let draft = entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes());
        // While it has the length that was reserved it is not whole.
        if draft
            && entry.metadata()?.len() < RESERVED.len() as u64
            && let Ok(Some(record)) = read(&entry.path())
        {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

fn publish(file: &File, draft: &Path, path: &Path, durable: bool) -> io::Result<()> {
    if durable {
        file.sync_all()?;
    }
    renameat_with(CWD, draft, CWD, path, RenameFlags::NOREPLACE)?;
    if durable { sync_parent(path) } else { Ok(()) }
}

/// Makes the names in the directory of `path` durable.
///
/// # Errors
/// The directory cannot be synced.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// The process id keeps two writers of one record apart.
fn draft_of(path: &Path) -> PathBuf {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    draft.into()
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_another_version_or_a_damaged_one_is_refused() {
        let ended = Ended { code: Some(3), message: Some("three".into()), ..Ended::default() };
        let bytes = encode(&ended).unwrap();
        assert_eq!(decode::<Ended>(&bytes).unwrap(), ended);

        let mut newer = bytes.clone();
        newer[0] = 9;
        let error = decode::<Ended>(&newer).unwrap_err().to_string();
        assert!(error.contains("version is 9"), "{error}");
        for cut in 0..bytes.len() {
            assert!(decode::<Ended>(&bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn what_is_written_once_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exit");
        assert_eq!(read::<Ended>(&path).unwrap(), None);

        let first = Ended { code: Some(0), ..Ended::default() };
        Reserved::new(&path).unwrap().write(&first).unwrap();
        let error = write(&path, &Ended::default(), true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read::<Ended>(&path).unwrap(), Some(first));
    }
    #[test]
    fn what_was_written_whole_and_not_put_in_its_place_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exit");
        let ended = Ended { code: Some(3), ..Ended::default() };
        let mut reserved = Reserved::new(&path).unwrap();
        assert_eq!(left::<Ended>(&path).unwrap(), None, "nothing was written yet");
        // In its place is something else.
        std::fs::create_dir(&path).unwrap();
        reserved.write(&ended).unwrap_err();
        assert_eq!(left::<Ended>(&path).unwrap(), Some(ended));
        assert_eq!(left::<Ended>(&dir.path().join("other")).unwrap(), None);
    }
}
