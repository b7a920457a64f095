//! A few threads that read logs for all who follow one.
//!
//! Those who follow the same log are all told at once that there is more of it. Each would take a thread, and a thread takes
//! more memory than a follower: tokio begins another one whenever none is idle, and those that have just read are not yet. So
//! a thread that has read goes on with whoever waits, and ends its turn when nobody does.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// How many read at one time.
const THREADS: usize = 4;

type Work = Box<dyn FnOnce() + Send>;

/// Cheap to clone: clones share the threads.
#[derive(Clone, Default)]
pub(crate) struct Readers(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    threads: usize,
}

impl Readers {
    /// Does something that blocks, when it is its turn.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (give, given) = oneshot::channel();
        // Whoever asked may be gone by then.
        let begin = self.push(Box::new(move || drop(give.send(work()))));
        if begin {
            let readers = self.clone();
            tokio::task::spawn_blocking(move || readers.work());
        }
        given.await.map_err(|_| io::Error::other("the log was being read when that was cut off"))?
    }

    /// Whether this takes one more thread.
    fn push(&self, work: Work) -> bool {
        let mut state = self.state();
        state.waiting.push_back(work);
        let begin = state.threads < THREADS;
        state.threads += usize::from(begin);
        begin
    }

    /// The next; without one, a thread less.
    fn next(&self) -> Option<Work> {
        let mut state = self.state();
        let next = state.waiting.pop_front();
        state.threads -= usize::from(next.is_none());
        next
    }

    fn work(&self) {
        while let Some(work) = self.next() {
            // A panic has been told of, and whoever waits sees that nothing comes: the others are read for all the same.
            let _ = catch_unwind(AssertUnwindSafe(work));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Readers").field("waiting", &state.waiting.len()).field("threads", &state.threads).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn everybody_is_read_for_by_no_more_threads_than_that() {
        let (readers, reading) = (Readers::default(), Arc::new(AtomicUsize::new(0)));
        let read = |number: usize| {
            let reading = Arc::clone(&reading);
            readers.read(move || {
                let at_once = reading.fetch_add(1, Ordering::SeqCst) + 1;
                thread::yield_now();
                reading.fetch_sub(1, Ordering::SeqCst);
                Ok((number, at_once))
            })
        };
        let all = join_all((0..500).map(read)).await;
        let (numbers, at_once): (Vec<_>, Vec<_>) = all.into_iter().map(Result::unwrap).unzip();
        assert!(numbers.into_iter().eq(0..500));
        assert!(at_once.iter().all(|threads| *threads <= THREADS), "{at_once:?}");
    }

    #[tokio::test]
    async fn who_reads_after_a_failure_is_read_for() {
        let readers = Readers::default();
        for _ in 0..2 * THREADS {
            assert!(readers.read(|| Err::<(), _>(io::ErrorKind::NotFound.into())).await.is_err());
            assert!(readers.read(|| -> io::Result<()> { panic!("a bug") }).await.is_err());
        }
        assert_eq!(readers.read(|| Ok(1)).await.unwrap(), 1);
    }
}
