//! The mock backend: pretends to run sessions, and goes wrong as it is told.
//!
//! Its workloads are a few numbers in the granted `state`; see [`workload`]. What goes wrong is set for each function in
//! the configuration; see [`chaos`]. `check` is the cheapest call that a plugin can answer, and is measured as such.

pub mod chaos;
pub mod settings;
pub mod workload;

use chaos::{Chaos, Dice, Fate, number_of};
use seawall_sdk::state::Write;
use seawall_sdk::{
    Backend, Error, Exec, ExecOptions, Execution, Found, Info, Key, Page, Problems, Report, Result, Spec, Status,
    Workload, clock, state,
};
use settings::{Defaults, Options};
use workload::Stored;

/// Workloads stand under this prefix, then the session, then the incarnation in 16 digits: in key order that is by
/// session, oldest incarnation first.
const PREFIX: &str = "w/";

/// Counters of calls stand under this one.
const COUNTERS: &str = "calls/";

/// As many as a scan gives at once.
const PAGE: u32 = 1000;

struct Mock;

seawall_sdk::export!(Mock with exec);

fn state_key(session: &str, incarnation: u64) -> String {
    format!("{PREFIX}{session}/{incarnation:016x}")
}

fn parse_state_key(key: &str) -> Option<(&str, u64)> {
    let (session, incarnation) = key.strip_prefix(PREFIX)?.split_once('/')?;
    Some((session, u64::from_str_radix(incarnation, 16).ok()?))
}

fn decode(key: &str, value: &[u8]) -> Result<Stored> {
    Stored::decode(value).ok_or_else(|| Error::Other(format!("the state under {key:?} is not what this plugin wrote")))
}

/// A call that something may go wrong with.
struct Trial {
    function: &'static str,
    chaos: Chaos,
    fate: Fate,
    dice: Dice,
}

impl Trial {
    /// Looks whether the configuration has anything in store for this function. `None`: it has not.
    fn of(function: &'static str, subject: &str) -> Result<Option<Self>> {
        let Some(chaos) = seawall_sdk::config_key::<Chaos>(function)? else { return Ok(None) };
        let seed: Option<u64> = if chaos.needs_dice() { seawall_sdk::config_key("seed")? } else { None };
        // Counting costs a write: only where the number matters.
        let call = if seed.is_some() || chaos.fail_first > 0 { count(function)? } else { 0 };
        let mut dice = match seed {
            Some(seed) => Dice::new(&[seed, number_of(function), call]),
            None => Dice::new(&[clock::now(), clock::monotonic(), number_of(function), number_of(subject)]),
        };
        let fate = chaos.fate(&mut dice, call);
        Ok(Some(Self { function, chaos, fate, dice }))
    }

    fn fail(&self) -> Error {
        match self.chaos.failure(self.function) {
            Some(error) => error,
            None => {
                seawall_sdk::log::error(&format!("the mock traps in `{}`, as its configuration asks", self.function));
                trap()
            }
        }
    }
}

/// Ends the call without an answer.
fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort();
}

/// Numbers the calls of a function, from 0.
fn count(function: &str) -> Result<u64> {
    state::update(&format!("{COUNTERS}{function}"), |before| {
        let number = before.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        Ok((Write::Value(number.wrapping_add(1).to_le_bytes().to_vec()), number))
    })
}

/// Runs a call, with whatever the configuration has in store for it.
fn tried<T>(function: &'static str, subject: &str, call: impl FnOnce(Option<&mut Trial>) -> Result<T>) -> Result<T> {
    let Some(mut trial) = Trial::of(function, subject)? else { return call(None) };
    if trial.fate.delay > 0 {
        clock::sleep(trial.fate.delay);
    }
    if trial.fate.fails {
        return Err(trial.fail());
    }
    let answer = call(Some(&mut trial))?;
    if trial.fate.loses { Err(trial.fail()) } else { Ok(answer) }
}

/// Leaves out of an answer what the configuration wants left out, and brings the rest into the order that it wants.
fn thin<T>(trial: Option<&mut Trial>, answer: &mut Vec<T>) {
    let Some(trial) = trial else { return };
    if trial.fate.empties {
        answer.clear();
    }
    let rate = trial.chaos.missing_rate;
    if rate > 0.0 {
        answer.retain(|_| !trial.dice.hits(rate));
    }
    if trial.fate.shuffles {
        for last in (1..answer.len()).rev() {
            answer.swap(last, trial.dice.pick(last + 1));
        }
    }
}

impl Backend for Mock {
    fn describe() -> Info {
        Info {
            name: "mock".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "Pretends to run sessions, and goes wrong as it is told".to_owned(),
            config_schema: include_str!("config.schema.json").to_owned(),
            options_schema: include_str!("options.schema.json").to_owned(),
        }
    }

    fn check() -> Result<Report> {
        tried("check", "", |_| Ok(Report { version: env!("CARGO_PKG_VERSION").to_owned(), attributes: Vec::new() }))
    }

    fn create(spec: Spec) -> Result<Status> {
        tried("create", &spec.key.session, |_| {
            settings::refuse(&spec)?;
            let options: Options = seawall_sdk::options(&spec)?;
            let defaults: Defaults = seawall_sdk::config()?;
            let script = settings::script(&spec, &options, &defaults);
            let now = clock::now();
            let key = state_key(&spec.key.session, spec.key.incarnation);
            state::update(&key, |before| match before {
                Some(value) => Ok((Write::Nothing, decode(&key, value)?.status(now))),
                None => {
                    let made = Stored::new(script.clone(), now);
                    Ok((Write::Value(made.encode()), made.status(now)))
                }
            })
        })
    }

    fn start(key: Key) -> Result<Status> {
        tried("start", &key.session, |_| {
            let now = clock::now();
            let at = state_key(&key.session, key.incarnation);
            state::update(&at, |before| {
                let mut workload = decode(&at, before.ok_or_else(|| Error::no_workload(&key))?)?;
                if workload.ended(now) {
                    return Err(Error::conflict("it ended: a restart is a new incarnation"));
                }
                if workload.started_at.is_some() {
                    return Ok((Write::Nothing, workload.status(now)));
                }
                workload.started_at = Some(now);
                Ok((Write::Value(workload.encode()), workload.status(now)))
            })
        })
    }

    fn signal(key: Key, signal: u32) -> Result<()> {
        tried("signal", &key.session, |_| {
            let signal = match u8::try_from(signal) {
                Ok(signal @ 1..=64) => signal,
                _ => return Err(Error::invalid("signal", "a Linux signal number, 1 to 64")),
            };
            let now = clock::now();
            let at = state_key(&key.session, key.incarnation);
            state::update(&at, |before| {
                let Some(value) = before else { return Ok((Write::Nothing, ())) };
                let mut workload = decode(&at, value)?;
                let changed = workload.signal(signal, now);
                Ok((if changed { Write::Value(workload.encode()) } else { Write::Nothing }, ()))
            })
        })
    }

    fn remove(key: Key, force: bool) -> Result<()> {
        tried("remove", &key.session, |_| {
            let now = clock::now();
            let at = state_key(&key.session, key.incarnation);
            state::update(&at, |before| {
                let Some(value) = before else { return Ok((Write::Nothing, ())) };
                // What cannot be read can still be removed: nothing runs behind it.
                let runs = Stored::decode(value).is_some_and(|workload| workload.runs(now));
                if runs && !force {
                    return Err(Error::conflict("it runs: stop it first, or remove it with force"));
                }
                Ok((Write::Delete, ()))
            })
        })
    }

    fn inspect(keys: Vec<Key>) -> Result<Vec<Found>> {
        tried("inspect", "", |trial| {
            let names: Vec<_> = keys.iter().map(|key| state_key(&key.session, key.incarnation)).collect();
            let now = clock::now();
            let mut found = Vec::with_capacity(names.len());
            for (position, (name, value)) in (0..).zip(names.iter().zip(state::get_many(&names)?)) {
                if let Some(versioned) = value {
                    found.push(Found { position, status: decode(name, &versioned.value)?.status(now) });
                }
            }
            thin(trial, &mut found);
            Ok(found)
        })
    }

    fn list(cursor: Option<String>) -> Result<Page> {
        tried("list", "", |trial| {
            let limit = seawall_sdk::config_key::<u32>("page-size")?.unwrap_or(PAGE).clamp(1, PAGE);
            let entries = state::scan(PREFIX, cursor.as_deref(), limit)?;
            let full = u32::try_from(entries.len()).is_ok_and(|length| length == limit);
            let next = if full { entries.last().map(|entry| entry.key.clone()) } else { None };
            let now = clock::now();
            let mut workloads = Vec::with_capacity(entries.len());
            for entry in entries {
                let (session, incarnation) = parse_state_key(&entry.key)
                    .ok_or_else(|| Error::Other(format!("{:?} is not a key that this plugin wrote", entry.key)))?;
                let status = decode(&entry.key, &entry.value)?.status(now);
                workloads.push(Workload { session: session.to_owned(), incarnation, status });
            }
            thin(trial, &mut workloads);
            Ok(Page { workloads, next })
        })
    }
}

impl Exec for Mock {
    fn run(key: Key, options: ExecOptions) -> Result<Execution> {
        tried("exec", &key.session, |_| {
            let at = state_key(&key.session, key.incarnation);
            let stored = state::get(&at)?.ok_or_else(|| Error::no_workload(&key))?;
            if !decode(&at, &stored.value)?.runs(clock::now()) {
                return Err(Error::conflict("it does not run"));
            }
            if options.command.is_empty() {
                return Err(Error::invalid("command", "there must be a program to run"));
            }
            let mut problems = Problems::new();
            let interactive = "the mock backend only pretends to run commands: leave it out";
            problems.refuse_if(options.tty, "tty", interactive);
            problems.refuse_if(options.size.is_some(), "size", interactive);
            problems.refuse_if(options.stdin, "stdin", interactive);
            problems.finish()?;
            let (after, code) = match settings::play(&options.command) {
                Some(played) => played,
                None => (0, seawall_sdk::config_key::<u8>("exec-code")?.unwrap_or(0)),
            };
            let timeout = options.timeout.unwrap_or(u64::MAX);
            let code = (after < timeout).then_some(code);
            let output = format!("{} was pretended\n", options.command.join(" "));
            Ok(Execution::from_result(&key, output.as_bytes(), code, after.min(timeout)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_and_sort_by_incarnation() {
        let keys: Vec<_> = [1, 2, 10, 255, u64::MAX].map(|n| state_key("0123456789abcdef", n)).into();
        assert!(keys.is_sorted());
        for (key, n) in keys.iter().zip([1, 2, 10, 255, u64::MAX]) {
            assert_eq!(parse_state_key(key), Some(("0123456789abcdef", n)));
        }
        for bad in ["", "w/", "w/abc", "w/abc/xyz", "calls/check"] {
            assert_eq!(parse_state_key(bad), None, "{bad}");
        }
    }

    fn properties(schema: &serde_json::Value) -> Vec<&str> {
        assert_eq!(schema["additionalProperties"], false, "an unknown key must be refused");
        schema["properties"].as_object().unwrap().keys().map(String::as_str).collect()
    }

    /// A value that fits every key of that name.
    fn value(key: &str) -> serde_json::Value {
        match key {
            "exit-code" | "exit_code" | "fail-first" => 1.into(),
            "oom" | "exit-lost" | "exit_lost" | "ignore-term" | "ignore_term" => true.into(),
            "health" => "flapping".into(),
            "error" => "trap".into(),
            rate if rate.ends_with("-rate") => 0.5.into(),
            _duration => "2s".into(),
        }
    }

    #[test]
    fn whatever_the_schemas_allow_the_plugin_reads() {
        let info = Mock::describe();
        let options: serde_json::Value = serde_json::from_str(&info.options_schema).unwrap();
        let config: serde_json::Value = serde_json::from_str(&info.config_schema).unwrap();

        let all: serde_json::Map<_, _> =
            properties(&options).into_iter().map(|key| (key.to_owned(), value(key))).collect();
        serde_json::from_value::<Options>(all.into()).unwrap();

        for table in ["call", "change", "answer"] {
            for key in properties(&config["$defs"][table]) {
                let one: serde_json::Map<_, _> = [(key.to_owned(), value(key))].into_iter().collect();
                serde_json::from_value::<Chaos>(one.into()).unwrap_or_else(|error| panic!("{table}.{key}: {error}"));
            }
        }
        let functions = ["check", "exec", "create", "start", "signal", "remove", "inspect", "list"];
        let others = ["seed", "page-size", "exec-code"];
        let defaults = properties(&config).into_iter().filter(|key| !functions.contains(key) && !others.contains(key));
        let all: serde_json::Map<_, _> = defaults.map(|key| (key.to_owned(), value(key))).collect();
        let script_keys = all.len();
        assert_eq!(script_keys, properties(&options).len(), "a session's options and the defaults are the same");
        serde_json::from_value::<Defaults>(all.into()).unwrap();
    }
}
