//! What earlier starts of a session wrote: copied when such a workload is about to be removed, for a later one to be made, and
//! kept until the session is removed. The last few of them, and of each what it wrote last.
//!
//! A log that cannot be copied holds nothing up: it is missed, and the daemon's log says why.
//!
//! A file is a list of pieces: a byte of flags, the length in four bytes (the highest first), the bytes. A line begins with the
//! time at which it was written, as the backend tells it, and a space.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use seawall_backend::{Error, ExecutionBackend as _, Holding, Interface, LogChunk, LogStream, Source};
use seawall_model::{Incarnation, Key, LogOptions, SessionId, SessionState, Size, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ControlError;
use crate::backend::{Backend, call};
use crate::control::Control;
use crate::core::Core;
use crate::draft::key;
use crate::reader::Reader;
use crate::state::Entry;

/// What is kept of the logs of earlier starts: the table `[control.logs]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct KeptLogsConfig {
    /// Of so many starts before the newest. Default 3; 0 keeps none.
    pub incarnations: usize,
    /// Of each the last so many bytes, whole lines. Default 256 KiB.
    pub size: Size,
}

impl Default for KeptLogsConfig {
    fn default() -> Self {
        Self { incarnations: 3, size: Size(256 << 10) }
    }
}

const MOST_INCARNATIONS: usize = 100;
const MOST_SIZE: Size = Size(64 << 20);

impl KeptLogsConfig {
    /// What cannot be as it is, by its name in the table.
    pub(crate) fn problems(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let many = (self.incarnations > MOST_INCARNATIONS).then_some(("logs.incarnations", "at most 100"));
        let large = (self.size > MOST_SIZE).then_some(("logs.size", "at most 64MiB; `incarnations = 0` keeps none"));
        many.into_iter().chain(large)
    }
}

/// So many lines are asked for. Fewer fit, as a rule.
const LINES: u64 = 100_000;
/// So long a start waits for the log of the one before.
const PATIENCE: Duration = Duration::from_secs(5);
/// A line that is longer is kept in pieces.
const LONGEST_PIECE: usize = 16 << 10;

const STDERR: u8 = 1;
const BEGINS: u8 = 2;

/// A line, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    source: Source,
    /// It begins a line, with the time.
    begins: bool,
    bytes: Vec<u8>,
}

/// One of standard output, one of standard error.
#[derive(Default)]
struct Both<T> {
    out: T,
    err: T,
}

impl<T> Both<T> {
    fn of(&mut self, source: Source) -> &mut T {
        match source {
            Source::Stdout => &mut self.out,
            Source::Stderr => &mut self.err,
        }
    }
}

/// What is not a whole line yet.
#[derive(Default)]
struct Partial {
    bytes: Vec<u8>,
    /// It goes on with a line of which a piece was taken already.
    goes_on: bool,
}

/// Pieces of lines, as they come in; at most so many bytes, those that came last.
struct Gathering {
    size: usize,
    bytes: usize,
    pieces: VecDeque<Piece>,
    partial: Both<Partial>,
}

impl Gathering {
    fn new(size: Size) -> Self {
        let size = usize::try_from(size.0).unwrap_or(usize::MAX);
        Self { size, bytes: 0, pieces: VecDeque::new(), partial: Both::default() }
    }

    fn take(&mut self, chunk: &LogChunk) {
        let source = chunk.source;
        for part in chunk.bytes.split_inclusive(|byte| *byte == b'\n') {
            for part in part.chunks(LONGEST_PIECE) {
                let partial = self.partial.of(source);
                partial.bytes.extend_from_slice(part);
                if part.ends_with(b"\n") || partial.bytes.len() >= LONGEST_PIECE {
                    self.flush(source);
                }
            }
        }
    }

    fn flush(&mut self, source: Source) {
        let partial = self.partial.of(source);
        if partial.bytes.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut partial.bytes);
        let begins = !std::mem::replace(&mut partial.goes_on, !bytes.ends_with(b"\n"));
        self.bytes = self.bytes.saturating_add(bytes.len());
        self.pieces.push_back(Piece { source, begins, bytes });
        while self.bytes > self.size {
            let Some(first) = self.pieces.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(first.bytes.len());
        }
    }

    fn done(mut self) -> Vec<u8> {
        self.flush(Source::Stdout);
        self.flush(Source::Stderr);
        let mut file = Vec::with_capacity(self.bytes + self.pieces.len() * 5);
        for Piece { source, begins, bytes } in self.pieces {
            let from = if source == Source::Stderr { STDERR } else { 0 };
            let begins = if begins { BEGINS } else { 0 };
            file.push(from | begins);
            file.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
            file.extend_from_slice(&bytes);
        }
        file
    }
}

/// What a file has; one that breaks off ends there.
fn pieces(mut file: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    while let Some((&[flags, a, b, c, d], rest)) = file.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let Some((bytes, rest)) = rest.split_at_checked(length) else { break };
        let source = if flags & STDERR == 0 { Source::Stdout } else { Source::Stderr };
        pieces.push(Piece { source, begins: flags & BEGINS != 0, bytes: bytes.to_vec() });
        file = rest;
    }
    pieces
}

/// The time that a line begins with, and the line without it.
fn split_time(line: &[u8]) -> Option<(Timestamp, &[u8])> {
    let at = line.iter().take(64).position(|byte| *byte == b' ')?;
    let (time, rest) = line.split_at_checked(at)?;
    Some((std::str::from_utf8(time).ok()?.parse().ok()?, rest.get(1..)?))
}

/// What of it was asked for.
fn chosen(pieces: Vec<Piece>, options: &LogOptions) -> Vec<LogChunk> {
    let mut wanted = Vec::new();
    // Whether the line that a piece goes on with is wanted, by its source.
    let mut goes_on: Both<bool> = Both::default();
    for piece in pieces {
        let on = goes_on.of(piece.source);
        let time = split_time(&piece.bytes).filter(|_| piece.begins);
        if piece.begins {
            let at = time.map(|(at, _)| at);
            let in_time = options.since.is_none_or(|since| at.is_none_or(|at| at >= since))
                && options.until.is_none_or(|until| at.is_none_or(|at| at < until));
            *on = in_time && if piece.source == Source::Stderr { options.stderr } else { options.stdout };
        }
        if *on {
            let bytes = match time {
                Some((_, line)) if !options.timestamps => line.to_vec(),
                _ => piece.bytes.clone(),
            };
            wanted.push((piece.begins, LogChunk { source: piece.source, bytes: bytes.into() }));
        }
    }
    let lines = wanted.iter().filter(|(begins, _)| *begins).count();
    let tail = options.tail.map_or(lines, |tail| usize::try_from(tail).unwrap_or(usize::MAX));
    let mut skip = lines.saturating_sub(tail);
    let mut shown = Vec::new();
    let mut skipping = Both { out: true, err: true };
    for (begins, chunk) in wanted {
        let skipped = skipping.of(chunk.source);
        if begins {
            *skipped = skip > 0;
            skip = skip.saturating_sub(1);
        }
        if !*skipped {
            shown.push(chunk);
        }
    }
    shown
}

/// The files: a directory for each session, a file for each start.
#[derive(Clone, Debug)]
pub(crate) struct KeptLogs(PathBuf);

impl KeptLogs {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self(data_dir.join("logs"))
    }

    fn of(&self, session: &SessionId) -> PathBuf {
        self.0.join(session.as_str())
    }

    /// Which starts of a session are kept, and where.
    fn kept(&self, session: &SessionId) -> BTreeMap<Incarnation, PathBuf> {
        let entries = fs::read_dir(self.of(session)).into_iter().flatten().filter_map(Result::ok);
        let numbered = |entry: fs::DirEntry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()));
        entries.filter_map(numbered).collect()
    }

    fn put(&self, key: &Key, file: &[u8], most: usize) -> io::Result<()> {
        let folder = self.of(&key.session);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let draft = folder.join(format!(".{}", key.incarnation));
        let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        out.write_all(file)?;
        fs::rename(&draft, folder.join(key.incarnation.to_string()))?;
        let kept = self.kept(&key.session);
        let old = kept.len().saturating_sub(most);
        kept.values().take(old).try_for_each(fs::remove_file)
    }

    fn forget(&self, session: &SessionId) {
        match fs::remove_dir_all(self.of(session)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%session, %error, "the logs of its earlier starts could not be removed");
            }
            _ => {}
        }
    }

    /// Removes those of sessions that are not there: the daemon ended before it came to that.
    fn tidy(&self, there: &HashSet<SessionId>) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().filter_map(Result::ok) {
            let session = entry.file_name().to_str().and_then(|name| name.parse::<SessionId>().ok());
            if let Some(session) = session.filter(|session| !there.contains(session)) {
                self.forget(&session);
            }
        }
    }
}

impl Core {
    /// Copies the log of a workload that is about to be removed for the next one.
    pub(crate) async fn keep_log(&self, backend: &Backend, key: &Key) {
        let config = self.config.logs;
        if config.incarnations == 0 || !backend.driver.info().has(Interface::Logs) {
            return;
        }
        let options = LogOptions { tail: Some(LINES), timestamps: true, ..LogOptions::default() };
        let read = async {
            let mut log = call("logs", backend.driver.logs(key, &options)).await.map_err(io::Error::other)?;
            let mut gathering = Gathering::new(config.size);
            while let Some(chunk) = log.next().await {
                gathering.take(&chunk?);
            }
            Ok::<_, io::Error>(gathering.done())
        };
        let (logs, key_there) = (self.logs.clone(), key.clone());
        let kept = match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(file)) => {
                let put = move || logs.put(&key_there, &file, config.incarnations);
                tokio::task::spawn_blocking(put).await.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "it took longer than 5 s to read")),
        };
        if let Err(error) = kept {
            let (session, incarnation) = (&key.session, key.incarnation);
            tracing::warn!(%session, incarnation, %error, "the log of an earlier start is not kept");
        }
    }

    /// The session is gone, and with it what it wrote.
    pub(crate) async fn forget_logs(&self, session: &SessionId) {
        let (logs, session) = (self.logs.clone(), session.clone());
        // A panic in there is a defect, and no reason to keep the session.
        let _ = tokio::task::spawn_blocking(move || logs.forget(&session)).await;
    }

    /// Removes what an earlier daemon did not come to remove.
    pub(crate) fn tidy_logs(&self) {
        let there = self.sessions.all().iter().map(|entry| entry.id.clone()).collect();
        let logs = self.logs.clone();
        self.tasks.spawn_blocking(move || logs.tidy(&there));
    }
}

impl Control {
    /// What an earlier start of a session wrote, as far as it is kept; of the newest one the same as [`Control::logs`].
    ///
    /// # Errors
    /// As [`Control::logs`], and `NoSuchLog`.
    pub async fn logs_of(
        &self,
        id: &SessionId,
        incarnation: Incarnation,
        options: LogOptions,
    ) -> Result<LogStream, ControlError> {
        let no_such = || ControlError::NoSuchSession(id.to_string());
        let entry = self.core.sessions.get(id).ok_or_else(no_such)?;
        let newest = entry.with(|cell| key(&cell.record).incarnation);
        if incarnation == newest {
            return self.logs(id, options).await;
        }
        let mut read = self.kept(id, incarnation).await?;
        if read.0.is_none() {
            if let Some(log) = self.not_yet_kept(&entry, incarnation, &options).await? {
                return Ok(log);
            }
            // It may have been, in between.
            read = self.kept(id, incarnation).await?;
        }
        match read {
            (Some(file), _) => {
                Ok(Box::pin(stream::iter(chosen(pieces(&file), &options).into_iter().map(io::Result::Ok))))
            }
            (None, kept) => Err(ControlError::NoSuchLog(not_kept(incarnation, newest, &kept))),
        }
    }

    /// The file of one, and which there are.
    async fn kept(
        &self,
        id: &SessionId,
        incarnation: Incarnation,
    ) -> Result<(Option<Vec<u8>>, Vec<Incarnation>), ControlError> {
        let (logs, session) = (self.core.logs.clone(), id.clone());
        let read = move || {
            let kept = logs.kept(&session);
            let file = kept.get(&incarnation).map(fs::read).transpose()?;
            io::Result::Ok((file, kept.into_keys().collect()))
        };
        let unread = |error: io::Error| ControlError::NoSuchLog(format!("the log cannot be read: {error}"));
        let read = tokio::task::spawn_blocking(read).await.map_err(|error| unread(io::Error::other(error)))?;
        read.map_err(unread)
    }

    /// The log of the incarnation before one that is yet to be made, if its workload is still there.
    async fn not_yet_kept(
        &self,
        entry: &Arc<Entry>,
        incarnation: Incarnation,
        options: &LogOptions,
    ) -> Result<Option<LogStream>, ControlError> {
        let before = entry.with(|cell| {
            let (record, there) = (&cell.record, !cell.marks.previous_gone);
            let before = record.state == SessionState::Pending && record.incarnation == incarnation.saturating_add(1);
            (before && there).then(|| Key { session: record.id.clone(), incarnation, handle: record.handle.clone() })
        });
        let Some(key) = before else { return Ok(None) };
        let driver = &self.core.backend(&entry.backend)?.driver;
        let most = self.core.config.session_streams;
        let reader = Reader::new(Arc::clone(entry), incarnation, most).ok_or_else(|| self.too_many(&entry.id))?;
        match driver.logs(&key, options).await {
            Ok(log) => Ok(Some(Box::pin(Holding::new(log, reader)))),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn not_kept(incarnation: Incarnation, newest: Incarnation, kept: &[Incarnation]) -> String {
    if incarnation > newest {
        return format!("there was no incarnation {incarnation} yet: the newest is {newest}");
    }
    let kept: Vec<String> = kept.iter().chain([&newest]).map(ToString::to_string).collect();
    format!("the log of incarnation {incarnation} is not kept; there are those of {}", kept.join(", "))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn chunk(source: Source, text: &str) -> LogChunk {
        LogChunk { source, bytes: Bytes::copy_from_slice(text.as_bytes()) }
    }

    fn gathered(size: u64, chunks: &[LogChunk]) -> Vec<Piece> {
        let mut gathering = Gathering::new(Size(size));
        chunks.iter().for_each(|chunk| gathering.take(chunk));
        pieces(&gathering.done())
    }

    fn shown(pieces: Vec<Piece>, options: LogOptions) -> String {
        let chunks = chosen(pieces, &options);
        String::from_utf8(chunks.iter().flat_map(|chunk| chunk.bytes.to_vec()).collect()).unwrap()
    }

    const CHUNKS: [(Source, &str); 5] = [
        (Source::Stdout, "2026-01-01T00:00:01Z one\n2026-01-01T00:00:0"),
        (Source::Stderr, "2026-01-01T00:00:02Z two\n"),
        (Source::Stdout, "3Z three\n2026-01-01T00:00:04Z fo"),
        (Source::Stdout, "ur\n"),
        (Source::Stdout, "2026-01-01T00:00:05Z five"),
    ];

    #[test]
    fn what_was_cut_anywhere_is_lines_again_with_or_without_their_times() {
        let kept = gathered(1000, &CHUNKS.map(|(source, text)| chunk(source, text)));
        let all = LogOptions::default();
        assert_eq!(shown(kept.clone(), all), "one\ntwo\nthree\nfour\nfive");
        assert_eq!(shown(kept.clone(), LogOptions { tail: Some(2), ..all }), "four\nfive");
        assert_eq!(shown(kept.clone(), LogOptions { tail: Some(0), ..all }), "");
        assert_eq!(shown(kept.clone(), LogOptions { stdout: false, ..all }), "two\n");
        let at = |second: u64| Some(format!("2026-01-01T00:00:0{second}Z").parse().unwrap());
        assert_eq!(shown(kept.clone(), LogOptions { since: at(2), until: at(4), ..all }), "two\nthree\n");
        assert!(shown(kept, LogOptions { timestamps: true, ..all }).starts_with("2026-01-01T00:00:01Z one\n2026"));
    }

    #[test]
    fn what_was_written_last_is_kept_in_whole_lines() {
        let lines: Vec<_> = (0..100).map(|n| chunk(Source::Stdout, &format!("2026-01-01T00:00:00Z {n}\n"))).collect();
        let kept = gathered(60, &lines);
        assert_eq!(shown(kept, LogOptions::default()), "98\n99\n");
        let long = chunk(Source::Stdout, &format!("2026-01-01T00:00:00Z {}\nend\n", "x".repeat(50_000)));
        let kept = gathered(1 << 20, &[long]);
        assert_eq!(shown(kept, LogOptions::default()), format!("{}\nend\n", "x".repeat(50_000)));
    }

    #[test]
    fn the_last_few_starts_are_kept_and_go_with_their_session() {
        let folder = tempfile::tempdir().unwrap();
        let logs = KeptLogs::new(folder.path());
        let (one, other) = (SessionId::random(), SessionId::random());
        for incarnation in [1, 2, 9, 10, 11] {
            let key = Key { session: one.clone(), incarnation, handle: None };
            logs.put(&key, b"x", 3).unwrap();
        }
        logs.put(&Key { session: other.clone(), incarnation: 1, handle: None }, b"x", 3).unwrap();
        assert_eq!(logs.kept(&one).into_keys().collect::<Vec<_>>(), [9, 10, 11]);
        logs.tidy(&[other.clone()].into());
        assert!(logs.kept(&one).is_empty() && logs.kept(&other).len() == 1);
        logs.forget(&other);
        logs.forget(&other);
        assert!(!logs.of(&other).exists());
    }

    proptest! {
        #[test]
        fn any_file_is_read_and_any_log_reads_back(
            noise in prop::collection::vec(any::<u8>(), 0..200),
            parts in prop::collection::vec((any::<bool>(), "[a-z \n]{0,20}"), 0..20),
        ) {
            pieces(&noise);
            let source = |err: bool| if err { Source::Stderr } else { Source::Stdout };
            let chunks: Vec<_> = parts.iter().map(|(err, text)| chunk(source(*err), text)).collect();
            for one in [Source::Stdout, Source::Stderr] {
                let written: String =
                    parts.iter().filter(|(err, _)| source(*err) == one).map(|(_, text)| text.as_str()).collect();
                let (stdout, stderr) = (one == Source::Stdout, one == Source::Stderr);
                let options = LogOptions { stdout, stderr, ..LogOptions::default() };
                prop_assert_eq!(shown(gathered(1 << 20, &chunks), options), written);
            }
        }
    }
}
