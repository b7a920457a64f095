//! The daemon is killed at every instant at which a workload may have changed, and started again.

use std::sync::Arc;
use std::time::Duration;

use seawall_model::{SessionId, SessionState, Timestamp};
use seawall_store::Store;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::fake::{Fake, Plans, When};
use super::house::{code, drivers, restarting};
use crate::clock::Clock;
use crate::{Control, ControlConfig, ControlError};

const LONG: Duration = Duration::from_secs(24 * 3600);

/// A life of the daemon. To drop it is `kill -9`: every task stops where it is.
fn life() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

async fn open(dir: &std::path::Path, fake: &Arc<Fake>, base: u64) -> (Control, Store) {
    let clock = Clock::Tokio { base: Timestamp::from_millis(base), since: Instant::now() };
    let store = Store::open(dir).await.unwrap();
    let control = Control::start_at(clock, ControlConfig::default(), store.clone(), drivers(fake)).await.unwrap();
    (control, store)
}

/// Runs, fails, is restarted, is stopped, is started, is removed: every act there is, some of them twice.
async fn story(control: &Control, fake: &Arc<Fake>, id: Option<SessionId>) -> Result<(), ControlError> {
    let id = match id {
        Some(id) => id,
        None => control.create(restarting("always")).await?.id,
    };
    loop {
        let session = control.wait(&id, |session| session.state == SessionState::Running).await?;
        if session.incarnation >= 2 {
            break;
        }
        fake.end(&id, code(7));
        control.wait(&id, |session| session.incarnation > 1).await?;
    }
    control.stop(&id, None).await?;
    control.wait(&id, |session| session.state == SessionState::Stopped).await?;
    control.start_session(&id).await?;
    let session = control.wait(&id, |session| session.state == SessionState::Running).await?;
    control.restart(&id, None).await?;
    let later =
        |next: &seawall_model::Session| next.incarnation > session.incarnation && next.state == SessionState::Running;
    control.wait(&id, later).await?;
    control.remove(&id, true).await?;
    control.wait(&id, |_| false).await.map(|_| ())
}

/// Whether the daemon was killed before the story was over.
fn told(dir: &std::path::Path, fake: &Arc<Fake>) -> bool {
    life().block_on(async {
        let (control, _store) = open(dir, fake, 1_800_000_000_000).await;
        tokio::select! {
            end = tokio::time::timeout(LONG, story(&control, fake, None)) => {
                assert!(matches!(end, Ok(Err(ControlError::NoSuchSession(_)))), "{end:?}");
                false
            }
            () = fake.killed.notified() => true,
        }
    })
}

#[test]
fn killed_before_or_after_any_act_nothing_is_made_twice_and_the_story_goes_on() {
    for when in [When::Before, When::After] {
        let mut kills = 0;
        for nth in 0.. {
            let dir = tempfile::TempDir::new().unwrap();
            let fake = Fake::new();
            fake.plan(Plans::default());
            fake.kill_daemon_at(nth, when);
            if !told(dir.path(), &fake) {
                break;
            }
            kills += 1;
            fake.calm();
            life().block_on(async {
                let (control, store) = open(dir.path(), &fake, 1_800_000_100_000).await;
                let left = control.sessions().into_iter().next();
                if let Some(session) = &left
                    && session.desired == seawall_model::Desired::Running
                {
                    let end = tokio::time::timeout(LONG, story(&control, &fake, Some(session.id.clone()))).await;
                    assert!(matches!(end, Ok(Err(ControlError::NoSuchSession(_)))), "{when:?} act {nth}: {end:?}");
                } else if let Some(session) = &left {
                    // It was being stopped or removed: that is carried out.
                    if session.desired == seawall_model::Desired::Stopped {
                        let over = |session: &seawall_model::Session| session.state.is_final();
                        tokio::time::timeout(LONG, control.wait(&session.id, over)).await.unwrap().unwrap();
                        control.remove(&session.id, false).await.unwrap();
                    }
                    let gone = tokio::time::timeout(LONG, control.wait(&session.id, |_| false)).await.unwrap();
                    assert!(matches!(gone, Err(ControlError::NoSuchSession(_))), "{gone:?}");
                }
                assert_eq!(fake.violations(), Vec::<String>::new(), "{when:?} act {nth}");
                assert_eq!(fake.count(), 0, "{when:?} act {nth}: something was forgotten");
                let kept = store.load().await.unwrap();
                assert_eq!((kept.sessions.len(), kept.intents.len()), (0, 0), "{when:?} act {nth}");
                control.shutdown(crate::Shutdown::Leave, LONG).await.unwrap();
                store.close().await;
            });
        }
        // create start, remove create start, signal, remove create start, signal remove create start, remove.
        assert_eq!(kills, 14, "{when:?}");
    }
}
