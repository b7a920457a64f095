//! `kill -9` of the daemon at random instants, under a stream of random requests on every backend: afterwards every
//! session exists exactly once or not at all, as the store says, and nothing is left over.
//!
//! A kill falls anywhere between the start of the daemon and some time after it serves. While nobody serves, no session
//! may run twice. Now and then the load rests, everything settles, and the daemon is killed once more: then store,
//! backends and what clients were promised must agree.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::Rng as _;
use seawall_testing::daemon::Home;

use crate::load::{Client, Ledger};
use crate::run::Course;
use crate::stage::Stage;
use crate::verdict::{clear_away, settle_and_judge};
use crate::world::World;

/// Kills, and how many of them between two verdicts.
const SHORT: (u32, u32) = (8, 4);
const FULL: (u32, u32) = (200, 20);
/// The longest that a daemon may live, from its start.
const LONGEST_LIFE: Duration = Duration::from_millis(1200);

/// The longest pause between two requests of a client.
const BREATH: Duration = Duration::from_millis(30);

pub(crate) fn play(course: &mut Course) -> Result<()> {
    let (kills, between) = if course.full { FULL } else { SHORT };
    let engine = course.engine()?;
    let mut stage = Stage::set(engine, &course.interrupt, "")?;
    let mut rng = course.rng(0);
    let mut clients = Client::all(&stage, BREATH, &mut rng);
    // What is compiled once must not be compiled at each start.
    stage.serve()?;
    stage.kill()?;

    for done in (between..=kills).step_by(between as usize) {
        for _ in 0..between {
            stage.interrupt.check()?;
            live_and_die(&stage.home, &mut clients, rng.random_range(Duration::ZERO..LONGEST_LIFE))?;
            course.tally.duplicated.extend(World::look(&stage)?.twice());
        }
        course.tally.add("kills", between.into());
        let ledger: Ledger = clients.iter().flat_map(|client| client.ledger.clone()).collect();
        let (sessions, workloads) = settle_and_judge(&mut stage, &ledger, &mut course.tally)?;
        course.note(format_args!("{done} of {kills} kills; {sessions} sessions are kept, {workloads} workloads there"));
        ensure!(course.tally.clean(), "the daemon's last words:\n{}", stage.home.log_end());
    }
    for client in &clients {
        course.tally.add("requests", client.answered + client.cut_off);
        course.tally.add("requests cut off", client.cut_off);
        course.tally.add("sessions", client.ledger.len() as u64);
    }
    clear_away(&mut stage, &mut course.tally)
}

/// One life of the daemon, with everybody asking it for things.
fn live_and_die(home: &Home, clients: &mut [Client], life: Duration) -> Result<()> {
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    let daemon = home.launch()?;
    std::thread::scope(|scope| {
        for client in clients {
            let stop = &stop;
            scope.spawn(move || client.work(home, stop));
        }
        std::thread::sleep(life.saturating_sub(began.elapsed()));
        let killed = daemon.kill();
        stop.store(true, Ordering::Relaxed);
        killed.context("kill the daemon")
    })
}
