//! Very many mock sessions for long, while one call in a hundred fails and a client comes and goes: the daemon's memory,
//! descriptors, threads and tasks stay as they are. The most that it takes in the first part is held against the least that it
//! takes in the last: what leaks is never given back.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use seawall_model::SessionState;
use serde_json::json;

use crate::api::{Told, ask};
use crate::load::{Client, Ledger, Promise, under_load};
use crate::run::Course;
use crate::stage::Stage;
use crate::verdict::{clear_away, settle_and_judge};
use crate::vitals::Vitals;

/// Sessions, how many looks, and how much more memory there may be in the end: in a short time not all of what is kept for
/// later use has been used once.
const SHORT: (u32, usize, f64) = (1_000, 80, 0.15);
const FULL: (u32, usize, f64) = (10_000, 2_400, 0.05);
/// Of the looks, for the first and the last part.
const PART: usize = 5;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// The longest pause between two requests of the client that comes and goes.
const BREATH: Duration = Duration::from_millis(100);
/// With this many sessions the daemon takes no more than this, in a release build.
const MOST: u64 = 150 << 20;

const CONFIG: &str = r#"
[backend.process]
enabled = false
[backend.mock.config]
check = { failure-rate = 0.01, error = "unavailable" }
create = { failure-rate = 0.01, error = "unavailable" }
start = { failure-rate = 0.01, error = "unavailable" }
signal = { failure-rate = 0.01, error = "unavailable" }
remove = { failure-rate = 0.01, error = "unavailable" }
inspect = { failure-rate = 0.01, error = "unavailable" }
list = { failure-rate = 0.01, error = "unavailable" }
"#;

pub(crate) fn play(course: &mut Course) -> Result<()> {
    let (sessions, count, growth) = if course.full { FULL } else { SHORT };
    let mut stage = Stage::set(None, &course.interrupt, CONFIG)?;
    stage.serve()?;
    let mut ledger = Ledger::new();
    for number in 0..sessions {
        stage.interrupt.check()?;
        let name = format!("many-{number}");
        let spec = json!({"backend": "mock", "name": name, "restart": "always"});
        match ask(&stage.home, "POST", "/v1/sessions", Some(&spec)) {
            Told::Yes(_) => drop(ledger.insert(name, Promise::There { running: Some(true) })),
            Told::No(_, why) | Told::Silence(why) => bail!("{name} could not be made: {why}"),
        }
    }
    stage.until_sessions("every session runs", |now| now.state == SessionState::Running)?;
    course.note(format_args!("{sessions} sessions run; {count} times the daemon is looked at"));

    let mut clients = vec![Client::new("mock", BREATH, &mut course.rng(0))];
    let pid = stage.daemon_pid().context("no daemon runs")?;
    let mut looks: Vec<Vitals> = Vec::new();
    under_load(&mut clients, &stage, || {
        for _ in 0..count {
            looks.push(Vitals::of(pid, &stage.home)?);
            stage.rest(LOOK)?;
        }
        Ok(())
    })?;
    let growths = judge(&looks)?;
    course.note(growths);
    course.tally.add("sessions", sessions.into());
    course.tally.add("requests", clients.iter().map(|client| client.answered + client.cut_off).sum());
    course.tally.add("looks", looks.len() as u64);
    course.tally.add("MiB at the end", growths.resident.1 >> 20);
    ensure!(growths.grew(growth).is_none(), "{growths}");
    ensure!(!course.full || growths.resident.1 <= MOST, "it takes more than {} MiB: {growths}", MOST >> 20);

    ledger.extend(clients.into_iter().flat_map(|client| client.ledger));
    stage.kill()?;
    settle_and_judge(&mut stage, &ledger, &mut course.tally)?;
    ensure!(course.tally.clean(), "the daemon's last words:\n{}", stage.home.log_end());
    clear_away(&mut stage, &mut course.tally)
}

/// The most of the first part and the least of the last.
#[derive(Clone, Copy, Debug)]
struct Growth {
    resident: (u64, u64),
    descriptors: (usize, usize),
    threads: (usize, usize),
    tasks: (usize, usize),
}

fn judge(looks: &[Vitals]) -> Result<Growth> {
    let part = looks.len() / PART;
    let (first, last) = (|| looks.iter().take(part), || looks.iter().rev().take(part));
    let memory = first().map(|vitals| vitals.resident).max().zip(last().map(|vitals| vitals.resident).min());
    let count = |of: fn(&Vitals) -> usize| first().map(of).max().zip(last().map(of).min());
    let growth = || {
        Some(Growth {
            resident: memory?,
            descriptors: count(|vitals| vitals.descriptors)?,
            threads: count(|vitals| vitals.threads)?,
            tasks: count(|vitals| vitals.tasks)?,
        })
    };
    growth().context("there were too few looks")
}

impl Growth {
    /// What grew, if memory may grow by so much.
    fn grew(&self, memory: f64) -> Option<&'static str> {
        let (before, after) = self.resident;
        if after as f64 > before as f64 * (1.0 + memory) {
            Some("memory")
        } else if self.descriptors.1 > self.descriptors.0 {
            Some("descriptors")
        } else if self.threads.1 > self.threads.0 {
            Some("threads")
        } else if self.tasks.1 > self.tasks.0 {
            Some("tasks")
        } else {
            None
        }
    }
}

impl std::fmt::Display for Growth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { resident, descriptors, threads, tasks } = self;
        write!(
            f,
            "{} KiB resident at most at first and {} KiB at least at last, {} and {} descriptors, {} and {} threads, \
             {} and {} tasks",
            resident.0 >> 10,
            resident.1 >> 10,
            descriptors.0,
            descriptors.1,
            threads.0,
            threads.1,
            tasks.0,
            tasks.1
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(at_last: Vitals) -> Vec<Vitals> {
        let first = Vitals { resident: 100 << 20, descriptors: 20, threads: 5, tasks: 30 };
        (0..10).map(|look| if look < 2 { first } else { at_last }).collect()
    }

    fn grew(at_last: Vitals) -> Option<&'static str> {
        judge(&looks(at_last)).ok()?.grew(0.05)
    }

    #[test]
    fn what_grows_is_named_and_what_comes_and_goes_is_not() {
        let same = Vitals { resident: 104 << 20, descriptors: 20, threads: 5, tasks: 30 };
        assert_eq!(grew(same), None);
        assert_eq!(grew(Vitals { resident: 106 << 20, ..same }), Some("memory"));
        assert_eq!(grew(Vitals { descriptors: 21, ..same }), Some("descriptors"));
        assert_eq!(grew(Vitals { threads: 6, ..same }), Some("threads"));
        assert_eq!(grew(Vitals { tasks: 31, ..same }), Some("tasks"));
    }
}
