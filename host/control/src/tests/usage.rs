//! What sessions use, of several backends of which some fail.

use std::sync::Arc;
use std::time::Duration;

use seawall_backend::{Bulkhead, BulkheadConfig, Error, ExecutionBackend, Interface, limit::Ceiling};
use seawall_model::{SessionId, SessionSpec, SessionState};
use tokio::time::Instant;

use super::fake::{Chaos, Fake};
use super::house::{House, name, spec};
use crate::{BackendChange, ControlConfig, ControlError, Sample};

const PATIENCE: Duration = Duration::from_secs(5);

async fn house() -> House {
    House::with(ControlConfig::default(), Fake::with(&[Interface::Stats])).await
}

fn ids(sample: &Sample) -> Vec<SessionId> {
    sample.sessions.iter().map(|session| session.id.clone()).collect()
}

/// Adds another backend, with one session that runs.
async fn other(house: &House, backend: &str, interfaces: &[Interface]) -> (Arc<Fake>, SessionId) {
    let fake = Fake::with(interfaces);
    let driver = Bulkhead::new(Arc::clone(&fake), &BulkheadConfig::default(), Ceiling::new(100));
    let driver: Arc<Bulkhead<dyn ExecutionBackend>> = Arc::new(driver);
    let change = BackendChange::Put { driver, message: "the test says so".to_owned() };
    house.control.change_backends([(name(backend), change)].into()).await.unwrap();
    let session = house.running(SessionSpec::new(name(backend))).await;
    (fake, session.id)
}

#[tokio::test(start_paused = true)]
async fn each_backend_is_asked_once_about_all_that_runs() {
    let house = house().await;
    let running = [house.running(spec()).await.id, house.running(spec()).await.id];
    let sorted = |mut ids: Vec<SessionId>| {
        ids.sort_unstable();
        ids
    };
    let over = house.running(spec()).await.id;
    house.control.stop(&over, None).await.unwrap();
    house.until(&over, SessionState::Stopped).await;
    let sample = house.control.usage(|_| true, PATIENCE).await;
    assert_eq!((sorted(ids(&sample)), sample.errors), (sorted(running.to_vec()), vec![]));
    assert_eq!(house.fake.calls("stats"), 1);
    let one = house.control.usage(|session| *session.id == running[1], PATIENCE).await;
    assert_eq!(ids(&one), [running[1].clone()]);
    assert_eq!(house.control.usage_of(&running[0]).await.unwrap().id, running[0]);
    let refused = house.control.usage_of(&over).await.unwrap_err();
    assert!(matches!(&refused, ControlError::Conflict(why) if why.contains("is stopped")), "{refused}");
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_fails_or_hangs_or_cannot_tell_costs_its_own_figures_only() {
    let house = house().await;
    let well = house.running(spec()).await.id;
    let (fails, _) = other(&house, "fails", &[Interface::Stats]).await;
    let (hangs, _) = other(&house, "hangs", &[Interface::Stats]).await;
    let (_, mute) = other(&house, "mute", &[]).await;
    fails.always("stats", Chaos::Error(Error::Other("it is broken".to_owned())));
    hangs.always("stats", Chaos::Hang);
    let began = Instant::now();
    let sample = house.control.usage(|_| true, PATIENCE).await;
    assert!(began.elapsed() < Duration::from_secs(10), "by the test's own clock");
    assert_eq!(ids(&sample), [well]);
    let errors: Vec<_> = sample.errors.iter().map(|e| (e.backend.as_str(), e.sessions, e.kind.as_str())).collect();
    assert_eq!(errors, [("fails", 1, "other"), ("hangs", 1, "unavailable"), ("mute", 1, "unsupported")]);
    assert!(sample.errors[2].reason.contains("`stats`"), "{:?}", sample.errors);
    let refused = house.control.usage_of(&mute).await.unwrap_err();
    assert!(matches!(refused, ControlError::Backend(Error::Unsupported(_))), "{refused}");
    let refused = house.control.endpoints(&mute).await.unwrap_err();
    assert!(refused.to_string().contains("`endpoint`"), "{refused}");
    house.done().await;
}
