//! Many sessions at once, on several threads and by the real clock, while much goes wrong: what a paused clock on one
//! thread cannot show.

use std::time::Duration;

use seawall_model::SessionState;
use seawall_store::Store;

use super::fake::{Chaos, Fake, Plans};
use super::house::{TASKS, code, drivers, restarting};
use crate::{Backoff, Control, ControlConfig, ControlError, Shutdown};

const SESSIONS: usize = 60;
const RESTARTS: u64 = 600;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_sessions_in_chaos_are_never_two_and_end_as_wanted() {
    let dir = tempfile::TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let fake = Fake::new();
    let short = Backoff { first: Duration::from_millis(10), most: Duration::from_millis(40) };
    let config = ControlConfig {
        sweep_interval: Duration::from_millis(20),
        list_interval: Duration::from_millis(100),
        restart: short,
        retry: short,
        ..ControlConfig::default()
    };
    let control = Control::start(config, store.clone(), drivers(&fake)).await.unwrap();
    for function in ["create", "start", "signal", "remove", "inspect", "list"] {
        fake.always(function, Chaos::Some);
    }
    fake.plan(Plans { ends: Some((Duration::from_millis(15), code(1))), ..Plans::default() });
    let mut ids = Vec::new();
    for _ in 0..SESSIONS {
        ids.push(control.create(restarting("always")).await.unwrap().id);
    }
    for id in &ids {
        control.wait(id, |session| session.restarts >= RESTARTS / SESSIONS as u64).await.unwrap();
    }

    // Everybody at once: half is stopped, half removed by force, whatever each is at.
    let (stopped, removed) = ids.split_at(SESSIONS / 2);
    let stops = stopped.iter().map(|id| control.stop(id, Some(Duration::from_millis(50))));
    let removes = removed.iter().map(|id| control.remove(id, true));
    let (stops, removes) = tokio::join!(futures_util::future::join_all(stops), futures_util::future::join_all(removes));
    assert!(stops.iter().all(Result::is_ok) && removes.iter().all(Result::is_ok), "{stops:?} {removes:?}");
    for id in stopped {
        control.wait(id, |session| session.state == SessionState::Stopped).await.unwrap();
    }
    for id in removed {
        assert!(matches!(control.wait(id, |_| false).await, Err(ControlError::NoSuchSession(_))));
    }

    assert_eq!(fake.violations(), Vec::<String>::new());
    assert!(removed.iter().all(|id| fake.there(id).is_empty()), "something was forgotten");
    while control.core.tasks.len() > TASKS {
        // A worker's last look at its session is not told to anybody.
        tokio::task::yield_now().await;
    }
    let kept = store.load().await.unwrap();
    assert_eq!((kept.sessions.len(), kept.intents), (stopped.len(), Vec::new()));
    control.shutdown(Shutdown::Leave, Duration::from_secs(60)).await.unwrap();
    store.close().await;
}
