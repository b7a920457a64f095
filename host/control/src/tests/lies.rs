//! A backend that answers what is well-formed and cannot be true: it harms itself at most.

use std::collections::BTreeMap;
use std::time::Duration;

use seawall_backend::breaker::BreakerState;
use seawall_backend::{BulkheadConfig, Error};
use seawall_model::{Exit, Secret, SessionSpec, SessionState, Timestamp};

use super::fake::{Chaos, Fake, Plans};
use super::house::{House, code, drivers, name, restarting, spec};
use crate::ControlConfig;

/// What the daemon says of the fake's listings, if anything.
fn list_failed(house: &House) -> Option<String> {
    let conditions = house.control.backends().into_iter().flat_map(|backend| backend.conditions);
    conditions.filter(|condition| condition.kind == "list_failed").map(|condition| condition.message).next()
}

async fn listing_fails(house: &House, pages: usize, a_page: usize, handle: usize) -> (String, usize) {
    house.fake.always("list", Chaos::Invent { pages, a_page, handle });
    house.fake.once("inspect", Chaos::Empty);
    house.eventually("the listing is given up", || list_failed(house).is_some()).await;
    let asked = house.fake.calls("list");
    (list_failed(house).unwrap(), asked)
}

#[tokio::test(start_paused = true)]
async fn a_listing_without_an_end_is_given_up() {
    for (a_page, handle, words, most) in [
        (1000, 0, "no end after 100000 workloads", 101),
        (1000, 4096, "more than 67108864 bytes", 17),
        (0, 0, "no end after 1000 pages", 1000),
    ] {
        let house = House::new().await;
        let session = house.running(spec()).await;
        // The first listings, at the start, are as they should be.
        house.later(Duration::from_secs(1)).await;
        let before = house.fake.calls("list");
        let (message, asked) = listing_fails(&house, usize::MAX, a_page, handle).await;
        assert!(message.contains(words), "{message}");
        assert!(asked - before <= most, "{} pages were asked for", asked - before);
        house.later(Duration::from_secs(8)).await;
        assert_eq!(house.control.session(&session.id).unwrap().state, SessionState::Running);
        assert_eq!(house.fake.calls("remove"), 0, "a listing that is not complete removes nothing");
        house.done().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_invents_workloads_fills_neither_memory_nor_journal() {
    let house = House::new().await;
    let session = house.running(spec()).await;
    // Just as many as a listing may have, with the session's own.
    house.fake.always("list", Chaos::Invent { pages: 100, a_page: 999, handle: 16 });
    house.fake.once("inspect", Chaos::Empty);
    house.eventually("it is told", || house.fake.calls("list") > 300).await;
    assert_eq!(list_failed(&house), None);
    let kinds = house.kinds().await;
    let found = kinds.iter().filter(|kind| *kind == "orphan.found").count();
    let listings = house.fake.calls("list") / 101 + 1;
    assert!(found > 0 && found <= 21 * listings, "{found} events of {listings} listings");
    assert_eq!(house.control.session(&session.id).unwrap().state, SessionState::Running);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_lists_a_session_of_another_does_not_hold_it_up() {
    let house = House::new().await;
    house.fake.plan(Plans { ends: Some((Duration::from_millis(5), code(1))), ..Plans::default() });
    let session = house.control.create(restarting("on-failure:3")).await.unwrap();
    house.when(&session.id, |session| session.incarnation == 2).await;
    house.fake.plan(Plans::default());
    let id = house.when(&session.id, |session| session.state == SessionState::Running).await.id;

    let liar = Fake::new();
    liar.plant(&id, 1);
    liar.always("remove", Chaos::Hang);
    let mut both = drivers(&house.fake);
    both.extend(drivers(&liar).into_values().map(|driver| (name("liar"), driver)));
    house.control.shutdown(crate::Shutdown::Leave, Duration::from_secs(60)).await.unwrap();
    house.store.close().await;
    let house = house.again_with(ControlConfig::default(), both).await;
    house.eventually("the liar is asked to remove what it invented", || liar.calls("remove") > 0).await;
    house.control.stop(&id, None).await.unwrap();
    house.until(&id, SessionState::Stopped).await;
    house.control.shutdown(crate::Shutdown::Leave, Duration::from_secs(600)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_start_in_the_last_century_is_no_healthy_life() {
    let house = House::new().await;
    let started_at = Some(Timestamp::from_millis(1));
    house.fake.plan(Plans { ends: Some((Duration::from_millis(5), code(1))), started_at, ..Plans::default() });
    // So often that the session itself is old when it comes to an end.
    let session = house.control.create(restarting("on-failure:8")).await.unwrap();
    let failed = house.until(&session.id, SessionState::Failed).await;
    assert_eq!(failed.restarts, 8, "the restart budget is not given anew");
    assert!(failed.started_at.unwrap().since(failed.created_at) > Duration::from_secs(10), "{failed:?}");
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_yet_to_come_is_now() {
    let house = House::new().await;
    house.fake.plan(Plans { started_at: Some(Timestamp::from_millis(u64::MAX)), ..Plans::default() });
    let session = house.running(spec()).await;
    assert!(session.started_at.unwrap().since(session.created_at) < Duration::from_secs(60), "{session:?}");
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_backend_says_of_a_session_later_keeps_its_secrets_too() {
    let house = House::new().await;
    let mut secret = spec();
    secret.env = BTreeMap::from([("TOKEN".to_owned(), Secret::new("hunter2"))]);

    // How it ended.
    let session = house.running(secret.clone()).await;
    house.fake.end(&session.id, Exit { message: Some("bad token hunter2".to_owned()), ..code(1) });
    let failed = house.until(&session.id, SessionState::Failed).await;
    assert_eq!(failed.exit.unwrap().message.as_deref(), Some("bad token [redacted]"));

    // Why it could not be started: for good, and for now.
    house.fake.once("start", Chaos::Error(Error::invalid("env", "hunter2 is no token")));
    let session = house.control.create(secret.clone()).await.unwrap();
    let refused = house.until(&session.id, SessionState::Failed).await;
    assert!(refused.reason.as_deref().is_some_and(|reason| reason.contains("[redacted] is no token")), "{refused:?}");
    house.fake.once("start", Chaos::Error(Error::unavailable("hunter2 is not known yet")));
    house.running(secret).await;

    let events = house.control.events(None, 10_000).await.unwrap();
    let told: Vec<_> = events.iter().map(|event| event.message.as_str()).collect();
    assert!(told.iter().any(|message| message.contains("[redacted] is not known yet")), "{told:?}");
    assert!(!told.iter().any(|message| message.contains("hunter2")), "{told:?}");
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_backend_says_of_many_sessions_keeps_the_secrets_of_each() {
    let house = House::behind(&BulkheadConfig::default()).await;
    let secrets = ["hunter2", "correct horse"];
    let mut sessions = Vec::new();
    for secret in secrets {
        let env = BTreeMap::from([("TOKEN".to_owned(), Secret::new(secret))]);
        sessions.push(house.running(SessionSpec { env, ..spec() }).await);
    }
    // Until sweeps alone look at them, all at once.
    house.later(Duration::from_secs(60)).await;
    for function in ["inspect", "list"] {
        house.fake.always(function, Chaos::Error(Error::unavailable("neither hunter2 nor correct horse is known")));
    }
    house.eventually("the listing fails", || list_failed(&house).is_some()).await;
    let breaker = || house.control.backends().into_iter().map(|backend| backend.bulkhead.breaker.state).next();
    house.eventually("the breaker opens, and keeps the last words", || breaker() == Some(BreakerState::Open)).await;

    let events = house.control.events(None, 10_000).await.unwrap();
    let whys: Vec<_> = sessions.iter().map(|session| house.control.why(&session.id).unwrap()).collect();
    let all = format!("{events:?} {whys:?} {:?}", house.control.backends());
    assert!(all.contains("neither [redacted] nor [redacted] is known"), "{all}");
    assert!(!all.contains("hunter2") && !all.contains("correct horse"), "{all}");
    house.fake.calm();
    house.done().await;
}
