//! One story of sessions, and each single write to the store that it needs: the write fails, or the daemon is killed just
//! before or just after it. Afterwards every session is there exactly once or not at all, as the store says.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use seawall_backend::Error;
use seawall_model::{Session, SessionState};
use tokio::sync::Notify;

use super::fake::{Chaos, Fake};
use super::house::{code, restarting, spec};
use super::judged::{LONGEST, judge, live};
use crate::{Control, ControlError};

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It fails, and nothing is written.
    Fails,
    /// The daemon is killed before it.
    KilledBefore,
    /// The daemon is killed after it.
    KilledAfter,
}

/// Where control's writes can be made to go wrong: beside every one of them.
#[derive(Default)]
pub(crate) struct Faults {
    count: AtomicUsize,
    plan: Mutex<Option<(usize, Fault)>>,
    killed: Notify,
}

impl Faults {
    fn plan(&self, nth: usize, fault: Fault) {
        *self.plan.lock().unwrap() = Some((nth, fault));
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Makes a write, unless something is in the way.
    pub(crate) async fn around(
        &self,
        write: impl Future<Output = Result<(), seawall_store::Error>>,
    ) -> Result<(), seawall_store::Error> {
        let nth = self.count.fetch_add(1, Ordering::SeqCst);
        let plan = *self.plan.lock().unwrap();
        let (at, fault) = plan.unwrap_or((usize::MAX, Fault::Fails));
        match fault {
            Fault::Fails if nth == at => return Err(seawall_store::Error::Full("the test says so".into())),
            Fault::KilledBefore if nth >= at => return self.kill().await,
            Fault::KilledAfter if nth > at => return self.kill().await,
            _ => {}
        }
        let written = write.await;
        if fault == Fault::KilledAfter && nth == at {
            return self.kill().await;
        }
        written
    }

    async fn kill<T>(&self) -> T {
        self.killed.notify_one();
        std::future::pending().await
    }
}

/// Asks again if it could not be stored.
async fn asked<T>(ask: impl AsyncFn() -> Result<T, ControlError>) -> T {
    match ask().await {
        Err(ControlError::Store(_)) => ask().await.unwrap(),
        answer => answer.unwrap(),
    }
}

/// Every kind of write: two sessions of which one runs, fails, is restarted, is stopped, started and removed, and one is
/// refused and removed.
async fn story(control: &Control, fake: &Fake) {
    let id = asked(async || control.create(restarting("always")).await).await.id;
    let when = async |id, so: fn(&Session) -> bool| drop(control.wait(id, so).await.unwrap());
    when(&id, |session| session.state == SessionState::Running).await;
    fake.end(&id, code(7));
    when(&id, |session| session.incarnation == 2 && session.state == SessionState::Running).await;
    asked(async || control.stop(&id, None).await).await;
    when(&id, |session| session.state == SessionState::Stopped).await;
    asked(async || control.start_session(&id).await).await;
    when(&id, |session| session.state == SessionState::Running).await;

    fake.always("create", Chaos::Error(Error::invalid("command", "the test says so")));
    let refused = asked(async || control.create(spec()).await).await.id;
    when(&refused, |session| session.state == SessionState::Failed).await;

    for (id, force) in [(&id, true), (&refused, false)] {
        asked(async || control.remove(id, force).await).await;
        let gone = control.wait(id, |_| false).await;
        assert!(matches!(gone, Err(ControlError::NoSuchSession(_))), "{gone:?}");
    }
}

#[test]
fn at_each_single_write_that_fails_or_is_the_last_nothing_is_made_twice_and_nothing_forgotten() {
    for fault in [Fault::Fails, Fault::KilledBefore, Fault::KilledAfter] {
        let mut writes = 0;
        loop {
            let dir = tempfile::TempDir::new().unwrap();
            let fake = Fake::new();
            let (reached, over) = live(dir.path(), &fake, 0, async |control, _| {
                let faults = &control.core.faults;
                faults.plan(writes, fault);
                let told = tokio::time::timeout(LONGEST, story(control, &fake));
                let over = tokio::select! {
                    told = told => {
                        assert!(told.is_ok(), "{fault:?} at write {writes}: {:#?}", control.sessions());
                        true
                    }
                    () = faults.killed.notified() => false,
                };
                (faults.count() > writes, over)
            });
            if !reached {
                break;
            }
            assert_eq!(over, fault == Fault::Fails, "{fault:?} at write {writes}");
            fake.calm();
            live(dir.path(), &fake, 1, async |control, store| judge(control, &fake, store).await);
            writes += 1;
        }
        // As many as the story has acts, at the very least: none goes by the fault.
        assert!(writes >= 12, "{writes} writes");
    }
}
