//! Probes of sessions, from the spec to what becomes of the session. A command's exit code is the answer here.

use std::time::Duration;

use seawall_backend::limit::LimitConfig;
use seawall_backend::{BulkheadConfig, Error, Interface};
use seawall_model::{
    CommandEnd, ExecCheck, Health, HealthCheck, HealthCommand, Probe, ProbeCheck, Session, SessionId, SessionSpec,
    SessionState, Signal,
};
use seawall_store::Write;

use super::fake::{Chaos, Fake, Plans};
use super::house::{House, behind, code, restarting, spec};
use crate::{ControlConfig, ControlError, ProbeResult, Role};

const WELL: CommandEnd = CommandEnd::Code(0);
const ILL: CommandEnd = CommandEnd::Code(1);
const HOUR: Duration = Duration::from_secs(3600);

fn probe(command: &str) -> Option<Probe> {
    Some(Probe::new(ProbeCheck::Exec(ExecCheck { command: vec![command.to_owned()] })))
}

fn live(policy: &str) -> SessionSpec {
    let mut spec = restarting(policy);
    spec.probes.liveness = probe("live");
    spec
}

fn checked(policy: &str) -> SessionSpec {
    let check = HealthCommand {
        command: vec!["check".to_owned()],
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(30),
        start_period: Duration::ZERO,
        start_interval: None,
        retries: 3,
    };
    SessionSpec { health_check: Some(HealthCheck::Command(check)), ..restarting(policy) }
}

async fn healthy(house: &House, id: &SessionId) -> Session {
    house.when(id, |session| session.health == Health::Healthy).await
}

async fn unhealthy(house: &House, id: &SessionId) -> Session {
    house.when(id, |session| session.health == Health::Unhealthy).await
}

/// What the journal says of sessions since this kind was first told.
async fn since(house: &House, kind: &str) -> Vec<String> {
    let kinds = house.kinds().await;
    kinds.into_iter().filter(|kind| kind.starts_with("session.")).skip_while(|told| told != kind).collect()
}

#[tokio::test(start_paused = true)]
async fn a_session_that_fails_its_liveness_probe_is_started_again_and_recovers() {
    let house = House::new().await;
    let session = house.running(live("always")).await;
    assert_eq!((session.health, session.ready), (Health::Starting, true));
    healthy(&house, &session.id).await;
    house.later(Duration::from_secs(60)).await;
    house.fake.set_commands(&session.id, ILL);
    let ill = unhealthy(&house, &session.id).await;
    assert_eq!(ill.reason.as_deref(), Some("its liveness probe fails: exit code 1"));
    house.fake.set_commands(&session.id, WELL);
    let again = house.when(&session.id, |session| session.incarnation == 2 && session.health == Health::Healthy).await;
    assert_eq!((again.restarts, again.state), (1, SessionState::Running));
    assert_eq!(
        since(&house, "session.unhealthy").await,
        ["session.unhealthy", "session.stopping", "session.failed", "session.restarting", "session.started"]
    );
    assert_eq!(house.fake.signals().iter().map(|(_, signal)| *signal).collect::<Vec<_>>(), [Signal::TERM]);
    house.later(HOUR).await;
    assert_eq!(house.control.session(&session.id).unwrap().incarnation, 2);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_starts_nothing_leaves_it_running_and_unhealthy() {
    let house = House::new().await;
    let session = house.running(live("never")).await;
    house.fake.set_commands(&session.id, ILL);
    unhealthy(&house, &session.id).await;
    house.later(HOUR).await;
    let still = house.control.session(&session.id).unwrap();
    assert_eq!((still.state, still.health, still.incarnation), (SessionState::Running, Health::Unhealthy, 1));
    assert_eq!(house.fake.signals(), []);
    house.fake.set_commands(&session.id, WELL);
    assert_eq!(healthy(&house, &session.id).await.reason, None);
    house.told("session.unhealthy", 1).await;
    house.told("session.healthy", 1).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn each_counts_as_a_failure_and_a_used_up_budget_leaves_the_last_one_running() {
    let house = House::new().await;
    let id = house.control.create(live("on-failure:2")).await.unwrap().id;
    house.fake.set_commands(&id, ILL);
    house.when(&id, |session| session.incarnation == 3 && session.health == Health::Unhealthy).await;
    house.later(HOUR).await;
    let last = house.control.session(&id).unwrap();
    assert_eq!((last.state, last.incarnation, last.restarts), (SessionState::Running, 3, 2));
    assert_eq!(house.fake.ever(&id), [1, 2, 3]);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_was_well_for_long_begins_its_budget_anew() {
    let house = House::new().await;
    let session = house.running(live("on-failure:1")).await;
    for incarnation in 1..4 {
        house.fake.set_commands(&session.id, WELL);
        house.when(&session.id, |s| s.incarnation == incarnation && s.health == Health::Healthy).await;
        house.later(Duration::from_secs(60)).await;
        house.fake.set_commands(&session.id, ILL);
        house.when(&session.id, |session| session.incarnation == incarnation + 1).await;
    }
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn startup_comes_first_and_its_failure_starts_it_again() {
    let house = House::new().await;
    let mut spec = live("always");
    spec.probes.startup = probe("startup");
    spec.probes.readiness = probe("readiness");
    let id = house.control.create(spec).await.unwrap().id;
    house.fake.set_commands(&id, ILL);
    let second = house.when(&id, |session| session.incarnation == 2 && session.state == SessionState::Running).await;
    assert_eq!((second.health, second.ready), (Health::Starting, false));
    let first: Vec<_> = house.fake.commands(&id).into_iter().filter(|(incarnation, _)| *incarnation == 1).collect();
    assert_eq!(first, vec![(1, "startup".to_owned()); 3]);

    house.fake.set_commands(&id, WELL);
    let runs = house.when(&id, |session| session.ready && session.health == Health::Healthy).await;
    let asked = house.fake.commands(&id).iter().filter(|(_, command)| command == "startup").count();
    house.later(HOUR).await;
    let later = house.fake.commands(&id);
    assert_eq!(later.iter().filter(|(_, command)| command == "startup").count(), asked, "startup is over");
    assert!(later.iter().any(|(_, command)| command == "live"));
    assert_eq!(house.control.session(&id).unwrap().incarnation, runs.incarnation);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn readiness_is_told_and_nothing_else_follows() {
    let house = House::new().await;
    let mut spec = restarting("always");
    spec.probes.readiness = probe("readiness");
    let session = house.running(spec).await;
    assert_eq!((session.ready, session.health), (false, Health::Healthy));
    house.when(&session.id, |session| session.ready).await;
    house.fake.set_commands(&session.id, ILL);
    let busy = house.when(&session.id, |session| !session.ready).await;
    assert_eq!((busy.state, busy.health), (SessionState::Running, Health::Healthy));
    house.later(HOUR).await;
    house.fake.set_commands(&session.id, WELL);
    house.when(&session.id, |session| session.ready).await;
    assert_eq!(house.control.session(&session.id).unwrap().incarnation, 1);
    house.told("session.ready", 2).await;
    house.told("session.not_ready", 1).await;
    house.control.stop(&session.id, None).await.unwrap();
    assert!(!house.until(&session.id, SessionState::Stopped).await.ready);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_health_check_is_run_for_a_backend_that_runs_none_and_restarts_only_when_asked_to() {
    let house = House::new().await;
    let session = house.running(checked("always")).await;
    assert_eq!(session.health, Health::Starting);
    let asked = house.running(SessionSpec { restart_unhealthy: true, ..checked("always") }).await;
    healthy(&house, &session.id).await;
    for id in [&session.id, &asked.id] {
        house.fake.set_commands(id, ILL);
    }
    unhealthy(&house, &session.id).await;
    house.when(&asked.id, |session| session.incarnation == 2).await;
    house.later(HOUR).await;
    let left = house.control.session(&session.id).unwrap();
    assert_eq!((left.incarnation, left.health), (1, Health::Unhealthy));
    assert_eq!(left.reason.as_deref(), Some("its health check fails: exit code 1"));
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn the_engines_own_health_check_is_left_to_it_and_restarts_only_when_asked_to() {
    let fake = Fake::with(&[Interface::Exec, Interface::HealthChecks]);
    let house = House::with(ControlConfig::default(), fake).await;
    let left = house.running(checked("always")).await;
    let asked = house.running(SessionSpec { restart_unhealthy: true, ..checked("always") }).await;
    for id in [&left.id, &asked.id] {
        house.fake.set_health(id, Health::Unhealthy);
    }
    unhealthy(&house, &left.id).await;
    assert_eq!(house.control.last_check(&left.id).await.unwrap().output, "it is ill");
    house.when(&asked.id, |session| session.incarnation == 2 && session.health == Health::Healthy).await;
    assert_eq!(house.control.session(&left.id).unwrap().incarnation, 1);
    assert_eq!(house.fake.calls("exec"), 0);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_can_say_is_never_unhealthy() {
    let limit = LimitConfig { streams: 1, ..LimitConfig::default() };
    let house = House::behind(&BulkheadConfig { limit, ..BulkheadConfig::default() }).await;
    let session = house.running(live("always")).await;
    healthy(&house, &session.id).await;

    let driver = std::sync::Arc::clone(&house.control.core.backends.all()[0].driver);
    let held = driver.limit().open_stream().unwrap();
    house.fake.set_commands(&session.id, ILL);
    house.later(HOUR).await;
    let last = house.control.why(&session.id).unwrap().probes.remove(0);
    assert_eq!((last.probe, last.result, last.failures), (Role::Liveness, ProbeResult::Unknown, 0));
    assert!(last.message.unwrap().contains("busy"));
    drop(held);

    house.fake.always("exec", Chaos::Error(Error::unavailable("away")));
    house.later(HOUR).await;
    house.fake.always("inspect", Chaos::Error(Error::unavailable("away")));
    house.later(HOUR).await;
    assert_eq!(house.control.session(&session.id).unwrap().incarnation, 1);
    house.fake.set_commands(&session.id, WELL);
    house.fake.calm();
    healthy(&house, &session.id).await;
    assert_eq!(since(&house, "session.unhealthy").await, [""; 0]);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_an_earlier_incarnation_changes_nothing() {
    let house = House::new().await;
    let mut spec = live("always");
    if let Some(probe) = &mut spec.probes.liveness {
        probe.failure_threshold = 1;
    }
    let session = house.running(spec).await;
    healthy(&house, &session.id).await;
    house.fake.set_commands(&session.id, ILL);
    house.fake.once("exec", Chaos::Slow(Duration::from_secs(60)));
    let asked = house.fake.calls("exec");
    house.eventually("it is asked", || house.fake.calls("exec") > asked).await;
    house.fake.end(&session.id, code(0));
    house.when(&session.id, |session| session.state != SessionState::Running).await;
    house.fake.set_commands(&session.id, WELL);
    house.when(&session.id, |session| session.incarnation == 2 && session.health == Health::Healthy).await;
    house.later(HOUR).await;
    assert_eq!(since(&house, "session.unhealthy").await, [""; 0]);
    assert_eq!(house.control.session(&session.id).unwrap().incarnation, 2);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_or_is_removed_is_asked_no_more() {
    let house = House::new().await;
    let (stopped, removed) = (house.running(live("always")).await, house.running(live("always")).await);
    house.later(HOUR).await;
    house.control.stop(&stopped.id, None).await.unwrap();
    house.control.remove(&removed.id, true).await.unwrap();
    house.until(&stopped.id, SessionState::Stopped).await;
    house.until_gone(&removed.id).await;
    let asked = house.fake.calls("exec");
    assert!(asked > 100);
    house.later(HOUR).await;
    assert_eq!(house.fake.calls("exec"), asked);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_concluded_outlives_the_daemon_and_no_restart_follows_from_its_own() {
    let house = House::new().await;
    let mut spec = live("always");
    spec.probes.startup = probe("startup");
    let session = house.running(spec).await;
    healthy(&house, &session.id).await;
    let startups = |house: &House| {
        let commands = house.fake.commands(&session.id);
        commands.iter().filter(|(_, command)| command == "startup").count()
    };
    let before = startups(&house);
    let house = house.restart().await;
    house.until(&session.id, SessionState::Running).await;
    let adopted = house.control.session(&session.id).unwrap();
    assert_eq!((adopted.health, adopted.ready), (Health::Healthy, true));
    house.later(HOUR).await;
    assert_eq!(startups(&house), before, "it has passed");
    assert_eq!(house.control.session(&session.id).unwrap().incarnation, 1);
    house.done().await;
}

/// A session that is being ended because it is unhealthy, and does not heed TERM.
async fn being_ended() -> (House, Session) {
    let house = House::new().await;
    house.fake.plan(Plans { ignores_term: true, ..Plans::default() });
    let session = house.running(live("always")).await;
    house.fake.set_commands(&session.id, ILL);
    unhealthy(&house, &session.id).await;
    house.eventually("TERM was sent", || !house.fake.signals().is_empty()).await;
    (house, session)
}

#[tokio::test(start_paused = true)]
async fn ending_an_unhealthy_session_goes_on_after_a_restart_of_the_daemon() {
    let (house, session) = being_ended().await;
    house.fake.set_commands(&session.id, WELL);
    let house = house.restart().await;
    let again = house.when(&session.id, |session| session.incarnation == 2 && session.health == Health::Healthy).await;
    assert_eq!((again.restarts, again.exit.unwrap().signal), (1, Some(9)));
    house.told("session.failed", 1).await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_wins_over_a_restart_for_being_unhealthy() {
    let (house, session) = being_ended().await;
    house.control.stop(&session.id, None).await.unwrap();
    house.until(&session.id, SessionState::Stopped).await;
    house.later(HOUR).await;
    assert_eq!(house.fake.ever(&session.id), [1]);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_runs_no_commands_refuses_what_needs_them_by_name() {
    let house = House::with(ControlConfig::default(), Fake::with(&[])).await;
    let mut asked = checked("always");
    asked.probes.startup = probe("startup");
    asked.probes.liveness = probe("live");
    let Err(ControlError::Invalid(invalid)) = house.control.create(asked).await else { panic!("it was taken") };
    let fields: Vec<_> = invalid.problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["health_check", "probes.startup.check.exec", "probes.liveness.check.exec"]);
    assert!(invalid.problems[0].message.contains("backend fake cannot run a command"));
    assert_eq!(house.control.sessions(), []);
    house.running(spec()).await;
    house.done().await;
}

/// One `inspect` for a page of 1,000, whatever is probed; and no more probes at a time than are let in.
#[tokio::test(start_paused = true)]
async fn ten_thousand_probed_sessions_are_looked_at_in_pages() {
    let house = House::new().await;
    let template = house.running(live("always")).await;
    let record = house.store.load().await.unwrap().sessions.remove(0);
    let mut writes = Vec::new();
    for number in 0..9_999_u64 {
        let id: SessionId = format!("{number:016x}").parse().unwrap();
        let name = format!("many-{number}").parse().unwrap();
        house.fake.plant(&id, 1);
        let record = seawall_store::SessionRecord { id, name, handle: None, ..record.clone() };
        writes.push(Write::InsertSession(Box::new(record)));
    }
    house.store.write(writes).await.unwrap();
    let config = ControlConfig { probes_at_once: 7, ..ControlConfig::default() };
    let drivers = behind(&house.fake, &BulkheadConfig::default());
    house.control.shutdown(crate::Shutdown::Leave, HOUR).await.unwrap();
    house.store.close().await;
    let house = house.again_with(config, drivers).await;
    house.until(&template.id, SessionState::Running).await;
    house.fake.always("exec", Chaos::Slow(Duration::from_millis(1)));
    house.eventually("every one was asked", || house.fake.calls("exec") >= 10_000).await;
    assert!((2..=7).contains(&house.fake.most_commands()), "{} at one time", house.fake.most_commands());
    let well = |house: &House| house.control.sessions().iter().all(|session| session.health == Health::Healthy);
    house.eventually("every one is healthy", || well(&house)).await;

    let before = house.fake.calls("inspect");
    let swept = |house: &House| house.control.backends()[0].swept_at;
    let at = swept(&house);
    house.eventually("a sweep went by", || swept(&house) != at).await;
    let inspects = house.fake.calls("inspect") - before;
    assert!((1..=20).contains(&inspects), "{inspects} calls in about one sweep");
    house.done().await;
}
