//! Who may run guest code now: a permit for each core, shared fairly between backends.
//!
//! A call holds a permit exactly while its future is polled, which is while guest code runs, and gives it up when the
//! poll ends: when the guest yields, waits for a host call, or is done. That is a *turn*. Where no permit is free, the
//! call queues with the others of its backend, first come, first served. A guest that yields goes to the end of its
//! queue without its task being woken before it has a permit again: else each turn would end with threads of the
//! executor woken for nothing, and more of them awake than there are cores. Among backends, the one that used least time
//! is next (start-time fair queueing: `used` is a backend's virtual time, the largest start of a turn is the clock, and
//! a backend that was idle is behind the clock by a quantum at most). So a call of a backend that uses little waits for
//! the end of one turn, however many calls of others queue. One backend alone has all cores.
//!
//! What ends a turn, and so bounds the wait:
//! - fuel: a guest yields each time it burned an interval of it, wherever it runs;
//! - time: while somebody waits, the [`Ticker`](crate::ticker::Ticker) advances the epoch every half quantum, and a
//!   guest that has had its turn for half a quantum yields at the next loop or call. Fuel alone is no measure of time:
//!   a store to a page that was never touched costs one unit and a page fault;
//! - nothing of the sort ends one long operation: filling or copying a whole memory, a large argument or answer that
//!   the host copies, giving a large memory back. Limits on memory and sizes bound it, it is charged like any other
//!   time, so that whoever takes it waits for it later, and the other threads go on meanwhile.
//!
//! The executor has as many threads as there are permits ([`threads`]), and whoever ends a turn runs the next one on the
//! same thread: who comes next is decided here, by quanta, and not by the kernel, whose slices are longer by far. With
//! more threads than cores, a thread that holds a turn may stand in the kernel's queue for a tick.
//!
//! A permit that was handed to a task which does not run (its owner waits for another call first) is *overdue* after two
//! quanta: another one stands in for it, up to [`spare`] at a time, so no order of awaits can deadlock on permits.
//!
//! It owns no task and measures nothing but time: what a turn is for, it does not know.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// How many permits beyond its own a set of permits lends at most.
pub(crate) fn spare(permits: usize) -> usize {
    permits.min(4)
}

/// How many threads an executor has: one for each permit, and never one alone, which a guest could keep busy with one
/// long operation.
pub(crate) fn threads(permits: usize) -> usize {
    permits.max(2)
}

thread_local! {
    /// When the turn began that this thread is in.
    static TURN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Whether the turn that this thread is in has lasted as long as this.
pub(crate) fn turn_has_lasted(least: Duration) -> bool {
    TURN.get().is_some_and(|began| began.elapsed() >= least)
}

/// The permits of one runtime.
#[derive(Debug)]
pub(crate) struct Cpu {
    state: Mutex<State>,
    /// Where the ticker sleeps.
    tick: Condvar,
    quantum: Duration,
}

#[derive(Debug)]
struct State {
    /// Permits that nobody holds. While there is one, nobody waits.
    free: usize,
    /// Permits that stand in for overdue ones.
    lent: usize,
    spare: usize,
    clock: Duration,
    /// By how much a backend can be behind the clock.
    savings: Duration,
    backends: Vec<Option<Backend>>,
    turns: Vec<Turn>,
    /// Calls in all queues.
    waiting: usize,
    tickets: u64,
    /// The ticker is awake, or was told to be.
    ticking: bool,
    stopped: bool,
}

#[derive(Debug, Default)]
struct Backend {
    used: Duration,
    queue: VecDeque<(u64, Waker)>,
}

/// A permit in somebody's hand.
#[derive(Debug)]
struct Turn {
    ticket: u64,
    backend: usize,
    /// Since when; for one that was handed over and not yet taken, since it was handed over.
    since: Instant,
    /// Until when it was paid for.
    charged: Instant,
    taken: bool,
    overdue: bool,
}

impl Cpu {
    /// So many permits. A turn is to last at most the quantum.
    pub(crate) fn new(permits: usize, quantum: Duration) -> Self {
        let state = State {
            free: permits,
            lent: 0,
            spare: spare(permits),
            clock: Duration::ZERO,
            savings: quantum,
            backends: Vec::new(),
            turns: Vec::with_capacity(permits + spare(permits)),
            waiting: 0,
            tickets: 0,
            ticking: false,
            stopped: false,
        };
        Self { state: Mutex::new(state), tick: Condvar::new(), quantum }
    }

    /// A share for one more backend; it ends when the share is dropped.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        let mut state = self.state();
        let empty = state.backends.iter().position(Option::is_none);
        let index = empty.unwrap_or(state.backends.len());
        match state.backends.get_mut(index) {
            Some(slot) => *slot = Some(Backend::default()),
            None => state.backends.push(Some(Backend::default())),
        }
        Share { cpu: self.clone(), index }
    }

    /// Sleeps for half a quantum while somebody waits for a permit, and for as long as nobody does, before that. Then
    /// replaces the permits of overdue turns. `false`: it is over.
    pub(crate) fn tick(&self) -> bool {
        let mut state = self.state();
        while state.waiting == 0 && !state.stopped {
            state.ticking = false;
            state = self.tick.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !state.stopped {
            (state, _) = self.tick.wait_timeout(state, self.quantum / 2).unwrap_or_else(PoisonError::into_inner);
        }
        if state.stopped {
            return false;
        }
        let next = state.lend(Instant::now(), self.quantum * 2);
        drop(state);
        next.into_iter().for_each(Waker::wake);
        true
    }

    /// Ends the ticks.
    pub(crate) fn stop(&self) {
        self.state().stopped = true;
        self.tick.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes a permit, or a place in the queue.
    fn enter(&mut self, seat: &mut Seat<'_>, waker: &Waker, now: Instant) -> Entered {
        let (ticket, index) = (seat.ticket, seat.share.index);
        if seat.waits {
            if let Some(turn) = self.turns.iter_mut().find(|turn| turn.ticket == ticket) {
                (turn.since, turn.charged, turn.taken) = (now, now, true);
                seat.waits = false;
                return Entered::Turn;
            }
            let queue = self.backends.get_mut(index).and_then(Option::as_mut).map(|backend| &mut backend.queue);
            let place = queue.into_iter().flatten().find(|(waiting, _)| *waiting == ticket);
            let old = place.map(|(_, old)| std::mem::replace(old, waker.clone()));
            return Entered::Queue { old };
        }
        if ticket == 0 {
            self.tickets += 1;
            seat.ticket = self.tickets;
        }
        if self.free > 0 {
            self.begin(index, seat.ticket, now, true);
            return Entered::Turn;
        }
        self.queue(seat, waker.clone());
        Entered::Queue { old: None }
    }

    /// Takes a place at the end of its backend's queue.
    fn queue(&mut self, seat: &mut Seat<'_>, task: Waker) {
        if let Some(Some(backend)) = self.backends.get_mut(seat.share.index) {
            backend.queue.push_back((seat.ticket, task));
            self.waiting += 1;
            seat.waits = true;
        }
    }

    /// Whether somebody waits while the ticker sleeps. It was told then.
    fn wakes_ticker(&mut self) -> bool {
        self.waiting > 0 && !std::mem::replace(&mut self.ticking, true)
    }

    fn begin(&mut self, index: usize, ticket: u64, now: Instant, taken: bool) {
        if let Some(Some(backend)) = self.backends.get_mut(index) {
            backend.used = backend.used.max(self.clock.saturating_sub(self.savings));
            self.clock = self.clock.max(backend.used);
        }
        self.free -= 1;
        self.turns.push(Turn { ticket, backend: index, since: now, charged: now, taken, overdue: false });
    }

    /// Ends a turn, and says who is next.
    fn leave(&mut self, ticket: u64, now: Instant) -> Option<Waker> {
        self.end(ticket, now);
        self.next(now)
    }

    /// Ends a turn, whether it was taken or not.
    fn end(&mut self, ticket: u64, now: Instant) {
        let Some(at) = self.turns.iter().position(|turn| turn.ticket == ticket) else { return };
        let turn = self.turns.swap_remove(at);
        if turn.taken {
            self.charge(turn.backend, now.saturating_duration_since(turn.charged));
        }
        // The permit of an overdue turn was lent already.
        if turn.overdue {
            self.lent -= 1;
        } else {
            self.free += 1;
        }
    }

    /// Gives up a place in the queue.
    fn withdraw(&mut self, index: usize, ticket: u64) -> Option<Waker> {
        let backend = self.backends.get_mut(index).and_then(Option::as_mut)?;
        let at = backend.queue.iter().position(|(waiting, _)| *waiting == ticket)?;
        self.waiting -= 1;
        backend.queue.remove(at).map(|(_, waker)| waker)
    }

    fn charge(&mut self, index: usize, time: Duration) {
        if let Some(Some(backend)) = self.backends.get_mut(index) {
            backend.used += time;
        }
    }

    /// Hands a free permit to whoever waits and used least.
    fn next(&mut self, now: Instant) -> Option<Waker> {
        if self.free == 0 || self.waiting == 0 {
            return None;
        }
        let waiting = self.backends.iter_mut().enumerate().filter_map(|(index, slot)| {
            slot.as_mut().filter(|backend| !backend.queue.is_empty()).map(|backend| (index, backend))
        });
        let (index, backend) = waiting.min_by_key(|(_, backend)| (backend.used, backend.queue.len()))?;
        let (ticket, waker) = backend.queue.pop_front()?;
        self.waiting -= 1;
        self.begin(index, ticket, now, false);
        Some(waker)
    }

    /// Charges what runs, and replaces what was handed over so long ago and not yet taken while others wait.
    fn lend(&mut self, now: Instant, most: Duration) -> Vec<Waker> {
        let mut next = Vec::new();
        for at in 0..self.turns.len() {
            let Some(turn) = self.turns.get_mut(at) else { break };
            let (backend, time) = (turn.backend, now.saturating_duration_since(turn.charged));
            turn.charged = turn.charged.max(now);
            let overdue = !turn.taken && !turn.overdue && now.saturating_duration_since(turn.since) >= most;
            if turn.taken {
                self.charge(backend, time);
            }
            if overdue && self.waiting > 0 && self.lent < self.spare {
                if let Some(turn) = self.turns.get_mut(at) {
                    turn.overdue = true;
                }
                self.lent += 1;
                self.free += 1;
                next.extend(self.next(now));
            }
        }
        next
    }
}

/// A backend's share of the cores.
#[derive(Debug)]
pub(crate) struct Share {
    cpu: Arc<Cpu>,
    index: usize,
}

impl Share {
    /// Runs a future in turns. Dropping it gives up whatever it holds. `None`: a turn came that began after `until`.
    pub(crate) async fn run<F: Future>(&self, until: Option<Instant>, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut seat = self.seat();
        let relay = Arc::new(Relay::default());
        let relayed = Waker::from(relay.clone());
        poll_fn(|context| match seat.turn(context.waker()) {
            Some(turn) if until.is_some_and(|until| turn.began > until) => Poll::Ready(None),
            Some(mut turn) => {
                relay.begin(context.waker());
                let polled = future.as_mut().poll(&mut Context::from_waker(&relayed));
                if relay.end() && polled.is_pending() {
                    turn.again = Some(context.waker().clone());
                }
                polled.map(Some)
            }
            None => Poll::Pending,
        })
        .await
    }

    fn seat(&self) -> Seat<'_> {
        Seat { share: self, ticket: 0, waits: false }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(slot) = self.cpu.state().backends.get_mut(self.index) {
            *slot = None;
        }
    }
}

/// What a poll met with.
enum Entered {
    Turn,
    /// No permit is free. A waker that stood in the queue before is given back, since what its end runs must not run
    /// under the lock.
    Queue {
        old: Option<Waker>,
    },
}

/// A call's place, from its first poll to its end.
struct Seat<'a> {
    share: &'a Share,
    /// 0 before the first poll.
    ticket: u64,
    /// In the queue, or handed a permit that was not taken yet.
    waits: bool,
}

impl<'s> Seat<'s> {
    /// A turn, if there is one now. If not, the waker is woken when there is.
    fn turn<'a>(&'a mut self, waker: &Waker) -> Option<InTurn<'a, 's>> {
        let cpu = &self.share.cpu;
        let now = Instant::now();
        let mut state = cpu.state();
        match state.enter(self, waker, now) {
            Entered::Turn => {
                drop(state);
                let outer = TURN.replace(Some(now));
                Some(InTurn { seat: self, began: now, outer, again: None })
            }
            Entered::Queue { old } => {
                let asleep = state.wakes_ticker();
                drop(state);
                drop(old);
                if asleep {
                    cpu.tick.notify_all();
                }
                None
            }
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if !self.waits {
            return;
        }
        let mut state = self.share.cpu.state();
        let own = state.withdraw(self.share.index, self.ticket);
        // Not in the queue any more: it was handed a permit meanwhile, and hands it on.
        let next = if own.is_none() { state.leave(self.ticket, Instant::now()) } else { None };
        drop(state);
        drop(own);
        next.into_iter().for_each(Waker::wake);
    }
}

/// A permit. Ends with the poll, however that ends.
struct InTurn<'a, 's> {
    seat: &'a mut Seat<'s>,
    began: Instant,
    outer: Option<Instant>,
    /// The task of a guest that yielded, and queues for another turn.
    again: Option<Waker>,
}

impl Drop for InTurn<'_, '_> {
    fn drop(&mut self) {
        TURN.set(self.outer);
        let cpu = &self.seat.share.cpu;
        let now = Instant::now();
        let mut state = cpu.state();
        state.end(self.seat.ticket, now);
        if let Some(task) = self.again.take() {
            state.queue(self.seat, task);
        }
        let next = state.next(now);
        let asleep = state.wakes_ticker();
        drop(state);
        if asleep {
            cpu.tick.notify_all();
        }
        next.into_iter().for_each(Waker::wake);
    }
}

/// What a call's future wakes: in a turn this is how a guest yields, and said when the turn ends; at any other time it
/// is an answer of the host that the guest waits for, and the call's task is woken.
#[derive(Default)]
struct Relay(Mutex<Relayed>);

#[derive(Default)]
struct Relayed {
    in_turn: bool,
    woken: bool,
    task: Option<Waker>,
}

impl Relay {
    fn begin(&self, task: &Waker) {
        let mut relayed = self.lock();
        (relayed.in_turn, relayed.woken) = (true, false);
        if !relayed.task.as_ref().is_some_and(|known| known.will_wake(task)) {
            relayed.task = Some(task.clone());
        }
    }

    /// Says whether it was woken since the turn began.
    fn end(&self) -> bool {
        let mut relayed = self.lock();
        relayed.in_turn = false;
        relayed.woken
    }

    fn lock(&self) -> MutexGuard<'_, Relayed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut relayed = self.lock();
        relayed.woken = true;
        let task = if relayed.in_turn { None } else { relayed.task.clone() };
        drop(relayed);
        task.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests;
