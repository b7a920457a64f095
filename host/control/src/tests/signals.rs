//! `kill` and `restart`, as a user sees them.

use std::time::Duration;

use seawall_backend::Error;
use seawall_model::{Desired, SessionState, Signal};

use super::fake::{Chaos, Plans};
use super::house::{House, code, restarting, spec};
use crate::ControlError;

fn numbers(house: &House) -> Vec<u8> {
    house.fake.signals().into_iter().map(|(_, signal)| signal.number()).collect()
}

#[tokio::test(start_paused = true)]
async fn one_that_is_killed_stays_so_whatever_its_policy() {
    for signal in [Signal::KILL, Signal::TERM] {
        let house = House::new().await;
        let session = house.running(restarting("always")).await;
        house.control.kill(&session.id, signal).await.unwrap();
        let session = house.until(&session.id, SessionState::Stopped).await;
        assert_eq!((session.desired, session.incarnation), (Desired::Stopped, 1));
        assert_eq!(session.exit.unwrap().signal, Some(signal.number()));
        assert_eq!(numbers(&house), [signal.number()]);
        house.done().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_asks_for_no_end_is_sent_once_and_the_policy_stands() {
    let house = House::new().await;
    let session = house.running(restarting("always")).await;
    let answer = house.control.kill(&session.id, Signal::HUP).await.unwrap();
    assert_eq!(answer.desired, Desired::Running);
    assert_eq!(numbers(&house), [1], "it was sent before the answer");
    house.told("session.signalled", 1).await;
    house.fake.end(&session.id, code(0));
    house.when(&session.id, |session| session.incarnation == 2 && session.state == SessionState::Running).await;
    assert_eq!(numbers(&house), [1]);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_could_not_be_sent_is_said_and_forgotten() {
    let house = House::new().await;
    let session = house.running(spec()).await;
    house.fake.once("signal", Chaos::Error(Error::Unsupported("not that one".to_owned())));
    let refused = house.control.kill(&session.id, Signal::HUP).await.unwrap_err();
    assert!(matches!(refused, ControlError::Backend(Error::Unsupported(_))), "{refused}");
    assert_eq!(house.control.why(&session.id).unwrap().act, None);
    house.later(Duration::from_secs(3600)).await;
    assert_eq!(house.fake.calls("signal"), 1);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_polite_kill_has_no_end_until_somebody_stops_it() {
    let house = House::new().await;
    house.fake.plan(Plans { ignores_term: true, ..Plans::default() });
    let session = house.running(spec()).await;
    house.control.kill(&session.id, Signal::TERM).await.unwrap();
    house.later(Duration::from_secs(3600)).await;
    assert_eq!(numbers(&house), [15], "it was killed, which nobody asked for");
    assert_eq!(house.control.session(&session.id).unwrap().state, SessionState::Running);
    // Asked again, it is sent again.
    house.control.kill(&session.id, Signal::TERM).await.unwrap();
    house.eventually("a second TERM", || numbers(&house) == [15, 15]).await;
    let stopping = house.control.stop_all(Some(Duration::from_secs(5))).await.unwrap();
    assert_eq!(stopping, std::slice::from_ref(&session.id));
    house.until(&session.id, SessionState::Stopped).await;
    assert_eq!(numbers(&house), [15, 15, 9]);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn only_what_runs_can_be_sent_a_signal() {
    let house = House::new().await;
    let session = house.running(spec()).await;
    house.control.stop(&session.id, None).await.unwrap();
    house.until(&session.id, SessionState::Stopped).await;
    for signal in [Signal::KILL, Signal::HUP] {
        let refused = house.control.kill(&session.id, signal).await.unwrap_err();
        assert!(refused.to_string().contains("is stopped: only one that runs"), "{refused}");
    }
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_ends_one_incarnation_and_begins_the_next_whatever_the_policy() {
    for policy in ["never", "always"] {
        let house = House::new().await;
        house.fake.plan(Plans { ignores_term: true, ..Plans::default() });
        let session = house.running(restarting(policy)).await;
        let answer = house.control.restart(&session.id, Some(Duration::from_secs(3))).await.unwrap();
        assert_eq!((answer.incarnation, answer.desired), (1, Desired::Running));
        let session =
            house.when(&session.id, |session| session.incarnation > 1 && session.state == SessionState::Running).await;
        assert_eq!((session.incarnation, session.restarts), (2, 0), "{policy}");
        assert_eq!(numbers(&house), [15, 9]);
        assert_eq!(house.fake.there(&session.id), [2]);
        house.done().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_starts_what_is_over_and_comes_after_a_stop_that_is_under_way() {
    let house = House::new().await;
    house.fake.plan(Plans { ignores_term: true, ..Plans::default() });
    let session = house.running(spec()).await;
    let id = &session.id;
    house.control.stop(id, Some(Duration::from_secs(5))).await.unwrap();
    house.control.restart(id, None).await.unwrap();
    house.when(id, |session| session.incarnation == 2 && session.state == SessionState::Running).await;
    // A stop has the last word over a restart.
    house.control.restart(id, None).await.unwrap();
    house.control.stop(id, Some(Duration::ZERO)).await.unwrap();
    house.until(id, SessionState::Stopped).await;
    house.control.restart(id, None).await.unwrap();
    house.when(id, |session| session.incarnation == 3 && session.state == SessionState::Running).await;
    house.control.remove(id, true).await.unwrap();
    house.until_gone(id).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_after_the_daemon_came_back() {
    let house = House::new().await;
    house.fake.plan(Plans { ignores_term: true, ..Plans::default() });
    let session = house.running(spec()).await;
    house.control.restart(&session.id, Some(Duration::from_secs(60))).await.unwrap();
    house.eventually("the stop signal", || !numbers(&house).is_empty()).await;
    let house = house.restart().await;
    house.when(&session.id, |session| session.incarnation == 2 && session.state == SessionState::Running).await;
    house.done().await;
}
