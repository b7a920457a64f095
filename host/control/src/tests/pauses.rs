//! Sessions that stand still for a while.

use std::time::Duration;

use seawall_backend::{Error, Interface};
use seawall_model::{
    CommandEnd, Desired, ExecCheck, Health, Probe, ProbeCheck, SessionId, SessionSpec, SessionState, Signal,
};

use super::fake::{Chaos, Fake};
use super::house::{House, restarting, spec};
use crate::{ControlConfig, ControlError};

const HOUR: Duration = Duration::from_secs(3600);

async fn house() -> House {
    House::with(ControlConfig::default(), Fake::with(&[Interface::Exec, Interface::Pause])).await
}

fn live() -> SessionSpec {
    let check = ProbeCheck::Exec(ExecCheck { command: vec!["live".to_owned()] });
    let mut spec = restarting("always");
    spec.probes.liveness = Some(Probe::new(check));
    spec
}

fn numbers(house: &House) -> Vec<u8> {
    house.fake.signals().into_iter().map(|(_, signal)| signal.number()).collect()
}

fn state(house: &House, id: &SessionId) -> SessionState {
    house.control.session(id).unwrap().state
}

#[tokio::test(start_paused = true)]
async fn one_that_is_paused_stays_so_over_a_restart_of_the_daemon_until_it_is_unpaused() {
    let house = house().await;
    let session = house.running(restarting("always")).await;
    let paused = house.control.pause(&session.id).await.unwrap();
    assert_eq!(
        (paused.state, paused.health, paused.desired),
        (SessionState::Paused, Health::Unknown, Desired::Running)
    );
    house.control.pause(&session.id).await.unwrap();
    house.later(HOUR).await;
    house.told("session.paused", 1).await;
    let house = house.restart().await;
    house.until(&session.id, SessionState::Paused).await;
    let again = house.control.unpause(&session.id).await.unwrap();
    assert_eq!((again.state, again.incarnation), (SessionState::Running, 1));
    house.control.unpause(&session.id).await.unwrap();
    house.when(&session.id, |session| session.health == Health::Healthy).await;
    house.told("session.paused", 1).await;
    house.told("session.unpaused", 1).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_paused_by_hand_is_seen_and_told() {
    let house = house().await;
    let session = house.running(spec()).await;
    house.fake.freeze_by_hand(&session.id, true);
    house.until(&session.id, SessionState::Paused).await;
    house.fake.freeze_by_hand(&session.id, false);
    house.until(&session.id, SessionState::Running).await;
    house.told("session.paused", 1).await;
    house.told("session.unpaused", 1).await;
    assert_eq!(house.fake.calls("pause") + house.fake.calls("unpause"), 0);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn no_probe_counts_while_it_is_paused_and_its_policy_leaves_it_alone() {
    let house = house().await;
    let session = house.running(live()).await;
    house.when(&session.id, |session| session.health == Health::Healthy).await;
    let paused = house.control.pause(&session.id).await.unwrap();
    assert!(!paused.ready, "nobody should give work to one that stands still");
    house.fake.set_commands(&session.id, CommandEnd::Code(1));
    let asked = house.fake.calls("exec");
    house.later(HOUR).await;
    assert_eq!(house.fake.calls("exec"), asked);
    assert_eq!((state(&house, &session.id), numbers(&house)), (SessionState::Paused, vec![]));
    // Once it runs on, it is judged as before.
    let running = house.control.unpause(&session.id).await.unwrap();
    assert!(running.ready);
    house.when(&session.id, |session| session.incarnation == 2).await;
    house.told("session.unhealthy", 1).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_was_under_way_when_it_was_paused_is_no_failure() {
    let house = house().await;
    let mut spec = live();
    spec.probes.liveness.as_mut().unwrap().failure_threshold = 1;
    let session = house.running(spec).await;
    house.when(&session.id, |session| session.health == Health::Healthy).await;
    house.fake.set_commands(&session.id, CommandEnd::TimedOut);
    house.fake.once("exec", Chaos::Slow(Duration::from_secs(20)));
    let asked = house.fake.calls("exec");
    house.eventually("a probe is under way", || house.fake.calls("exec") > asked).await;
    house.control.pause(&session.id).await.unwrap();
    house.control.unpause(&session.id).await.unwrap();
    house.fake.set_commands(&session.id, CommandEnd::Code(0));
    house.later(HOUR).await;
    assert_eq!(house.control.session(&session.id).unwrap().incarnation, 1);
    house.told("session.unhealthy", 0).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_unhealthy_when_it_is_paused_is_so_again_once_it_runs_on() {
    let house = house().await;
    let mut spec = live();
    spec.restart = "never".parse().unwrap();
    let session = house.running(spec).await;
    house.fake.set_commands(&session.id, CommandEnd::Code(1));
    house.when(&session.id, |session| session.health == Health::Unhealthy).await;
    house.control.pause(&session.id).await.unwrap();
    house.later(HOUR).await;
    let paused = house.control.session(&session.id).unwrap();
    assert_eq!((paused.state, paused.health), (SessionState::Paused, Health::Unknown));
    house.control.unpause(&session.id).await.unwrap();
    house.when(&session.id, |session| session.health == Health::Unhealthy).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_sent_and_then_lets_it_run_on_so_that_it_can_end() {
    let house = house().await;
    let session = house.running(restarting("always")).await;
    house.control.pause(&session.id).await.unwrap();
    house.control.stop(&session.id, Some(Duration::from_secs(600))).await.unwrap();
    let stopped = house.until(&session.id, SessionState::Stopped).await;
    assert_eq!(stopped.exit.unwrap().signal, Some(Signal::TERM.number()), "it was not given its grace");
    assert_eq!((numbers(&house), house.fake.calls("unpause")), (vec![15], 1));
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_let_run_on_is_killed_at_the_end_of_its_grace() {
    let house = house().await;
    let session = house.running(spec()).await;
    house.control.pause(&session.id).await.unwrap();
    house.fake.always("unpause", Chaos::Error(Error::Unsupported("not that".to_owned())));
    house.control.stop(&session.id, Some(Duration::from_secs(5))).await.unwrap();
    let stopped = house.until(&session.id, SessionState::Stopped).await;
    assert_eq!(stopped.exit.unwrap().signal, Some(9));
    assert_eq!((numbers(&house), house.fake.calls("unpause")), (vec![15, 9], 1));
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn kill_and_rm_and_restart_of_one_that_is_paused_work() {
    let house = house().await;
    let [killed, removed, restarted] =
        [house.running(spec()).await.id, house.running(spec()).await.id, house.running(spec()).await.id];
    for id in [&killed, &removed, &restarted] {
        house.control.pause(id).await.unwrap();
    }
    house.control.kill(&killed, Signal::KILL).await.unwrap();
    house.until(&killed, SessionState::Stopped).await;
    house.control.remove(&removed, true).await.unwrap();
    house.until_gone(&removed).await;
    house.control.restart(&restarted, None).await.unwrap();
    house.when(&restarted, |session| session.incarnation == 2 && session.state == SessionState::Running).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_paused_is_refused_and_says_why() {
    let house = House::new().await;
    let session = house.running(spec()).await;
    let refused = house.control.pause(&session.id).await.unwrap_err();
    let message = refused.to_string();
    assert!(matches!(refused, ControlError::Backend(Error::Unsupported(_))), "{message}");
    assert!(message.contains("the backend fake") && message.contains("`pause`"), "{message}");
    house.done().await;

    let house = self::house().await;
    let session = house.running(spec()).await;
    house.fake.once("pause", Chaos::Error(Error::unavailable("not now")));
    let refused = house.control.pause(&session.id).await.unwrap_err();
    assert!(matches!(refused, ControlError::Backend(Error::Unavailable { .. })), "{refused}");
    house.later(HOUR).await;
    assert_eq!((state(&house, &session.id), house.fake.calls("pause")), (SessionState::Running, 1));

    house.control.stop(&session.id, None).await.unwrap();
    house.until(&session.id, SessionState::Stopped).await;
    for refused in [house.control.pause(&session.id).await, house.control.unpause(&session.id).await] {
        let refused = refused.unwrap_err();
        assert!(matches!(&refused, ControlError::Conflict(why) if why.contains("is stopped")), "{refused}");
    }
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_ends_before_it_is_paused_answers_whoever_waits() {
    let house = house().await;
    let session = house.running(spec()).await;
    house.fake.once("pause", Chaos::Slow(Duration::from_secs(5)));
    let (control, id) = (house.control.clone(), session.id.clone());
    let waits = tokio::spawn(async move { control.pause(&id).await });
    house.eventually("it is asked", || house.fake.calls("pause") == 1).await;
    house.control.remove(&session.id, true).await.unwrap();
    let answer = tokio::time::timeout(HOUR, waits).await.expect("whoever waits is answered").unwrap();
    // The call was under way: it was carried out, or given up for the removal.
    if let Err(refused) = answer {
        assert!(matches!(refused, ControlError::Conflict(_) | ControlError::NoSuchSession(_)), "{refused}");
    }
    house.until_gone(&session.id).await;
    house.done().await;
}
