//! Sessions that a backend leaves out of its answers and is not believed about: who may say that it is right (E19).

use std::time::Duration;

use seawall_backend::Error;
use seawall_model::{Desired, Session, SessionId, SessionState};

use super::fake::Chaos;
use super::house::{House, name, restarting};
use crate::ControlError;

/// Eight that run, of which all but the first are gone, which is not believed.
async fn not_believed() -> (House, Vec<Session>) {
    let house = House::new().await;
    let mut sessions = Vec::new();
    for _ in 0..8 {
        sessions.push(house.running(restarting("always")).await);
    }
    sessions[1..].iter().for_each(|session| house.fake.vanish(&session.id));
    for session in &sessions[1..] {
        house.until(&session.id, SessionState::Unknown).await;
    }
    house.eventually("it is not believed", || conditions(&house) == ["answer_not_believed"]).await;
    (house, sessions)
}

fn conditions(house: &House) -> Vec<String> {
    house.control.backends().remove(0).conditions.into_iter().map(|condition| condition.kind).collect()
}

async fn lost(house: &House, dry_run: bool) -> Vec<SessionId> {
    let lost = house.control.confirm_lost(&name("fake"), dry_run).await.unwrap();
    assert_eq!((lost.backend, lost.confirmed), (name("fake"), !dry_run));
    let mut sessions = lost.sessions;
    sessions.sort();
    sessions
}

fn ids(sessions: &[Session]) -> Vec<SessionId> {
    let mut ids: Vec<_> = sessions.iter().map(|session| session.id.clone()).collect();
    ids.sort();
    ids
}

#[tokio::test(start_paused = true)]
async fn an_operator_says_that_they_are_gone_and_they_go_on_by_policy() {
    let (house, sessions) = not_believed().await;
    let gone = ids(&sessions[1..]);
    let condition = house.control.backends().remove(0).conditions.remove(0).message;
    assert!(condition.contains("`seawall backend confirm-lost fake`"), "{condition}");
    let reason = house.control.session(&gone[0]).unwrap().reason.unwrap();
    assert!(reason.contains("`seawall backend confirm-lost fake`"), "{reason}");

    assert_eq!(lost(&house, true).await, gone);
    assert_eq!(house.control.session(&gone[0]).unwrap().state, SessionState::Unknown, "shown, not done");
    assert_eq!((conditions(&house), house.fake.calls("create")), (vec!["answer_not_believed".to_owned()], 8));

    assert_eq!(lost(&house, false).await, gone);
    assert_eq!(conditions(&house), Vec::<String>::new());
    for id in &gone {
        house.when(id, |session| session.incarnation == 2 && session.state == SessionState::Running).await;
    }
    assert_eq!(house.control.session(&sessions[0].id).unwrap(), sessions[0]);
    assert_eq!(lost(&house, false).await, [], "said twice it is the same");
    house.told("session.lost", 7).await;
    house.told("backend.loss_confirmed", 1).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_met_again_meanwhile_is_not_lost() {
    let (house, sessions) = not_believed().await;
    // All but one of them come back before the operator speaks, and the sweep has not seen it yet.
    sessions[2..].iter().for_each(|session| house.fake.plant(&session.id, 1));
    assert_eq!(lost(&house, false).await, ids(&sessions[1..2]));
    for session in &sessions[2..] {
        assert_eq!(house.until(&session.id, SessionState::Running).await.incarnation, 1);
    }
    house.when(&sessions[1].id, |session| session.incarnation == 2 && session.state == SessionState::Running).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn what_no_sweep_has_missed_is_not_lost() {
    let house = House::new().await;
    let session = house.running(restarting("always")).await;
    house.later(Duration::from_secs(60)).await;
    house.fake.always("list", Chaos::Empty);
    assert_eq!(lost(&house, false).await, []);
    assert_eq!(house.control.session(&session.id).unwrap().state, SessionState::Running);
    house.fake.calm();
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_complete_listing_nothing_is_lost_and_the_operator_is_told_why() {
    let (house, sessions) = not_believed().await;
    for chaos in [Chaos::Partial, Chaos::Error(Error::unavailable("the engine is away")), Chaos::Panic] {
        house.fake.always("list", chaos);
        let refused = house.control.confirm_lost(&name("fake"), false).await.unwrap_err();
        assert!(matches!(refused, ControlError::Backend(_)), "{refused}");
    }
    let refused = house.control.confirm_lost(&name("nobody"), false).await.unwrap_err();
    assert!(matches!(refused, ControlError::NoSuchBackend(_)), "{refused}");
    for session in &sessions[1..] {
        let now = house.control.session(&session.id).unwrap();
        assert_eq!((now.state, now.desired, now.incarnation), (SessionState::Unknown, Desired::Running, 1));
    }
    house.fake.calm();
    house.done().await;
}
