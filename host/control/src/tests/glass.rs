//! A session is removed without its plugin.

use std::time::Duration;

use seawall_backend::{BulkheadConfig, Error};
use seawall_model::{Desired, SessionState};
use tokio::time::Instant;

use super::fake::Chaos;
use super::house::{House, restarting, spec};
use crate::ControlError;

#[tokio::test(start_paused = true)]
async fn a_plugin_that_fails_in_every_removal_does_not_keep_its_session() {
    let house = House::behind(&BulkheadConfig::default()).await;
    house.fake.let_expunge();
    for broken in [Chaos::Panic, Chaos::Hang, Chaos::Error(Error::unavailable("never again"))] {
        let session = house.running(restarting("always")).await;
        house.fake.always("remove", broken.clone());
        house.control.remove(&session.id, true).await.unwrap();
        house.later(Duration::from_secs(600)).await;
        assert_eq!(house.fake.there(&session.id), [1], "{broken:?}: by force is not enough");
        house.control.break_glass(&session.id, false).await.unwrap();
        house.until_gone(&session.id).await;
        assert_eq!(house.fake.count(), 0, "{broken:?}");
        house.fake.calm();
        house
            .eventually("its breaker is closed", || {
                house.control.core.backend(&super::house::name("fake")).unwrap().driver.breaker().state()
                    == seawall_backend::breaker::BreakerState::Closed
            })
            .await;
    }
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_the_call_that_the_plugin_is_at() {
    let house = House::new().await;
    house.fake.let_expunge();
    for call in ["create", "start", "remove"] {
        house.fake.always(call, Chaos::Hang);
        let session = house.control.create(spec()).await.unwrap();
        if call == "remove" {
            house.until(&session.id, SessionState::Running).await;
            house.control.remove(&session.id, true).await.unwrap();
        }
        let before = house.fake.calls(call);
        house.eventually("it is at it", || house.fake.calls(call) > before.saturating_sub(1)).await;
        let asked = Instant::now();
        house.control.break_glass(&session.id, false).await.unwrap();
        house.until_gone(&session.id).await;
        assert!(asked.elapsed() < Duration::from_secs(1), "{call}: {:?}", asked.elapsed());
        assert_eq!(house.fake.count(), 0, "{call}");
        house.fake.calm();
    }
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_is_waited_for_unless_the_session_is_to_be_forgotten() {
    let house = House::new().await;
    house.fake.let_expunge();
    let [kept, forgotten] = [house.running(spec()).await, house.running(spec()).await];
    house.fake.always("expunge", Chaos::Error(Error::unavailable("the engine is away")));
    house.control.break_glass(&kept.id, false).await.unwrap();
    house.when(&kept.id, |session| session.reason.as_deref() == Some("the engine is away")).await;
    house.control.break_glass(&forgotten.id, true).await.unwrap();
    assert_eq!(house.control.session(&forgotten.id), None);
    assert_eq!(house.fake.count(), 2);
    house.fake.calm();
    house.until_gone(&kept.id).await;
    house.eventually("what was left is an orphan", || house.fake.count() == 0).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_host_cannot_reach_is_not_forgotten_unasked() {
    let house = House::new().await;
    let session = house.running(restarting("always")).await;
    let refused = house.control.break_glass(&session.id, false).await.unwrap_err();
    assert!(matches!(refused, ControlError::Conflict(_)), "{refused}");
    assert!(refused.to_string().contains("--forget"), "{refused}");
    let now = house.control.session(&session.id).unwrap();
    assert_eq!((now.desired, now.state), (Desired::Running, SessionState::Running), "nothing was changed");

    house.control.break_glass(&session.id, true).await.unwrap();
    assert_eq!((house.control.session(&session.id), house.fake.count()), (None, 1));
    let events = house.control.events(None, 100).await.unwrap();
    let told = events.iter().find(|event| event.kind == "session.removed").unwrap();
    assert!(told.message.contains("only the plugin knows"), "{}", told.message);
    house.eventually("it is cleaned up as an orphan", || house.fake.count() == 0).await;
    house.done().await;
}
