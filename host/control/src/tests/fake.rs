//! A backend in memory that can be told to fail in every way there is. It outlives the daemon, as an engine does.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::pending;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use seawall_backend::{Error, ExecEvent, Execution, ExecutionBackend, Info, Interface, LogStream, Wake, Wakes};
use seawall_model::{
    CheckResult, CommandEnd, Endpoint, ExecOptions, Exit, Found, Health, Incarnation, Inspection, Key, LogOptions,
    Measurement, Page, Report, SessionId, SessionName, SessionSpec, Signal, State, Status, Timestamp, Usage, Workload,
};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

/// What goes wrong with a call.
#[derive(Clone, Debug)]
pub(super) enum Chaos {
    /// It answers so, and does nothing.
    Error(Error),
    /// It does what was asked, and says that it could not be reached.
    LoseAnswer,
    /// It never answers, and does nothing.
    Hang,
    /// It answers late.
    Slow(Duration),
    /// It panics.
    Panic,
    /// `inspect` and `list`: there is nothing.
    Empty,
    /// `list`: an error after the first page.
    Partial,
    /// `list`: so many pages of workloads that nobody made, each with a handle of so many bytes, and what is there on the
    /// last. What is removed comes back under another name.
    Invent { pages: usize, a_page: usize, handle: usize },
    /// One of: an error, a lost answer, a late one; mostly none of them.
    Some,
    /// `watch`: this, as fast as it is heard.
    Flood(Wake),
}

/// When, at a call, the daemon is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Before the call has done anything.
    Before,
    /// After it has done everything and before it answers.
    After,
}

#[derive(Clone, Debug)]
struct Made {
    state: State,
    exit: Option<Exit>,
    health: Health,
    started: Option<Instant>,
    /// It ends by itself so long after its start.
    ends: Option<(Duration, Exit)>,
    ignores_term: bool,
    /// Was sent while it was paused.
    pending: Option<Signal>,
    says_started_at: Option<Timestamp>,
}

#[derive(Default)]
struct World {
    made: BTreeMap<(SessionId, Incarnation), Made>,
    /// Every workload that was ever made, in order.
    history: Vec<(SessionId, Incarnation)>,
    /// Those that went as if by `docker rm`: they may be made again.
    vanished: Vec<(SessionId, Incarnation)>,
    /// Every call that was answered, by function.
    calls: HashMap<&'static str, usize>,
    signals: Vec<(Instant, Signal)>,
    always: HashMap<&'static str, Chaos>,
    once: HashMap<&'static str, VecDeque<Chaos>>,
    next: Plans,
    /// How commands end, where it is not with 0.
    ends: HashMap<SessionId, CommandEnd>,
    /// Every command that was run, with the incarnation that it ran in.
    commands: Vec<(SessionId, Incarnation, String)>,
    /// Commands that run now, and the most that ever did at one time.
    running: (usize, usize),
    changes: usize,
    /// What `create` was ever asked for.
    asked: Vec<(SessionId, Incarnation)>,
    /// Of these, those that landed after their time: they may be there beside another.
    landed: Vec<(SessionId, Incarnation)>,
    /// Where chaos has its numbers from; absent: from anywhere.
    dice: Option<StdRng>,
    kill_at: Option<(usize, When)>,
    /// The host can remove workloads without it.
    expungeable: bool,
    /// Whoever watches: gone when they do no longer.
    watching: Vec<UnboundedSender<io::Result<Wake>>>,
    /// What must never be: two workloads of one session at once, one made twice.
    violations: Vec<String>,
}

/// What becomes of workloads that are made from now on.
#[derive(Clone, Default)]
pub(super) struct Plans {
    pub(super) ends: Option<(Duration, Exit)>,
    pub(super) ignores_term: bool,
    /// When it says that it was started.
    pub(super) started_at: Option<Timestamp>,
}

pub(super) struct Fake {
    info: Info,
    world: Mutex<World>,
    /// The instant of [`Fake::kill_daemon_at`] has come.
    pub(super) killed: Notify,
}

impl Fake {
    pub(super) fn new() -> Arc<Self> {
        Self::with(&[Interface::Exec])
    }

    /// One that exports these optional interfaces.
    pub(super) fn with(interfaces: &[Interface]) -> Arc<Self> {
        let info = Info {
            name: "fake".to_owned(),
            version: "0.0.0".to_owned(),
            description: "for tests".to_owned(),
            config_schema: String::new(),
            options_schema: String::new(),
            interfaces: interfaces.to_vec(),
        };
        Arc::new(Self { info, world: Mutex::default(), killed: Notify::new() })
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, every call of `function` goes so.
    pub(super) fn always(&self, function: &'static str, chaos: Chaos) {
        self.world().always.insert(function, chaos);
    }

    /// The next call of `function` goes so.
    pub(super) fn once(&self, function: &'static str, chaos: Chaos) {
        self.world().once.entry(function).or_default().push_back(chaos);
    }

    /// What goes wrong by chance follows from this number.
    pub(super) fn dice(&self, seed: u64) {
        self.world().dice = Some(StdRng::seed_from_u64(seed));
    }

    fn throw(&self, range: Range<u64>) -> u64 {
        match &mut self.world().dice {
            Some(dice) => dice.random_range(range),
            None => rand::random_range(range),
        }
    }

    /// Nothing goes wrong any more.
    pub(super) fn calm(&self) {
        let mut world = self.world();
        world.always.clear();
        world.once.clear();
        world.kill_at = None;
    }

    pub(super) fn plan(&self, plans: Plans) {
        self.world().next = plans;
    }

    /// Answers never come from the `nth` changing call on (from 0), and [`Fake::killed`] is told.
    pub(super) fn kill_daemon_at(&self, nth: usize, when: When) {
        let mut world = self.world();
        world.changes = 0;
        world.kill_at = Some((nth, when));
    }

    /// From now on the host can remove its workloads without it.
    pub(super) fn let_expunge(&self) {
        self.world().expungeable = true;
    }

    /// It ends as if by itself.
    pub(super) fn end(&self, session: &SessionId, exit: Exit) {
        for (_, made) in self.world().made.iter_mut().filter(|((id, _), _)| id == session) {
            made.state = State::Exited;
            made.exit = Some(exit.clone());
        }
    }

    /// It is gone, as if by `docker rm -f`.
    pub(super) fn vanish(&self, session: &SessionId) {
        let mut world = self.world();
        let gone: Vec<_> = world.made.keys().filter(|(id, _)| id == session).cloned().collect();
        world.made.retain(|(id, _), _| id != session);
        world.vanished.extend(gone);
    }

    pub(super) fn set_health(&self, session: &SessionId, health: Health) {
        self.world().made.iter_mut().filter(|((id, _), _)| id == session).for_each(|(_, made)| made.health = health);
    }

    /// From now on, commands in it end so.
    pub(super) fn set_commands(&self, session: &SessionId, end: CommandEnd) {
        self.world().ends.insert(session.clone(), end);
    }

    /// The commands that were run in a session, each with its incarnation.
    pub(super) fn commands(&self, session: &SessionId) -> Vec<(Incarnation, String)> {
        let world = self.world();
        let theirs = world.commands.iter().filter(|(id, ..)| id == session);
        theirs.map(|(_, incarnation, command)| (*incarnation, command.clone())).collect()
    }

    /// The most commands that ever ran at one time.
    pub(super) fn most_commands(&self) -> usize {
        self.world().running.1
    }

    /// Puts a running workload there that nobody asked for.
    pub(super) fn plant(&self, session: &SessionId, incarnation: Incarnation) {
        let made = Made {
            state: State::Running,
            exit: None,
            health: Health::Healthy,
            started: Some(Instant::now()),
            ends: None,
            ignores_term: false,
            pending: None,
            says_started_at: None,
        };
        self.world().made.insert((session.clone(), incarnation), made);
    }

    /// What was to be made and is not there.
    pub(super) fn asked_and_not_there(&self) -> Vec<(SessionId, Incarnation)> {
        let world = self.world();
        world.asked.iter().filter(|place| !world.made.contains_key(place)).cloned().collect()
    }

    /// A create that was cut off is carried out after all.
    pub(super) fn land_late(&self, session: &SessionId, incarnation: Incarnation) {
        let mut world = self.world();
        let place = (session.clone(), incarnation);
        world.landed.push(place.clone());
        world.make(place);
    }

    /// The incarnations of a session that are there.
    pub(super) fn there(&self, session: &SessionId) -> Vec<Incarnation> {
        self.world().made.keys().filter(|(id, _)| id == session).map(|(_, incarnation)| *incarnation).collect()
    }

    /// The incarnations of a session that were ever made.
    pub(super) fn ever(&self, session: &SessionId) -> Vec<Incarnation> {
        self.world().history.iter().filter(|(id, _)| id == session).map(|(_, incarnation)| *incarnation).collect()
    }

    pub(super) fn count(&self) -> usize {
        self.world().made.len()
    }

    /// How many watch.
    pub(super) fn watchers(&self) -> usize {
        let mut world = self.world();
        world.watching.retain(|watcher| !watcher.is_closed());
        world.watching.len()
    }

    /// Says to whoever watches that something may have changed.
    pub(super) fn wake(&self, wake: &Wake) {
        self.world().watching.iter().for_each(|watcher| _ = watcher.send(Ok(wake.clone())));
    }

    /// Its watches break.
    pub(super) fn break_watches(&self, why: &str) {
        for watcher in self.world().watching.drain(..) {
            let _ = watcher.send(Err(io::Error::other(why.to_owned())));
        }
    }

    /// Its watches end without a word.
    pub(super) fn end_watches(&self) {
        self.world().watching.clear();
    }

    pub(super) fn calls(&self, function: &'static str) -> usize {
        self.world().calls.get(function).copied().unwrap_or_default()
    }

    pub(super) fn signals(&self) -> Vec<(Instant, Signal)> {
        self.world().signals.clone()
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.world().violations.clone()
    }

    /// Lets chaos have its way with a call; what is left for the call itself to do comes back.
    async fn enter(&self, function: &'static str) -> Result<Option<Chaos>, Error> {
        let chaos = {
            let mut world = self.world();
            *world.calls.entry(function).or_default() += 1;
            let once = world.once.get_mut(function).and_then(VecDeque::pop_front);
            once.or_else(|| world.always.get(function).cloned())
        };
        match chaos {
            Some(Chaos::Error(error)) => Err(error),
            Some(Chaos::Hang) => pending().await,
            Some(Chaos::Panic) => panic!("the test says so"),
            Some(Chaos::Some) => match self.throw(0..10) {
                0 => Err(Error::unavailable("chaos")),
                1 => Ok(Some(Chaos::LoseAnswer)),
                // Looks first, answers late: the answer is old when it comes.
                2 | 3 => Ok(Some(Chaos::Slow(Duration::from_millis(self.throw(1..10))))),
                _ => Ok(None),
            },
            other => Ok(other),
        }
    }

    async fn leave(chaos: Option<Chaos>) -> Result<(), Error> {
        match chaos {
            Some(Chaos::LoseAnswer) => Err(Error::unavailable("the answer was lost")),
            Some(Chaos::Slow(time)) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn freeze(&self, function: &'static str, key: &Key, frozen: bool) -> Result<(), Error> {
        self.change(function, |world| {
            let made = world.made.get_mut(&(key.session.clone(), key.incarnation));
            made.ok_or_else(|| Error::NotFound("no such workload".to_owned()))?.freeze(frozen)
        })
        .await
    }

    /// It is frozen, or not, as if by `docker pause`.
    pub(super) fn freeze_by_hand(&self, session: &SessionId, frozen: bool) {
        let mut world = self.world();
        let of = world.made.iter_mut().filter(|((id, _), _)| id == session);
        of.for_each(|(_, made)| made.freeze(frozen).unwrap());
    }

    /// A call that changes something.
    async fn change<T>(
        &self,
        function: &'static str,
        change: impl FnOnce(&mut World) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let chaos = self.enter(function).await?;
        let nth = {
            let mut world = self.world();
            world.changes += 1;
            world.changes - 1
        };
        let fatal = |when| self.world().kill_at.is_some_and(|(at, kill)| nth > at || (nth == at && kill == when));
        if fatal(When::Before) {
            self.killed.notify_one();
            return pending().await;
        }
        let result = change(&mut self.world());
        if fatal(When::After) {
            self.killed.notify_one();
            return pending().await;
        }
        Self::leave(chaos).await?;
        result
    }
}

impl World {
    fn make(&mut self, place: (SessionId, Incarnation)) {
        let Plans { ends, ignores_term, started_at: says_started_at } = self.next.clone();
        let (state, health, exit, started) = (State::Created, Health::Healthy, None, None);
        let made = Made { state, exit, health, started, ends, ignores_term, pending: None, says_started_at };
        self.made.insert(place, made);
    }
}

impl Made {
    fn age(&mut self) {
        if let (State::Running, Some(started), Some((after, exit))) = (self.state, self.started, &self.ends)
            && started.elapsed() >= *after
        {
            self.state = State::Exited;
            self.exit = Some(exit.clone());
        }
    }

    /// As the kernel does it: what is frozen gets its signals once it runs on, KILL apart.
    fn signal(&mut self, signal: Signal) {
        if self.state == State::Paused && signal != Signal::KILL {
            self.pending = Some(signal);
        } else if matches!(self.state, State::Running | State::Paused)
            && signal != Signal::HUP
            && (signal == Signal::KILL || !self.ignores_term)
        {
            self.state = State::Exited;
            self.exit = Some(Exit { signal: Some(signal.number()), ..Exit::default() });
        }
    }

    fn freeze(&mut self, frozen: bool) -> Result<(), Error> {
        self.age();
        match (self.state, frozen) {
            (State::Running | State::Paused, true) => self.state = State::Paused,
            (State::Running | State::Paused, false) => {
                self.state = State::Running;
                if let Some(signal) = self.pending.take() {
                    self.signal(signal);
                }
            }
            _ => return Err(Error::conflict("it does not run")),
        }
        Ok(())
    }

    fn status(&mut self, key: (&SessionId, Incarnation)) -> Status {
        self.age();
        Status {
            state: self.state,
            health: if self.state == State::Running { self.health } else { Health::Unknown },
            exit: self.exit.clone(),
            created_at: None,
            started_at: self.started.and(self.says_started_at),
            handle: Some(format!("{}#{}", key.0, key.1).into_bytes()),
        }
    }
}

#[async_trait]
impl ExecutionBackend for Fake {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn check(&self) -> Result<Report, Error> {
        let chaos = self.enter("check").await?;
        Self::leave(chaos).await?;
        Ok(Report { version: "1".to_owned(), attributes: Vec::new() })
    }

    async fn create(&self, key: &Key, _name: &SessionName, _spec: &SessionSpec) -> Result<Status, Error> {
        self.world().asked.push((key.session.clone(), key.incarnation));
        self.change("create", |world| {
            let place = (key.session.clone(), key.incarnation);
            if !world.made.contains_key(&place) {
                if world.made.keys().any(|there| there.0 == key.session && !world.landed.contains(there)) {
                    world.violations.push(format!("{place:?} was made beside another incarnation"));
                }
                if world.history.contains(&place) && !world.vanished.contains(&place) {
                    world.violations.push(format!("{place:?} was made twice"));
                }
                world.history.push(place.clone());
                world.make(place.clone());
            }
            let made = world.made.get_mut(&place).unwrap();
            Ok(made.status((&key.session, key.incarnation)))
        })
        .await
    }

    async fn start(&self, key: &Key) -> Result<Status, Error> {
        self.change("start", |world| {
            let place = (key.session.clone(), key.incarnation);
            let made = world.made.get_mut(&place).ok_or_else(|| Error::NotFound("no such workload".to_owned()))?;
            made.age();
            if made.state.ended() {
                return Err(Error::conflict("it ended"));
            }
            if made.state == State::Created {
                made.state = State::Running;
                made.started = Some(Instant::now());
            }
            Ok(made.status((&key.session, key.incarnation)))
        })
        .await
    }

    async fn signal(&self, key: &Key, signal: Signal) -> Result<(), Error> {
        self.change("signal", |world| {
            world.signals.push((Instant::now(), signal));
            let place = (key.session.clone(), key.incarnation);
            if let Some(made) = world.made.get_mut(&place) {
                made.signal(signal);
            }
            Ok(())
        })
        .await
    }

    async fn remove(&self, key: &Key, force: bool) -> Result<(), Error> {
        self.change("remove", |world| {
            let place = (key.session.clone(), key.incarnation);
            let running = world.made.get(&place).is_some_and(|made| made.state == State::Running);
            if running && !force {
                return Err(Error::conflict("it runs"));
            }
            world.made.remove(&place);
            Ok(())
        })
        .await
    }

    fn can_expunge(&self) -> bool {
        self.world().expungeable
    }

    async fn expunge(&self, session: &SessionId) -> Result<Vec<Incarnation>, Error> {
        self.change("expunge", |world| {
            let of = |(id, incarnation): &(SessionId, Incarnation)| (id == session).then_some(*incarnation);
            let gone = world.made.keys().filter_map(of).collect();
            world.made.retain(|(id, _), _| id != session);
            Ok(gone)
        })
        .await
    }

    async fn logs(&self, _key: &Key, _options: &LogOptions) -> Result<LogStream, Error> {
        if !self.info.has(Interface::Logs) {
            return Err(Error::Unsupported("it keeps no logs".to_owned()));
        }
        Ok(Box::pin(futures_util::stream::empty()))
    }

    async fn inspect(&self, keys: &[Key]) -> Result<Inspection, Error> {
        assert!(keys.len() <= 1000, "more than the contract allows");
        let chaos = self.enter("inspect").await?;
        let empty = matches!(chaos, Some(Chaos::Empty));
        let found = {
            let mut world = self.world();
            let mut found = Vec::new();
            for (position, key) in keys.iter().enumerate().filter(|_| !empty) {
                if let Some(made) = world.made.get_mut(&(key.session.clone(), key.incarnation)) {
                    found.push(Found { position, status: made.status((&key.session, key.incarnation)) });
                }
            }
            found
        };
        Self::leave(chaos).await?;
        Ok(Inspection { found, unknown: Vec::new() })
    }

    async fn list(&self, cursor: Option<&str>) -> Result<Page, Error> {
        let chaos = self.enter("list").await?;
        if let Some(Chaos::Empty) = chaos {
            return Ok(Page::default());
        }
        if matches!(chaos, Some(Chaos::Partial)) && cursor.is_some() {
            return Err(Error::unavailable("gone in the middle of a listing"));
        }
        let mut workloads: Vec<Workload> = {
            let mut world = self.world();
            let workload = |((session, incarnation), made): (&(SessionId, Incarnation), &mut Made)| Workload {
                session: session.clone(),
                incarnation: *incarnation,
                status: made.status((session, *incarnation)),
            };
            world.made.iter_mut().map(workload).collect()
        };
        if let Some(Chaos::Invent { pages, a_page, handle }) = chaos {
            let from: usize = cursor.map_or(0, |cursor| cursor.parse().unwrap());
            if from < pages {
                let invented = (0..a_page).map(|_| Workload {
                    session: SessionId::random(),
                    incarnation: 1,
                    status: Status {
                        state: State::Running,
                        health: Health::Healthy,
                        exit: None,
                        created_at: None,
                        started_at: None,
                        handle: Some(vec![0; handle]),
                    },
                });
                return Ok(Page { workloads: invented.collect(), next: Some((from + 1).to_string()) });
            }
            return Ok(Page { workloads, next: None });
        }
        let partial = matches!(chaos, Some(Chaos::Partial));
        let size = if partial { 1 } else { 1000 };
        let from: usize = cursor.map_or(0, |cursor| cursor.parse().unwrap());
        let next = (partial || workloads.len() > from + size).then(|| (from + size).to_string());
        workloads = workloads.into_iter().skip(from).take(size).collect();
        Self::leave(chaos).await?;
        Ok(Page { workloads, next })
    }

    async fn exec(&self, key: &Key, options: &ExecOptions) -> Result<Execution, Error> {
        let _running = Running::begin(self);
        let chaos = self.enter("exec").await?;
        let end = {
            let mut world = self.world();
            world.commands.push((key.session.clone(), key.incarnation, options.command.join(" ")));
            world.ends.get(&key.session).copied().unwrap_or(CommandEnd::Code(0))
        };
        Self::leave(chaos).await?;
        Ok(Execution::deaf(Box::pin(futures_util::stream::once(async move { Ok(ExecEvent::Ended(end)) }))))
    }

    async fn pause(&self, key: &Key) -> Result<(), Error> {
        self.freeze("pause", key, true).await
    }

    async fn unpause(&self, key: &Key) -> Result<(), Error> {
        self.freeze("unpause", key, false).await
    }

    async fn stats(&self, keys: &[Key]) -> Result<Vec<Measurement>, Error> {
        let chaos = self.enter("stats").await?;
        let measured = {
            let world = self.world();
            let runs = |key: &Key| {
                let made = world.made.get(&(key.session.clone(), key.incarnation));
                made.is_some_and(|made| matches!(made.state, State::Running | State::Paused))
            };
            let running = keys.iter().enumerate().filter(|(_, key)| runs(key));
            let usage = |position: usize| Usage {
                at: Timestamp::from_millis(1),
                cpu_time: Some(position as u64),
                memory: None,
                memory_limit: None,
                processes: None,
                processes_limit: None,
                network: None,
                disk: None,
            };
            running.map(|(position, _)| Measurement { position, usage: usage(position) }).collect()
        };
        Self::leave(chaos).await?;
        Ok(measured)
    }

    async fn endpoints(&self, _key: &Key) -> Result<Vec<Endpoint>, Error> {
        self.enter("endpoints").await?;
        Ok(Vec::new())
    }

    async fn watch(&self) -> Result<Wakes, Error> {
        let chaos = self.enter("watch").await?;
        if let Some(Chaos::Flood(wake)) = chaos {
            return Ok(Box::pin(futures_util::stream::repeat_with(move || Ok(wake.clone()))));
        }
        let (watcher, wakes) = unbounded_channel();
        self.world().watching.push(watcher);
        Self::leave(chaos).await?;
        let next = |mut wakes: UnboundedReceiver<_>| async move { Some((wakes.recv().await?, wakes)) };
        Ok(Box::pin(futures_util::stream::unfold(wakes, next)))
    }

    async fn last_health_check(&self, _key: &Key) -> Result<Option<CheckResult>, Error> {
        self.enter("last_health_check").await?;
        Ok(Some(CheckResult { at: Timestamp::from_millis(1), code: Some(1), output: "it is ill".to_owned() }))
    }
}

/// A command that runs.
struct Running<'a>(&'a Fake);

impl<'a> Running<'a> {
    fn begin(fake: &'a Fake) -> Self {
        let (now, most) = &mut fake.world().running;
        *now += 1;
        *most = (*most).max(*now);
        Self(fake)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.world().running.0 -= 1;
    }
}
