//! Lives of a daemon that are killed, and the question in the end whether what is there is what the store says.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use seawall_model::{Desired, Session, SessionState, Timestamp};
use seawall_store::Store;
use tokio::runtime::Builder;
use tokio::time::Instant;

use super::fake::Fake;
use super::house::{drivers_with, name};
use crate::clock::Clock;
use crate::{Control, ControlConfig, Gc, Shutdown};

/// Everything is as it should be after this, at the latest.
pub(super) const LONGEST: Duration = Duration::from_secs(2 * 3600);
/// A call that takes longer is cut off.
pub(super) const DEADLINE: Duration = Duration::from_secs(2);

/// A life of the daemon, on the `day` that comes after those before. When it is over everything stops where it is, as
/// after `kill -9`.
pub(super) fn live<T>(dir: &Path, fake: &Arc<Fake>, day: u64, life: impl AsyncFnOnce(&Control, &Store) -> T) -> T {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
        let base = Timestamp::from_millis(1_800_000_000_000 + day * 86_400_000);
        let clock = Clock::Tokio { base, since: Instant::now() };
        let store = Store::open(dir).await.unwrap();
        let drivers = drivers_with(fake, DEADLINE);
        let control = Control::start_at(clock, ControlConfig::default(), store.clone(), drivers).await.unwrap();
        life(&control, &store).await
    })
}

/// Lets everything come to its end, with an operator who confirms what waits for one, and judges: every session is there
/// exactly once or not at all, as the store says, nothing else is there, and no intent is open.
pub(super) async fn judge(control: &Control, fake: &Fake, store: &Store) {
    let until = Instant::now() + LONGEST;
    while let Some(other) = other(control, fake) {
        assert!(Instant::now() < until, "it never came to that: {other}");
        tokio::time::sleep(Duration::from_millis(500)).await;
        for condition in control.backends().remove(0).conditions {
            match condition.kind.as_str() {
                "answer_not_believed" => drop(control.confirm_lost(&name("fake"), false).await.unwrap()),
                "orphans_held" => drop(control.gc(&name("fake"), Gc::Confirmed).await.unwrap()),
                _ => {}
            }
        }
    }
    let shown = control.sessions();
    control.shutdown(Shutdown::Leave, LONGEST).await.unwrap();
    let kept = store.load().await.unwrap();
    assert_eq!(kept.intents, [], "an intent was left open");
    let mut ids: Vec<_> = kept.sessions.iter().map(|record| (&record.id, record.incarnation)).collect();
    let mut shown: Vec<_> = shown.iter().map(|session| (&session.id, session.incarnation)).collect();
    ids.sort();
    shown.sort();
    assert_eq!(shown, ids, "what is shown is not what is stored");
    assert_eq!(fake.violations(), Vec::<String>::new());
    store.close().await;
}

/// What is not as it should be yet.
fn other(control: &Control, fake: &Fake) -> Option<String> {
    let sessions = control.sessions();
    let there = |session: &Session| fake.there(&session.id);
    let fine = |session: &Session| match (session.desired, session.state) {
        (Desired::Removed, _) => false,
        (Desired::Running, SessionState::Running) => there(session) == [session.incarnation],
        // One that is over may have left what it wrote.
        (_, state) => state.is_final() && there(session).iter().all(|there| *there == session.incarnation),
    };
    let other = sessions.iter().find(|session| !fine(session));
    let owned: usize = sessions.iter().map(|session| there(session).len()).sum();
    match other {
        Some(session) => Some(format!("{:?} are there of {session:#?}", there(session))),
        None if fake.count() != owned => Some(format!("{} are there, and {owned} have a session", fake.count())),
        None => None,
    }
}
