//! Turns are taken and ended by hand, at times that are made up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake};

use super::*;

const QUANTUM: Duration = Duration::from_micros(200);

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A call whose polls are made by hand, at times that are made up.
struct Call<'a> {
    seat: Seat<'a>,
    woken: Arc<Woken>,
}

impl<'a> Call<'a> {
    fn of(share: &'a Share) -> Self {
        Self { seat: share.seat(), woken: Arc::default() }
    }

    /// Whether a turn begins.
    fn poll(&mut self, now: Instant) -> bool {
        let mut state = self.seat.share.cpu.state();
        let entered = state.enter(&mut self.seat, &Waker::from(self.woken.clone()), now);
        drop(state);
        matches!(entered, Entered::Turn)
    }

    /// Ends the turn.
    fn end(&self, now: Instant) {
        let next = self.seat.share.cpu.state().leave(self.seat.ticket, now);
        next.into_iter().for_each(Waker::wake);
    }

    fn woken(&self) -> usize {
        self.woken.0.load(Ordering::Relaxed)
    }
}

fn cpu(permits: usize) -> Arc<Cpu> {
    Arc::new(Cpu::new(permits, QUANTUM))
}

/// Every permit is free, held, or stands in for an overdue one; and while one is free, nobody waits.
fn assert_no_permit_is_lost(cpu: &Cpu, permits: usize) {
    let state = cpu.state();
    assert_eq!(state.free + state.turns.len(), permits + state.lent);
    assert_eq!(state.lent, state.turns.iter().filter(|turn| turn.overdue).count());
    assert_eq!(state.waiting, state.backends.iter().flatten().map(|backend| backend.queue.len()).sum::<usize>());
    assert!(state.free == 0 || state.waiting == 0);
}

#[test]
fn one_backend_alone_has_every_permit() {
    let (cpu, now) = (cpu(2), Instant::now());
    let share = cpu.share();
    let mut calls = [Call::of(&share), Call::of(&share), Call::of(&share)];
    assert_eq!(calls.each_mut().map(|call| call.poll(now)), [true, true, false]);
}

#[test]
fn within_a_backend_the_first_come_is_the_first_served() {
    let (cpu, now) = (cpu(1), Instant::now());
    let share = cpu.share();
    let mut running = Call::of(&share);
    assert!(running.poll(now));
    let mut queue: Vec<Call<'_>> = (0..5).map(|_| Call::of(&share)).collect();
    assert!(!queue.iter_mut().any(|call| call.poll(now)));
    for at in 0..queue.len() {
        running.end(now);
        let woken: Vec<usize> = queue.iter().map(Call::woken).collect();
        assert_eq!(woken, (0..5).map(|other| usize::from(other <= at)).collect::<Vec<_>>(), "one at a time");
        running = std::mem::replace(&mut queue[at], Call::of(&share));
        assert!(running.poll(now));
        queue[at].woken.0.store(1, Ordering::Relaxed);
    }
}

#[test]
fn a_neighbour_waits_for_the_end_of_one_turn_however_many_calls_others_queue() {
    let (cpu, mut now) = (cpu(1), Instant::now());
    let (spinning, hogging, neighbour) = (cpu.share(), cpu.share(), cpu.share());
    let mut others: Vec<Call<'_>> = (0..20).flat_map(|_| [Call::of(&spinning), Call::of(&hogging)]).collect();
    let mut running = 0;
    assert!(others[0].poll(now));
    assert!(!others[1..].iter_mut().any(|call| call.poll(now)));
    for _ in 0..100 {
        now += QUANTUM;
        let mut mine = Call::of(&neighbour);
        assert!(!mine.poll(now));
        others[running].end(now);
        assert!(mine.woken() == 1 && mine.poll(now));
        assert!(!others[running].poll(now), "back to the queue");
        now += QUANTUM / 20;
        mine.end(now);
        running = (0..others.len()).find(|at| others[*at].poll(now)).unwrap();
    }
}

#[test]
fn twenty_callers_get_no_more_time_than_one() {
    for permits in [1, 2] {
        let (cpu, mut now) = (cpu(permits), Instant::now());
        let (crowd, one) = (cpu.share(), cpu.share());
        let mut calls: Vec<Call<'_>> = (0..20).map(|_| Call::of(&crowd)).collect();
        calls.extend([Call::of(&one), Call::of(&one)]);
        let (mut running, mut time) = (vec![false; calls.len()], [0u32; 2]);
        for _ in 0..1000 {
            for at in 0..calls.len() {
                running[at] = running[at] || calls[at].poll(now);
            }
            // A turn of the one's is five times as long as those of the crowd.
            now += QUANTUM;
            for at in (0..calls.len()).filter(|at| running[*at]).collect::<Vec<_>>() {
                time[usize::from(at >= 20)] += 1;
                let keeps = at >= 20 && time[1] % 5 != 0;
                if !keeps {
                    calls[at].end(now);
                    running[at] = false;
                }
            }
        }
        assert!(time[0].abs_diff(time[1]) <= 10, "{permits} permits: {time:?}");
    }
}

#[test]
fn who_was_idle_has_saved_no_more_than_a_quantum() {
    let (cpu, mut now) = (cpu(1), Instant::now());
    let (busy, late) = (cpu.share(), cpu.share());
    let mut alone = Call::of(&busy);
    for _ in 0..1000 {
        assert!(alone.poll(now));
        now += QUANTUM;
        alone.end(now);
    }
    let mut calls = [Call::of(&busy), Call::of(&busy), Call::of(&late), Call::of(&late)];
    let (mut turns, mut running) = ([0u32; 2], None);
    for _ in 0..100 {
        for (at, call) in calls.iter_mut().enumerate() {
            if running != Some(at) && call.poll(now) {
                running = Some(at);
            }
        }
        now += QUANTUM;
        let at = running.take().unwrap();
        turns[at / 2] += 1;
        calls[at].end(now);
    }
    assert!(turns[1].abs_diff(50) <= 1, "{turns:?}");
}

#[test]
fn a_cancelled_call_hands_on_what_it_was_handed() {
    let (cpu, now) = (cpu(1), Instant::now());
    let share = cpu.share();
    let (mut running, mut second, mut third) = (Call::of(&share), Call::of(&share), Call::of(&share));
    assert!(running.poll(now) && !second.poll(now) && !third.poll(now));
    running.end(now);
    assert_eq!((second.woken(), third.woken()), (1, 0));
    drop(second);
    assert!(third.woken() == 1 && third.poll(now));
    third.end(now);
    assert_no_permit_is_lost(&cpu, 1);
    assert_eq!(cpu.state().free, 1);
}

#[test]
fn a_call_cancelled_in_the_queue_is_passed_over() {
    let (cpu, now) = (cpu(1), Instant::now());
    let share = cpu.share();
    let (mut running, mut second, mut third) = (Call::of(&share), Call::of(&share), Call::of(&share));
    assert!(running.poll(now) && !second.poll(now) && !third.poll(now));
    drop(second);
    running.end(now);
    assert!(third.woken() == 1 && third.poll(now));
    assert_no_permit_is_lost(&cpu, 1);
}

#[test]
fn the_last_waker_of_a_call_is_the_one_that_is_woken() {
    let (cpu, now) = (cpu(1), Instant::now());
    let share = cpu.share();
    let (mut running, mut waiting) = (Call::of(&share), Call::of(&share));
    assert!(running.poll(now) && !waiting.poll(now));
    let first = std::mem::take(&mut waiting.woken);
    assert!(!waiting.poll(now));
    running.end(now);
    assert_eq!((first.0.load(Ordering::Relaxed), waiting.woken()), (0, 1));
}

#[test]
fn a_turn_that_lasts_is_charged_while_it_lasts() {
    let (cpu, now) = (cpu(3), Instant::now());
    let (slow, neighbour) = (cpu.share(), cpu.share());
    let (mut long, mut longer, mut short) = (Call::of(&slow), Call::of(&slow), Call::of(&neighbour));
    assert!(long.poll(now) && longer.poll(now) && short.poll(now));
    let (mut other, mut mine) = (Call::of(&slow), Call::of(&neighbour));
    assert!(!other.poll(now) && !mine.poll(now));
    let late = now + QUANTUM * 10;
    assert!(cpu.state().lend(late, QUANTUM * 2).is_empty(), "their threads are busy: a permit more is no thread more");
    short.end(late);
    assert_eq!((other.woken(), mine.woken()), (0, 1), "the two of the other took more");
    assert_no_permit_is_lost(&cpu, 3);
}

#[test]
fn a_permit_handed_to_a_call_that_nobody_polls_is_lent() {
    let (cpu, now) = (cpu(1), Instant::now());
    let share = cpu.share();
    let (mut running, mut asleep, mut awake) = (Call::of(&share), Call::of(&share), Call::of(&share));
    assert!(running.poll(now) && !asleep.poll(now) && !awake.poll(now));
    running.end(now);
    assert_eq!((asleep.woken(), awake.woken()), (1, 0));
    let lend = |now| cpu.state().lend(now, QUANTUM * 2).into_iter().for_each(Waker::wake);
    lend(now + QUANTUM);
    assert_eq!(awake.woken(), 0, "not yet overdue");
    let late = now + QUANTUM * 2;
    lend(late);
    assert!(awake.woken() == 1 && awake.poll(late));
    let mut last = Call::of(&share);
    assert!(!last.poll(late));
    lend(late + QUANTUM * 2);
    assert_eq!(last.woken(), 0, "no more is lent than there is to spare");
    assert_no_permit_is_lost(&cpu, 1);
    assert!(asleep.poll(late));
    asleep.end(late);
    assert_eq!(last.woken(), 0, "its permit was lent already");
    awake.end(late);
    assert!(last.woken() == 1 && last.poll(late));
    last.end(late);
    assert_no_permit_is_lost(&cpu, 1);
    assert_eq!(cpu.state().free, 1);
}

#[test]
fn a_panic_in_a_poll_loses_no_permit() {
    let cpu = cpu(1);
    let share = cpu.share();
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..3 {
        let mut call = Box::pin(share.run(None, async { panic!("a defect of the host") }));
        let panicked: Result<Poll<Option<()>>, _> = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut context)));
        assert!(panicked.is_err());
    }
    assert_no_permit_is_lost(&cpu, 1);
    assert_eq!(Box::pin(share.run(None, async { 7 })).as_mut().poll(&mut context), Poll::Ready(Some(7)));
}

#[test]
fn a_call_that_waits_for_something_else_holds_no_permit() {
    let cpu = cpu(1);
    let share = cpu.share();
    let mut context = Context::from_waker(Waker::noop());
    let mut waits = Box::pin(share.run(None, std::future::pending::<()>()));
    assert!(waits.as_mut().poll(&mut context).is_pending());
    assert_eq!(cpu.state().free, 1);
    drop(waits);
    assert_no_permit_is_lost(&cpu, 1);
}

#[test]
fn no_turn_begins_after_the_end_of_a_call() {
    let cpu = cpu(1);
    let share = cpu.share();
    let mut context = Context::from_waker(Waker::noop());
    let over = Instant::now().checked_sub(Duration::from_nanos(1));
    assert!(over.is_some());
    let mut call = Box::pin(share.run(over, async { 7 }));
    assert_eq!(call.as_mut().poll(&mut context), Poll::Ready(None));
    assert_eq!(cpu.state().free, 1);
}

/// Calls that come, go on, are overdue and are dropped in every order.
#[test]
fn no_order_of_events_loses_a_permit() {
    let mut random = 7u64;
    let mut below = |most: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % most
    };
    for permits in 1..4 {
        let (cpu, mut now) = (cpu(permits), Instant::now());
        let shares = [cpu.share(), cpu.share(), cpu.share()];
        let mut calls: Vec<(Call<'_>, bool)> = Vec::new();
        for _ in 0..20_000 {
            now += QUANTUM / 4;
            if calls.len() < 12 {
                calls.push((Call::of(&shares[below(3)]), false));
            }
            let at = below(calls.len());
            let (call, running) = &mut calls[at];
            match below(4) {
                0 => cpu.state().lend(now, QUANTUM * 2).into_iter().for_each(Waker::wake),
                1 if !*running => drop(calls.swap_remove(at)),
                _ if *running => {
                    call.end(now);
                    *running = false;
                }
                _ => *running = call.poll(now),
            }
            assert_no_permit_is_lost(&cpu, permits);
        }
        for (call, _) in calls.iter().filter(|(_, running)| *running) {
            call.end(now);
        }
        drop(calls);
        assert_no_permit_is_lost(&cpu, permits);
        assert_eq!(cpu.state().free, permits);
    }
}
