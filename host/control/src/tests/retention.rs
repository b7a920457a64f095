//! Sessions that are over go when they are too old or too many.

use std::time::Duration;

use seawall_backend::Interface;
use seawall_model::{LogOptions, SessionId};

use super::fake::Fake;
use super::house::{House, code, restarting, spec};
use crate::{ControlConfig, RetentionConfig};

async fn house(retention: RetentionConfig) -> House {
    House::with(ControlConfig { retention, ..ControlConfig::default() }, Fake::with(&[Interface::Logs])).await
}

async fn ended(house: &House) -> SessionId {
    let session = house.running(spec()).await;
    house.fake.end(&session.id, code(3));
    house.when(&session.id, |session| session.state.is_final()).await.id
}

#[tokio::test(start_paused = true)]
async fn what_is_over_for_too_long_is_removed_and_what_runs_is_not() {
    let house = house(RetentionConfig { age: Some(Duration::from_secs(3600)), sessions: None }).await;
    let running = house.running(restarting("always")).await;
    let over = ended(&house).await;
    house.later(Duration::from_secs(3500)).await;
    assert!(house.control.session(&over).is_some(), "too soon");
    let later = ended(&house).await;
    house.until_gone(&over).await;
    assert!(house.control.session(&later).is_some(), "too soon");
    house.until_gone(&later).await;
    let read = ended(&house).await;
    let logs = house.control.logs(&read, LogOptions::default()).await.unwrap();
    house.later(Duration::from_secs(7200)).await;
    assert!(house.control.session(&read).is_some(), "pruned under its reader");
    drop(logs);
    house.until_gone(&read).await;
    assert_eq!(house.fake.count(), 1);
    assert!(house.control.session(&running.id).is_some());
    house.told("session.pruned", 3).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn of_too_many_the_oldest_go() {
    let house = house(RetentionConfig { age: None, sessions: Some(2) }).await;
    let first = ended(&house).await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        house.later(Duration::from_secs(1)).await;
        kept.push(ended(&house).await);
    }
    house.until_gone(&first).await;
    house.later(Duration::from_secs(3600)).await;
    assert!(kept.iter().all(|id| house.control.session(id).is_some()));
    house.told("session.pruned", 1).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn without_bounds_all_are_kept() {
    let house = house(RetentionConfig::default()).await;
    let over = ended(&house).await;
    house.later(Duration::from_secs(3 * 3600)).await;
    assert!(house.control.session(&over).is_some());
    house.done().await;
}
