//! The daemon ends, however it does, and comes back (A6, A8).

use std::collections::BTreeMap;
use std::time::Duration;

use seawall_model::{Desired, SessionState};
use seawall_store::Write;

use super::fake::{Chaos, Plans};
use super::house::{House, TASKS, code, drivers, restarting, spec};
use crate::{ControlConfig, ControlError};

#[tokio::test(start_paused = true)]
async fn running_sessions_are_adopted_and_none_is_restarted() {
    let house = House::new().await;
    let before = [house.running(restarting("always")).await, house.running(spec()).await];
    let house = house.restart().await;
    for unasked in house.control.sessions() {
        assert_eq!((unasked.state, unasked.last_state), (SessionState::Unknown, Some(SessionState::Running)));
    }
    for session in &before {
        let after = house.until(&session.id, SessionState::Running).await;
        assert_eq!(after, *session);
    }
    assert_eq!((house.fake.calls("create"), house.fake.calls("start"), house.fake.calls("remove")), (2, 2, 0));
    house.eventually("no task but the backend's", || house.control.core.tasks.len() == TASKS).await;
    house.told("backend.adopted", 1).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_ended_meanwhile_keeps_its_exit_code() {
    let house = House::new().await;
    let ended = house.running(spec()).await;
    let again = house.running(restarting("on-failure")).await;
    house.control.shutdown(crate::Shutdown::Leave, Duration::from_secs(10)).await.unwrap();
    house.fake.end(&ended.id, code(42));
    house.fake.end(&again.id, code(43));
    house.store.close().await;
    let house = house.again(ControlConfig::default()).await;
    let failed = house.until(&ended.id, SessionState::Failed).await;
    assert_eq!(failed.exit.unwrap().code, Some(42));
    let runs =
        house.when(&again.id, |session| session.incarnation == 2 && session.state == SessionState::Running).await;
    assert_eq!(runs.exit.unwrap().code, Some(43));
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_at_the_start_is_waited_for() {
    let house = House::new().await;
    let session = house.running(restarting("always")).await;
    for function in ["inspect", "list", "check"] {
        house.fake.always(function, Chaos::Error(seawall_backend::Error::unavailable("not up yet")));
    }
    let house = house.restart().await;
    house.later(Duration::from_secs(3600)).await;
    let unknown = house.control.session(&session.id).unwrap();
    assert_eq!((unknown.state, unknown.incarnation), (SessionState::Unknown, 1));
    house.fake.calm();
    assert_eq!(house.until(&session.id, SessionState::Running).await, session);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_grace_outlives_the_daemon() {
    let house = House::new().await;
    house.fake.plan(Plans { ignores_term: true, ..Plans::default() });
    let session = house.running(spec()).await;
    let asked = tokio::time::Instant::now();
    house.control.stop(&session.id, Some(Duration::from_secs(100))).await.unwrap();
    house.eventually("it was asked", || house.fake.calls("signal") == 1).await;
    house.later(Duration::from_secs(50)).await;
    let house = house.restart().await;
    house.until(&session.id, SessionState::Stopped).await;
    let took = asked.elapsed();
    assert!(took >= Duration::from_secs(100) && took < Duration::from_secs(105), "{took:?}");
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_backoff_outlives_the_daemon() {
    let house = House::new().await;
    house.fake.plan(Plans { ends: Some((Duration::from_millis(1), code(1))), ..Plans::default() });
    let session = house.control.create(restarting("always")).await.unwrap();
    house.when(&session.id, |session| session.restarts >= 8 && session.state == SessionState::Restarting).await;
    let before = house.control.session(&session.id).unwrap();
    let house = house.restart().await;
    assert_eq!(house.control.session(&session.id).unwrap().state, SessionState::Restarting);
    house.when(&session.id, |session| session.restarts > before.restarts).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn sessions_of_a_backend_that_is_not_configured_are_unknown_and_kept() {
    let house = House::new().await;
    let session = house.running(restarting("always")).await;
    let other = house.running(spec()).await;
    house.control.shutdown(crate::Shutdown::Leave, Duration::from_secs(10)).await.unwrap();
    house.store.close().await;
    let house = house.again_with(ControlConfig::default(), BTreeMap::new()).await;
    house.later(Duration::from_secs(3600)).await;
    let unknown = house.control.session(&session.id).unwrap();
    assert_eq!((unknown.state, unknown.desired), (SessionState::Unknown, Desired::Running));
    assert!(unknown.reason.unwrap().contains("the backend fake is not configured"));
    for refused in [
        house.control.stop(&session.id, None).await.map(|_| ()),
        house.control.start_session(&session.id).await.map(|_| ()),
    ] {
        assert!(matches!(refused, Err(ControlError::NoSuchBackend(_))), "{refused:?}");
    }
    for refused in [
        house.control.remove(&session.id, false).await,
        house.control.remove(&session.id, true).await,
        house.control.break_glass(&session.id, false).await,
    ] {
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("not configured") && said.contains("--break-glass"), "{said}");
    }
    house.control.break_glass(&other.id, true).await.unwrap();
    assert_eq!(house.control.session(&other.id), None);

    // Configured again: one is adopted, what is left of the other is cleaned up.
    house.control.shutdown(crate::Shutdown::Leave, Duration::from_secs(10)).await.unwrap();
    house.store.close().await;
    let backends = drivers(&house.fake);
    let house = house.again_with(ControlConfig::default(), backends).await;
    assert_eq!(house.until(&session.id, SessionState::Running).await.incarnation, 1);
    house.eventually("the other is cleaned up", || house.fake.there(&other.id).is_empty()).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_sessions_are_adopted_by_ten_batches_a_sweep() {
    let house = House::new().await;
    let template = house.running(spec()).await;
    let record = house.store.load().await.unwrap().sessions.remove(0);
    let mut writes = Vec::new();
    for number in 0..9_999_u64 {
        let id: seawall_model::SessionId = format!("{number:016x}").parse().unwrap();
        let name = format!("many-{number}").parse().unwrap();
        house.fake.plant(&id, 1);
        writes.push(Write::InsertSession(Box::new(seawall_store::SessionRecord {
            id,
            name,
            handle: None,
            ..record.clone()
        })));
    }
    house.store.write(writes).await.unwrap();
    let house = house.restart().await;
    house.until(&template.id, SessionState::Running).await;
    let all = |state| move |status: &crate::BackendStatus| status.sessions.get(&state) == Some(&10_000);
    house.eventually("all run", || all(SessionState::Running)(&house.control.backends()[0])).await;

    // All of them are news in the first sweep (their handles); then nothing is, and nothing is written.
    house.later(Duration::from_secs(10)).await;
    let (asked, batches) = (house.fake.calls("inspect"), house.store.stats().batches);
    house.later(Duration::from_secs(20)).await;
    let sweeps = (house.fake.calls("inspect") - asked) / 10;
    assert!((3..=5).contains(&sweeps), "{sweeps}");
    assert_eq!(house.store.stats().batches, batches);
    assert_eq!(house.control.core.tasks.len(), TASKS);
    house.done().await;
}
