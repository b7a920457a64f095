//! Behind the bulkhead: what it keeps from a backend is not held against anybody, and everybody can see it.

use std::time::Duration;

use seawall_backend::breaker::{BreakerConfig, BreakerState};
use seawall_backend::limit::LimitConfig;
use seawall_backend::{BulkheadConfig, Error, Fault, FaultKind};
use seawall_model::SessionState;

use super::fake::Chaos;
use super::house::{House, restarting};
use crate::{BackendHealth, ControlError};

fn trap() -> Chaos {
    let message = "trapped: unreachable".to_owned();
    Chaos::Error(Error::Fault(Fault { kind: FaultKind::Trap, function: "start", message, backtrace: Vec::new() }))
}

fn away() -> Chaos {
    Chaos::Error(Error::unavailable("the engine is away"))
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_left_alone_makes_sessions_unknown_and_is_used_again_when_it_answers() {
    let house = House::behind(&BulkheadConfig::default()).await;
    let session = house.running(restarting("always")).await;
    for function in ["inspect", "list", "check"] {
        house.fake.always(function, away());
    }
    house.told("backend.breaker_open", 1).await;
    assert_eq!(house.until(&session.id, SessionState::Unknown).await.last_state, Some(SessionState::Running));
    let why = house.control.why(&session.id).unwrap();
    assert!(why.summary.contains("left alone"), "{}", why.summary);
    let breaker = why.backend.known.unwrap().bulkhead.breaker;
    assert_eq!((breaker.state, breaker.last_failure.unwrap().function.as_ref()), (BreakerState::Open, "inspect"));
    // Nothing new is placed there, and whoever asks is told when to come back.
    house.fake.once("check", Chaos::Hang);
    let refused = house.control.create(restarting("never")).await.unwrap_err();
    let unhealthy = matches!(refused, ControlError::BackendUnhealthy { .. });
    let left = matches!(&refused, ControlError::Backend(Error::Open { retry_after }) if !retry_after.is_zero());
    assert!(unhealthy || left, "{refused}");

    house.fake.calm();
    let runs = house.until(&session.id, SessionState::Running).await;
    assert_eq!((runs.incarnation, runs.restarts), (1, 0));
    house.told("backend.breaker_closed", 1).await;
    assert_eq!((house.fake.calls("create"), house.fake.calls("remove")), (1, 0));
    assert_eq!(house.control.why(&session.id).unwrap().summary, "it runs, as it is wanted to");
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_backend_whose_checks_are_good_is_tried_again_at_the_next_check() {
    let breaker = BreakerConfig { open_for: Duration::from_secs(3600), ..BreakerConfig::default() };
    let house = House::behind(&BulkheadConfig { breaker, ..BulkheadConfig::default() }).await;
    let session = house.running(restarting("always")).await;
    for _ in 0..5 {
        house.fake.once("inspect", away());
    }
    let begun = tokio::time::Instant::now();
    house.told("backend.breaker_open", 1).await;
    house.told("backend.breaker_closed", 1).await;
    assert!(begun.elapsed() < Duration::from_secs(120), "it waited for the hour");
    house.until(&session.id, SessionState::Running).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_poisonous_session_is_quarantined_its_neighbours_run_and_it_costs_no_restart() {
    let house = House::behind(&BulkheadConfig::default()).await;
    for _ in 0..3 {
        house.fake.once("start", trap());
    }
    let poisonous = house.control.create(restarting("on-failure:1")).await.unwrap();
    house.told("session.quarantined", 1).await;
    let why = house.control.why(&poisonous.id).unwrap();
    assert!(why.summary.contains("quarantined") && why.summary.contains("`start`"), "{}", why.summary);
    assert_eq!((why.quarantine.len(), why.quarantine[0].faults), (1, 2));
    assert!(why.retry.is_some_and(|retry| retry.at.is_some()));
    assert!(why.errors.iter().any(|error| error.function == "start" && error.message.contains("trapped")));
    assert_eq!(house.control.backends()[0].bulkhead.quarantine[0].session, poisonous.id);
    // A neighbour takes the third trap, shrugs it off by itself, and runs.
    let neighbour = house.running(restarting("always")).await;
    let runs = house.until(&poisonous.id, SessionState::Running).await;
    assert_eq!((runs.restarts, runs.incarnation), (0, 1));
    house.told("session.released", 1).await;
    assert_eq!(house.control.why(&poisonous.id).unwrap().quarantine, []);
    assert_eq!(house.control.session(&neighbour.id).unwrap().restarts, 0);
    assert_eq!(house.control.backends()[0].health, BackendHealth::Healthy);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_is_told_once_and_what_waits_is_done_when_there_is_room() {
    let limit = LimitConfig { calls: 1, calls_wait: Duration::from_millis(100), ..LimitConfig::default() };
    let house = House::behind(&BulkheadConfig { limit, ..BulkheadConfig::default() }).await;
    house.running(restarting("always")).await;
    // One call holds the only permit for a minute.
    house.fake.always("inspect", Chaos::Slow(Duration::from_secs(9)));
    house.eventually("the permit is taken", || house.control.backends()[0].bulkhead.permits.calls.in_flight == 1).await;
    let waits = house.control.create(restarting("on-failure:1")).await.unwrap();
    let pending = house.when(&waits.id, |session| session.reason.is_some()).await;
    assert_eq!(pending.state, SessionState::Pending);
    let why = house.control.why(&waits.id).unwrap();
    assert!(why.retry.is_some_and(|retry| retry.failed == 0), "being sent away is no failure");
    assert!(pending.reason.unwrap().contains("busy"));
    let runs = house.until(&waits.id, SessionState::Running).await;
    assert_eq!((runs.restarts, runs.incarnation), (0, 1));
    let status = &house.control.backends()[0];
    assert!(status.bulkhead.permits.calls.refused > 0);
    assert_eq!((status.bulkhead.breaker.state, status.bulkhead.breaker.failures), (BreakerState::Closed, 0));
    house.fake.calm();
    house.told("backend.full", 1).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn many_that_begin_at_once_queue_and_none_of_them_is_sent_away() {
    let limit = LimitConfig { calls: 2, calls_wait: Duration::from_millis(100), ..LimitConfig::default() };
    let house = House::behind(&BulkheadConfig { limit, ..BulkheadConfig::default() }).await;
    house.fake.always("create", Chaos::Slow(Duration::from_secs(2)));
    let mut all = Vec::new();
    for _ in 0..20 {
        all.push(house.control.create(restarting("never")).await.unwrap().id);
    }
    house.eventually("they queue", || house.control.backends()[0].bulkhead.permits.calls.queued >= 19).await;
    let last = house.control.why(&all[19]).unwrap();
    assert!(last.summary.contains("waits for its turn") && last.retry.is_none(), "{}", last.summary);
    // Whoever is not wanted any more does not wait for its turn to say so.
    house.control.remove(&all[19], true).await.unwrap();
    house.until_gone(&all.remove(19)).await;
    assert!(house.control.backends()[0].bulkhead.permits.calls.queued > 2, "it waited for those before it");
    for id in &all {
        house.until(id, SessionState::Running).await;
    }
    assert_eq!(house.control.backends()[0].bulkhead.permits.calls.queued, 0);
    assert!(!house.kinds().await.iter().any(|kind| kind == "session.retrying"), "some were sent away");
    house.fake.calm();
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_daemon_is_not_held_up_by_those_who_queue() {
    let limit = LimitConfig { calls: 1, ..LimitConfig::default() };
    let house = House::behind(&BulkheadConfig { limit, ..BulkheadConfig::default() }).await;
    house.fake.always("create", Chaos::Slow(Duration::from_secs(20)));
    for _ in 0..20 {
        house.control.create(restarting("never")).await.unwrap();
    }
    house.eventually("they queue", || house.control.backends()[0].bulkhead.permits.calls.queued >= 19).await;
    let begun = tokio::time::Instant::now();
    house.control.shutdown(crate::Shutdown::Leave, Duration::from_secs(120)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(60), "each was waited for");
    assert_eq!(house.fake.calls("create"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_bulkhead_told_before_the_end_is_in_the_journal() {
    let house = House::behind(&BulkheadConfig::default()).await;
    let driver = house.control.core.backends.all()[0].driver.clone();
    let session = house.running(restarting("always")).await;
    for _ in 0..5 {
        let failure = seawall_backend::breaker::Failure { function: "list".into(), culprit: None, reason: "x".into() };
        driver.breaker().admit().unwrap().settle(seawall_backend::breaker::Verdict::Failure(failure));
    }
    house.control.shutdown(crate::Shutdown::Leave, Duration::from_secs(60)).await.unwrap();
    let events = house.store.events(None, 1000).await.unwrap();
    let open = events.iter().find(|event| event.kind == "backend.breaker_open").unwrap();
    assert!(open.message.contains("`list`: x"), "{}", open.message);
    assert_eq!(house.control.session(&session.id).unwrap().incarnation, 1);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_for_a_day_does_not_fill_the_journal() {
    let house = House::behind(&BulkheadConfig::default()).await;
    let session = house.running(restarting("always")).await;
    for function in ["inspect", "list", "check"] {
        house.fake.always(function, away());
    }
    house.later(Duration::from_secs(24 * 3600)).await;
    house.fake.calm();
    house.until(&session.id, SessionState::Running).await;
    house.told("backend.breaker_closed", 1).await;
    let kinds = house.kinds().await;
    let breaker: Vec<_> = kinds.iter().filter_map(|kind| kind.strip_prefix("backend.breaker_")).collect();
    assert_eq!(breaker, ["open", "half_open", "open", "closed"]);
    house.done().await;
}
