//! Workloads without a session: what is removed unasked, what waits for an operator, what is left alone (A7).

use std::time::Duration;

use seawall_backend::Error;
use seawall_model::{Session, SessionId, SessionState};
use seawall_store::Write;

use super::fake::{Chaos, Fake};
use super::house::{House, name, restarting};
use crate::{Cleanup, ControlConfig, ControlError, Fate, Gc};

const HOUR: Duration = Duration::from_secs(3600);

/// Sorts before every session's, and so is removed first.
fn stray(number: u64) -> SessionId {
    format!("{number:016x}").parse().unwrap()
}

async fn house(percent: u8, minimum: usize, sessions: usize) -> (House, Vec<Session>) {
    let config = ControlConfig { orphan_percent: percent, orphan_minimum: minimum, ..ControlConfig::default() };
    let house = House::with(config, Fake::new()).await;
    let mut running = Vec::new();
    for _ in 0..sessions {
        running.push(house.running(restarting("always")).await);
    }
    (house, running)
}

async fn gc(house: &House, gc: Gc) -> Cleanup {
    house.control.gc(&name("fake"), gc).await.unwrap()
}

fn fates(cleanup: &Cleanup) -> Vec<Fate> {
    cleanup.orphans.iter().map(|orphan| orphan.fate).collect()
}

fn conditions(house: &House) -> Vec<String> {
    house.control.backends().remove(0).conditions.into_iter().map(|condition| condition.kind).collect()
}

#[tokio::test(start_paused = true)]
async fn more_orphans_than_a_share_of_what_is_known_wait_for_an_operator() {
    let (house, sessions) = house(50, 3, 8).await;
    (0..5).for_each(|number| house.fake.plant(&stray(number), 1));
    house.later(HOUR).await;
    assert_eq!((house.fake.calls("remove"), conditions(&house)), (0, vec!["orphans_held".to_owned()]));
    for asked in [Gc::DryRun, Gc::Share] {
        let cleanup = gc(&house, asked).await;
        assert_eq!((cleanup.known, cleanup.most, fates(&cleanup)), (8, 4, vec![Fate::Held; 5]), "{asked:?}");
    }
    assert_eq!(house.fake.calls("remove"), 0);
    house.told("orphan.held", 1).await;

    let cleanup = gc(&house, Gc::Confirmed).await;
    assert_eq!(fates(&cleanup), [Fate::Removed; 5]);
    assert_eq!((house.fake.count(), conditions(&house)), (8, vec![]));
    house.told("orphan.removed", 5).await;
    for session in sessions {
        assert_eq!(house.control.session(&session.id).unwrap(), session);
    }
    assert_eq!(fates(&gc(&house, Gc::Confirmed).await), []);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn one_orphan_fewer_and_they_are_removed_unasked() {
    let (house, _) = house(50, 3, 8).await;
    (0..4).for_each(|number| house.fake.plant(&stray(number), 1));
    house.eventually("they are removed", || house.fake.count() == 8).await;
    assert_eq!(conditions(&house), Vec::<String>::new());
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn orphans_that_have_become_few_are_removed_and_the_condition_ends() {
    let (house, _) = house(50, 3, 2).await;
    (0..5).for_each(|number| house.fake.plant(&stray(number), 1));
    house.eventually("they are held back", || conditions(&house) == ["orphans_held"]).await;
    (0..2).for_each(|number| house.fake.vanish(&stray(number)));
    house.eventually("the others are removed", || house.fake.count() == 2).await;
    house.eventually("the condition ends", || conditions(&house).is_empty()).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_put_back_to_an_earlier_day_removes_nothing_by_itself() {
    let (house, sessions) = house(50, 3, 6).await;
    let forgotten = sessions[1..].iter().map(|session| Write::DeleteSession(session.id.clone()));
    house.store.write(forgotten.collect()).await.unwrap();
    let house = house.restart().await;
    house.later(HOUR).await;
    assert_eq!((house.fake.count(), conditions(&house)), (6, vec!["orphans_held".to_owned()]));
    assert_eq!(house.until(&sessions[0].id, SessionState::Running).await.incarnation, 1);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn even_confirmed_an_orphan_has_its_two_listings_and_its_grace() {
    let (house, _) = house(0, 0, 1).await;
    house.fake.plant(&stray(1), 1);
    for _ in 0..3 {
        assert_eq!(fates(&gc(&house, Gc::Confirmed).await), [Fate::Young]);
    }
    house.later(Duration::from_secs(31)).await;
    assert_eq!(fates(&gc(&house, Gc::DryRun).await), [Fate::Held], "a share of nothing holds back every one");
    assert_eq!(fates(&gc(&house, Gc::Confirmed).await), [Fate::Removed]);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_complete_listing_a_clean_up_removes_nothing_and_says_why() {
    let (house, _) = house(0, 0, 2).await;
    house.fake.plant(&stray(1), 1);
    house.later(HOUR).await;
    for chaos in [Chaos::Partial, Chaos::Error(Error::unavailable("the engine is away")), Chaos::Panic] {
        house.fake.always("list", chaos);
        let refused = house.control.gc(&name("fake"), Gc::Confirmed).await.unwrap_err();
        assert!(matches!(refused, ControlError::Backend(_)), "{refused}");
    }
    let refused = house.control.gc(&name("nobody"), Gc::Confirmed).await.unwrap_err();
    assert!(matches!(refused, ControlError::NoSuchBackend(_)), "{refused}");
    assert_eq!(house.fake.calls("remove"), 0);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn what_finds_its_session_during_a_clean_up_is_left_to_it() {
    let (house, sessions) = house(0, 0, 1).await;
    let session = &sessions[0].id;
    house.control.stop(session, None).await.unwrap();
    house.until(session, SessionState::Stopped).await;
    house.fake.vanish(session);
    house.control.core.sessions.get(session).unwrap().with(|cell| cell.marks.gone = true);
    // An orphan whose removal takes long, and before it is over the other is somebody's.
    house.fake.plant(&stray(1), 1);
    house.fake.plant(session, 1);
    house.later(HOUR).await;
    house.fake.once("remove", Chaos::Slow(Duration::from_secs(60)));
    let control = house.control.clone();
    let cleaning = tokio::spawn(async move { control.gc(&name("fake"), Gc::Confirmed).await });
    house.eventually("it is at the first", || house.fake.calls("remove") == 1).await;
    house.fake.always("create", Chaos::Hang);
    house.control.start_session(session).await.unwrap();
    let cleanup = cleaning.await.unwrap().unwrap();
    assert_eq!(fates(&cleanup), [Fate::Removed, Fate::Kept]);
    house.fake.calm();
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_over_a_removal_holds_up_no_sweep() {
    let (house, sessions) = house(50, 3, 1).await;
    house.fake.plant(&stray(1), 1);
    house.fake.always("remove", Chaos::Hang);
    house.eventually("it is to be removed", || house.fake.calls("remove") == 1).await;
    house.fake.end(&sessions[0].id, super::house::code(1));
    house.fake.once("remove", Chaos::Slow(Duration::ZERO));
    house.when(&sessions[0].id, |session| session.restarts == 1 && session.state == SessionState::Running).await;
    house.fake.calm();
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn an_orphan_that_cannot_be_removed_is_told_with_the_reason_and_tried_again() {
    let (house, _) = house(0, 0, 1).await;
    house.fake.plant(&stray(1), 1);
    house.later(HOUR).await;
    house.fake.once("remove", Chaos::Error(Error::unavailable("the disk is busy")));
    let cleanup = gc(&house, Gc::Confirmed).await;
    assert_eq!(fates(&cleanup), [Fate::Failed]);
    assert_eq!(cleanup.orphans[0].error.as_deref(), Some("the disk is busy"));
    assert_eq!(fates(&gc(&house, Gc::Confirmed).await), [Fate::Removed]);
    house.done().await;
}
