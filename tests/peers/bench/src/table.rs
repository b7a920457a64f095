//! What was measured: the tables, the ratios that have a target, and the JSON.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::drive::Times;
use crate::peer::Call;

pub(crate) const DIRECT: &str = "(a) Rust trait, no isolation";
pub(crate) const KEPT: &str = "(b) wasmtime, kept instance";
pub(crate) const SEAWALL: &str = "(c) Seawall, isolated, full stack";
pub(crate) const BOUNDED: &str = "(d) wasmtime, new instance, bounded";
pub(crate) const PLAIN: &str = "(d) wasmtime, new instance, plain";
pub(crate) const GRPC: &str = "(e) process, gRPC on a Unix socket";
pub(crate) const EXTISM_KEPT: &str = "(f) Extism, kept plugin";
pub(crate) const EXTISM_FRESH: &str = "(f) Extism, new plugin a call";

const ROADS: [&str; 8] = [DIRECT, KEPT, SEAWALL, BOUNDED, PLAIN, GRPC, EXTISM_KEPT, EXTISM_FRESH];

/// One kind of call by one road, with so many callers on so many cores.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) road: &'static str,
    pub(crate) call: Call,
    pub(crate) cores: usize,
    pub(crate) callers: usize,
    pub(crate) times: Times,
}

/// Bytes.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) road: &'static str,
    pub(crate) loaded: u64,
    pub(crate) held_one: u64,
    pub(crate) held_thousand: u64,
}

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct Report {
    calls: Vec<Measured>,
    memory: Vec<Memory>,
    notes: Vec<&'static str>,
}

/// Something that is aimed at.
struct Target {
    what: String,
    is: f64,
    bound: f64,
    /// Rather than at most.
    at_least: bool,
    unit: &'static str,
}

impl Target {
    fn met(&self) -> bool {
        if self.at_least { self.is >= self.bound } else { self.is <= self.bound }
    }
}

impl Report {
    pub(crate) fn calls(&mut self, measured: Measured) {
        self.calls.push(measured);
    }

    pub(crate) fn memory(&mut self, memory: Memory) {
        self.memory.push(memory);
    }

    /// Something that must be known to read the tables.
    pub(crate) fn note(&mut self, text: &'static str) {
        self.notes.push(text);
    }

    /// What was seen of it, if it was measured.
    fn of(&self, road: &str, call: Call, cores: usize, callers: usize) -> Option<&Times> {
        let wanted = |m: &&Measured| m.road == road && m.call == call && m.cores == cores && m.callers == callers;
        self.calls.iter().find(wanted).map(|measured| &measured.times)
    }

    fn targets(&self) -> Vec<Target> {
        let median = |road, call| Some(self.of(road, call, 2, 1)?.percentile(50).as_secs_f64());
        let ratio = |ours: (&'static str, Call), theirs: (&'static str, Call)| {
            Some(median(ours.0, ours.1)? / median(theirs.0, theirs.1)?)
        };
        let thousand = Call::Inspect(1_000);
        let most = |what: &str, is: Option<f64>, bound, unit| {
            Some(Target { what: what.to_owned(), is: is?, bound, at_least: false, unit })
        };
        let least = |what: &str, is: Option<f64>, bound| {
            Some(Target { what: what.to_owned(), is: is?, bound, at_least: true, unit: "times" })
        };
        let own = (SEAWALL, Call::Check);
        let mut all = vec![
            most("check, median of (c)", median(SEAWALL, Call::Check).map(|s| s * 1e6), 10.0, "µs"),
            most("check, (c) by (d) bounded", ratio(own, (BOUNDED, Call::Check)), 1.3, "times"),
            most("check, (c) by (d) plain", ratio(own, (PLAIN, Call::Check)), 1.3, "times"),
            least("check, (e) by (c), one caller", ratio((GRPC, Call::Check), own), 20.0),
            most("inspect of 1000, (c) by (e)", ratio((SEAWALL, thousand), (GRPC, thousand)), 0.5, "times"),
        ];
        for call in Call::ALL {
            for callers in [8, 64] {
                let rate = |road| self.of(road, call, 2, callers).map(Times::rate);
                let is = rate(SEAWALL).zip(rate(GRPC)).map(|(ours, theirs)| ours / theirs);
                all.push(least(&format!("{}, calls/s of (c) by (e), {callers} callers", call.name()), is, 1.0));
            }
        }
        all.into_iter().flatten().collect()
    }

    /// Writes it as JSON.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        if let Some(dir) = file.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let calls: Vec<_> = self.calls.iter().map(Measured::json).collect();
        let memory: Vec<_> = self.memory.iter().map(Memory::json).collect();
        let targets: Vec<_> = self.targets().iter().map(Target::json).collect();
        let all = json!({"calls": calls, "memory": memory, "targets": targets, "notes": self.notes, "machine": crate::machine()});
        Ok(std::fs::write(file, serde_json::to_string_pretty(&all).context("write JSON")?)?)
    }
}

impl Measured {
    fn json(&self) -> Value {
        json!({"road": self.road, "call": self.call.name(), "cores": self.cores, "callers": self.callers,
               "times": self.times.json()})
    }
}

impl Memory {
    fn json(&self) -> Value {
        json!({"road": self.road, "loaded_bytes": self.loaded, "in_flight_one_bytes": self.held_one,
               "in_flight_thousand_bytes": self.held_thousand})
    }
}

impl Target {
    fn json(&self) -> Value {
        json!({"what": self.what, "is": self.is, "bound": self.bound, "at_least": self.at_least, "unit": self.unit, "met": self.met()})
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for call in Call::ALL {
            let header = [
                &call.name(),
                "median",
                "p99",
                "calls/s on 1 core: 1",
                "8",
                "64 callers",
                "on 2 cores: 1",
                "8",
                "64 callers",
            ];
            let mut rows = vec![header.map(str::to_owned)];
            for road in ROADS {
                let time = |percent| {
                    self.of(road, call, 2, 1)
                        .or_else(|| self.of(road, call, 1, 1))
                        .map(|times| shown(times.percentile(percent)))
                };
                let rate = |cores, callers| self.of(road, call, cores, callers).map(|times| thousands(times.rate()));
                let cells = [
                    Some(road.to_owned()),
                    time(50),
                    time(99),
                    rate(1, 1),
                    rate(1, 8),
                    rate(1, 64),
                    rate(2, 1),
                    rate(2, 8),
                    rate(2, 64),
                ];
                rows.push(cells.map(|cell| cell.unwrap_or_else(|| "-".to_owned())));
            }
            rule(f, &rows)?;
            writeln!(f)?;
        }
        let mut rows = vec![
            ["resident memory", "a loaded plugin", "a call in flight", "one with 1,000 sessions"].map(str::to_owned),
        ];
        rows.extend(self.memory.iter().map(|memory| {
            [memory.road.to_owned(), kib(memory.loaded), kib(memory.held_one), kib(memory.held_thousand)]
        }));
        rule(f, &rows)?;
        writeln!(f)?;
        let mut rows = Vec::new();
        for target in self.targets() {
            let bound = if target.at_least { "at least" } else { "at most" };
            rows.push([
                target.what.clone(),
                format!("{:.2} {}", target.is, target.unit),
                format!("{bound} {}", target.bound),
                if target.met() { "met" } else { "MISSED" }.to_owned(),
            ]);
        }
        rule(f, &rows)?;
        for note in NOTES.iter().chain(&self.notes) {
            writeln!(f, "- {note}")?;
        }
        write!(f, "{}", crate::machine())
    }
}

const NOTES: [&str; 7] = [
    "all roads run the same crate `logic`; (a), (c), (e) and (f) end with the host's own checked types, (b) and (d) with lifted values",
    "(d) bounded has fuel, epochs and calls that can be cut off, as any isolation needs; plain has none and blocks its thread",
    "(c) makes one `check` at a time, whoever asks (the probe's own permit), and twenty other calls",
    "(e) is a child process with tonic on both sides and one kept connection; cores are those of both processes together",
    "(f) isolates plugins, not calls: a kept plugin carries its memory from call to call; a new one for each call is what compares with (c)",
    "one core: every process is confined to the same core; median and p99 are those on two cores with one caller",
    "memory: proportional share (Pss of /proc/PID/smaps_rollup), the child process included, in a process that does nothing else; \
     loaded: growth by 8 more plugins, by 8, code from a warm cache (gRPC: one process); in flight: 20 calls held with their answer ready, by 20",
];

/// Columns as wide as their widest cell.
fn rule<const N: usize>(f: &mut fmt::Formatter<'_>, rows: &[[String; N]]) -> fmt::Result {
    for row in rows {
        let mut text = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width =
                rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
            let pad = if column == 0 { format!("{cell:<width$}  ") } else { format!("{cell:>width$}  ") };
            text.push_str(&pad);
        }
        writeln!(f, "{}", text.trim_end())?;
    }
    Ok(())
}

fn shown(time: Duration) -> String {
    let ns = time.as_secs_f64() * 1e9;
    match ns {
        ..1e3 => format!("{ns:.0} ns"),
        ..1e4 => format!("{:.2} µs", ns / 1e3),
        ..1e6 => format!("{:.1} µs", ns / 1e3),
        _ => format!("{:.2} ms", ns / 1e6),
    }
}

/// Three digits that count, and commas.
fn thousands(rate: f64) -> String {
    let mut unit = 1.0;
    while rate / unit >= 1_000.0 {
        unit *= 10.0;
    }
    let digits = format!("{:.0}", (rate / unit).round() * unit);
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes >> 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_shown_with_three_digits_and_commas() {
        for (rate, text) in [(7.0, "7"), (999.0, "999"), (12_345.0, "12,300"), (1_234_567.0, "1,230,000")] {
            assert_eq!(thousands(rate), text);
        }
    }
}
