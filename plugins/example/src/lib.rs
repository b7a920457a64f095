//! The smallest whole plugin: an egg timer. A session runs for as long as its `options.minutes` say, then ends with 0.
//!
//! Nothing in memory survives a call, so what must last is in the granted `state`: one entry a session, with the time
//! it was made, the time it was started, and the time it ends.

use seawall_sdk::state::{self, Write};
use seawall_sdk::{
    Backend, Error, Exit, Found, Health, Info, Key, Page, Report, Result, Spec, State, Status, Workload, clock, config,
};
use serde::Deserialize;

struct EggTimer;

seawall_sdk::export!(EggTimer);

/// `[backend.NAME.config]`.
#[derive(Deserialize)]
struct Config {
    /// For sessions that do not say.
    #[serde(default = "three")]
    minutes: u64,
}

/// A session's `options`.
#[derive(Deserialize)]
struct Options {
    minutes: Option<u64>,
}

fn three() -> u64 {
    3
}

const SCHEMA: &str = r#"{
    "type": "object",
    "additionalProperties": false,
    "properties": { "minutes": { "type": "integer", "minimum": 0, "maximum": 600 } }
}"#;

/// What is stored: made, started, and how long it runs, in ms; 0 in `started` is "not yet".
struct Timer {
    made: u64,
    started: u64,
    runs_for: u64,
}

impl Timer {
    fn read(bytes: &[u8]) -> Result<Self> {
        let ([made, started, runs_for], []) = bytes.as_chunks::<8>() else { return Err(unreadable()) };
        let [made, started, runs_for] = [made, started, runs_for].map(|number| u64::from_le_bytes(*number));
        Ok(Self { made, started, runs_for })
    }

    fn write(&self) -> Write {
        Write::Value([self.made, self.started, self.runs_for].map(u64::to_le_bytes).concat())
    }

    fn status(&self, now: u64) -> Status {
        let ends = self.started.saturating_add(self.runs_for);
        let (state, health) = match self.started {
            0 => (State::Created, Health::Unknown),
            _ if now < ends => (State::Running, Health::Healthy),
            _ => (State::Exited, Health::Unknown),
        };
        let exit = (state == State::Exited).then_some(Exit {
            code: Some(0),
            signal: None,
            oom_killed: false,
            message: None,
            at: Some(ends),
        });
        let started_at = (self.started > 0).then_some(self.started);
        Status { state, health, exit, created_at: Some(self.made), started_at, handle: None }
    }
}

fn unreadable() -> Error {
    Error::Other("what is stored was not written by this plugin".to_owned())
}

/// One workload: session, then incarnation, so that a restart never meets the timer of an earlier start.
fn entry(key: &Key) -> String {
    format!("{}/{:016x}", key.session, key.incarnation)
}

impl Backend for EggTimer {
    fn describe() -> Info {
        Info {
            name: "egg-timer".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "Sessions that run for some minutes and end".to_owned(),
            config_schema: SCHEMA.to_owned(),
            options_schema: SCHEMA.to_owned(),
        }
    }

    fn check() -> Result<Report> {
        Ok(Report { version: env!("CARGO_PKG_VERSION").to_owned(), attributes: vec![] })
    }

    fn create(spec: Spec) -> Result<Status> {
        // A field that cannot be carried out is refused by name, never ignored.
        if spec.image.is_some() {
            return Err(Error::invalid("image", "an egg timer is made of no image"));
        }
        let minutes = match seawall_sdk::options::<Options>(&spec)?.minutes {
            Some(minutes) => minutes,
            None => config::<Config>()?.minutes,
        };
        let now = clock::now();
        // The second create of one incarnation meets what the first one made.
        state::update(&entry(&spec.key), |before| match before {
            Some(bytes) => Ok((Write::Nothing, Timer::read(bytes)?.status(now))),
            None => {
                let timer = Timer { made: now, started: 0, runs_for: minutes.saturating_mul(60_000) };
                Ok((timer.write(), timer.status(now)))
            }
        })
    }

    fn start(key: Key) -> Result<Status> {
        let now = clock::now();
        state::update(&entry(&key), |before| {
            let mut timer = Timer::read(before.ok_or_else(|| Error::no_workload(&key))?)?;
            match timer.status(now).state {
                State::Created => {
                    timer.started = now;
                    Ok((timer.write(), timer.status(now)))
                }
                State::Running => Ok((Write::Nothing, timer.status(now))),
                _ => Err(Error::conflict("it ended: a restart is a new incarnation")),
            }
        })
    }

    fn signal(key: Key, _any: u32) -> Result<()> {
        let now = clock::now();
        state::update(&entry(&key), |before| {
            let Some(bytes) = before else { return Ok((Write::Nothing, ())) };
            let mut timer = Timer::read(bytes)?;
            if timer.status(now).state != State::Running {
                return Ok((Write::Nothing, ()));
            }
            // Whatever the signal, the egg is taken out now.
            timer.runs_for = now - timer.started;
            Ok((timer.write(), ()))
        })
    }

    fn remove(key: Key, force: bool) -> Result<()> {
        let now = clock::now();
        state::update(&entry(&key), |before| match before {
            None => Ok((Write::Nothing, ())),
            Some(bytes) if !force && Timer::read(bytes)?.status(now).state == State::Running => {
                Err(Error::conflict("it runs: stop it first, or remove it with force"))
            }
            Some(_) => Ok((Write::Delete, ())),
        })
    }

    fn inspect(keys: Vec<Key>) -> Result<Vec<Found>> {
        let now = clock::now();
        let names: Vec<_> = keys.iter().map(entry).collect();
        let mut found = vec![];
        for (position, value) in (0..).zip(state::get_many(&names)?) {
            if let Some(value) = value {
                found.push(Found { position, status: Timer::read(&value.value)?.status(now) });
            }
        }
        Ok(found)
    }

    fn list(cursor: Option<String>) -> Result<Page> {
        let now = clock::now();
        let entries = state::scan("", cursor.as_deref(), 1000)?;
        let next = if entries.len() == 1000 { entries.last().map(|entry| entry.key.clone()) } else { None };
        let workload = |entry: &state::Entry| {
            let (session, incarnation) = entry.key.split_once('/').ok_or_else(unreadable)?;
            Ok(Workload {
                session: session.to_owned(),
                incarnation: u64::from_str_radix(incarnation, 16).map_err(|_| unreadable())?,
                status: Timer::read(&entry.value)?.status(now),
            })
        };
        Ok(Page { workloads: entries.iter().map(workload).collect::<Result<_>>()?, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_runs_for_its_minutes_and_ends_with_zero() {
        let timer = Timer { made: 1, started: 1_000, runs_for: 60_000 };
        assert_eq!(timer.status(60_999).state, State::Running);
        let ended = timer.status(61_000);
        assert_eq!(ended.state, State::Exited);
        assert_eq!(ended.exit.map(|exit| (exit.code, exit.at)), Some((Some(0), Some(61_000))));
    }

    #[test]
    fn what_is_stored_reads_back() {
        let Write::Value(bytes) = (Timer { made: 1, started: 2, runs_for: 3 }).write() else { panic!("nothing") };
        let timer = Timer::read(&bytes).unwrap();
        assert_eq!((timer.made, timer.started, timer.runs_for), (1, 2, 3));
        assert!(Timer::read(&bytes[1..]).is_err());
    }
}
