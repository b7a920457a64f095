//! A backend that fails, lies, hangs or forgets: what is unknown is not gone.

use std::time::Duration;

use seawall_backend::Error;
use seawall_backend::limit::{Full, Kind};
use seawall_model::{Desired, Session, SessionId, SessionState};

use super::fake::Chaos;
use super::house::{House, code, restarting, spec};
use crate::{BackendHealth, ControlError};

fn down() -> Chaos {
    Chaos::Error(Error::unavailable("the engine is away"))
}

async fn several(house: &House, count: usize) -> Vec<Session> {
    let mut sessions = Vec::new();
    for _ in 0..count {
        sessions.push(house.running(restarting("always")).await);
    }
    // Past the quick looks after a start.
    house.later(Duration::from_secs(10)).await;
    sessions
}

#[tokio::test(start_paused = true)]
async fn an_outage_makes_sessions_unknown_and_restarts_none() {
    let house = House::new().await;
    let sessions = several(&house, 5).await;
    for function in ["inspect", "list", "check"] {
        house.fake.always(function, down());
    }
    for session in &sessions {
        let unknown = house.until(&session.id, SessionState::Unknown).await;
        assert_eq!(unknown.last_state, Some(SessionState::Running));
        assert_eq!(unknown.reason.as_deref(), Some("the engine is away"));
    }
    house.later(Duration::from_secs(3600)).await;
    house.fake.calm();
    for session in &sessions {
        let runs = house.until(&session.id, SessionState::Running).await;
        assert_eq!((runs.incarnation, runs.last_state, runs.reason), (1, None, None));
    }
    assert_eq!((house.fake.calls("create"), house.fake.calls("remove")), (5, 0));
    for kind in ["backend.unreachable", "backend.unhealthy", "backend.reachable"] {
        house.told(kind, 1).await;
    }
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_says_it_has_nothing_is_not_believed() {
    let house = House::new().await;
    let sessions = several(&house, 8).await;
    house.fake.always("inspect", Chaos::Empty);
    house.fake.always("list", Chaos::Empty);
    for session in &sessions {
        house.until(&session.id, SessionState::Unknown).await;
    }
    house.later(Duration::from_secs(3600)).await;
    let status = &house.control.backends()[0];
    assert_eq!(status.conditions.iter().map(|c| c.kind.as_str()).collect::<Vec<_>>(), ["answer_not_believed"]);
    assert_eq!(status.sessions[&SessionState::Unknown], 8);
    house.fake.calm();
    for session in &sessions {
        assert_eq!(house.until(&session.id, SessionState::Running).await.incarnation, 1);
    }
    house.eventually("the condition ends", || house.control.backends()[0].conditions.is_empty()).await;
    assert_eq!((house.fake.calls("create"), house.fake.calls("remove")), (8, 0));
    house.told("backend.not_believed", 1).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_believed_can_still_be_stopped_and_removed() {
    let house = House::new().await;
    let sessions = several(&house, 8).await;
    sessions.iter().for_each(|session| house.fake.vanish(&session.id));
    for session in &sessions {
        house.until(&session.id, SessionState::Unknown).await;
    }
    house.control.stop(&sessions[0].id, None).await.unwrap();
    house.until(&sessions[0].id, SessionState::Stopped).await;
    house.control.start_session(&sessions[0].id).await.unwrap();
    assert_eq!(house.until(&sessions[0].id, SessionState::Running).await.incarnation, 2);
    house.control.remove(&sessions[1].id, true).await.unwrap();
    house.until_gone(&sessions[1].id).await;
    assert_eq!(house.control.session(&sessions[2].id).unwrap().state, SessionState::Unknown);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_vanished_is_lost_after_a_listing_confirms_it_and_comes_back() {
    let house = House::new().await;
    let sessions = several(&house, 2).await;
    house.fake.always("list", down());
    house.fake.vanish(&sessions[0].id);
    house.later(Duration::from_secs(3600)).await;
    let missing = house.control.session(&sessions[0].id).unwrap();
    assert_eq!((missing.state, missing.incarnation), (SessionState::Running, 1), "missing is not gone");
    house.fake.calm();
    let back =
        house.when(&sessions[0].id, |session| session.incarnation == 2 && session.state == SessionState::Running).await;
    assert!(back.exit.unwrap().unknown());
    house.told("session.lost", 1).await;
    assert_eq!(house.control.session(&sessions[1].id).unwrap().incarnation, 1);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_partial_listing_confirms_nothing() {
    let house = House::new().await;
    let session = &several(&house, 2).await[0];
    house.fake.vanish(&session.id);
    house.fake.always("list", Chaos::Partial);
    house.later(Duration::from_secs(3600)).await;
    assert_eq!(house.control.session(&session.id).unwrap().state, SessionState::Running);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn left_out_of_one_answer_is_nothing_if_the_listing_has_it() {
    let house = House::new().await;
    let sessions = several(&house, 3).await;
    house.fake.always("inspect", Chaos::Empty);
    house.later(Duration::from_secs(3600)).await;
    for session in &sessions {
        let now = house.control.session(&session.id).unwrap();
        assert_eq!((now.state, now.incarnation), (SessionState::Running, 1));
    }
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_does_not_bring_back_what_has_ended_since() {
    let house = House::new().await;
    let session = &several(&house, 1).await[0];
    // Every sweep looks at once and answers 4 s later.
    house.fake.always("inspect", Chaos::Slow(Duration::from_secs(4)));
    let asked = house.fake.calls("inspect");
    house.eventually("a sweep is under way", || house.fake.calls("inspect") > asked).await;
    let control = house.control.clone();
    control.stop(&session.id, None).await.unwrap();
    let stopped = house.until(&session.id, SessionState::Stopped).await;
    assert_eq!(stopped.desired, Desired::Stopped);
    control.start_session(&session.id).await.unwrap();
    house.until(&session.id, SessionState::Running).await;
    house.later(Duration::from_secs(60)).await;
    let runs = house.control.session(&session.id).unwrap();
    assert_eq!((runs.state, runs.incarnation), (SessionState::Running, 2));
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_hanging_check_times_out_and_three_make_the_backend_unhealthy() {
    let house = House::new().await;
    house.eventually("checked", || house.control.backends()[0].health == BackendHealth::Healthy).await;
    house.fake.always("check", Chaos::Hang);
    house.eventually("unhealthy", || house.control.backends()[0].health == BackendHealth::Unhealthy).await;
    let status = house.control.backends().remove(0);
    assert_eq!((status.failures, status.error.as_deref()), (3, Some("no answer within 10s")));
    let refused = house.control.create(spec()).await.unwrap_err();
    assert!(matches!(refused, ControlError::BackendUnhealthy { .. }), "{refused}");
    assert_eq!(house.control.sessions(), []);
    house.fake.calm();
    house.eventually("healthy again", || house.control.backends()[0].health == BackendHealth::Healthy).await;
    house.running(spec()).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_waits_for_its_backend_and_goes_on_when_it_is_back() {
    let house = House::new().await;
    let session = &several(&house, 1).await[0];
    house.fake.always("check", down());
    house.eventually("unhealthy", || !house.control.backends()[0].health.usable()).await;
    house.fake.end(&session.id, code(1));
    house.when(&session.id, |session| session.reason.as_ref().is_some_and(|why| why.contains("can be used"))).await;
    assert_eq!(house.fake.calls("create"), 1);
    house.fake.calm();
    house.when(&session.id, |session| session.state == SessionState::Running && session.incarnation == 2).await;
    house.done().await;
}

fn stray(digit: char) -> SessionId {
    digit.to_string().repeat(16).parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_orphan_is_removed_after_two_listings_and_its_grace() {
    let house = House::new().await;
    let session = &several(&house, 1).await[0];
    let orphan = stray('a');
    house.fake.plant(&orphan, 3);
    house.fake.always("list", down());
    house.later(Duration::from_secs(3600)).await;
    house.fake.always("list", Chaos::Partial);
    house.later(Duration::from_secs(3600)).await;
    assert_eq!(house.fake.there(&orphan), [3], "a failed listing is no ground for removal");

    house.fake.calm();
    let listed = house.fake.calls("list");
    let begun = tokio::time::Instant::now();
    house.eventually("it is removed", || house.fake.there(&orphan).is_empty()).await;
    assert!(house.fake.calls("list") >= listed + 2);
    assert!(begun.elapsed() >= Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(house.fake.there(&session.id), [1]);
    house.told("orphan.found", 1).await;
    house.told("orphan.removed", 1).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn an_older_incarnation_is_an_orphan_and_a_newer_one_is_not_touched() {
    let house = House::new().await;
    let session = &several(&house, 1).await[0];
    house.fake.end(&session.id, code(1));
    house.when(&session.id, |session| session.incarnation == 2 && session.state == SessionState::Running).await;
    // A create of the first incarnation that was cut off lands late.
    house.fake.plant(&session.id, 1);
    house.fake.plant(&session.id, 9);
    house.eventually("the old one is removed", || house.fake.there(&session.id) == [2, 9]).await;
    house.later(Duration::from_secs(3600)).await;
    assert_eq!(house.fake.there(&session.id), [2, 9]);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_put_back_takes_over_what_was_started_since() {
    let house = House::new().await;
    let [running, stopped] = several(&house, 2).await.try_into().unwrap();
    house.control.stop(&stopped.id, None).await.unwrap();
    house.until(&stopped.id, SessionState::Stopped).await;
    // Since then both were started, three times and once.
    for (session, incarnation) in [(&running, 4), (&stopped, 2)] {
        house.fake.vanish(&session.id);
        house.fake.plant(&session.id, incarnation);
    }
    house.when(&running.id, |now| now.incarnation == 4 && now.state == SessionState::Running).await;
    house.when(&stopped.id, |now| now.incarnation == 2 && now.state == SessionState::Stopped).await;
    assert_eq!((house.fake.there(&running.id), house.fake.ever(&running.id)), (vec![4], vec![1]), "nothing was made");
    // The next start follows on that.
    house.fake.end(&running.id, code(1));
    house.when(&running.id, |now| now.incarnation == 5 && now.state == SessionState::Running).await;
    assert_eq!(house.fake.there(&running.id), [5]);
    // No session was ever started so often: that is invented, and not followed.
    house.fake.plant(&running.id, u64::MAX);
    house.fake.vanish(&stopped.id);
    house.later(Duration::from_secs(3600)).await;
    assert_eq!(house.control.session(&running.id).unwrap().incarnation, 5);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_create_that_lands_after_the_session_was_stopped_is_cleaned_up() {
    let house = House::new().await;
    house.fake.always("create", Chaos::Hang);
    let session = house.control.create(spec()).await.unwrap();
    house.eventually("the create hangs", || house.fake.calls("create") == 1).await;
    house.control.stop(&session.id, None).await.unwrap();
    house.until(&session.id, SessionState::Stopped).await;
    house.fake.plant(&session.id, 1);
    house.eventually("it is cleaned up", || house.fake.count() == 0).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_busy_backend_leaves_what_is_known_as_it_was() {
    let house = House::new().await;
    let session = &several(&house, 1).await[0];
    let retry_after = Duration::from_secs(1);
    let busy = Error::Full(Full { kind: Kind::Call, permits: 20, waited: Duration::from_secs(10), retry_after });
    house.fake.always("inspect", Chaos::Error(busy));
    house.later(Duration::from_secs(60)).await;
    assert_eq!(house.control.session(&session.id).unwrap().state, SessionState::Running);
    let status = &house.control.backends()[0];
    assert_eq!((status.health, status.conditions.len()), (BackendHealth::Healthy, 0));
    assert!(!house.kinds().await.contains(&"backend.unreachable".to_owned()));
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_yet_to_come_does_not_pass_for_a_healthy_life() {
    let house = House::new().await;
    let late = seawall_model::Timestamp::from_millis(u64::MAX);
    let exit = seawall_model::Exit { at: Some(late), ..code(1) };
    house.fake.plan(super::fake::Plans { ends: Some((Duration::from_millis(5), exit)), ..Default::default() });
    let session = house.control.create(restarting("on-failure:4")).await.unwrap();
    let failed = house.until(&session.id, SessionState::Failed).await;
    assert_eq!(failed.restarts, 4);
    assert!(failed.finished_at.unwrap() < late);
    house.done().await;
}
