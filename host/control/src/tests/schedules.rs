//! Random schedules: requests; calls that fail, are cut off, answer late or lose their answer; outages and empty answers;
//! workloads that end, vanish or land late; a daemon that is ended or killed, again and again. Afterwards every session is
//! there exactly once or not at all, as the store says. A failure prints its seed: `SEAWALL_SCHEDULE=SEED` tries that
//! one alone.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::fake::{Chaos, Fake};
use super::house::{code, restarting};
use super::judged::{DEADLINE, judge, live};
use crate::{Control, ControlError, Shutdown};
use seawall_backend::Error;
use seawall_model::SessionId;

const SCHEDULES: u64 = 24;
const LIVES: u64 = 4;
const STEPS: usize = 14;
const FUNCTIONS: [&str; 6] = ["create", "start", "signal", "remove", "inspect", "list"];

/// Says which schedule it was, should the test panic.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the schedule was SEAWALL_SCHEDULE={}", self.0);
        }
    }
}

#[test]
fn whatever_is_lost_cut_off_or_killed_nothing_is_made_twice_and_nothing_forgotten() {
    let asked = std::env::var("SEAWALL_SCHEDULE").ok().map(|seed| seed.parse().unwrap());
    let seeds = asked.map_or_else(|| (0..SCHEDULES).map(|_| rand::random()).collect(), |seed| vec![seed]);
    for seed in seeds {
        let seed = Seed(seed);
        schedule(seed.0);
    }
}

fn schedule(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let dir = tempfile::TempDir::new().unwrap();
    let fake = Fake::new();
    fake.dice(seed);
    let lives = rng.random_range(1..=LIVES);
    for day in 0..lives {
        live(dir.path(), &fake, day, async |control, store| {
            trouble(&fake);
            for _ in 0..rng.random_range(1..=STEPS) {
                step(control, &fake, &mut rng).await;
            }
            if rng.random_bool(0.3) {
                // Politely; what is under way is cut off.
                drop(control.shutdown(Shutdown::Leave, DEADLINE).await);
                store.close().await;
            }
        });
    }
    fake.calm();
    live(dir.path(), &fake, lives, async |control, store| judge(control, &fake, store).await);
}

fn trouble(fake: &Fake) {
    fake.calm();
    FUNCTIONS.into_iter().for_each(|function| fake.always(function, Chaos::Some));
}

async fn step(control: &Control, fake: &Fake, rng: &mut StdRng) {
    let refused = match rng.random_range(0..20) {
        0..4 => {
            let policy = *["always", "always", "never", "on-failure:2"].choose(rng).unwrap();
            control.create(restarting(policy)).await.err()
        }
        4..10 => match one(control, rng) {
            None => None,
            Some(id) => match rng.random_range(0..6) {
                0 | 1 => control.start_session(&id).await.err(),
                2 | 3 => control.stop(&id, Some(Duration::from_secs(1))).await.err(),
                _ => control.remove(&id, rng.random_bool(0.7)).await.err(),
            },
        },
        10 | 11 => {
            if let Some(id) = one(control, rng) {
                if rng.random_bool(0.5) { fake.end(&id, code(rng.random_range(0..2))) } else { fake.vanish(&id) }
            }
            None
        }
        12 => {
            let late = fake.asked_and_not_there();
            if let Some((session, incarnation)) = late.choose(rng) {
                fake.land_late(session, *incarnation);
            }
            None
        }
        13 | 14 => {
            // Done, and cut off before the answer comes.
            fake.once(FUNCTIONS.choose(rng).unwrap(), Chaos::Slow(DEADLINE * 2));
            None
        }
        15 => {
            let away = Chaos::Error(Error::unavailable("the engine is away"));
            FUNCTIONS.into_iter().chain(["check"]).for_each(|function| fake.always(function, away.clone()));
            None
        }
        16 => {
            trouble(fake);
            None
        }
        17 => {
            ["inspect", "list"].into_iter().for_each(|function| fake.once(function, Chaos::Empty));
            None
        }
        _ => {
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..20_000))).await;
            None
        }
    };
    let fair = |error: &ControlError| {
        matches!(
            error,
            ControlError::Conflict(_) | ControlError::BackendUnhealthy { .. } | ControlError::NoSuchSession(_)
        )
    };
    assert!(refused.as_ref().is_none_or(fair), "{refused:?}");
    // Somewhere in the middle of what follows from it.
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..300))).await;
}

fn one(control: &Control, rng: &mut StdRng) -> Option<SessionId> {
    control.sessions().choose(rng).map(|session| session.id.clone())
}
