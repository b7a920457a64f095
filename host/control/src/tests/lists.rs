//! Lists of sessions as JSON: made once, and never older than the sessions are.

use std::sync::Arc;
use std::time::Duration;

use seawall_backend::Error;
use seawall_model::{Health, SessionState};

use super::fake::Chaos;
use super::house::{House, restarting};
use crate::Glance;

fn list(house: &House, wanted: impl Fn(Glance<'_>) -> bool) -> Vec<Arc<str>> {
    house.control.documents(wanted).unwrap()
}

/// The list says what asking for each session says.
fn agrees(house: &House) -> Vec<Arc<str>> {
    let listed = list(house, |_| true);
    let asked = house.control.sessions();
    let asked: Vec<_> = asked.iter().map(|session| serde_json::to_string(session).unwrap()).collect();
    assert!(listed.iter().map(|document| &**document).eq(asked.iter().map(String::as_str)), "{listed:?}\n{asked:?}");
    listed
}

#[tokio::test(start_paused = true)]
async fn a_list_is_made_once_and_again_of_what_changed() {
    let house = House::new().await;
    let (one, other) = (house.running(restarting("always")).await, house.running(restarting("never")).await);
    house.later(Duration::from_secs(10)).await;
    let before = agrees(&house);
    let again = agrees(&house);
    assert!(before.iter().zip(&again).all(|(before, again)| Arc::ptr_eq(before, again)), "it was made twice");

    // What nobody is sure of any more is no change of the record, and is shown.
    for function in ["inspect", "list", "check"] {
        house.fake.always(function, Chaos::Error(Error::unavailable("the engine is away")));
    }
    house.until(&one.id, SessionState::Unknown).await;
    house.until(&other.id, SessionState::Unknown).await;
    let away = agrees(&house);
    assert!(away.iter().all(|document| document.contains("the engine is away")), "{away:?}");
    house.fake.calm();
    house.until(&one.id, SessionState::Running).await;
    house.until(&other.id, SessionState::Running).await;
    assert_eq!(agrees(&house), before);

    house.control.stop(&one.id, None).await.unwrap();
    house.until(&one.id, SessionState::Stopped).await;
    let stopped = agrees(&house);
    // Both are of one instant: their ids decide who is first.
    let (at, beside) = if before[0].contains(one.id.as_str()) { (0, 1) } else { (1, 0) };
    assert!(stopped[at] != before[at] && stopped[beside] == before[beside], "{before:?}\n{stopped:?}");
    house.control.remove(&one.id, false).await.unwrap();
    house.until_gone(&one.id).await;
    assert_eq!(agrees(&house), [Arc::clone(&stopped[beside])]);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_is_filtered_by_what_is_shown_and_is_in_the_order_of_ages() {
    let house = House::new().await;
    let mut made = Vec::new();
    for _ in 0..20 {
        made.push(house.running(restarting("always")).await);
    }
    let ids = |wanted: &dyn Fn(Glance<'_>) -> bool| -> Vec<String> {
        let read = |document: Arc<str>| serde_json::from_str::<serde_json::Value>(&document).unwrap();
        list(&house, wanted).into_iter().map(|document| read(document)["id"].as_str().unwrap().to_owned()).collect()
    };
    made.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    let all: Vec<_> = made.iter().map(|session| session.id.to_string()).collect();
    assert_eq!(ids(&|_| true), all);
    assert_eq!(ids(&|glance| *glance.id == made[3].id), all[3..4]);
    assert_eq!(ids(&|glance| *glance.name == made[4].name), all[4..5]);
    assert_eq!(ids(&|glance| glance.backend.as_str() == "fake"), all);
    house.fake.always("inspect", Chaos::Error(Error::unavailable("the engine is away")));
    house.until(&made[0].id, SessionState::Unknown).await;
    let unknown = |glance: Glance<'_>| glance.state == SessionState::Unknown && glance.health == Health::Unknown;
    assert!(ids(&unknown).contains(&all[0]));
    house.fake.calm();
    house.done().await;
}
