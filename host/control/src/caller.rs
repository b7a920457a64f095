//! What a request brings along from its caller: who that is, and what is expected of the session that is changed; and
//! what becomes of it when the caller has his answer, or goes away without.
//!
//! What is expected is looked at with the right to change the session, so that nothing comes between the look and the
//! change. Like a trace, both travel with the task, as far as the request goes: what a worker does later for the same
//! cause is nobody's.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use seawall_backend::trace;
use seawall_model::Session;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tracing::Span;

use crate::ControlError;
use crate::state::Entry;

type Expected = Arc<dyn Fn(&Session) -> bool + Send + Sync>;

tokio::task_local! {
    static EXPECTED: Expected;
    static ACTOR: Arc<str>;
    /// Only ever filled while the task is polled.
    static LATER: RefCell<Vec<Later>>;
}

/// Something that is begun when this is dropped, so that it is never forgotten.
struct Later(Option<Box<dyn FnOnce() + Send>>);

impl Drop for Later {
    fn drop(&mut self) {
        if let Some(begin) = self.0.take() {
            begin();
        }
    }
}

/// Does `work`, a connection's, so that an answer comes first: what its requests have others do is begun when `work`
/// waits, since by then the answer is sent. Else whoever begins it competes with the answer for a processor.
pub async fn answering<T>(work: impl Future<Output = T>) -> T {
    let answered = async {
        let mut work = pin!(work);
        poll_fn(|context| {
            let polled = work.as_mut().poll(context);
            drop(LATER.with(RefCell::take));
            polled
        })
        .await
    };
    LATER.scope(RefCell::default(), answered).await
}

/// Begins something after the answer to the request that this is a part of; at once if there is none.
pub(crate) fn after_the_answer(begin: impl FnOnce() + Send + 'static) {
    let later = Later(Some(Box::new(begin)));
    // Where there is nothing to answer, it is dropped here.
    let _ = LATER.try_with(move |all| all.borrow_mut().push(later));
}

/// Does `work` for somebody: the events that its requests cause at once say so.
pub async fn acting<T>(actor: Arc<str>, work: impl Future<Output = T>) -> T {
    ACTOR.scope(actor, work).await
}

/// For whom this is done.
pub(crate) fn actor() -> Option<String> {
    ACTOR.try_with(ToString::to_string).ok()
}

/// Has a line written to the log after the answer, which does not wait for that, as a part of what is done now.
pub fn log_later(write: impl FnOnce() + Send + 'static) {
    let (cause, span) = (trace::cause(), Span::current());
    after_the_answer(move || {
        let write = || span.in_scope(write);
        match cause {
            Some(cause) => trace::within(cause, write),
            None => write(),
        }
    });
}

/// Does `work`, whose requests change a session only if `expected` holds of it, and are refused with
/// [`ControlError::Changed`] else.
pub async fn expecting<T>(
    expected: impl Fn(&Session) -> bool + Send + Sync + 'static,
    work: impl Future<Output = T>,
) -> T {
    EXPECTED.scope(Arc::new(expected), work).await
}

/// Does `work` to its end, whether or not the caller stays: in the caller's task while he does, so that nobody has to be
/// woken for it, and in one of its own from when he goes away. `tasks` knows of it all the time.
pub(crate) fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
    tasks: &TaskTracker,
) -> ToItsEnd<T> {
    // Requests are some kilobytes: from here on they stay where they are.
    let work: Work<T> = Box::pin(work);
    let work: Work<T> = Box::pin(tasks.track_future(brought_along(trace::piece(
        trace::cause_or_new(),
        || tracing::debug_span!("command"),
        work,
    ))));
    ToItsEnd { work: Some(work), runtime: Handle::current() }
}

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// See [`to_its_end`].
pub(crate) struct ToItsEnd<T: Send + 'static> {
    /// Until it is done. One that panics is done.
    work: Option<Work<T>>,
    runtime: Handle,
}

impl<T: Send + 'static> Future for ToItsEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // As with every `async` block, whoever polls what is done has made a mistake.
        let Some(mut work) = self.work.take() else { return Poll::Pending };
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for ToItsEnd<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.runtime.spawn(work);
        }
    }
}

/// Has `work` keep what this task's caller brought along, in whatever task it goes on.
fn brought_along<T: Send>(work: impl Future<Output = T> + Send) -> impl Future<Output = T> + Send {
    let (expected, actor) = (EXPECTED.try_with(Arc::clone).ok(), ACTOR.try_with(Arc::clone).ok());
    async move {
        let work = async move {
            match expected {
                Some(expected) => EXPECTED.scope(expected, work).await,
                None => work.await,
            }
        };
        match actor {
            Some(actor) => ACTOR.scope(actor, work).await,
            None => work.await,
        }
    }
}

/// Whether it holds. Asked by whoever has the right to change the session.
pub(crate) fn met(entry: &Entry) -> Result<(), ControlError> {
    let met = EXPECTED.try_with(|expected| expected(&entry.with(|cell| cell.session())));
    if met.unwrap_or(true) { Ok(()) } else { Err(ControlError::Changed(entry.id.clone())) }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_whose_caller_goes_away_goes_on_for_him() {
        let tasks = TaskTracker::new();
        tasks.close();
        let (go, gone) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let work = async move {
            gone.await.unwrap();
            tell.send(actor()).unwrap();
        };
        let asked = acting("ci".into(), async { to_its_end(work, &tasks).await });
        // Asked once, and then dropped.
        assert!(asked.now_or_never().is_none());
        assert_eq!(tasks.len(), 1);
        go.send(()).unwrap();
        assert_eq!(told.await.unwrap(), Some("ci".to_owned()));
        tasks.wait().await;
    }

    #[tokio::test]
    async fn what_comes_after_an_answer_is_begun_when_there_is_one_or_will_be_none() {
        let (tell, told) = std::sync::mpsc::channel();
        let say = |what: &'static str| {
            let tell = tell.clone();
            move || tell.send(what).unwrap()
        };
        after_the_answer(say("nobody asked"));
        assert_eq!(told.try_recv(), Ok("nobody asked"));
        answering(async {
            after_the_answer(say("it waits"));
            assert!(told.try_recv().is_err());
            tokio::task::yield_now().await;
            assert_eq!(told.try_recv(), Ok("it waits"));
            after_the_answer(say("it is over"));
            assert!(told.try_recv().is_err());
        })
        .await;
        assert_eq!(told.try_recv(), Ok("it is over"));
        let broken = answering({
            let last = say("it broke");
            async move {
                after_the_answer(last);
                assert!(actor().is_some(), "for nobody");
            }
        });
        assert!(tokio::spawn(broken).await.unwrap_err().is_panic());
        assert_eq!(told.try_recv(), Ok("it broke"));
    }

    #[tokio::test]
    async fn work_that_panics_is_over() {
        let tasks = TaskTracker::new();
        tasks.close();
        let work = to_its_end(async { assert!(actor().is_some(), "for nobody") }, &tasks);
        assert!(tokio::spawn(work).await.unwrap_err().is_panic());
        tasks.wait().await;
    }

    #[test]
    fn work_whose_runtime_ends_ends_with_it() {
        let tasks = TaskTracker::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let within = runtime.enter();
        let work = to_its_end(std::future::pending::<()>(), &tasks);
        drop(within);
        drop(runtime);
        drop(work);
        assert!(tasks.is_empty());
    }
}
