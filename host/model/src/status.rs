//! What a backend says of a workload: the same words as `wit/host/types.wit`, where each is defined.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Exit, Incarnation, Secret, SessionId, Timestamp};

/// Which workload is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The session.
    pub session: SessionId,
    /// Which start of it; from 1.
    pub incarnation: Incarnation,
    /// What the backend last gave for it, stored unread.
    pub handle: Option<Vec<u8>>,
}

/// What the engine says of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Made, never started.
    Created,
    /// Runs.
    Running,
    /// Frozen.
    Paused,
    /// Ended; [`Status::exit`] says how.
    Exited,
    /// Ended, and the engine cannot say how or cannot start it again.
    Dead,
}

impl State {
    /// It will not run again.
    pub fn ended(self) -> bool {
        matches!(self, Self::Exited | Self::Dead)
    }
}

/// Health of a running workload (A2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Passes its check, or has none.
    Healthy,
    /// Fails its check.
    Unhealthy,
    /// Its check has come to no answer yet.
    Starting,
    /// Nobody can tell now. Never read as unhealthy, never as gone.
    #[default]
    Unknown,
}

/// One answer about one workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it does.
    pub state: State,
    /// How well.
    pub health: Health,
    /// Present exactly when `state` is ended.
    pub exit: Option<Exit>,
    /// Absent where a cheap answer does not carry it.
    pub created_at: Option<Timestamp>,
    /// Absent before the first start, or where a cheap answer does not carry it.
    pub started_at: Option<Timestamp>,
    /// Absent means unchanged.
    pub handle: Option<Vec<u8>>,
}

/// One answer of a batch, by its position in the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Index into the keys that were asked about.
    pub position: usize,
    /// The answer.
    pub status: Status,
}

/// What cannot be said about one workload of a batch, while the others could be asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Index into the keys that were asked about.
    pub position: usize,
    /// Why, for people.
    pub reason: String,
}

/// The answer to a batch. What is in neither list was not found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// What was found; each position at most once.
    pub found: Vec<Found>,
    /// What could not be asked about: neither there nor gone.
    pub unknown: Vec<Unknown>,
}

impl Inspection {
    /// Moves every position by `offset`, for the answer to a part of a larger batch.
    pub fn shift(&mut self, offset: usize) {
        self.positions().for_each(|position| *position += offset);
    }

    /// Replaces every position by `places[position]`, for the answer to a selection. One outside of `places` stays.
    pub fn place(&mut self, places: &[usize]) {
        self.positions().for_each(|position| *position = places.get(*position).copied().unwrap_or(*position));
    }

    /// Adds the answer to another part of the same batch.
    pub fn append(&mut self, other: Self) {
        self.found.extend(other.found);
        self.unknown.extend(other.unknown);
    }

    fn positions(&mut self) -> impl Iterator<Item = &mut usize> {
        let unknown = self.unknown.iter_mut().map(|unknown| &mut unknown.position);
        self.found.iter_mut().map(|found| &mut found.position).chain(unknown)
    }
}

/// A workload met by listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its session, which the host may not know.
    pub session: SessionId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// Its status.
    pub status: Status,
}

/// A part of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// What is on it.
    pub workloads: Vec<Workload>,
    /// Where to go on; `None` on the last page.
    pub next: Option<String>,
}

/// What a backend answers to `check`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Report {
    /// Version of the engine behind it.
    pub version: String,
    /// Facts worth showing.
    pub attributes: Vec<(String, String)>,
}

/// Which part of the output, and in what form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on until the workload ends.
    pub follow: bool,
    /// Begin this many lines before the end.
    pub tail: Option<u64>,
    /// Only what was written at or after.
    pub since: Option<Timestamp>,
    /// Only what was written before.
    pub until: Option<Timestamp>,
    /// Give standard output.
    pub stdout: bool,
    /// Give standard error.
    pub stderr: bool,
    /// An RFC 3339 time and a space before each line.
    pub timestamps: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { follow: false, tail: None, since: None, until: None, stdout: true, stderr: true, timestamps: false }
    }
}

/// A command to run in a workload that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// Program and arguments; at least one.
    pub command: Vec<String>,
    /// Besides the workload's own environment, and over it.
    pub env: Vec<(String, Secret)>,
    /// Absolute. Absent: the workload's own.
    pub working_dir: Option<String>,
    /// A user name or number, and `:group`. Absent: the workload's own.
    pub user: Option<String>,
    /// It is killed so long after it began. Absent: it may run as long as the workload.
    pub timeout: Option<Duration>,
    /// Give it a terminal.
    pub tty: bool,
    /// Of its terminal, to begin with.
    pub size: Option<TerminalSize>,
    /// Keep its standard input open.
    pub stdin: bool,
}

impl ExecOptions {
    /// The first field with which somebody at a keyboard is meant; for who cannot serve them.
    pub fn interactive(&self) -> Option<&'static str> {
        let fields = [("tty", self.tty), ("size", self.size.is_some()), ("stdin", self.stdin)];
        fields.into_iter().find_map(|(field, asked)| asked.then_some(field))
    }
}

/// How somebody is put in touch with a workload that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachOptions {
    /// What it writes to standard output, or its terminal, from now on.
    pub stdout: bool,
    /// What it writes to standard error.
    pub stderr: bool,
    /// Take what is given to its standard input.
    pub stdin: bool,
    /// Of its terminal, if it has one. Absent: as it is.
    pub size: Option<TerminalSize>,
}

/// How much a terminal shows, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// In a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// How a command in a workload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandEnd {
    /// With this exit code.
    Code(u8),
    /// By this signal.
    Signal(u8),
    /// By the host, since it took longer than it may.
    TimedOut,
}

/// How a health check that an engine made went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CheckResult {
    /// When it ended.
    pub at: Timestamp,
    /// What the command returned; absent if it was cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
    /// The beginning of what it wrote, on one line.
    pub output: String,
}
