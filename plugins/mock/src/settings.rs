//! How a session is to behave: from its command, its `options`, and the backend's configuration, in this order.

use seawall_sdk::{HealthCheck, Millis, Problems, Result, Spec};
use serde::Deserialize;

use crate::workload::{Mood, Script};

/// What the top level of `[backend.NAME.config]` says about workloads. The tables named after functions are read by
/// themselves, when the function is called.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Defaults {
    exit_after: Option<Millis>,
    exit_code: Option<u8>,
    oom: Option<bool>,
    exit_lost: Option<bool>,
    ignore_term: Option<bool>,
    starting_for: Option<Millis>,
    health: Option<Wish>,
    flap_period: Option<Millis>,
}

/// A session's `options`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    exit_after: Option<Millis>,
    exit_code: Option<u8>,
    oom: Option<bool>,
    exit_lost: Option<bool>,
    ignore_term: Option<bool>,
    starting_for: Option<Millis>,
    health: Option<Wish>,
    flap_period: Option<Millis>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Wish {
    Healthy,
    Unhealthy,
    Starting,
    Unknown,
    Flapping,
}

impl From<Wish> for Mood {
    fn from(wish: Wish) -> Self {
        match wish {
            Wish::Healthy => Self::Healthy,
            Wish::Unhealthy => Self::Unhealthy,
            Wish::Starting => Self::Starting,
            Wish::Unknown => Self::Unknown,
            Wish::Flapping => Self::Flapping,
        }
    }
}

/// One half of a flap, unless asked otherwise.
const FLAP_PERIOD: Millis = Millis(1_000);

/// How this session behaves.
pub fn script(spec: &Spec, options: &Options, defaults: &Defaults) -> Script {
    let played = play(&spec.command);
    let exit_after = options.exit_after.map(|millis| millis.0).or(played.map(|(after, _)| after));
    let exit_code = options.exit_code.or(played.map(|(_, code)| code));
    Script {
        exit_after: exit_after.or(defaults.exit_after.map(|millis| millis.0)),
        exit_code: exit_code.or(defaults.exit_code).unwrap_or(0),
        oom: options.oom.or(defaults.oom).unwrap_or(false),
        exit_lost: options.exit_lost.or(defaults.exit_lost).unwrap_or(false),
        ignore_term: options.ignore_term.or(defaults.ignore_term).unwrap_or(false),
        starting_for: options.starting_for.or(defaults.starting_for).unwrap_or_default().0,
        health: options.health.or(defaults.health).map(Mood::from).unwrap_or_default(),
        flap_period: options.flap_period.or(defaults.flap_period).unwrap_or(FLAP_PERIOD).0,
    }
}

/// The commands that the mock knows how to play: how long until it ends, and with what code. Every other session runs
/// until a signal ends it, and every other command in a session ends at once.
pub fn play(command: &[String]) -> Option<(u64, u8)> {
    let mut words = command.iter().map(String::as_str);
    let program = words.next()?;
    let program = program.rsplit('/').next().unwrap_or(program);
    let argument = words.next();
    match (program, argument, words.next()) {
        ("true", _, _) => Some((0, 0)),
        ("false", _, _) => Some((0, 1)),
        ("sleep", Some(time), None) => sleep_time(time).map(|millis| (millis, 0)),
        _ => None,
    }
}

/// As sleep(1) reads it: a number, with a fraction and a unit if wanted; seconds without one.
fn sleep_time(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale = match unit {
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u64 = whole.parse().ok()?;
    // Milliseconds are as fine as it gets; what follows the third digit is dropped.
    let thousandths: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    whole.checked_mul(scale)?.checked_add(thousandths * scale / 1_000)
}

/// Refuses what a pretended workload cannot have. Name, labels, command, environment, working directory and user belong
/// to the program that is pretended: nothing could be told apart if they were refused.
///
/// # Errors
/// `invalid` with each such field.
pub fn refuse(spec: &Spec) -> Result<()> {
    let resources = &spec.resources;
    let limits = "the mock backend runs nothing that could be limited: leave it out";
    let pretended = "the mock backend only pretends to run sessions and has no such thing: leave it out";
    let mut problems = Problems::new();
    problems.refuse_if(spec.image.is_some(), "image", pretended);
    problems.refuse_if(spec.hostname.is_some(), "hostname", pretended);
    problems.refuse_if(!spec.mounts.is_empty(), "mounts", pretended);
    problems.refuse_if(resources.memory.is_some(), "resources.memory", limits);
    problems.refuse_if(resources.cpu_millis.is_some(), "resources.cpus", limits);
    problems.refuse_if(resources.processes.is_some(), "resources.processes", limits);
    problems.refuse_if(!resources.ulimits.is_empty(), "resources.ulimits", limits);
    problems.refuse_if(spec.network.is_some(), "network", pretended);
    problems.refuse_if(!spec.ports.is_empty(), "ports", pretended);
    problems.refuse_if(spec.tty, "tty", pretended);
    problems.refuse_if(spec.stdin, "stdin", pretended);
    problems.refuse_if(spec.init, "init", pretended);
    let checked = matches!(spec.health_check, HealthCheck::Command(_));
    problems.refuse_if(checked, "health_check", "this backend runs no health check by itself: the host does");
    problems.refuse_if(spec.logs.max_size.is_some(), "logs.max_size", pretended);
    problems.refuse_if(spec.logs.max_files.is_some(), "logs.max_files", pretended);
    problems.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &str) -> Vec<String> {
        command.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn known_commands_are_played() {
        assert_eq!(play(&words("true")), Some((0, 0)));
        assert_eq!(play(&words("/bin/false")), Some((0, 1)));
        assert_eq!(play(&words("sleep 2")), Some((2_000, 0)));
        assert_eq!(play(&words("/usr/bin/sleep 0.25")), Some((250, 0)));
        assert_eq!(play(&words("sleep 1.5h")), Some((5_400_000, 0)));
        for other in ["sleep", "sleep infinity", "sleep 1 2", "sleep -1", "sleep .", "server --port 80", ""] {
            assert_eq!(play(&words(other)), None, "{other}");
        }
        assert_eq!(play(&[]), None);
    }
}
