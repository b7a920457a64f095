//! From being asked for to being gone.

use std::time::Duration;

use seawall_model::{Desired, Exit, Health, SessionState, Signal, Size};

use super::fake::{Chaos, Plans};
use super::house::{House, TASKS, code, spec};
use crate::{ControlError, Shutdown, ShutdownError};

const LONG: Duration = Duration::from_secs(24 * 3600);

#[tokio::test(start_paused = true)]
async fn a_session_that_was_asked_for_runs() {
    let house = House::new().await;
    let asked = house.control.create(spec()).await.unwrap();
    assert_eq!((asked.state, asked.incarnation), (SessionState::Pending, 1));
    let runs = house.until(&asked.id, SessionState::Running).await;
    assert_eq!((runs.desired, runs.health, runs.incarnation), (Desired::Running, Health::Healthy, 1));
    assert!(runs.started_at.is_some() && runs.finished_at.is_none());
    let stored = house.store.load().await.unwrap();
    assert_eq!(stored.intents, []);
    assert_eq!(stored.sessions[0].state, SessionState::Running);
    let mut kinds = house.kinds().await;
    kinds.retain(|kind| kind.starts_with("session."));
    assert_eq!(kinds, ["session.created", "session.started"]);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn how_it_ended_is_told_apart() {
    let house = House::new().await;
    let oom = Exit { signal: Some(9), oom: true, ..Exit::default() };
    let ends = [
        (code(0), SessionState::Stopped, "session.stopped"),
        (code(3), SessionState::Failed, "session.failed"),
        (Exit { signal: Some(11), ..Exit::default() }, SessionState::Failed, "session.failed"),
        (oom, SessionState::Failed, "session.oom"),
        (Exit::default(), SessionState::Lost, "session.lost"),
    ];
    for (exit, state, kind) in ends {
        let session = house.running(spec()).await;
        house.fake.end(&session.id, exit.clone());
        let ended = house.when(&session.id, |session| session.state.is_final()).await;
        assert_eq!(ended.state, state, "{exit}");
        let told = ended.exit.unwrap();
        assert_eq!((told.code, told.signal, told.oom), (exit.code, exit.signal, exit.oom));
        assert!(ended.finished_at.is_some());
        assert_eq!(house.kinds().await.last().unwrap(), kind);
        // Kept, for its output.
        assert_eq!(house.fake.there(&session.id), [1]);
    }
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_short_command_is_seen_to_end_long_before_the_next_sweep() {
    let house = House::new().await;
    house.fake.plan(Plans { ends: Some((Duration::from_millis(30), code(0))), ..Plans::default() });
    let begun = tokio::time::Instant::now();
    let session = house.control.create(spec()).await.unwrap();
    house.until(&session.id, SessionState::Stopped).await;
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn asked_to_stop_it_is_stopped_whatever_it_says() {
    let house = House::new().await;
    let session = house.running(spec()).await;
    let answer = house.control.stop(&session.id, None).await.unwrap();
    assert_eq!(answer.desired, Desired::Stopped);
    let stopped = house.when(&session.id, |session| session.state.is_final()).await;
    assert_eq!(stopped.state, SessionState::Stopped);
    assert_eq!(stopped.exit.unwrap().signal, Some(15));
    assert_eq!(house.fake.signals().iter().map(|(_, signal)| *signal).collect::<Vec<_>>(), [Signal::TERM]);
    // Again is no error and no other end.
    assert_eq!(house.control.stop(&session.id, None).await.unwrap().state, SessionState::Stopped);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_heed_the_signal_is_killed_when_its_grace_is_over() {
    let house = House::new().await;
    house.fake.plan(Plans { ignores_term: true, ..Plans::default() });
    let session = house.running(spec()).await;
    let asked = tokio::time::Instant::now();
    house.control.stop(&session.id, Some(Duration::from_secs(7))).await.unwrap();
    house.until(&session.id, SessionState::Stopped).await;
    let signals = house.fake.signals();
    assert_eq!(signals.iter().map(|(_, signal)| *signal).collect::<Vec<_>>(), [Signal::TERM, Signal::KILL]);
    assert!(signals[0].0 - asked < Duration::from_millis(10));
    let killed = signals[1].0 - asked;
    assert!(killed >= Duration::from_secs(7) && killed < Duration::from_millis(7100), "{killed:?}");
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_second_stop_can_only_shorten_the_grace() {
    let house = House::new().await;
    house.fake.plan(Plans { ignores_term: true, ..Plans::default() });
    let session = house.running(spec()).await;
    let asked = tokio::time::Instant::now();
    house.control.stop(&session.id, Some(Duration::from_secs(600))).await.unwrap();
    house.control.stop(&session.id, Some(Duration::from_secs(2))).await.unwrap();
    house.control.stop(&session.id, Some(Duration::from_secs(60))).await.unwrap();
    house.until(&session.id, SessionState::Stopped).await;
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn stopping_a_pending_session_cancels_its_creation_and_leaves_nothing() {
    let house = House::new().await;
    house.fake.always("create", Chaos::Hang);
    let session = house.control.create(spec()).await.unwrap();
    house.eventually("the create hangs", || house.fake.calls("create") == 1).await;
    house.control.stop(&session.id, None).await.unwrap();
    let stopped = house.until(&session.id, SessionState::Stopped).await;
    assert_eq!(stopped.exit, None);
    assert_eq!((house.fake.calls("remove"), house.fake.count()), (1, 0));
    assert_eq!(house.store.load().await.unwrap().intents, []);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_it_starts_takes_effect_when_it_runs() {
    let house = House::new().await;
    house.fake.always("start", Chaos::Slow(Duration::from_secs(3)));
    let session = house.control.create(spec()).await.unwrap();
    house.eventually("it starts", || house.fake.calls("start") == 1).await;
    house.control.stop(&session.id, None).await.unwrap();
    let refused = house.control.start_session(&session.id).await.unwrap_err();
    assert!(matches!(refused, ControlError::Conflict(_)), "{refused}");
    house.until(&session.id, SessionState::Stopped).await;
    assert_eq!(house.fake.signals().len(), 1);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_running_session_is_removed_by_force_only() {
    let house = House::new().await;
    let session = house.running(spec()).await;
    let refused = house.control.remove(&session.id, false).await.unwrap_err();
    assert!(matches!(&refused, ControlError::Conflict(why) if why.contains("stop it first")), "{refused}");
    assert_eq!(house.control.session(&session.id).unwrap().desired, Desired::Running);
    house.control.remove(&session.id, true).await.unwrap();
    house.until_gone(&session.id).await;
    assert_eq!(house.fake.count(), 0);
    assert_eq!(house.store.load().await.unwrap(), seawall_store::Snapshot::default());
    assert_eq!(house.kinds().await.last().unwrap(), "session.removed");
    assert!(matches!(house.control.remove(&session.id, true).await, Err(ControlError::NoSuchSession(_))));
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn an_ended_session_is_removed_without_force_and_its_name_is_free() {
    let house = House::new().await;
    let named = || seawall_model::SessionSpec { name: Some("web".parse().unwrap()), ..spec() };
    let session = house.running(named()).await;
    let taken = house.control.create(named()).await.unwrap_err();
    assert!(matches!(&taken, ControlError::NameTaken { by, .. } if *by == session.id), "{taken}");
    house.fake.end(&session.id, code(0));
    house.until(&session.id, SessionState::Stopped).await;
    house.control.remove(&session.id, false).await.unwrap();
    house.until_gone(&session.id).await;
    assert!(house.running(named()).await.id != session.id);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_manual_start_is_a_new_incarnation_after_the_old_one_was_removed() {
    let house = House::new().await;
    let session = house.running(spec()).await;
    house.fake.end(&session.id, code(1));
    house.until(&session.id, SessionState::Failed).await;
    let started = house.control.start_session(&session.id).await.unwrap();
    assert_eq!((started.state, started.incarnation), (SessionState::Pending, 2));
    let runs = house.until(&session.id, SessionState::Running).await;
    assert_eq!((runs.incarnation, runs.restarts), (2, 0));
    assert_eq!(house.fake.there(&session.id), [2]);
    // Of one that runs: nothing.
    assert_eq!(house.control.start_session(&session.id).await.unwrap().incarnation, 2);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_has_no_task() {
    let house = House::new().await;
    for _ in 0..20 {
        house.running(spec()).await;
    }
    house.eventually("no task but the backend's", || house.control.core.tasks.len() == TASKS).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn health_is_followed() {
    let house = House::new().await;
    let session = house.running(spec()).await;
    house.fake.set_health(&session.id, Health::Unhealthy);
    house.when(&session.id, |session| session.health == Health::Unhealthy).await;
    house.fake.set_health(&session.id, Health::Healthy);
    house.when(&session.id, |session| session.health == Health::Healthy).await;
    let kinds = house.kinds().await;
    assert_eq!(kinds[kinds.len() - 2..], ["session.unhealthy", "session.healthy"]);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_waiter_may_go_away_and_another_is_served() {
    let house = House::new().await;
    let session = house.running(spec()).await;
    let waits = house.control.wait(&session.id, |session| session.state.is_final());
    assert!(tokio::time::timeout(Duration::from_secs(1), waits).await.is_err());
    let waits = house.control.wait(&session.id, |session| session.state.is_final());
    house.fake.end(&session.id, code(0));
    assert_eq!(waits.await.unwrap().state, SessionState::Stopped);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_leaves_sessions_running_and_ends_every_task() {
    let house = House::new().await;
    let session = house.running(spec()).await;
    let control = house.control.clone();
    let (waits, shutdown) = tokio::join!(
        control.wait(&session.id, |session| session.state.is_final()),
        control.shutdown(Shutdown::Leave, LONG)
    );
    assert!(matches!(waits, Err(ControlError::ShuttingDown)));
    assert_eq!(shutdown, Ok(()));
    assert!(house.control.core.tasks.is_empty());
    assert!(matches!(house.control.create(spec()).await, Err(ControlError::ShuttingDown)));
    assert!(matches!(house.control.stop(&session.id, None).await, Err(ControlError::ShuttingDown)));
    assert_eq!(house.fake.there(&session.id), [1]);
    assert_eq!(house.fake.signals(), []);
    assert_eq!(house.store.load().await.unwrap().sessions[0].desired, Desired::Running);
}

/// E16.
#[tokio::test(start_paused = true)]
async fn an_act_that_ends_while_shutting_down_is_settled() {
    let house = House::new().await;
    house.fake.always("create", Chaos::Slow(Duration::from_secs(5)));
    house.control.create(spec()).await.unwrap();
    house.later(Duration::from_secs(1)).await;
    assert_eq!(house.control.shutdown(Shutdown::Leave, LONG).await, Ok(()));
    let kept = house.store.load().await.unwrap();
    assert_eq!((kept.sessions[0].state, kept.intents.len()), (SessionState::Created, 0));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_stops_gives_everybody_their_grace_and_they_stay_stopped() {
    let house = House::new().await;
    let heeds = house.running(spec()).await;
    house.fake.plan(Plans { ignores_term: true, ..Plans::default() });
    let ignores = house.running(spec()).await;
    assert_eq!(house.control.shutdown(Shutdown::Stop, Duration::from_secs(60)).await, Ok(()));
    for id in [&heeds.id, &ignores.id] {
        assert_eq!(house.control.session(id).unwrap().state, SessionState::Stopped);
    }
    house.store.close().await;
    let house = house.again(crate::ControlConfig::default()).await;
    house.later(Duration::from_secs(60)).await;
    assert_eq!(house.control.session(&heeds.id).unwrap().state, SessionState::Stopped);
    assert_eq!(house.fake.calls("start"), 2);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_at_its_deadline_even_if_a_backend_hangs() {
    let house = House::new().await;
    let session = house.running(spec()).await;
    house.fake.always("signal", Chaos::Hang);
    let begun = tokio::time::Instant::now();
    let ended = house.control.shutdown(Shutdown::Stop, Duration::from_secs(20)).await;
    assert!(matches!(ended, Err(ShutdownError::StillRunning { running: 1, .. })), "{ended:?}");
    assert_eq!(begun.elapsed(), Duration::from_secs(20));
    assert!(house.control.core.tasks.is_empty());
    // It is still wanted stopped, and will be.
    house.fake.calm();
    house.store.close().await;
    let house = house.again(crate::ControlConfig::default()).await;
    house.until(&session.id, SessionState::Stopped).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn down_stops_every_session() {
    let house = House::new().await;
    let (first, second) = (house.running(spec()).await, house.running(spec()).await);
    house.fake.end(&first.id, code(0));
    house.until(&first.id, SessionState::Stopped).await;
    assert_eq!(house.control.stop_all(None).await.unwrap(), std::slice::from_ref(&second.id));
    house.until(&second.id, SessionState::Stopped).await;
    assert_eq!(house.control.stop_all(None).await.unwrap(), []);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn secrets_are_not_shown() {
    let house = House::new().await;
    let mut secret = spec();
    secret.env.insert("TOKEN".to_owned(), seawall_model::Secret::new("hunter2"));
    secret.resources.memory = Some(Size(64 << 20));
    let session = house.running(secret).await;
    let shown = serde_json::to_string(&house.control.session(&session.id).unwrap()).unwrap();
    assert!(!shown.contains("hunter2") && shown.contains("64MiB"), "{shown}");
    assert_eq!(house.store.load().await.unwrap().sessions[0].spec.env["TOKEN"].reveal(), "hunter2");
    house.done().await;
}
