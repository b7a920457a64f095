//! Sessions that remove themselves.

use std::time::Duration;

use futures_util::StreamExt as _;
use seawall_backend::{Error, Interface};
use seawall_model::{LogOptions, SessionSpec, SessionState};

use super::fake::{Chaos, Fake, Plans};
use super::house::{House, code, restarting, spec};

fn passing() -> SessionSpec {
    SessionSpec { auto_remove: true, ..spec() }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_over_removes_itself_and_can_still_be_asked_how_it_ended() {
    let house = House::new().await;
    let session = house.running(passing()).await;
    house.fake.end(&session.id, code(7));
    house.until_gone(&session.id).await;
    assert_eq!(house.fake.count(), 0);
    let last = house.control.departed(&session.id).unwrap();
    assert_eq!((last.state, last.exit.unwrap().code), (SessionState::Failed, Some(7)));
    house.told("session.removed", 1).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_brought_back_stays_until_it_is_over_for_good() {
    let house = House::new().await;
    let session = house.running(SessionSpec { auto_remove: true, ..restarting("on-failure:1") }).await;
    house.fake.end(&session.id, code(7));
    house.when(&session.id, |session| session.incarnation == 2 && session.state == SessionState::Running).await;
    house.control.restart(&session.id, None).await.unwrap();
    house.when(&session.id, |session| session.incarnation == 3 && session.state == SessionState::Running).await;
    house.control.stop(&session.id, None).await.unwrap();
    house.until_gone(&session.id).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_ended_while_the_daemon_was_away_removes_itself_afterwards() {
    let house = House::new().await;
    let session = house.running(passing()).await;
    house.control.shutdown(crate::Shutdown::Leave, Duration::from_secs(60)).await.unwrap();
    house.store.close().await;
    house.fake.end(&session.id, code(0));
    let house = house.again(crate::ControlConfig::default()).await;
    house.until_gone(&session.id).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_whoever_reads_its_log_and_for_one_who_said_that_he_would() {
    let house = House::with(crate::ControlConfig::default(), Fake::with(&[Interface::Logs])).await;
    house.fake.plan(Plans { ends: Some((Duration::from_secs(1), code(3))), ..Plans::default() });
    let id = house.control.create_attended(passing()).await.unwrap().id;
    house.until(&id, SessionState::Failed).await;
    house.later(Duration::from_secs(5)).await;
    let logs = house.control.logs(&id, LogOptions::default()).await.unwrap();
    house.later(Duration::from_secs(3600)).await;
    assert_eq!(house.control.session(&id).unwrap().state, SessionState::Failed, "removed under its reader");
    assert!(logs.collect::<Vec<_>>().await.iter().all(Result::is_ok));
    house.until_gone(&id).await;

    let id = house.control.create_attended(passing()).await.unwrap().id;
    house.until(&id, SessionState::Failed).await;
    house.until_gone(&id).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn each_incarnation_is_waited_for_by_its_reader_and_not_only_the_first() {
    let house = House::with(crate::ControlConfig::default(), Fake::with(&[Interface::Logs])).await;
    house.fake.plan(Plans { ends: Some((Duration::from_secs(1), code(3))), ..Plans::default() });
    let spec = SessionSpec { auto_remove: true, ..restarting("on-failure:1") };
    let id = house.control.create_attended(spec).await.unwrap().id;
    house.when(&id, |session| session.incarnation == 1 && session.state.runs()).await;
    drop(house.control.logs(&id, LogOptions::default()).await.unwrap());
    house.when(&id, |session| session.incarnation == 2 && session.state == SessionState::Failed).await;
    house.later(Duration::from_secs(5)).await;
    drop(house.control.logs(&id, LogOptions::default()).await.unwrap());
    house.until_gone(&id).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_could_not_be_started_stays_and_says_why() {
    let house = House::new().await;
    let refusal = Error::NotFound("there is no such image".to_owned());
    house.fake.once("create", Chaos::Error(refusal));
    let id = house.control.create(passing()).await.unwrap().id;
    let session = house.until(&id, SessionState::Failed).await;
    house.later(Duration::from_secs(3600)).await;
    assert_eq!(house.control.session(&id).unwrap().reason, session.reason);
    house.done().await;
}
