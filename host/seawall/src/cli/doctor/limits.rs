//! Limits: what the system lets the daemon have, and what the configuration lets a plugin have.

use rustix::process::{Resource, getrlimit};
use seawall_backend::Class;
use seawall_runtime::LimitsByClass;

use super::Finding;
use crate::config::{Backend, Settings};

/// Fewer open files than this are soon used up.
const FEW_FILES: u64 = 1024;
/// Less memory than this is soon used up.
const LITTLE_MEMORY: u64 = 256 << 20;

/// What the system gives to this user's processes.
pub(super) fn of_the_system() -> Vec<Finding> {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let mut findings = vec![
        files(getrlimit(Resource::Nofile).current),
        address_space(getrlimit(Resource::As).current),
        machine(&memory, std::thread::available_parallelism().map_or(1, usize::from)),
    ];
    findings.extend(tasks(getrlimit(Resource::Nproc).current));
    findings
}

fn files(most: Option<u64>) -> Finding {
    let about = "open files";
    match most {
        None => Finding::ok(about, "no limit"),
        Some(most) if most < FEW_FILES => Finding::warning(
            about,
            format!("at most {most}"),
            format!(
                "allow {FEW_FILES} or more: `ulimit -n {FEW_FILES}`, or `LimitNOFILE={FEW_FILES}` in the unit of systemd"
            ),
        ),
        Some(most) => Finding::ok(about, format!("at most {most}")),
    }
}

/// The pool of plugins' memories reserves terabytes, and takes what is used.
fn address_space(most: Option<u64>) -> Finding {
    let about = "address space";
    match most {
        None => Finding::ok(about, "no limit"),
        Some(most) => Finding::problem(
            about,
            format!("at most {} MiB, and the pool of plugins' memories reserves far more than it uses", most >> 20),
            "lift the limit: `ulimit -v unlimited`, or no `LimitAS` in the unit of systemd",
        ),
    }
}

fn tasks(most: Option<u64>) -> Option<Finding> {
    let most = most?;
    let (about, found) = ("tasks", format!("at most {most} of this user"));
    Some(match most {
        ..512 => {
            let advice = "allow 512 or more: `ulimit -u 512`, or `LimitNPROC=512` in the unit of systemd";
            Finding::warning(about, found, advice)
        }
        _ => Finding::ok(about, found),
    })
}

fn machine(meminfo: &str, processors: usize) -> Finding {
    let about = "memory";
    let of = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
    };
    let (Some(total), Some(available)) = (of("MemTotal"), of("MemAvailable")) else {
        return Finding::warning(about, "/proc/meminfo does not say", "mount /proc");
    };
    let found = format!("{} of {} MiB available, {processors} processors", available >> 20, total >> 20);
    if available < LITTLE_MEMORY {
        Finding::warning(about, found, "make room: end something, or give the machine more")
    } else {
        Finding::ok(about, found)
    }
}

/// What bounds the calls of a backend.
pub(super) fn of_a_backend(name: &str, backend: &Backend, settings: &Settings) -> Finding {
    let limits = LimitsByClass::default().with(&settings.runtime.limits).with(&backend.limits);
    let control = limits.of(Class::Control);
    let found = format!(
        "{} calls at once; a call that acts: {} of memory, {} of fuel, {}",
        backend.bulkhead.limit.calls,
        control.memory,
        control.fuel,
        humantime::format_duration(backend.deadlines.control),
    );
    Finding::ok(&format!("limits of {name}"), found)
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_limit_that_is_in_the_way_is_told_with_what_lifts_it() {
        assert_eq!(files(None).level, Level::Ok);
        assert_eq!(files(Some(1024)).level, Level::Ok);
        assert!(files(Some(256)).advice.unwrap().contains("LimitNOFILE"));
        assert_eq!(address_space(None).level, Level::Ok);
        assert_eq!(address_space(Some(1 << 30)).level, Level::Problem);
        assert_eq!(tasks(None), None);
        assert_eq!(tasks(Some(100)).unwrap().level, Level::Warning);
        let told = |available: u64| machine(&format!("MemTotal: 1048576 kB\nMemAvailable: {available} kB\n"), 2);
        assert_eq!(told(524_288), Finding::ok("memory", "512 of 1024 MiB available, 2 processors"));
        assert_eq!(told(1024).level, Level::Warning);
        assert_eq!(machine("", 2).level, Level::Warning);
    }
}
