//! Run directories: making, finding, judging and removing them. Blocking file work, called from the blocking pool.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Gid, OFlags, Uid};
use seawall_backend::Error;
use seawall_model::{Exit, Health, Incarnation, Key, SessionId, State, Status, Timestamp};
use seawall_supervisor::record::{self, Ended, Program, Stamp, Started};
use seawall_supervisor::{CANNOT_RECORD, RunDir, lock, now, plain};

use crate::{Scope, tree};

/// Names that begin so are made or removed just now, by this backend's daemon, or were left by a crash.
const NEW: &str = ".new-";
const GONE: &str = ".gone-";

/// A run directory of this backend.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) dir: RunDir,
    stamp: Stamp,
}

/// What a run directory tells.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// Nothing was begun. `held`: a supervisor is about to.
    Created { held: bool },
    /// It runs. Without `Started` it is about to be executed.
    Running(Option<Started>),
    /// It ended. `Started` is absent if it never was executed.
    Ended(Ended, Option<Started>),
    /// It was begun, and its supervisor was killed before it could tell the end.
    Lost,
}

/// Makes the directory of run directories, and removes what an earlier daemon was in the middle of.
pub(crate) fn prepare(scope: &Scope, shared: bool) -> io::Result<()> {
    make(&scope.runs, if shared { 0o711 } else { 0o700 }, true)?;
    for entry in fs::read_dir(&scope.runs)? {
        let entry = entry?;
        let name = entry.file_name();
        let leftover =
            |prefix| name.to_str().is_some_and(|name| name.starts_with(&format!("{prefix}{}.", scope.backend)));
        if leftover(NEW) || leftover(GONE) {
            tree::remove(&entry.path())?;
        } else if name.to_str().is_some_and(|name| name.parse::<SessionId>().is_ok()) {
            // A kill between two steps of a create or a remove leaves it empty, and only then this removes it.
            let _ = fs::remove_dir(entry.path());
        }
    }
    Ok(())
}

fn path_of(scope: &Scope, session: &SessionId, incarnation: Incarnation) -> PathBuf {
    scope.runs.join(session.as_str()).join(incarnation.to_string())
}

/// Where the private directory of this key is, or will be.
pub(crate) fn work_of(scope: &Scope, key: &Key) -> PathBuf {
    RunDir::new(path_of(scope, &key.session, key.incarnation)).work()
}

/// The run directory of this key; `None` if there is none of this backend.
///
/// One with a damaged stamp is none of anybody: nothing at create is synced, and a crash of the machine may leave a
/// directory without its content. Nothing runs then, and [`create`] makes it anew.
pub(crate) fn find(scope: &Scope, session: &SessionId, incarnation: Incarnation) -> io::Result<Option<Run>> {
    let dir = RunDir::new(path_of(scope, session, incarnation));
    let stamp = match record::read::<Stamp>(&dir.stamp()) {
        Ok(Some(stamp)) => stamp,
        Ok(None) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            tracing::warn!(%error, "a run directory without a stamp that can be read");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let ours = stamp.store == scope.store.as_str()
        && stamp.backend == scope.backend.as_str()
        && stamp.session == session.as_str()
        && stamp.incarnation == incarnation;
    Ok(ours.then_some(Run { dir, stamp }))
}

/// Makes a run directory whole, or meets the one that is there.
pub(crate) fn create(scope: &Scope, key: &Key, program: &Program) -> Result<Run, Error> {
    let stamp = Stamp {
        store: scope.store.to_string(),
        backend: scope.backend.to_string(),
        session: key.session.to_string(),
        incarnation: key.incarnation,
        created_at: now(),
    };
    let draft = scope.runs.join(format!("{NEW}{}.{}-{}", scope.backend, key.session, key.incarnation));
    let place = path_of(scope, &key.session, key.incarnation);
    let made = tree::remove(&draft)
        .and_then(|()| fill(&RunDir::new(&draft), &stamp, program))
        .and_then(|()| put(&draft, &place, program.user.is_some()));
    match made {
        Ok(()) => Ok(Run { dir: RunDir::new(place), stamp }),
        Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
            match find(scope, &key.session, key.incarnation) {
                Ok(Some(run)) => {
                    let _ = tree::remove(&draft);
                    Ok(run)
                }
                Ok(None) if is_wreck(&RunDir::new(&place)) => {
                    let message =
                        |error| Error::unavailable(format!("{} cannot be made anew: {error}", place.display()));
                    tree::remove(&place).and_then(|()| put(&draft, &place, program.user.is_some())).map_err(message)?;
                    Ok(Run { dir: RunDir::new(place), stamp })
                }
                other => {
                    let _ = tree::remove(&draft);
                    Err(match other {
                        Err(error) => unreadable(&place, &error),
                        Ok(_) => Error::conflict(format!("{} is there and is not this backend's", place.display())),
                    })
                }
            }
        }
        Err(error) => {
            let _ = tree::remove(&draft);
            let message = format!("the run directory {} cannot be made: {error}", place.display());
            Err(match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Error::Exhausted { message, retry_after: None }
                }
                _ => Error::unavailable(message),
            })
        }
    }
}

/// Whether a run directory is what a crash of the machine left of a create: it was never begun, and nobody holds it.
fn is_wreck(dir: &RunDir) -> bool {
    let damaged = !matches!(record::read::<Stamp>(&dir.stamp()), Ok(Some(_)));
    damaged && matches!(fs::exists(dir.begun()), Ok(false)) && matches!(lock::is_held(&dir.lock()), Ok(false))
}

fn fill(dir: &RunDir, stamp: &Stamp, program: &Program) -> io::Result<()> {
    make(dir.path(), if program.user.is_some() { 0o711 } else { 0o700 }, false)?;
    make(&dir.log(), 0o700, false)?;
    if program.working_dir.is_none() {
        make(&dir.work(), 0o700, false)?;
        if let Some(user) = program.user {
            rustix::fs::chown(dir.work(), Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))?;
        }
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.lock())?;
    record::write(&dir.program(), program, false)?;
    record::write(&dir.stamp(), stamp, false)
}

/// Renames the draft into its place. The session's directory may be removed, as empty, between making it and that.
fn put(draft: &Path, place: &Path, shared: bool) -> io::Result<()> {
    for _ in 0..10 {
        if let Some(parent) = place.parent() {
            make(parent, if shared { 0o711 } else { 0o700 }, false).or_else(ignore(io::ErrorKind::AlreadyExists))?;
        }
        match fs::rename(draft, place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    fs::rename(draft, place)
}

impl Run {
    pub(crate) fn program(&self) -> io::Result<Program> {
        record::read(&self.dir.program())?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Judges it. The order matters: `begun`, lock, `exit`.
    pub(crate) fn phase(&self) -> io::Result<Phase> {
        let begun = fs::exists(self.dir.begun())?;
        let held = lock::is_held(&self.dir.lock())?;
        if let Some(ended) = record::read::<Ended>(&self.dir.exit())? {
            return Ok(Phase::Ended(ended, record::read(&self.dir.started())?));
        }
        Ok(match (begun, held) {
            (false, held) => Phase::Created { held },
            (true, true) => Phase::Running(record::read(&self.dir.started())?),
            (true, false) => Phase::Lost,
        })
    }

    /// As [`phase`](Self::phase), and a lost one is put to rest: what is left of its tree is killed, and the loss
    /// recorded, or the end that its supervisor could still write down. Nothing can begin it again, so nothing can come between.
    pub(crate) fn settle(&self) -> io::Result<Phase> {
        let phase = self.phase()?;
        if !matches!(phase, Phase::Lost) {
            return Ok(phase);
        }
        let plan = self.program()?.cgroup;
        plan.kill_all(Duration::from_secs(2))?;
        let ended = match record::left::<Ended>(&self.dir.exit())? {
            Some(ended) => ended,
            None => Ended { message: Some(self.why_lost()), ..Ended::default() },
        };
        record::write(&self.dir.exit(), &ended, true).or_else(ignore(io::ErrorKind::AlreadyExists))?;
        if let Err(error) = plan.remove(Duration::from_millis(500)) {
            tracing::warn!(%error, "a control group stays until the process is removed");
        }
        self.phase()
    }

    /// Why there is no record of its end, as far as its supervisor could say it.
    fn why_lost(&self) -> String {
        let trouble = self.trouble();
        let why = trouble.rsplit_once(CANNOT_RECORD).and_then(|(_, why)| why.split("; ").next());
        match why {
            Some(why) => format!("nobody can say how it ended: its supervisor could not record the exit ({why})"),
            None => {
                "nobody can say how it ended: its supervisor was killed, or could not record the exit and say why; \
                     what was left of it was killed too"
                    .to_owned()
            }
        }
    }

    /// Its status, of what [`settle`](Self::settle) gave.
    pub(crate) fn status(&self, phase: &Phase) -> Status {
        let created_at = Some(Timestamp::from_millis(self.stamp.created_at));
        let started = |started: &Option<Started>| started.as_ref().map(|started| Timestamp::from_millis(started.at));
        let unstarted = Status {
            state: State::Created,
            health: Health::Unknown,
            exit: None,
            created_at,
            started_at: None,
            handle: None,
        };
        match phase {
            Phase::Created { .. } | Phase::Running(None) => unstarted,
            Phase::Running(at) => {
                Status { state: State::Running, health: Health::Healthy, started_at: started(at), ..unstarted }
            }
            Phase::Ended(ended, at) => {
                let exit = exit_of(ended);
                let state = if exit.unknown() { State::Dead } else { State::Exited };
                Status { state, exit: Some(exit), started_at: started(at), ..unstarted }
            }
            Phase::Lost => Status { state: State::Dead, exit: Some(Exit::default()), ..unstarted },
        }
    }

    /// Removes it and what was made for it. Nothing of it may run any more.
    pub(crate) fn remove(&self, scope: &Scope) -> io::Result<()> {
        let plan = match self.program() {
            Ok(program) => program.cgroup,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Default::default(),
            Err(error) => return Err(error),
        };
        plan.remove(Duration::from_secs(1))?;
        let gone =
            scope.runs.join(format!("{GONE}{}.{}-{}", scope.backend, self.stamp.session, self.stamp.incarnation));
        tree::remove(&gone)?;
        fs::rename(self.dir.path(), &gone).or_else(ignore(io::ErrorKind::NotFound))?;
        if let Some(session) = self.dir.path().parent() {
            // Other incarnations keep it.
            let _ = fs::remove_dir(session);
        }
        tree::remove(&gone)
    }

    /// The end of what the supervisor wrote to its standard error.
    pub(crate) fn trouble(&self) -> String {
        let end = || -> io::Result<Vec<u8>> {
            let file = plain::open(&self.dir.trouble())?;
            let mut text = vec![0; 2048];
            let from = file.metadata()?.len().saturating_sub(2048);
            let length = file.read_at(&mut text, from)?;
            text.truncate(length);
            Ok(text)
        };
        String::from_utf8_lossy(&end().unwrap_or_default()).trim().replace('\n', "; ")
    }

    /// A file for its supervisor's standard error.
    pub(crate) fn open_trouble(&self) -> io::Result<File> {
        let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
        OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(self.dir.trouble())
    }
}

fn exit_of(ended: &Ended) -> Exit {
    Exit {
        code: ended.code,
        signal: ended.signal,
        oom: ended.oom,
        message: ended.message.clone(),
        at: ended.at.map(Timestamp::from_millis),
    }
}

/// Every key of this directory that comes after `after`, in order, whosever it is.
pub(crate) fn keys(
    scope: &Scope,
    after: Option<&(SessionId, Incarnation)>,
) -> io::Result<Vec<(SessionId, Incarnation)>> {
    let mut keys = Vec::new();
    for entry in fs::read_dir(&scope.runs)? {
        let entry = entry?;
        let Some(session) = entry.file_name().to_str().and_then(|name| name.parse::<SessionId>().ok()) else {
            continue;
        };
        if after.is_some_and(|(last, _)| session < *last) {
            continue;
        }
        let incarnations = match fs::read_dir(entry.path()) {
            Ok(incarnations) => incarnations,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
            Err(error) => return Err(error),
        };
        for incarnation in incarnations {
            let name = incarnation?.file_name();
            let number = name.to_str().and_then(|name| name.parse::<Incarnation>().ok());
            keys.extend(
                number.map(|number| (session.clone(), number)).filter(|key| after.is_none_or(|last| key > last)),
            );
        }
    }
    keys.sort_unstable();
    Ok(keys)
}

pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::unavailable(format!("the run directory {} cannot be read: {error}", path.display()))
}

fn make(path: &Path, mode: u32, parents: bool) -> io::Result<()> {
    DirBuilder::new().mode(mode).recursive(parents).create(path)?;
    // Whatever the daemon's umask is.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn ignore(kind: io::ErrorKind) -> impl Fn(io::Error) -> io::Result<()> {
    move |error| if error.kind() == kind { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use seawall_model::StoreId;
    use seawall_supervisor::record::Reserved;

    use super::*;

    fn scope(runs: &Path) -> Scope {
        let (store, backend) = (StoreId::random(), "process".parse().unwrap());
        Scope { store, backend, runs: runs.to_owned(), supervisor: PathBuf::new() }
    }

    /// One that was begun, and whose supervisor is there no longer.
    fn lost(scope: &Scope) -> Run {
        let program = Program {
            file: "/bin/true".into(),
            arguments: vec!["true".into()],
            env: Vec::new(),
            working_dir: None,
            user: None,
            rlimits: Vec::new(),
            tty: false,
            stdin: false,
            log: Default::default(),
            cgroup: Default::default(),
        };
        let run = create(scope, &Key { session: SessionId::random(), incarnation: 1, handle: None }, &program).unwrap();
        fs::write(run.dir.begun(), "").unwrap();
        run
    }

    fn end(run: &Run) -> Ended {
        let phase = run.settle().unwrap();
        let Phase::Ended(ended, None) = phase else { panic!("{phase:?}") };
        ended
    }

    #[test]
    fn a_lost_end_says_what_its_supervisor_could_say_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let scope = scope(dir.path());

        let killed = lost(&scope);
        let _space = Reserved::new(&killed.dir.exit()).unwrap();
        let end_of = end(&killed);
        assert!(exit_of(&end_of).unknown());
        let message = end_of.message.as_deref().unwrap();
        assert!(message.contains("was killed, or could not record the exit"), "{message}");
        assert_eq!(end(&killed), end_of, "it is recorded once");

        let full = lost(&scope);
        let said = "seawall-supervisor: cannot record the exit: first\nseawall-supervisor: cannot record the exit: \
                    No space left on device (os error 28)\n";
        fs::write(full.dir.trouble(), said).unwrap();
        let message = "nobody can say how it ended: its supervisor could not record the exit \
                       (No space left on device (os error 28))";
        assert_eq!(end(&full).message.as_deref(), Some(message));
    }

    #[test]
    fn an_end_that_was_written_down_and_not_put_in_its_place_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let run = lost(&scope(dir.path()));
        let (exit, ended) = (run.dir.exit(), Ended { code: Some(7), at: Some(1), ..Ended::default() });
        // Killed just before it would have been renamed: here something is in the way.
        fs::create_dir(&exit).unwrap();
        Reserved::new(&exit).unwrap().write(&ended).unwrap_err();
        fs::remove_dir(&exit).unwrap();
        assert_eq!(end(&run), ended);
    }

    #[test]
    fn what_a_kill_left_of_a_create_or_a_remove_is_swept_away_and_runs_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let scope = scope(dir.path());
        let (empty, runs) = (SessionId::random(), SessionId::random());
        fs::create_dir(dir.path().join(empty.as_str())).unwrap();
        fs::create_dir(dir.path().join(format!("{NEW}process.{empty}-1"))).unwrap();
        fs::create_dir(dir.path().join(format!("{NEW}other.{empty}-1"))).unwrap();
        fs::create_dir_all(dir.path().join(runs.as_str()).join("1")).unwrap();
        prepare(&scope, false).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, [format!("{NEW}other.{empty}-1"), runs.to_string()], "and another backend's draft stays");
    }
}
