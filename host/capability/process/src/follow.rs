//! The stream of a process's output, and waiting for more of it.
//!
//! Nothing runs between two pieces: the stream reads when it is asked, by a thread of those that read, and waits for the kernel to
//! say that the log or the run directory changed. It looks by itself now and then all the same, since the death of a
//! supervisor changes no file, and a user may have no watch left.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use futures_util::stream;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use seawall_backend::{LogChunk, LogStream};
use seawall_model::{LogOptions, Timestamp};
use seawall_supervisor::{RunDir, lock};
use tokio::net::unix::pipe;

use crate::output::Output;
use crate::readers::Readers;

/// How long to wait for the kernel before looking oneself.
const LOOK: Duration = Duration::from_secs(2);
/// The same where the kernel has no watch to give.
const LOOK_UNWATCHED: Duration = Duration::from_millis(250);

struct Follow {
    dir: RunDir,
    options: LogOptions,
    /// Absent only while a read is under way.
    output: Option<Output>,
    ready: VecDeque<LogChunk>,
    watch: Option<pipe::Receiver>,
    failed: bool,
    readers: Readers,
}

/// The output of the process of this run directory.
pub(crate) async fn open(dir: RunDir, options: LogOptions, readers: &Readers) -> io::Result<LogStream> {
    begin(dir, options, readers, false).await
}

/// What it writes from now on. It may begin in the middle of a line.
pub(crate) async fn open_at_end(dir: RunDir, options: LogOptions, readers: &Readers) -> io::Result<LogStream> {
    begin(dir, options, readers, true).await
}

async fn begin(dir: RunDir, options: LogOptions, readers: &Readers, at_end: bool) -> io::Result<LogStream> {
    // Watching before reading: what is written in between is told.
    let watch = if options.follow { watch(&dir) } else { None };
    let log = dir.log();
    let open = move || {
        let mut output = Output::open(&log, options)?;
        if at_end {
            output.skip_to_end()?;
        }
        Ok(output)
    };
    let output = readers.read(open).await?;
    let readers = readers.clone();
    let follow = Follow { dir, options, output: Some(output), ready: VecDeque::new(), watch, failed: false, readers };
    Ok(Box::pin(stream::unfold(follow, |mut follow| async move {
        if follow.failed {
            return None;
        }
        match follow.next().await {
            Ok(Some(chunk)) => Some((Ok(chunk), follow)),
            Ok(None) => None,
            Err(error) => {
                follow.failed = true;
                Some((Err(error), follow))
            }
        }
    })))
}

impl Follow {
    async fn next(&mut self) -> io::Result<Option<LogChunk>> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Some(chunk));
            }
            // Whether it is over is asked before reading: what was written before the end is then read after it.
            let over = self.read().await?;
            if self.ready.is_empty() {
                if over || !self.options.follow {
                    return Ok(None);
                }
                self.wait().await?;
            }
        }
    }

    async fn read(&mut self) -> io::Result<bool> {
        let Some(mut output) = self.output.take() else {
            return Err(io::Error::other("the log is being read by a call that was cut off"));
        };
        let (dir, until) = (self.dir.clone(), self.options.until);
        let read = move || {
            let over = until.is_some_and(|until| Timestamp::now() >= until) || is_over(&dir)?;
            let batch = output.batch()?;
            Ok((output, batch, over))
        };
        let (output, batch, over) = self.readers.read(read).await?;
        self.output = Some(output);
        self.ready.extend(batch);
        Ok(over)
    }

    async fn wait(&mut self) -> io::Result<()> {
        let left = self.options.until.map(|until| until.since(Timestamp::now()));
        let bounded = |patience: Duration| left.map_or(patience, |left| left.min(patience));
        let Some(watch) = &self.watch else {
            tokio::time::sleep(bounded(LOOK_UNWATCHED)).await;
            return Ok(());
        };
        let Ok(ready) = tokio::time::timeout(bounded(LOOK), watch.readable()).await else { return Ok(()) };
        ready?;
        // What exactly changed does not matter.
        let mut events = [0; 4096];
        while let Ok(1..) = watch.try_read(&mut events) {}
        Ok(())
    }
}

/// Nothing more will be written.
fn is_over(dir: &RunDir) -> io::Result<bool> {
    let begun = std::fs::exists(dir.begun())?;
    if std::fs::exists(dir.exit())? || !std::fs::exists(dir.path())? {
        return Ok(true);
    }
    Ok(begun && !lock::is_held(&dir.lock())?)
}

fn watch(dir: &RunDir) -> Option<pipe::Receiver> {
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
    inotify::add_watch(&watch, dir.log(), WatchFlags::MODIFY | WatchFlags::CREATE).ok()?;
    let changes = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
    inotify::add_watch(&watch, dir.path(), changes).ok()?;
    // Read from like a pipe, which is all that the type is used for.
    pipe::Receiver::from_owned_fd_unchecked(watch).ok()
}
