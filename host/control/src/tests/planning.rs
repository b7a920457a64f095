//! The pure parts, on every situation there is: rules that no step may break, and a world in which every story comes to
//! its end.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use seawall_backend::Error;
use seawall_model::{
    Desired, Exit, Health, RestartPolicy, SessionId, SessionSpec, SessionState, Signal, State, Status, Timestamp,
};
use seawall_store::{Act, Intent, SessionRecord};

use super::house::{code, spec};
use crate::ControlConfig;
use crate::commands::{remove, start, stop};
use crate::draft::{Context, Draft, Marks, is_live};
use crate::health::BackendHealth;
use crate::kill::kill;
use crate::observe::{observed, vanished};
use crate::pause::freeze;
use crate::plan::{Action, plan};
use crate::probe::Fault;
use crate::restart::restart;
use crate::settle::{Call, Outcome, Step, advance, settle};

/// One that asks for no end.
const HANG_UP: Signal = Signal::HUP;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + seconds * 1000)
}

fn id() -> SessionId {
    "00000000deadbeef".parse().unwrap()
}

fn record(spec: SessionSpec) -> SessionRecord {
    SessionRecord {
        id: id(),
        name: "it".parse().unwrap(),
        spec,
        desired: Desired::Running,
        incarnation: 1,
        restarts: 0,
        failures: 0,
        state: SessionState::Pending,
        health: Health::Unknown,
        started: false,
        ready: false,
        exit: None,
        handle: None,
        created_at: at(0),
        started_at: None,
        finished_at: None,
        restart_at: None,
        restarted: Vec::new(),
        reason: None,
    }
}

fn states() -> impl Strategy<Value = SessionState> {
    prop::sample::select(vec![
        SessionState::Pending,
        SessionState::Created,
        SessionState::Running,
        SessionState::Paused,
        SessionState::Restarting,
        SessionState::Stopped,
        SessionState::Failed,
        SessionState::Lost,
    ])
}

fn wishes() -> impl Strategy<Value = Desired> {
    prop::sample::select(vec![Desired::Running, Desired::Stopped, Desired::Removed])
}

fn policies() -> impl Strategy<Value = RestartPolicy> {
    prop::sample::select(vec![
        RestartPolicy::Never,
        RestartPolicy::OnFailure { max: None },
        RestartPolicy::OnFailure { max: Some(2) },
        RestartPolicy::Always,
    ])
}

prop_compose! {
    fn situations()(
        state in states(),
        desired in wishes(),
        incarnation in 1_u64..4,
        act in prop::option::of(prop::sample::select(vec![
            Act::Create,
            Act::Start,
            Act::Remove,
            Act::Stop { signal: Signal::TERM, kill_at: Some(at(50)) },
            Act::Stop { signal: Signal::TERM, kill_at: None },
            Act::Restart { signal: Signal::TERM, kill_at: at(50) },
            Act::Signal { signal: HANG_UP },
        ])),
        before in 0_u64..2,
        flags in any::<[bool; 5]>(),
        retry_at in prop::option::of(0_u64..100),
        restart_at in prop::option::of(0_u64..100),
        restart in policies(),
        unhealthy: bool,
        auto_remove: bool,
    ) -> Draft {
        let [gone, previous_gone, missing, look, signalled] = flags;
        let spec = SessionSpec { restart, auto_remove, ..spec() };
        let record = SessionRecord { state, desired, incarnation, restart_at: restart_at.map(at), ..record(spec) };
        let incarnation = incarnation.saturating_sub(before);
        let intent = act.map(|act| Intent { session: id(), incarnation, act, since: at(0) });
        let retry_at = retry_at.map(at);
        let fault = unhealthy.then(|| Fault { why: "it is ill".into(), restart: true });
        let marks = Marks { gone, previous_gone, missing, look, signalled, retry_at, fault, ..Marks::default() };
        Draft { record, intent, marks, events: Vec::new() }
    }
}

proptest! {
    #[test]
    fn no_step_breaks_a_rule(session in situations(), now in 0_u64..100, usable: bool) {
        let config = ControlConfig::default();
        let context = Context { now: at(now), jitter: 0.5, usable, engine_checks: false, config: &config };
        let action = plan(&session, &context);
        let record = &session.record;

        if let Some(retry_at) = session.marks.retry_at.filter(|retry_at| *retry_at > at(now)) {
            prop_assert_eq!(action, Action::WaitUntil(retry_at), "a failed act waits");
            return Ok(());
        }
        if record.desired != Desired::Running {
            let makes = matches!(action, Action::Create | Action::Start | Action::Next | Action::AwaitBackend);
            prop_assert!(!makes, "{:?} though it is not wanted", action);
        }
        if record.desired == Desired::Running {
            let ends = matches!(
                action,
                Action::BeginStop { .. } | Action::Signal(_) | Action::Stopped | Action::Forget
            );
            let fault = session.marks.fault.is_some() && session.comes_back(&context);
            let sent = matches!((&action, session.open()), (Action::Signal(_), Some(Act::Signal { .. })));
            let replaced = fault || session.ends_unhealthy() || session.restarts();
            prop_assert!(!ends || replaced || sent, "{:?} though it is wanted", action);
            if is_live(record.state) {
                let harms = matches!(action, Action::Remove(_) | Action::Next | Action::Create);
                prop_assert!(!harms, "{:?} though it may run", action);
            }
        }
        if action == Action::Create {
            prop_assert_eq!(record.state, SessionState::Pending);
            prop_assert!(record.incarnation <= 1 || session.marks.previous_gone, "the one before may be there");
            prop_assert!(usable, "placed on a backend that cannot be used");
        }
        if action == Action::Forget {
            prop_assert_eq!(record.desired, Desired::Removed);
            prop_assert!(session.marks.gone || record.incarnation == 0, "the workload may be there");
        }
        if let Action::Remove(incarnation) = action {
            prop_assert!(incarnation >= 1 && incarnation <= record.incarnation);
        }
        if let Action::WaitUntil(until) = action {
            prop_assert!(until > at(now), "waits for what is over");
        }
        if action == Action::Signal(Signal::KILL) {
            prop_assert!(now >= 50, "killed within its grace");
        }
    }

    #[test]
    fn planning_comes_to_a_step(session in situations(), now in 0_u64..100, usable: bool) {
        let config = ControlConfig::default();
        let mut session = session;
        // It must return at all; and said again, it is the same step.
        let context = Context { now: at(now), jitter: 0.5, usable, engine_checks: false, config: &config };
        let step = advance(&mut session, &context);
        let mut again = session.clone();
        prop_assert_eq!(advance(&mut again, &context), step);
        prop_assert_eq!(again.record, session.record);
        prop_assert_eq!(again.intent, session.intent);
    }
}

/// What happens to a session and its workloads.
#[derive(Clone, Debug)]
enum Event {
    /// The worker makes its next call.
    Begin,
    /// The call's answer comes, in one way or another.
    Finish(Answer),
    /// A sweep looks.
    Sweep,
    /// The workload ends by itself.
    End(Option<u8>),
    /// Somebody removes the workload behind the daemon's back.
    Vanish,
    Start,
    Stop,
    Remove(bool),
    Kill(Signal),
    Restart,
    /// A user has it paused, or unpaused.
    Freeze(bool),
    /// The daemon is killed and comes back: what was in memory only is forgotten.
    Crash,
    Later(u64),
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Good,
    /// It was done, and the answer was lost.
    Lost,
    /// It was not done.
    Undone,
    /// It is done much later, after the daemon gave up.
    Late,
}

fn events() -> impl Strategy<Value = Event> {
    let answers = prop::sample::select(vec![Answer::Good, Answer::Good, Answer::Lost, Answer::Undone, Answer::Late]);
    prop_oneof![
        6 => Just(Event::Begin),
        6 => answers.prop_map(Event::Finish),
        3 => Just(Event::Sweep),
        2 => prop::option::of(0_u8..2).prop_map(Event::End),
        1 => Just(Event::Vanish),
        1 => Just(Event::Start),
        1 => Just(Event::Stop),
        1 => any::<bool>().prop_map(Event::Remove),
        1 => prop::sample::select(vec![Signal::KILL, Signal::TERM, HANG_UP]).prop_map(Event::Kill),
        1 => Just(Event::Restart),
        2 => any::<bool>().prop_map(Event::Freeze),
        1 => Just(Event::Crash),
        3 => (0_u64..100).prop_map(Event::Later),
    ]
}

struct World {
    session: Draft,
    config: ControlConfig,
    now: u64,
    there: std::collections::BTreeMap<u64, (State, Option<Exit>)>,
    made: BTreeSet<u64>,
    /// One that is paused was sent a signal, and ends by it once it runs on.
    signalled: bool,
    /// What was asked, and whether it is done.
    call: Option<Call>,
    forgotten: bool,
}

fn killed() -> (State, Option<Exit>) {
    (State::Exited, Some(Exit { signal: Some(15), ..Exit::default() }))
}

impl World {
    fn new(policy: RestartPolicy, auto_remove: bool) -> Self {
        let record = record(SessionSpec { restart: policy, auto_remove, ..spec() });
        let intent = Some(Intent { session: id(), incarnation: 1, act: Act::Create, since: at(0) });
        let session = Draft { record, intent, marks: Marks::default(), events: Vec::new() };
        let (there, made) = (Default::default(), BTreeSet::new());
        let (config, now, signalled) = (ControlConfig::default(), 0, false);
        Self { session, config, now, there, made, signalled, call: None, forgotten: false }
    }

    fn with<T>(&mut self, work: impl FnOnce(&mut Draft, &Context<'_>) -> T) -> T {
        let context =
            Context { now: at(self.now), jitter: 1.0, usable: true, engine_checks: false, config: &self.config };
        work(&mut self.session, &context)
    }

    fn status(&self, incarnation: u64) -> Option<Status> {
        let (state, exit) = self.there.get(&incarnation)?.clone();
        let health = Health::Unknown;
        Some(Status { state, health, exit, created_at: None, started_at: None, handle: None })
    }

    /// Does what a call asks for.
    fn carry_out(&mut self, call: &Call) -> Result<Option<Status>, Error> {
        let incarnation = self.session.record.incarnation;
        match call {
            Call::Look => {}
            Call::Create => {
                if !self.there.contains_key(&incarnation) {
                    assert!(self.there.is_empty(), "{incarnation} is made beside {:?}", self.there);
                    self.signalled = false;
                    self.made.insert(incarnation);
                    self.there.insert(incarnation, (State::Created, None));
                }
            }
            Call::Start => match self.there.get_mut(&incarnation) {
                None => return Err(Error::NotFound("it is not there".to_owned())),
                Some((State::Exited, _)) => return Err(Error::conflict("it ended")),
                Some((state, _)) => *state = State::Running,
            },
            Call::Signal(HANG_UP) => return Ok(None),
            Call::Signal(signal) => {
                let Some(workload) = self.there.get_mut(&incarnation) else { return Ok(None) };
                match workload.0 {
                    State::Paused if *signal != Signal::KILL => self.signalled = true,
                    State::Running | State::Paused => *workload = killed(),
                    State::Created | State::Exited | State::Dead => {}
                }
                return Ok(None);
            }
            Call::Pause | Call::Unpause => {
                let Some(workload) = self.there.get_mut(&incarnation) else {
                    return Err(Error::NotFound("it is not there".to_owned()));
                };
                if !matches!(workload.0, State::Running | State::Paused) {
                    return Err(Error::conflict("it does not run"));
                }
                if *call == Call::Pause {
                    workload.0 = State::Paused;
                } else if workload.0 == State::Paused {
                    workload.0 = State::Running;
                    if std::mem::take(&mut self.signalled) {
                        *workload = killed();
                    }
                }
                return Ok(None);
            }
            Call::Remove(incarnation) => {
                self.there.remove(incarnation);
                return Ok(None);
            }
            Call::Expunge => {
                self.there.clear();
                return Ok(None);
            }
        }
        Ok(self.status(incarnation))
    }

    fn begin(&mut self) {
        if self.call.is_some() || self.forgotten {
            return;
        }
        match self.with(advance) {
            Step::Call(call) => self.call = Some(call),
            Step::Forget => self.forgotten = true,
            Step::Rest | Step::WaitUntil(_) | Step::AwaitBackend | Step::AwaitReaders => {}
        }
    }

    fn finish(&mut self, answer: Answer) {
        let Some(call) = self.call.take() else { return };
        let outcome = match answer {
            Answer::Good => Outcome::Answer(self.carry_out(&call)),
            Answer::Lost => {
                let _ = self.carry_out(&call);
                Outcome::Answer(Err(Error::unavailable("lost")))
            }
            Answer::Undone => Outcome::Answer(Err(Error::unavailable("away"))),
            // A removal or a signal that comes late is a removal or a signal; a create is an orphan's matter.
            Answer::Late if call == Call::Create && self.session.record.desired != Desired::Running => Outcome::GivenUp,
            Answer::Late => Outcome::Answer(Err(Error::unavailable("late"))),
        };
        self.with(|session, context| settle(session, &call, outcome, context));
    }

    /// A sweep with a listing: it knows what is there and what is not.
    fn sweep(&mut self) {
        if self.call.is_some() || self.forgotten || !is_live(self.session.record.state) {
            return;
        }
        match self.status(self.session.record.incarnation) {
            Some(status) => self.with(|session, context| observed(session, &status, context)),
            None => self.with(vanished),
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Begin => self.begin(),
            Event::Finish(answer) => self.finish(answer),
            Event::Sweep => self.sweep(),
            Event::End(exit) => {
                for workload in self.there.values_mut().filter(|workload| workload.0 == State::Running) {
                    *workload = (State::Exited, Some(exit.map(code).unwrap_or_default()));
                }
            }
            Event::Vanish => self.there.clear(),
            Event::Start if !self.forgotten => _ = start(&mut self.session, BackendHealth::Healthy, None),
            Event::Stop if !self.forgotten => {
                _ = self.with(|session, context| stop(session, Some(Duration::from_secs(30)), context));
            }
            Event::Remove(force) if !self.forgotten => _ = remove(&mut self.session, force),
            Event::Kill(signal) if !self.forgotten => {
                _ = self.with(|session, context| kill(session, signal, context));
            }
            Event::Restart if !self.forgotten => {
                let health = (BackendHealth::Healthy, None);
                _ = self.with(|session, context| restart(session, Some(Duration::from_secs(30)), health, context));
            }
            Event::Freeze(paused) if !self.forgotten => _ = freeze(&mut self.session, paused),
            Event::Start | Event::Stop | Event::Remove(_) | Event::Kill(_) | Event::Restart | Event::Freeze(_) => {}
            Event::Crash => {
                self.call = None;
                self.session.marks = Marks::default();
            }
            Event::Later(seconds) => self.now += seconds,
        }
        self.session.events.clear();
    }

    /// Nothing goes wrong any more, and nobody asks for anything.
    fn come_to_rest(&mut self) {
        for _ in 0..60 {
            self.finish(Answer::Good);
            self.sweep();
            self.begin();
            self.now += 400;
        }
        self.session.events.clear();
    }
}

proptest! {
    #[test]
    fn whatever_happens_it_ends_as_it_is_wanted(
        policy in policies(),
        auto_remove: bool,
        events in prop::collection::vec(events(), 0..60),
    ) {
        let mut world = World::new(policy, auto_remove);
        for event in events {
            world.happen(event);
            prop_assert!(world.there.len() <= 1, "two at once: {:?}", world.there);
        }
        world.come_to_rest();
        let (record, there) = (&world.session.record, &world.there);
        // Left is what runs, and what never could and was not asked to end.
        prop_assert!(!world.session.removes_itself() || world.forgotten, "still there: {:#?}", world.session);
        match record.desired {
            Desired::Removed => {
                prop_assert!(world.forgotten, "still there: {:#?}", world.session);
                prop_assert!(there.is_empty(), "something was forgotten: {:?}", there);
            }
            Desired::Stopped => {
                prop_assert!(record.state.is_final(), "{:#?}", world.session);
                let runs = |state| matches!(state, State::Running | State::Paused);
                prop_assert!(there.values().all(|workload| !runs(workload.0)), "it runs: {:?}", there);
                prop_assert_eq!(&world.session.intent, &None);
            }
            Desired::Running => {
                let over = record.state.is_final() && policy != RestartPolicy::Always;
                prop_assert!(record.state.runs() || over, "{:#?}", world.session);
                let is = |state| there.get(&record.incarnation).is_some_and(|workload| workload.0 == state);
                prop_assert_eq!(is(State::Running), record.state == SessionState::Running);
                prop_assert_eq!(is(State::Paused), record.state == SessionState::Paused);
                prop_assert_eq!(world.session.marks.freeze, None);
                prop_assert_eq!(&world.session.intent, &None);
            }
        }
    }
}
