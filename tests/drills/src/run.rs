//! One drill after the other, each with its seed.

use std::time::Instant;

use anyhow::Result;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use seawall_testing::docker::{Engine, NoEngine};
use seawall_testing::interrupt::Interrupt;
use serde::{Deserialize, Serialize};

use crate::report::{Report, Tally};
use crate::{clients, crash, disk, engine, outside, soak, streams};

/// What can be drilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drill {
    /// `kill -9` of the daemon at random instants, under load.
    Crash,
    /// The store's disk full, read-only, its database locked or put back; the machine started anew.
    Disk,
    /// The Docker Engine hung, killed, stopped and restarted, under load.
    Engine,
    /// Sessions killed, removed, renamed and imitated behind the daemon's back.
    Outside,
    /// Very many mock sessions for long: nothing grows.
    Soak,
    /// Clients that are slow, stuck or gone.
    Clients,
    /// Output that is long.
    Streams,
}

/// What was asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// These; empty: all.
    #[serde(default)]
    pub drills: Vec<Drill>,
    /// At full length instead of shortened.
    #[serde(default)]
    pub full: bool,
    /// Of the random choices; absent: another one each time.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Print the reports as one JSON document.
    #[serde(default)]
    pub json: bool,
}

/// What a drill is given.
pub(crate) struct Course {
    pub(crate) drill: Drill,
    pub(crate) full: bool,
    pub(crate) seed: u64,
    pub(crate) interrupt: Interrupt,
    pub(crate) tally: Tally,
    began: Instant,
}

impl Drill {
    /// All, in the order in which they are run.
    pub const ALL: [Self; 7] =
        [Self::Crash, Self::Engine, Self::Outside, Self::Disk, Self::Soak, Self::Clients, Self::Streams];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Disk => "disk",
            Self::Engine => "engine",
            Self::Outside => "outside",
            Self::Soak => "soak",
            Self::Clients => "clients",
            Self::Streams => "streams",
        }
    }

    fn play(self, course: &mut Course) -> Result<()> {
        match self {
            Self::Crash => crash::play(course),
            Self::Disk => disk::play(course),
            Self::Engine => engine::play(course),
            Self::Outside => outside::play(course),
            Self::Soak => soak::play(course),
            Self::Clients => clients::play(course),
            Self::Streams => streams::play(course),
        }
    }
}

impl Course {
    /// Random numbers of its own for each part that draws in another thread.
    pub(crate) fn rng(&self, part: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_add(part.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// How far it is.
    pub(crate) fn note(&self, text: impl std::fmt::Display) {
        eprintln!("   {} [{:3.0} s] {text}", self.drill.name(), self.began.elapsed().as_secs_f64());
    }

    /// An engine of its own, or `None` after the report was told that Docker is left out.
    pub(crate) fn engine(&mut self) -> Result<Option<Engine>> {
        match Engine::start() {
            Ok(engine) => Ok(Some(engine)),
            Err(NoEngine::Skipped(because)) => {
                seawall_testing::skipped(&format!("the drill {} on Docker", self.drill.name()), &because);
                self.tally.without_docker = Some(because);
                Ok(None)
            }
            Err(failed @ NoEngine::Failed(_)) => Err(failed.into()),
        }
    }
}

/// Runs one drill and everything it needs, and takes it down again.
pub fn run(drill: Drill, full: bool, seed: Option<u64>, interrupt: &Interrupt) -> Report {
    let seed = seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let began = Instant::now();
    let mut course = Course { drill, full, seed, interrupt: interrupt.clone(), tally: Tally::default(), began };
    course.note(format_args!("{}, seed {seed}", if full { "at full length" } else { "shortened" }));
    let played = drill.play(&mut course);
    let error = played.err().map(|error| format!("{error:#}"));
    Report::new(drill, seed, full, began.elapsed(), course.tally, error)
}
