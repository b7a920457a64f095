//! Telling when a process of this backend starts or ends.
//!
//! The kernel says what changes in run directories: that `exit` or `started` was put in its place, or that `lock` was let
//! go of, which the kernel does for a supervisor that was killed. So each run directory of this backend that has no
//! `exit` yet has a watch, and each session's directory has one for the next incarnation; a user has about as many
//! watches as `fs.inotify.max_user_watches` says. Nothing runs between two wakes: the stream reads when it is asked.
//!
//! What cannot be followed (too many changes at once, no watch left) ends the stream; whoever watches opens it anew.

use std::collections::{HashMap, VecDeque};
use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use futures_util::stream;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use seawall_backend::{Error, Wake, Wakes};
use seawall_model::{Incarnation, SessionId};
use seawall_supervisor::RunDir;
use tokio::net::unix::pipe;

use crate::process::Inner;
use crate::{Process, runs};

/// What a watch is on.
#[derive(Clone, Debug)]
enum Place {
    /// The directory of all run directories.
    Runs,
    /// That of a session's incarnations.
    Session(SessionId),
    /// A run directory.
    Run(SessionId, Incarnation),
}

/// Something that the kernel told.
#[derive(Debug)]
struct Event {
    watch: i32,
    flags: ReadFlags,
    name: Option<String>,
}

struct Watch {
    /// Read from like a pipe, which is all that the type is used for.
    kernel: Arc<pipe::Receiver>,
    places: HashMap<i32, Place>,
}

impl Process {
    /// Wakes when one starts or ends.
    ///
    /// # Errors
    /// `Unavailable` when the run directories cannot be watched.
    pub async fn watch(&self) -> Result<Wakes, Error> {
        let kernel = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC);
        let kernel = kernel
            .map_err(io::Error::from)
            .and_then(pipe::Receiver::from_owned_fd_unchecked)
            .map_err(|error| unwatched(&error))?;
        let mut watch = Watch { kernel: Arc::new(kernel), places: HashMap::new() };
        // Whoever opens a watch looks at everything once it is open: what is found now need not be told.
        let watch = self.blocking(move |inner| {
            watch.begin(inner).map_err(|error| unwatched(&error))?;
            Ok(watch)
        });
        let following = Some((self.clone(), watch.await?, VecDeque::new()));
        Ok(Box::pin(stream::try_unfold(following, |following| async move {
            let Some((process, mut watch, mut ready)) = following else { return Ok(None) };
            loop {
                if let Some(wake) = ready.pop_front() {
                    return Ok(Some((wake, Some((process, watch, ready)))));
                }
                let events = watch.read().await?;
                let taken = process.blocking(move |inner| {
                    let wakes = watch.take(inner, events);
                    Ok((watch, wakes))
                });
                let wakes;
                (watch, wakes) = taken.await.map_err(io::Error::other)?;
                ready = wakes?;
            }
        })))
    }
}

impl Watch {
    /// Waits for events.
    async fn read(&self) -> io::Result<Vec<Event>> {
        let mut bytes = [0; 4096];
        loop {
            self.kernel.readable().await?;
            match self.kernel.try_read(&mut bytes) {
                Ok(length) => return Ok(events(bytes.get(..length).unwrap_or_default())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn begin(&mut self, inner: &Inner) -> io::Result<()> {
        let new = WatchFlags::CREATE | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        self.add(&inner.scope.runs, new, Place::Runs)?;
        for entry in fs::read_dir(&inner.scope.runs)? {
            if let Some(session) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                self.session(inner, &session)?;
            }
        }
        Ok(())
    }

    /// Says whether it is there. One that went meanwhile is not watched, which is no error.
    fn add(&mut self, path: &Path, flags: WatchFlags, place: Place) -> io::Result<bool> {
        match inotify::add_watch(&self.kernel, path, flags | WatchFlags::ONLYDIR) {
            Ok(watch) => {
                self.places.insert(watch, place);
                Ok(true)
            }
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Watches a session's directory, and gives the incarnations in it that have something to tell by now.
    fn session(&mut self, inner: &Inner, session: &SessionId) -> io::Result<VecDeque<Wake>> {
        let path = inner.scope.runs.join(session.as_str());
        let changes = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::DELETE;
        let mut wakes = VecDeque::new();
        if !self.add(&path, changes, Place::Session(session.clone()))? {
            return Ok(wakes);
        }
        let incarnations = match fs::read_dir(&path) {
            Ok(incarnations) => incarnations,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(wakes),
            Err(error) => return Err(error),
        };
        for entry in incarnations {
            if let Some(incarnation) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                wakes.extend(self.run(inner, session, incarnation)?);
            }
        }
        Ok(wakes)
    }

    /// Watches a run directory of this backend. Watching before looking: what comes in between is told.
    fn run(&mut self, inner: &Inner, session: &SessionId, incarnation: Incarnation) -> io::Result<Option<Wake>> {
        let Some(run) = runs::find(&inner.scope, session, incarnation)? else { return Ok(None) };
        let wake = Wake::Workload(session.clone(), incarnation);
        if fs::exists(run.dir.exit())? {
            return Ok(Some(wake));
        }
        let place = Place::Run(session.clone(), incarnation);
        if !self.add(run.dir.path(), WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE, place)? {
            return Ok(None);
        }
        let told = fs::exists(run.dir.exit())? || fs::exists(run.dir.started())?;
        Ok(told.then_some(wake))
    }

    fn take(&mut self, inner: &Inner, events: Vec<Event>) -> io::Result<VecDeque<Wake>> {
        let mut wakes = VecDeque::new();
        for Event { watch, flags, name } in events {
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                return Err(io::Error::other("more changed at once than the kernel keeps"));
            }
            let Some(place) = self.places.get(&watch).cloned() else { continue };
            if flags.contains(ReadFlags::IGNORED) {
                self.places.remove(&watch);
            }
            match (place, name) {
                (Place::Runs, None) => {
                    let message = format!("the directory of processes {} is gone", inner.scope.runs.display());
                    return Err(io::Error::other(message));
                }
                (Place::Runs, Some(name)) => {
                    if let Ok(session) = name.parse() {
                        wakes.extend(self.session(inner, &session)?);
                    }
                }
                (Place::Session(session), Some(name)) => {
                    let Ok(incarnation) = name.parse() else { continue };
                    if flags.intersects(ReadFlags::MOVED_FROM | ReadFlags::DELETE) {
                        wakes.push_back(Wake::Workload(session, incarnation));
                    } else {
                        wakes.extend(self.run(inner, &session, incarnation)?);
                    }
                }
                (Place::Run(session, incarnation), Some(name)) => {
                    let names = RunDir::new("");
                    let is = |path: std::path::PathBuf| path.as_os_str() == name.as_str();
                    if is(names.exit()) {
                        // Nothing follows.
                        let _ = inotify::remove_watch(&self.kernel, watch);
                    }
                    if is(names.exit()) || is(names.started()) || is(names.lock()) {
                        wakes.push_back(Wake::Workload(session, incarnation));
                    }
                }
                (Place::Session(_) | Place::Run(..), None) => {}
            }
        }
        Ok(wakes)
    }
}

/// Events as the kernel writes them, whole: where, what, a number, how long the name is, and the name with zeros behind it.
fn events(mut bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<16>() {
        let [a, b, c, d, e, f, g, h, _, _, _, _, i, j, k, l] = *head;
        let (watch, flags) = (i32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]));
        let length = u32::from_ne_bytes([i, j, k, l]) as usize;
        let Some((name, rest)) = rest.split_at_checked(length) else { break };
        let name = CStr::from_bytes_until_nul(name).ok().and_then(|name| name.to_str().ok()).map(str::to_owned);
        events.push(Event { watch, flags: ReadFlags::from_bits_retain(flags), name });
        bytes = rest;
    }
    events
}

fn unwatched(error: &io::Error) -> Error {
    let advice = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC) => ": no watch is left, raise fs.inotify.max_user_watches",
        Some(Errno::MFILE) => ": no instance is left, raise fs.inotify.max_user_instances",
        _ => "",
    };
    Error::unavailable(format!("the run directories cannot be watched: {error}{advice}"))
}
