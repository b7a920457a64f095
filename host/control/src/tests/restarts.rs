//! The restart policy, and acts that are tried again.

use std::time::Duration;

use seawall_backend::Error;
use seawall_model::{RestartBackoff, RestartBudget, SessionSpec, SessionState};

use super::fake::{Chaos, Plans};
use super::house::{House, code, restarting, spec};

fn fails_after(time: Duration) -> Plans {
    Plans { ends: Some((time, code(1))), ..Plans::default() }
}

#[tokio::test(start_paused = true)]
async fn on_failure_starts_so_many_times_and_never_two_at_once() {
    let house = House::new().await;
    house.fake.plan(fails_after(Duration::from_millis(10)));
    let session = house.control.create(restarting("on-failure:3")).await.unwrap();
    let failed = house.until(&session.id, SessionState::Failed).await;
    assert_eq!((failed.incarnation, failed.restarts), (4, 3));
    assert!(failed.reason.unwrap().contains("on-failure:3"));
    assert_eq!(house.fake.ever(&session.id), [1, 2, 3, 4]);
    assert_eq!(house.fake.there(&session.id), [4]);
    house.later(Duration::from_secs(3600)).await;
    assert_eq!(house.fake.ever(&session.id), [1, 2, 3, 4]);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn on_failure_leaves_a_good_end_alone_and_always_does_not() {
    let house = House::new().await;
    let once = house.running(restarting("on-failure")).await;
    let ever = house.running(restarting("always")).await;
    house.fake.end(&once.id, code(0));
    house.fake.end(&ever.id, code(0));
    let again =
        house.when(&ever.id, |session| session.state == SessionState::Running && session.incarnation == 2).await;
    assert_eq!((again.restarts, again.exit.unwrap().code), (1, Some(0)));
    assert_eq!(house.control.session(&once.id).unwrap().state, SessionState::Stopped);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn the_backoff_grows_and_a_healthy_uptime_begins_it_anew() {
    let house = House::new().await;
    house.fake.plan(fails_after(Duration::from_millis(10)));
    let session = house.control.create(restarting("always")).await.unwrap();
    house.when(&session.id, |session| session.restarts >= 12).await;
    let failures = |house: &House| {
        let entry = house.control.core.sessions.get(&session.id).unwrap();
        entry.with(|cell| cell.record.failures)
    };
    assert!(failures(&house) >= 12);
    // The next ones run for longer than the healthy uptime.
    house.fake.plan(fails_after(Duration::from_secs(20)));
    let from = house.control.session(&session.id).unwrap().restarts;
    house.when(&session.id, |session| session.restarts >= from + 3).await;
    assert_eq!(failures(&house), 1);
    house.done().await;
}

fn bounded(policy: &str, restarts: u32, within: Duration) -> SessionSpec {
    SessionSpec { restart_budget: Some(RestartBudget { restarts, within }), ..restarting(policy) }
}

#[tokio::test(start_paused = true)]
async fn a_budget_bounds_the_restarts_of_every_policy_also_of_one_that_does_well() {
    let hour = Duration::from_secs(3600);
    for policy in ["always", "on-failure", "on-failure:50"] {
        let house = House::new().await;
        // Long enough for the failures in a row to begin anew each time.
        house.fake.plan(fails_after(Duration::from_secs(60)));
        let session = house.control.create(bounded(policy, 3, hour)).await.unwrap();
        let failed = house.until(&session.id, SessionState::Failed).await;
        assert_eq!((failed.incarnation, failed.restarts), (4, 3), "{policy}");
        assert!(failed.reason.unwrap().contains("budget of 3 restarts within 1h is used up"), "{policy}");
        house.told("session.gave_up", 1).await;
        let why = house.control.why(&session.id).unwrap().restart;
        assert_eq!((why.budget_left, why.at), (Some(0), None));

        // A user's hand begins it anew, and it is kept over a restart of the daemon.
        house.control.start_session(&session.id).await.unwrap();
        house.when(&session.id, |session| session.restarts == 5 && session.state == SessionState::Running).await;
        house.control.shutdown(crate::Shutdown::Leave, Duration::from_secs(60)).await.unwrap();
        house.store.close().await;
        let house = house.again(crate::ControlConfig::default()).await;
        assert_eq!(house.control.why(&session.id).unwrap().restart.budget_left, Some(1), "{policy}");
        house.until(&session.id, SessionState::Failed).await;
        assert_eq!(house.control.session(&session.id).unwrap().restarts, 6);
        house.done().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_is_of_any_time_that_is_as_long_and_not_for_ever() {
    let house = House::new().await;
    house.fake.plan(fails_after(Duration::from_secs(60)));
    let session = house.control.create(bounded("always", 3, Duration::from_secs(120))).await.unwrap();
    // Two in two minutes at the most, and so it goes on.
    house.when(&session.id, |session| session.restarts >= 12).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_has_its_own_backoff_and_its_own_time_to_do_well() {
    let house = House::new().await;
    house.fake.plan(fails_after(Duration::from_millis(10)));
    let second = Duration::from_secs(1);
    let backoff = RestartBackoff { first: Some(10 * second), most: Some(10 * second), reset: None };
    let slow = SessionSpec { restart_backoff: backoff, ..restarting("on-failure:40") };
    let begun = tokio::time::Instant::now();
    let session = house.control.create(slow).await.unwrap();
    house.until(&session.id, SessionState::Failed).await;
    // Forty delays, each drawn between nothing and ten seconds; the daemon's own would be many times that.
    assert!(begun.elapsed() > 40 * second && begun.elapsed() < 400 * second, "{:?}", begun.elapsed());

    house.fake.plan(fails_after(3 * second));
    let quick = RestartBackoff { first: Some(second / 100), most: Some(second / 100), reset: Some(2 * second) };
    let well = SessionSpec { restart_backoff: quick, ..restarting("on-failure:1") };
    let session = house.control.create(well).await.unwrap();
    house.when(&session.id, |session| session.restarts >= 5).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn while_it_backs_off_it_can_be_stopped_or_started_at_once() {
    let house = House::new().await;
    house.fake.plan(fails_after(Duration::from_millis(10)));
    let session = house.control.create(restarting("always")).await.unwrap();
    house.when(&session.id, |session| session.restarts >= 9 && session.state == SessionState::Restarting).await;
    house.control.stop(&session.id, None).await.unwrap();
    let stopped = house.until(&session.id, SessionState::Stopped).await;
    assert_eq!(stopped.exit.unwrap().code, Some(1));

    house.fake.plan(Plans::default());
    let before = house.control.session(&session.id).unwrap().incarnation;
    house.control.start_session(&session.id).await.unwrap();
    assert_eq!(house.until(&session.id, SessionState::Running).await.incarnation, before + 1);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_backend_is_asked_again_and_the_session_says_why_it_waits() {
    let house = House::new().await;
    house.fake.always("create", Chaos::Error(Error::unavailable("the engine is away")));
    let session = house.control.create(spec()).await.unwrap();
    let waits = house.when(&session.id, |session| session.reason.is_some()).await;
    assert_eq!(waits.state, SessionState::Pending);
    assert_eq!(waits.reason.unwrap(), "the engine is away");
    house.later(Duration::from_secs(600)).await;
    let tries = house.fake.calls("create");
    // Half a minute apart on average, in the end.
    assert!((10..60).contains(&tries), "{tries}");
    house.fake.calm();
    let runs = house.until(&session.id, SessionState::Running).await;
    assert_eq!((runs.incarnation, runs.reason), (1, None));
    assert_eq!(house.kinds().await.iter().filter(|kind| *kind == "session.retrying").count(), 1);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_hint_when_to_come_back_is_kept_to() {
    let house = House::new().await;
    let error = Error::Exhausted { message: "full".to_owned(), retry_after: Some(Duration::from_secs(120)) };
    house.fake.once("create", Chaos::Error(error));
    let begun = tokio::time::Instant::now();
    house.running(spec()).await;
    assert!(begun.elapsed() >= Duration::from_secs(120));
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_makes_no_second_workload() {
    for function in ["create", "start"] {
        let house = House::new().await;
        house.fake.once(function, Chaos::LoseAnswer);
        house.fake.once(function, Chaos::LoseAnswer);
        let session = house.running(spec()).await;
        assert_eq!((session.incarnation, house.fake.ever(&session.id)), (1, vec![1]));
        house.done().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_ended_while_the_answer_to_its_start_was_lost_keeps_its_exit_code() {
    let house = House::new().await;
    house.fake.plan(fails_after(Duration::ZERO));
    house.fake.once("start", Chaos::LoseAnswer);
    let session = house.control.create(spec()).await.unwrap();
    let failed = house.until(&session.id, SessionState::Failed).await;
    assert_eq!((failed.exit.unwrap().code, failed.incarnation), (Some(1), 1));
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_backend_refuses_for_good_is_failed_and_not_restarted() {
    let refusals = [
        Error::invalid("image", "there is no such image"),
        Error::Denied("not granted".to_owned()),
        Error::Unsupported("no ports here".to_owned()),
        Error::NotFound("no image busybox:1".to_owned()),
    ];
    for error in refusals {
        let house = House::new().await;
        house.fake.always("create", Chaos::Error(error.clone()));
        let session = house.control.create(restarting("always")).await.unwrap();
        let failed = house.until(&session.id, SessionState::Failed).await;
        assert_eq!((failed.reason, failed.exit), (Some(error.to_string()), None));
        house.later(Duration::from_secs(3600)).await;
        assert_eq!((house.fake.calls("create"), house.control.session(&session.id).unwrap().restarts), (1, 0));
        assert_eq!(house.store.load().await.unwrap().intents, []);
        // Mended, it can be started.
        house.fake.calm();
        house.control.start_session(&session.id).await.unwrap();
        house.until(&session.id, SessionState::Running).await;
        house.done().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_refused_leaves_its_workload_to_be_looked_at() {
    let house = House::new().await;
    house.fake.always("start", Chaos::Error(Error::invalid("command", "there is no such program")));
    let session = house.control.create(spec()).await.unwrap();
    house.until(&session.id, SessionState::Failed).await;
    assert_eq!(house.fake.there(&session.id), [1]);
    house.control.remove(&session.id, false).await.unwrap();
    house.until_gone(&session.id).await;
    assert_eq!(house.fake.count(), 0);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_backend_costs_one_call() {
    let house = House::new().await;
    for function in ["create", "start", "inspect", "list", "check"] {
        house.fake.once(function, Chaos::Panic);
    }
    let session = house.running(restarting("always")).await;
    house.fake.end(&session.id, code(1));
    house.when(&session.id, |session| session.state == SessionState::Running && session.incarnation == 2).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_holds_acts_back_until_there_is_room() {
    use seawall_model::BackendName;
    use seawall_store::{Change, Expectation, StateQuota, Store, StoreConfig};

    let dir = tempfile::TempDir::new().unwrap();
    let bound = StoreConfig { max_bytes: Some(1 << 20), ..StoreConfig::default() };
    let store = Store::open_with(dir.path(), bound).await.unwrap();
    let fake = super::fake::Fake::new();
    let config = crate::ControlConfig::default();
    let control = crate::Control::start(config, store.clone(), super::house::drivers(&fake)).await.unwrap();
    let session = control.create(spec()).await.unwrap();
    control.wait(&session.id, |session| session.state == SessionState::Running).await.unwrap();

    let other: BackendName = "other".parse().unwrap();
    let map = store.state(&other, StateQuota::default()).await.unwrap();
    let put = |key: String, value: Option<Vec<u8>>| Change { key, expect: Expectation::Anything, value };
    let mut filled = 0;
    for size in [64 << 10, 4 << 10, 256, 16] {
        while map.commit(vec![put(format!("filler-{filled}"), Some(vec![7; size]))]).await.is_ok() {
            filled += 1;
        }
    }
    let big = seawall_model::SessionSpec { command: vec!["x".repeat(64 << 10)], ..spec() };
    let refused = control.create(big.clone()).await.unwrap_err();
    assert!(matches!(refused, crate::ControlError::Store(seawall_store::Error::Full(_))), "{refused:?}");
    assert_eq!((control.sessions().len(), fake.calls("create")), (1, 1));

    map.commit((0..filled).map(|at| put(format!("filler-{at}"), None)).collect()).await.unwrap();
    let session = control.create(big).await.unwrap();
    control.wait(&session.id, |session| session.state == SessionState::Running).await.unwrap();
    control.shutdown(crate::Shutdown::Leave, Duration::from_secs(10)).await.unwrap();
    store.close().await;
}
