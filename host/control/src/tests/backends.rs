//! The set of backends changes while the daemon runs (B3 to B5): sessions go on, and nothing of the old one is left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use seawall_backend::breaker::BreakerState;
use seawall_backend::{Bulkhead, BulkheadConfig, Error, ExecutionBackend};
use seawall_model::{Session, SessionState};
use seawall_store::Store;

use super::fake::{Chaos, Fake, Plans};
use super::house::{House, TASKS, behind, code, drivers, name, restarting, spec};
use crate::{BackendChange, BackendHealth, Backoff, Control, ControlConfig, ControlError, Shutdown};

fn put(driver: &Arc<Bulkhead<dyn ExecutionBackend>>) -> BTreeMap<seawall_model::BackendName, BackendChange> {
    let change = BackendChange::Put { driver: Arc::clone(driver), message: "the test says so".to_owned() };
    BTreeMap::from([(name("fake"), change)])
}

fn removal() -> BTreeMap<seawall_model::BackendName, BackendChange> {
    BTreeMap::from([(name("fake"), BackendChange::Remove { message: "the test says so".to_owned() })])
}

impl House {
    /// Puts another driver of the same engine in the place of the one that is there.
    async fn replace(&self) {
        let driver = drivers(&self.fake).remove(&name("fake")).unwrap();
        self.control.change_backends(put(&driver)).await.unwrap();
    }

    async fn health(&self, health: BackendHealth) {
        self.eventually("it is so healthy", || self.control.backends()[0].health == health).await;
    }

    fn now(&self, session: &Session) -> Session {
        self.control.session(&session.id).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_of_a_restarted_backend_go_on_untouched() {
    let house = House::new().await;
    let before = [house.running(restarting("always")).await, house.running(spec()).await];
    house.later(Duration::from_secs(60)).await;
    let calls = |house: &House| ["create", "start", "signal", "remove"].map(|call| house.fake.calls(call));
    let called = calls(&house);
    house.replace().await;
    assert_eq!(before.each_ref().map(|session| house.now(session)), before, "the restart was seen in a session");
    house.later(Duration::from_secs(60)).await;
    assert_eq!(before.each_ref().map(|session| house.now(session)), before);
    assert_eq!(calls(&house), called);
    let status = house.control.backends().remove(0);
    assert_eq!((status.generation, status.health), (2, BackendHealth::Healthy));
    house.told("backend.restarted", 1).await;
    house.told("backend.adopted", 0).await;
    assert_eq!(house.control.core.tasks.len(), TASKS, "a task of the old one is left");
    house.done().await;
}

/// B5.
#[tokio::test(start_paused = true)]
async fn a_restarted_backend_has_fresh_counters_and_a_fresh_breaker() {
    let house = House::behind(&BulkheadConfig::default()).await;
    let session = house.running(restarting("always")).await;
    for function in ["inspect", "list", "check"] {
        house.fake.always(function, Chaos::Error(Error::unavailable("away")));
    }
    house.health(BackendHealth::Unhealthy).await;
    let breaker = || house.control.backends()[0].bulkhead.breaker.state;
    house.eventually("the breaker is open", || breaker() == BreakerState::Open).await;
    assert_eq!(house.now(&session).state, SessionState::Unknown);

    for function in ["inspect", "list", "check"] {
        house.fake.always(function, Chaos::Hang);
    }
    let driver = behind(&house.fake, &BulkheadConfig::default()).remove(&name("fake")).unwrap();
    house.control.change_backends(put(&driver)).await.unwrap();
    let status = house.control.backends().remove(0);
    assert_eq!((status.health, status.failures, status.checked_at), (BackendHealth::Unknown, 0, None));
    assert_eq!((status.conditions, status.error), (Vec::new(), None));
    assert_eq!((status.bulkhead.breaker.state, status.bulkhead.breaker.failures), (BreakerState::Closed, 0));
    house.fake.calm();
    let runs = house.until(&session.id, SessionState::Running).await;
    assert_eq!((runs.incarnation, runs.restarts), (1, 0));
    house.done().await;
}

/// B4.
#[tokio::test(start_paused = true)]
async fn a_late_answer_to_the_check_of_a_replaced_backend_changes_nothing() {
    let house = House::new().await;
    house.health(BackendHealth::Healthy).await;
    let checks = house.fake.calls("check");
    house.fake.once("check", Chaos::Slow(Duration::from_secs(9)));
    house.eventually("a check is under way", || house.fake.calls("check") > checks).await;
    house.fake.always("check", Chaos::Error(Error::Denied("other credentials".to_owned())));
    house.replace().await;
    house.health(BackendHealth::Unauthenticated).await;
    house.later(Duration::from_secs(60)).await;
    let status = house.control.backends().remove(0);
    assert_eq!((status.health, status.error.as_deref()), (BackendHealth::Unauthenticated, Some("other credentials")));
    house.told("backend.healthy", 1).await;
    house.done().await;
}

/// B4.
#[tokio::test(start_paused = true)]
async fn the_cancelled_check_of_a_replaced_backend_is_no_failure() {
    let house = House::new().await;
    for _ in 0..10 {
        let checks = house.fake.calls("check");
        house.fake.once("check", Chaos::Hang);
        house.replace().await;
        house.eventually("a check hangs", || house.fake.calls("check") > checks).await;
        assert_eq!(house.control.backends()[0].failures, 0);
    }
    house.replace().await;
    house.health(BackendHealth::Healthy).await;
    house.told("backend.unhealthy", 0).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_of_a_replaced_backend_may_end_and_one_that_does_not_is_made_again_of_the_new_one() {
    let house = House::new().await;
    house.fake.once("create", Chaos::Slow(Duration::from_secs(3)));
    house.fake.once("create", Chaos::Hang);
    let slow = house.control.create(spec()).await.unwrap();
    house.eventually("one create is under way", || house.fake.calls("create") == 1).await;
    let hangs = house.control.create(spec()).await.unwrap();
    house.eventually("both are under way", || house.fake.calls("create") == 2).await;
    house.replace().await;
    for session in [&slow, &hangs] {
        let runs = house.until(&session.id, SessionState::Running).await;
        assert_eq!((runs.incarnation, runs.restarts), (1, 0));
    }
    assert_eq!(house.fake.calls("create"), 3, "the one that came to its end was made again");
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn sessions_of_a_removed_backend_are_unknown_until_it_is_there_again() {
    let house = House::new().await;
    let runs = house.running(restarting("always")).await;
    let over = house.running(spec()).await;
    house.fake.end(&over.id, code(0));
    let over = house.until(&over.id, SessionState::Stopped).await;
    house.control.change_backends(removal()).await.unwrap();
    assert_eq!(house.control.backends(), []);
    house.eventually("no task is left", || house.control.core.tasks.is_empty()).await;
    let unknown = house.now(&runs);
    assert_eq!((unknown.state, unknown.last_state), (SessionState::Unknown, Some(SessionState::Running)));
    assert!(unknown.reason.unwrap().contains("the backend fake is not configured"));
    assert_eq!(house.now(&over), over);
    assert!(matches!(house.control.create(spec()).await, Err(ControlError::NoSuchBackend(_))));
    let calls = |house: &House| ["create", "remove", "inspect", "check"].map(|call| house.fake.calls(call));
    let called = calls(&house);
    // What happens meanwhile is seen when it is there again.
    house.fake.end(&runs.id, code(1));
    house.later(Duration::from_secs(3600)).await;
    assert_eq!(calls(&house), called, "a backend that was removed was asked");

    house.replace().await;
    let back = house.when(&runs.id, |session| session.restarts == 1 && session.state == SessionState::Running).await;
    assert_eq!(back.exit.unwrap().code, Some(1));
    assert_eq!(house.control.backends()[0].generation, 1);
    for kind in ["backend.removed", "backend.added"] {
        house.told(kind, 1).await;
    }
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_under_way_on_a_removed_backend_goes_on_when_it_is_there_again() {
    let house = House::new().await;
    house.fake.always("create", Chaos::Hang);
    let session = house.control.create(spec()).await.unwrap();
    house.eventually("a create hangs", || house.fake.calls("create") == 1).await;
    house.control.change_backends(removal()).await.unwrap();
    house.later(Duration::from_secs(60)).await;
    let unknown = house.now(&session);
    assert_eq!((unknown.state, unknown.last_state), (SessionState::Unknown, Some(SessionState::Pending)));
    assert!(house.control.core.tasks.is_empty(), "its worker is left");
    house.fake.calm();
    house.replace().await;
    house.until(&session.id, SessionState::Running).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_ends_changes_no_backend() {
    let house = House::new().await;
    house.control.shutdown(Shutdown::Leave, Duration::from_secs(60)).await.unwrap();
    assert!(matches!(house.control.change_backends(removal()).await, Err(ControlError::ShuttingDown)));
    assert_eq!(house.control.backends().len(), 1);
    house.done().await;
}

/// By the real clock and on several threads: the backend is replaced and removed at any instant of a session's life.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_in_chaos_are_never_two_while_their_backend_comes_and_goes() {
    let dir = tempfile::TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let fake = Fake::new();
    let short = Backoff { first: Duration::from_millis(10), most: Duration::from_millis(40) };
    let interval = Duration::from_millis(20);
    let config = ControlConfig { sweep_interval: interval, restart: short, retry: short, ..ControlConfig::default() };
    let control = Control::start(config, store.clone(), drivers(&fake)).await.unwrap();
    for function in ["create", "start", "signal", "remove", "inspect", "list"] {
        fake.always(function, Chaos::Some);
    }
    fake.plan(Plans { ends: Some((Duration::from_millis(15), code(1))), ..Plans::default() });
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(control.create(restarting("always")).await.unwrap().id);
    }
    let restarts = |least| control.sessions().iter().all(|session| session.restarts >= least);
    let mut rounds = 0;
    while rounds < 50 || !restarts(5) {
        rounds += 1;
        if rounds % 5 == 0 {
            control.change_backends(removal()).await.unwrap();
        }
        let driver = drivers(&fake).remove(&name("fake")).unwrap();
        control.change_backends(put(&driver)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..10))).await;
    }
    for id in &ids {
        control.remove(id, true).await.unwrap();
        assert!(matches!(control.wait(id, |_| false).await, Err(ControlError::NoSuchSession(_))));
    }
    assert_eq!(fake.violations(), Vec::<String>::new());
    assert_eq!(fake.count(), 0, "something was forgotten");
    let kept = store.load().await.unwrap();
    assert_eq!((kept.sessions.len(), kept.intents), (0, Vec::new()));
    control.shutdown(Shutdown::Leave, Duration::from_secs(60)).await.unwrap();
    assert!(control.core.tasks.is_empty());
    store.close().await;
}
