//! Requests with a key, over a restart of the daemon and over a day.

use std::time::Duration;

use super::house::{House, spec};
use crate::ControlError;

async fn ask(house: &House, request: u8) -> Result<seawall_model::Session, ControlError> {
    house.control.create_once(spec(), false, "k".to_owned(), [request; 32]).await
}

#[tokio::test(start_paused = true)]
async fn a_key_outlives_the_daemon_and_is_free_after_a_day() {
    let house = House::new().await;
    let first = ask(&house, 1).await.unwrap();
    let house = house.restart().await;
    assert_eq!(ask(&house, 1).await.unwrap().id, first.id);
    assert!(matches!(ask(&house, 2).await, Err(ControlError::KeyReused(key)) if key == "k"));
    assert_eq!(house.control.sessions().len(), 1);

    tokio::time::advance(Duration::from_secs(24 * 3600 + 1)).await;
    let second = ask(&house, 2).await.unwrap();
    assert_ne!(second.id, first.id);
    assert!(matches!(ask(&house, 1).await, Err(ControlError::KeyReused(_))));
    house.control.forget_key("k".to_owned()).await.unwrap();
    ask(&house, 1).await.unwrap();
    assert_eq!(house.control.sessions().len(), 3);
}
