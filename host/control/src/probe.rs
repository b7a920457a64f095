//! What the answers of a session's probes come to: counting, and what follows from it. Pure.
//!
//! ```text
//!   startup      starting --passes--> started; until then liveness and readiness wait
//!   liveness     \  enough failures in a row: unhealthy, and the session is started again by its restart policy
//!   startup      /
//!   health check    the same, started again only if the spec says so
//!   readiness       ready, or not; nothing else follows
//! ```
//!
//! An answer that says nothing (the backend was busy, or could not be asked) counts as nothing. What is counted is
//! forgotten with the daemon; what was concluded is in the session's record, and stands until there is a new conclusion.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use seawall_model::{ExecCheck, Health, HealthCheck, HealthCommand, Probe, ProbeCheck, SessionSpec};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// `probes.startup`.
    Startup,
    /// `probes.readiness`.
    Readiness,
    /// `probes.liveness`.
    Liveness,
    /// `health_check`, where the backend's engine does not carry it out.
    HealthCheck,
}

impl Role {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "startup probe",
            Self::Readiness => "readiness probe",
            Self::Liveness => "liveness probe",
            Self::HealthCheck => "health check",
        }
    }
}

/// What one probe came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The session answered well.
    Passed,
    /// It did not.
    Failed(String),
    /// Nobody can say: it was not asked, or the answer was lost.
    Unknown(String),
}

/// What the host has concluded about an incarnation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Its health, as far as the host looks after that.
    pub(crate) health: Option<Health>,
    /// Its startup probe has passed.
    pub(crate) started: bool,
    /// It may be given work.
    pub(crate) ready: bool,
    /// Why it is unhealthy, and whether it is to be started again.
    pub(crate) fault: Option<Fault>,
}

/// Why a session is unhealthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// As a sentence.
    pub(crate) why: Arc<str>,
    /// It is to be started again, if the restart policy says so.
    pub(crate) restart: bool,
}

/// What is recorded of an incarnation when its probes begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded {
    pub(crate) health: Health,
    pub(crate) started: bool,
    pub(crate) ready: bool,
    /// So long ago it began to run.
    pub(crate) age: Duration,
    /// It was met running by a daemon, or a backend, that has just begun.
    pub(crate) adopted: bool,
}

/// The probes that the host carries out for a session.
pub(crate) fn hosted(spec: &SessionSpec, engine_checks: bool) -> Vec<(Role, Probe)> {
    let probes = &spec.probes;
    let mut hosted: Vec<_> =
        [(Role::Startup, &probes.startup), (Role::Readiness, &probes.readiness), (Role::Liveness, &probes.liveness)]
            .into_iter()
            .filter_map(|(role, probe)| Some((role, probe.clone()?)))
            .collect();
    if let Some(HealthCheck::Command(check)) = spec.health_check.as_ref().filter(|_| !engine_checks) {
        let HealthCommand { command, interval, timeout, start_period: _, start_interval: _, retries } = check.clone();
        let exec = ProbeCheck::Exec(ExecCheck { command });
        let probe = Probe { interval, timeout, failure_threshold: retries, ..Probe::new(exec) };
        hosted.push((Role::HealthCheck, probe));
    }
    hosted
}

/// What the backend is given of a spec: a health check that the host carries out is not its affair.
pub(crate) fn for_backend(spec: &SessionSpec, engine_checks: bool) -> Cow<'_, SessionSpec> {
    match spec.health_check {
        Some(HealthCheck::Command(_)) if !engine_checks => {
            Cow::Owned(SessionSpec { health_check: Some(HealthCheck::Disabled), ..spec.clone() })
        }
        _ => Cow::Borrowed(spec),
    }
}

/// What is concluded of an incarnation that has just begun to run.
pub(crate) fn beginning(spec: &SessionSpec, engine_checks: bool) -> Verdict {
    let hosted = hosted(spec, engine_checks);
    let has = |role| hosted.iter().any(|(other, _)| *other == role);
    let looks_after = has(Role::Startup) || has(Role::Liveness) || has(Role::HealthCheck);
    let started = !has(Role::Startup);
    let ready = started && !has(Role::Readiness);
    Verdict { health: looks_after.then_some(Health::Starting), started, ready, fault: None }
}

/// The probes of one incarnation.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Failures of the health check before this do not count.
    start_period: Instant,
    /// Between two health checks until then, or until one has passed.
    start_interval: Option<Duration>,
    restart_unhealthy: bool,
    began: Instant,
    started: bool,
    recorded: Recorded,
    tallies: Vec<Tally>,
}

#[derive(Debug)]
struct Tally {
    role: Role,
    probe: Probe,
    /// When it is asked next; `None` while it is asked, and while it has to wait for startup.
    due: Option<Instant>,
    asked_at: Instant,
    successes: u32,
    failures: u32,
    passing: Option<bool>,
    why: Arc<str>,
}

/// A probe to carry out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Question {
    pub(crate) role: Role,
    pub(crate) check: ProbeCheck,
    pub(crate) timeout: Duration,
}

impl Watch {
    /// The probes of an incarnation that runs; `None` if it has none that the host carries out. `draw` gives numbers from
    /// 0 to 1: those that begin together are not asked together.
    pub(crate) fn new(
        spec: &SessionSpec,
        engine_checks: bool,
        recorded: Recorded,
        now: Instant,
        mut draw: impl FnMut() -> f64,
    ) -> Option<Self> {
        let hosted = hosted(spec, engine_checks);
        if hosted.is_empty() {
            return None;
        }
        let began = now.checked_sub(recorded.age).unwrap_or(now);
        let started = recorded.started || spec.probes.startup.is_none();
        let (start_period, start_interval) = match &spec.health_check {
            Some(HealthCheck::Command(check)) => (began + check.start_period, check.start_interval),
            _ => (began, None),
        };
        let tally = |(role, probe): (Role, Probe)| {
            let first = match role {
                Role::HealthCheck if now < start_period => start_interval.unwrap_or(probe.interval),
                Role::HealthCheck => probe.interval,
                Role::Startup | Role::Readiness | Role::Liveness => probe.initial_delay,
            };
            let spread = if recorded.adopted { probe.interval } else { probe.interval / 10 };
            let due = (began + first).max(now) + spread.mul_f64(draw());
            let waits = match role {
                Role::Startup => started,
                Role::Readiness | Role::Liveness => !started,
                Role::HealthCheck => false,
            };
            Tally {
                role,
                due: (!waits).then_some(due),
                probe,
                asked_at: now,
                successes: 0,
                failures: 0,
                passing: None,
                why: "".into(),
            }
        };
        let tallies = hosted.into_iter().map(tally).collect();
        let restart_unhealthy = spec.restart_unhealthy;
        Some(Self { start_period, start_interval, restart_unhealthy, began, started, recorded, tallies })
    }

    /// When something is to be asked next.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.tallies.iter().filter_map(|tally| tally.due).min()
    }

    /// Takes what is to be asked by now. Each is asked again only when [`settle`](Self::settle) has its answer.
    pub(crate) fn take(&mut self, now: Instant) -> Vec<Question> {
        let due = self.tallies.iter_mut().filter(|tally| tally.due.is_some_and(|due| due <= now));
        due.map(|tally| {
            tally.due = None;
            tally.asked_at = now;
            Question { role: tally.role, check: tally.probe.check.clone(), timeout: tally.probe.timeout }
        })
        .collect()
    }

    /// Takes in what a probe came to; gives its successes and failures in a row.
    pub(crate) fn settle(&mut self, role: Role, outcome: &Outcome, now: Instant) -> (u32, u32) {
        let in_start_period = now < self.start_period;
        let Some(tally) = self.tallies.iter_mut().find(|tally| tally.role == role) else { return (0, 0) };
        match outcome {
            Outcome::Unknown(_) => {}
            Outcome::Passed => tally.passed(),
            Outcome::Failed(_) if role == Role::HealthCheck && tally.passing.is_none() && in_start_period => {}
            Outcome::Failed(why) => tally.failed(why),
        }
        let starting = in_start_period && tally.passing.is_none();
        tally.due = Some(match role {
            // As Docker does: the pause is between one and the next.
            Role::HealthCheck => now + self.start_interval.filter(|_| starting).unwrap_or(tally.probe.interval),
            Role::Startup | Role::Readiness | Role::Liveness => (tally.asked_at + tally.probe.interval).max(now),
        });
        let counts = (tally.successes, tally.failures);
        if role == Role::Startup && tally.passing == Some(true) {
            tally.due = None;
            self.start(now);
        }
        counts
    }

    /// What waited for startup begins.
    fn start(&mut self, now: Instant) {
        self.started = true;
        let waiting = self.tallies.iter_mut().filter(|tally| matches!(tally.role, Role::Readiness | Role::Liveness));
        for tally in waiting {
            tally.due = Some((self.began + tally.probe.initial_delay).max(now));
        }
    }

    /// What follows from all answers so far.
    pub(crate) fn verdict(&self) -> Verdict {
        let of = |role| self.tallies.iter().find(|tally| tally.role == role);
        let passing = |role| of(role).and_then(|tally| tally.passing);
        let looked_after = self.tallies.iter().filter(|tally| tally.role != Role::Readiness);
        let failing = looked_after.clone().find(|tally| tally.passing == Some(false));
        let recorded = self.recorded.health;
        let health = match failing {
            Some(_) => Health::Unhealthy,
            None if looked_after.clone().all(|tally| tally.passing == Some(true)) => Health::Healthy,
            // No new conclusion yet: the one on record stands.
            None if self.recorded.adopted && recorded != Health::Unknown => recorded,
            None => Health::Starting,
        };
        let ready = match of(Role::Readiness) {
            None => true,
            Some(_) => passing(Role::Readiness).unwrap_or(self.recorded.adopted && self.recorded.ready),
        };
        Verdict {
            health: looked_after.clone().next().map(|_| health),
            started: self.started,
            ready: self.started && ready,
            fault: failing.map(|tally| Fault {
                why: format!("its {} fails: {}", tally.role.as_str(), tally.why).into(),
                restart: tally.role != Role::HealthCheck || self.restart_unhealthy,
            }),
        }
    }
}

impl Tally {
    fn passed(&mut self) {
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        if self.successes >= self.probe.success_threshold {
            self.passing = Some(true);
        }
    }

    fn failed(&mut self, why: &str) {
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.probe.failure_threshold {
            self.passing = Some(false);
            self.why = why.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn probe(failure_threshold: u32, success_threshold: u32) -> Option<Probe> {
        let check = ProbeCheck::Exec(ExecCheck { command: vec!["check".to_owned()] });
        Some(Probe { failure_threshold, success_threshold, ..Probe::new(check) })
    }

    fn spec(change: impl FnOnce(&mut SessionSpec)) -> SessionSpec {
        let mut spec = SessionSpec::new("fake".parse().unwrap());
        change(&mut spec);
        spec
    }

    fn fresh() -> Recorded {
        let (health, age) = (Health::Unknown, Duration::ZERO);
        Recorded { health, started: false, ready: false, age, adopted: false }
    }

    fn watch(spec: &SessionSpec, recorded: Recorded) -> Watch {
        Watch::new(spec, false, recorded, Instant::now(), || 1.0).unwrap()
    }

    fn failed() -> Outcome {
        Outcome::Failed("exit code 1".to_owned())
    }

    fn unknown() -> Outcome {
        Outcome::Unknown("busy".to_owned())
    }

    /// Asks until there is this answer, one interval after the other.
    fn answer(watch: &mut Watch, role: Role, outcome: &Outcome) -> Verdict {
        let due = watch.tallies.iter().find(|tally| tally.role == role).and_then(|tally| tally.due).unwrap();
        let asked = watch.take(due);
        assert!(asked.iter().any(|question| question.role == role));
        for question in &asked {
            let outcome = if question.role == role { outcome } else { &unknown() };
            watch.settle(question.role, outcome, due + SECOND);
        }
        watch.verdict()
    }

    #[test]
    fn a_threshold_is_reached_at_its_number_and_not_before() {
        let spec = spec(|spec| spec.probes.liveness = probe(3, 1));
        let mut watch = watch(&spec, fresh());
        assert_eq!(watch.verdict(), beginning(&spec, false));
        assert_eq!(watch.verdict().health, Some(Health::Starting));
        assert_eq!(answer(&mut watch, Role::Liveness, &Outcome::Passed).health, Some(Health::Healthy));
        for _ in 0..2 {
            assert_eq!(answer(&mut watch, Role::Liveness, &failed()).health, Some(Health::Healthy));
        }
        assert_eq!(answer(&mut watch, Role::Liveness, &Outcome::Passed).health, Some(Health::Healthy));
        for _ in 0..2 {
            assert_eq!(answer(&mut watch, Role::Liveness, &failed()).health, Some(Health::Healthy));
            assert_eq!(answer(&mut watch, Role::Liveness, &unknown()).health, Some(Health::Healthy));
        }
        let verdict = answer(&mut watch, Role::Liveness, &failed());
        assert_eq!(verdict.health, Some(Health::Unhealthy));
        let fault = verdict.fault.unwrap();
        assert_eq!((&*fault.why, fault.restart), ("its liveness probe fails: exit code 1", true));
        assert_eq!(answer(&mut watch, Role::Liveness, &Outcome::Passed).fault, None);
    }

    #[test]
    fn readiness_needs_its_successes_in_a_row_and_says_nothing_of_health() {
        let spec = spec(|spec| spec.probes.readiness = probe(2, 3));
        let mut watch = watch(&spec, fresh());
        let passes = [false, false, true].map(|ready| (Outcome::Passed, ready));
        let story = [(Outcome::Passed, false), (Outcome::Passed, false), (failed(), false)].into_iter().chain(passes);
        for (outcome, ready) in story.chain([(failed(), true), (unknown(), true), (failed(), false)]) {
            let verdict = answer(&mut watch, Role::Readiness, &outcome);
            assert_eq!((verdict.ready, verdict.health, verdict.fault), (ready, None, None), "{outcome:?}");
        }
    }

    #[test]
    fn what_waits_for_startup_is_not_asked_before_it_has_passed() {
        let spec = spec(|spec| {
            spec.probes.startup = probe(3, 1);
            spec.probes.liveness = probe(1, 1);
            spec.probes.readiness = probe(1, 1);
        });
        let mut watch = watch(&spec, fresh());
        let far = Instant::now() + 1000 * SECOND;
        let roles = |questions: Vec<Question>| questions.into_iter().map(|asked| asked.role).collect::<Vec<_>>();
        assert_eq!(roles(watch.take(far)), [Role::Startup]);
        assert_eq!(watch.take(far), [], "it is asked already");
        watch.settle(Role::Startup, &failed(), far);
        assert_eq!(watch.verdict().health, Some(Health::Starting));
        let verdict = answer(&mut watch, Role::Startup, &Outcome::Passed);
        assert_eq!((verdict.started, verdict.ready, verdict.health), (true, false, Some(Health::Starting)));
        assert_eq!(roles(watch.take(far + 1000 * SECOND)), [Role::Readiness, Role::Liveness], "startup is over");

        let mut fails = self::watch(&spec, fresh());
        answer(&mut fails, Role::Startup, &failed());
        answer(&mut fails, Role::Startup, &failed());
        let verdict = answer(&mut fails, Role::Startup, &failed());
        assert_eq!((verdict.health, verdict.fault.map(|fault| fault.restart)), (Some(Health::Unhealthy), Some(true)));
    }

    fn health_check(restart_unhealthy: bool) -> SessionSpec {
        spec(|spec| {
            spec.restart_unhealthy = restart_unhealthy;
            spec.health_check = Some(HealthCheck::Command(HealthCommand {
                command: vec!["check".to_owned()],
                interval: 10 * SECOND,
                timeout: SECOND,
                start_period: 25 * SECOND,
                start_interval: None,
                retries: 2,
            }));
        })
    }

    #[test]
    fn a_health_check_counts_as_docker_does() {
        let mut watch = watch(&health_check(false), fresh());
        let check = Role::HealthCheck;
        // At 11 and 22 s: within the start period.
        assert_eq!(answer(&mut watch, check, &failed()).health, Some(Health::Starting));
        assert_eq!(answer(&mut watch, check, &failed()).health, Some(Health::Starting));
        assert_eq!(answer(&mut watch, check, &failed()).health, Some(Health::Starting));
        let verdict = answer(&mut watch, check, &failed());
        assert_eq!((verdict.health, verdict.fault.map(|fault| fault.restart)), (Some(Health::Unhealthy), Some(false)));
        assert_eq!(answer(&mut watch, check, &Outcome::Passed).health, Some(Health::Healthy));

        // A success within the start period ends it.
        let mut watch = self::watch(&health_check(true), fresh());
        assert_eq!(answer(&mut watch, check, &Outcome::Passed).health, Some(Health::Healthy));
        let first = watch.due().unwrap();
        watch.take(first);
        watch.settle(check, &failed(), first);
        let second = watch.due().unwrap();
        assert_eq!(second, first + 10 * SECOND);
        watch.take(second);
        watch.settle(check, &failed(), second);
        assert_eq!(watch.verdict().fault.map(|fault| fault.restart), Some(true));
    }

    #[test]
    fn a_session_that_starts_is_checked_at_its_own_interval_until_it_passes_or_has_started() {
        let mut spec = health_check(false);
        let Some(HealthCheck::Command(command)) = &mut spec.health_check else { panic!() };
        command.start_interval = Some(SECOND);
        let check = Role::HealthCheck;
        let next = |watch: &mut Watch, outcome: &Outcome| {
            let due = watch.due().unwrap();
            watch.take(due);
            watch.settle(check, outcome, due);
            watch.due().unwrap() - due
        };
        let mut passes = watch(&spec, fresh());
        assert!(passes.due().unwrap() <= Instant::now() + 2 * SECOND, "the first too");
        assert_eq!(next(&mut passes, &failed()), SECOND);
        assert_eq!(next(&mut passes, &Outcome::Passed), 10 * SECOND);
        let mut never = watch(&spec, fresh());
        let pauses: Vec<_> = (0..40).map(|_| next(&mut never, &failed())).collect();
        assert_eq!((pauses.first(), pauses.last()), (Some(&SECOND), Some(&(10 * SECOND))), "{pauses:?}");
    }

    #[test]
    fn a_health_check_that_the_engine_makes_is_left_to_it() {
        let spec = health_check(false);
        assert!(Watch::new(&spec, true, fresh(), Instant::now(), || 0.0).is_none());
        assert_eq!(*for_backend(&spec, true), spec);
        assert_eq!(for_backend(&spec, false).health_check, Some(HealthCheck::Disabled));
        assert_eq!(beginning(&spec, true).health, None);
    }

    #[test]
    fn what_is_on_record_stands_until_there_is_a_new_conclusion() {
        let spec = spec(|spec| {
            spec.probes.startup = probe(1, 1);
            spec.probes.liveness = probe(2, 1);
            spec.probes.readiness = probe(2, 1);
        });
        let recorded =
            Recorded { health: Health::Healthy, started: true, ready: true, age: 100 * SECOND, adopted: true };
        let mut watch = watch(&spec, recorded);
        let as_before = |verdict: Verdict| {
            assert_eq!((verdict.health, verdict.started, verdict.ready), (Some(Health::Healthy), true, true));
        };
        as_before(watch.verdict());
        as_before(answer(&mut watch, Role::Liveness, &failed()));
        as_before(answer(&mut watch, Role::Readiness, &failed()));
        assert_eq!(answer(&mut watch, Role::Liveness, &failed()).health, Some(Health::Unhealthy));
    }

    #[test]
    fn those_that_begin_together_are_not_asked_together() {
        let spec = spec(|spec| spec.probes.liveness = probe(1, 1));
        let now = Instant::now();
        let first = |recorded, draw| Watch::new(&spec, false, recorded, now, || draw).unwrap().due().unwrap() - now;
        assert_eq!((first(fresh(), 0.0), first(fresh(), 1.0)), (Duration::ZERO, SECOND));
        let adopted = Recorded { adopted: true, ..fresh() };
        assert_eq!(first(adopted, 1.0), 10 * SECOND);
    }
}
