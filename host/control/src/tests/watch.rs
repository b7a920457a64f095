//! The watch of a backend: what it says makes a look come sooner and nothing else, whatever it does.

use std::sync::Arc;
use std::time::Duration;

use seawall_backend::{Error, Interface, Wake};
use seawall_model::{Session, SessionId, SessionState};

use super::fake::{Chaos, Fake};
use super::house::{House, TASKS, code, drivers, name, restarting, spec};
use crate::{BackendChange, ControlConfig, WatchState, WatchStatus};

const HOUR: Duration = Duration::from_secs(3600);

/// Sweeps so seldom that nothing is seen by them.
fn seldom() -> ControlConfig {
    ControlConfig { sweep_interval: 23 * HOUR, list_interval: 23 * HOUR, ..ControlConfig::default() }
}

async fn house() -> House {
    House::with(seldom(), Fake::with(&[Interface::Watch])).await
}

impl House {
    fn watch(&self) -> WatchStatus {
        self.control.backends().remove(0).watch
    }

    async fn watching(&self) {
        self.eventually("it watches", || self.watch().state == WatchState::Watching && self.fake.watchers() == 1).await;
    }

    /// Past the looks that follow a start, so that nothing but a wake or a sweep is seen.
    async fn settled(&self) {
        self.later(Duration::from_secs(60)).await;
    }

    fn state(&self, id: &SessionId) -> SessionState {
        self.control.session(id).unwrap().state
    }
}

fn wake(session: &Session) -> Wake {
    Wake::Workload(session.id.clone(), session.incarnation)
}

#[tokio::test(start_paused = true)]
async fn what_a_watch_names_is_looked_at_long_before_the_sweep() {
    let house = house().await;
    let (dies, other) = (house.running(restarting("always")).await, house.running(spec()).await);
    house.watching().await;
    house.settled().await;
    for session in [&dies, &other] {
        house.fake.end(&session.id, code(1));
    }
    house.settled().await;
    assert_eq!(house.state(&dies.id), SessionState::Running, "nobody said so, and no sweep was due");
    let before = tokio::time::Instant::now();
    house.fake.wake(&wake(&dies));
    house.when(&dies.id, |session| session.restarts == 1).await;
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
    assert_eq!(house.state(&other.id), SessionState::Running, "it was not named");
    house.fake.wake(&Wake::Any);
    house.until(&other.id, SessionState::Failed).await;
    assert_eq!(house.watch().wakes, 2);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_tells_before_it_shows_is_asked_once_more() {
    let house = house().await;
    let session = house.running(spec()).await;
    house.watching().await;
    house.settled().await;
    let before = house.fake.calls("inspect");
    house.fake.wake(&wake(&session));
    house.eventually("it was looked at", || house.fake.calls("inspect") > before).await;
    house.fake.end(&session.id, code(0));
    house.until(&session.id, SessionState::Stopped).await;
    assert_eq!(house.fake.calls("inspect"), before + 2);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn what_happened_while_there_was_no_watch_is_seen_when_it_is_back() {
    let house = house().await;
    let session = house.running(spec()).await;
    house.watching().await;
    house.settled().await;
    house.fake.always("watch", Chaos::Error(Error::unavailable("the engine is away")));
    house.fake.break_watches("the connection broke");
    house.eventually("it is lost", || house.watch().state == WatchState::Backoff).await;
    house.fake.end(&session.id, code(0));
    house.later(HOUR).await;
    assert_eq!(house.state(&session.id), SessionState::Running);
    let lost = house.watch();
    assert_eq!(lost.error.as_deref(), Some("the engine is away"));
    // Full jitter up to a minute.
    let tries = house.fake.calls("watch");
    assert!((60..400).contains(&tries), "{tries} in an hour");
    house.fake.calm();
    house.until(&session.id, SessionState::Stopped).await;
    house.settled().await;
    assert_eq!((house.watch().state, house.watch().openings, house.watch().retry_at), (WatchState::Watching, 2, None));
    house.told("backend.watch_lost", 1).await;
    house.told("backend.watch_restored", 1).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_ends_again_and_again_is_opened_more_and_more_seldom_and_told_of_once() {
    let house = house().await;
    for _ in 0..2000 {
        house.fake.end_watches();
        house.later(Duration::from_secs(1)).await;
    }
    let openings = house.watch().openings;
    assert!((20..200).contains(&openings), "{openings} in 2000 s");
    assert_eq!(house.watch().error.as_deref(), Some("it ended"));
    house.told("backend.watch_lost", 1).await;
    house.told("backend.watch_restored", 0).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_floods_costs_a_bounded_number_of_looks() {
    for (flood, looks) in [(Wake::Any, 50..61), (Wake::Workload(SessionId::random(), 1), 0..10)] {
        let fake = Fake::with(&[Interface::Watch]);
        fake.always("watch", Chaos::Flood(flood));
        let house = House::with(seldom(), Arc::clone(&fake)).await;
        let session = house.running(spec()).await;
        house.settled().await;
        let before = fake.calls("inspect");
        house.later(Duration::from_secs(60)).await;
        let made = fake.calls("inspect") - before;
        assert!(looks.contains(&made), "{made} looks in a minute");
        // Others are served all the same.
        house.control.stop(&session.id, None).await.unwrap();
        house.until(&session.id, SessionState::Stopped).await;
        house.done().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_named_without_end_is_looked_at_ten_times_a_second_at_most() {
    let fake = Fake::with(&[Interface::Watch]);
    fake.always("watch", Chaos::Error(Error::unavailable("later")));
    let house = House::with(seldom(), Arc::clone(&fake)).await;
    let session = house.running(spec()).await;
    house.settled().await;
    fake.always("watch", Chaos::Flood(wake(&session)));
    house.eventually("it watches", || house.watch().state == WatchState::Watching).await;
    house.settled().await;
    let before = fake.calls("inspect");
    house.later(Duration::from_secs(60)).await;
    let made = fake.calls("inspect") - before;
    assert!((590..=610).contains(&made), "{made} looks in a minute");
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_watch_says_of_strangers_is_not_looked_at() {
    let house = house().await;
    let session = house.running(spec()).await;
    house.watching().await;
    house.settled().await;
    let before = house.fake.calls("inspect");
    for stranger in [
        Wake::Workload(SessionId::random(), 1),
        Wake::Workload(session.id.clone(), session.incarnation + 1),
        Wake::Workload(session.id.clone(), 0),
    ] {
        house.fake.wake(&stranger);
        house.settled().await;
    }
    assert_eq!((house.fake.calls("inspect"), house.watch().wakes), (before, 3));
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_hangs_or_panics_leaves_the_sweeps_as_they_are() {
    for chaos in [Chaos::Hang, Chaos::Panic] {
        let fake = Fake::with(&[Interface::Watch]);
        fake.always("watch", chaos);
        let house = House::with(ControlConfig::default(), Arc::clone(&fake)).await;
        let session = house.running(restarting("always")).await;
        house.settled().await;
        house.fake.end(&session.id, code(1));
        house.when(&session.id, |session| session.restarts == 1).await;
        assert!(matches!(house.watch().state, WatchState::Opening | WatchState::Backoff));
        house.done().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_has_none_after_all_is_not_asked_again() {
    let fake = Fake::with(&[Interface::Watch]);
    fake.always("watch", Chaos::Error(Error::Unsupported("not on this engine".to_owned())));
    let house = House::with(ControlConfig::default(), Arc::clone(&fake)).await;
    house.eventually("it says so", || house.watch().state == WatchState::Unsupported).await;
    house.later(HOUR).await;
    assert_eq!((fake.calls("watch"), house.watch().error.as_deref()), (1, Some("not on this engine")));
    house.told("backend.watch_lost", 0).await;
    house.done().await;

    let house = House::new().await;
    assert_eq!(house.watch().state, WatchState::Unsupported);
    house.done().await;
}

/// B4.
#[tokio::test(start_paused = true)]
async fn the_watch_of_a_replaced_backend_ends_with_it() {
    let house = house().await;
    let session = house.running(spec()).await;
    house.watching().await;
    assert_eq!(house.control.core.tasks.len(), TASKS + 1);
    for _ in 0..3 {
        let driver = drivers(&house.fake).remove(&name("fake")).unwrap();
        let change = BackendChange::Put { driver, message: "the test says so".to_owned() };
        house.control.change_backends([(name("fake"), change)].into()).await.unwrap();
        house.watching().await;
    }
    assert_eq!((house.control.core.tasks.len(), house.watch().openings), (TASKS + 1, 1));
    house.settled().await;
    house.fake.end(&session.id, code(0));
    house.fake.wake(&wake(&session));
    house.until(&session.id, SessionState::Stopped).await;
    let change = BackendChange::Remove { message: "the test says so".to_owned() };
    house.control.change_backends([(name("fake"), change)].into()).await.unwrap();
    assert_eq!(house.fake.watchers(), 0);
    house.done().await;
}
