//! Taking turns, medians, and the table in which they are shown.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// One line of the table.
#[derive(Debug)]
struct Line {
    what: String,
    ours: String,
    against: String,
    /// Ours by theirs.
    ratio: Option<f64>,
    target: String,
    met: Option<bool>,
    json: Value,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: Vec<Line>,
    notes: Vec<String>,
}

/// Measured times, of which the median counts.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The time that this share of all stays below, in percent.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> Duration {
        self.percentile(50)
    }

    /// As many as there would be in a second, one after the other.
    pub(crate) fn per_second(&self) -> f64 {
        let total = self.0.iter().sum::<Duration>().as_secs_f64();
        self.0.iter().map(|_| 1.0).sum::<f64>() / total
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    fn json(&self) -> Value {
        let ns = |percent| u64::try_from(self.percentile(percent).as_nanos()).unwrap_or(u64::MAX);
        json!({"rounds": self.0.len(), "median_ns": ns(50), "p90_ns": ns(90), "p99_ns": ns(99)})
    }
}

impl Report {
    /// Ours beside theirs; `most` is the ratio that is aimed at.
    pub(crate) fn compare(&mut self, what: &str, ours: &Times, against: (&str, &Times), most: f64) {
        self.lines.push(beside(what, ours, against, Some(most)));
    }

    /// The same without a target.
    pub(crate) fn beside(&mut self, what: &str, ours: &Times, against: (&str, &Times)) {
        self.lines.push(beside(what, ours, against, None));
    }

    /// The slowest in a hundred beside theirs, with a time that is aimed at.
    pub(crate) fn compare_tails(&mut self, what: &str, ours: &Times, against: (&str, &Times), most: Duration) {
        let (name, theirs) = against;
        let (tail, beside) = (ours.percentile(99), theirs.percentile(99));
        self.lines.push(Line {
            what: format!("{what}, p99"),
            ours: shown(tail),
            against: format!("{} ({name})", shown(beside)),
            ratio: Some(tail.as_secs_f64() / beside.as_secs_f64()),
            target: format!("at most {}", shown(most)),
            met: Some(tail <= most),
            json: json!({"what": what, "ours": ours.json(), "against": name, "theirs": theirs.json(),
                         "target_p99_ns": u64::try_from(most.as_nanos()).unwrap_or(u64::MAX)}),
        });
    }

    /// A time with a target of its own.
    pub(crate) fn time(&mut self, what: &str, ours: &Times, most: Duration) {
        self.lines.push(Line {
            what: what.to_owned(),
            ours: shown(ours.median()),
            against: String::new(),
            ratio: None,
            target: format!("at most {}", shown(most)),
            met: Some(ours.median() <= most),
            json: json!({"what": what, "ours": ours.json(), "target_ns": u64::try_from(most.as_nanos()).unwrap_or(u64::MAX)}),
        });
    }

    /// A time that is shown and has no target.
    pub(crate) fn duration(&mut self, what: &str, ours: &Times) {
        self.lines.push(Line {
            what: what.to_owned(),
            ours: shown(ours.median()),
            against: String::new(),
            ratio: None,
            target: String::new(),
            met: None,
            json: json!({"what": what, "ours": ours.json()}),
        });
    }

    /// A time whose slowest hundredth has a target.
    pub(crate) fn tail(&mut self, what: &str, ours: &Times, most: Duration) {
        let (median, tail) = (ours.median(), ours.percentile(99));
        self.lines.push(Line {
            what: what.to_owned(),
            ours: format!("{}, p99 {}", shown(median), shown(tail)),
            against: String::new(),
            ratio: None,
            target: format!("p99 at most {}", shown(most)),
            met: Some(tail <= most),
            json: json!({"what": what, "ours": ours.json(), "target_p99_ns": u64::try_from(most.as_nanos()).unwrap_or(u64::MAX)}),
        });
    }

    /// How often a second, beside theirs; `least` is the ratio that is aimed at.
    pub(crate) fn rate(&mut self, what: &str, ours: f64, against: (&str, f64), least: f64) {
        let (name, theirs) = against;
        self.lines.push(Line {
            what: what.to_owned(),
            ours: format!("{ours:.0} a second"),
            against: format!("{theirs:.0} a second ({name})"),
            ratio: Some(ours / theirs),
            target: format!("at least {least} times"),
            met: Some(ours / theirs >= least),
            json: json!({"what": what, "ours_per_second": ours, "against": name, "theirs_per_second": theirs,
                         "target_ratio": least}),
        });
    }

    /// How often a second, with a target of its own.
    pub(crate) fn speed(&mut self, what: &str, ours: f64, least: f64) {
        self.lines.push(Line {
            what: what.to_owned(),
            ours: format!("{ours:.0} a second"),
            against: String::new(),
            ratio: None,
            target: format!("at least {least:.0} a second"),
            met: Some(ours >= least),
            json: json!({"what": what, "ours_per_second": ours, "target_per_second": least}),
        });
    }

    /// A size with a target, in bytes.
    pub(crate) fn size(&mut self, what: &str, ours: u64, most: u64) {
        self.lines.push(Line {
            what: what.to_owned(),
            ours: size(ours),
            against: String::new(),
            ratio: None,
            target: format!("at most {}", size(most)),
            met: Some(ours <= most),
            json: json!({"what": what, "bytes": ours, "target_bytes": most}),
        });
    }

    /// A number that is shown and has no target.
    pub(crate) fn number(&mut self, what: &str, ours: u64, unit: &str) {
        self.lines.push(Line {
            what: what.to_owned(),
            ours: format!("{ours} {unit}"),
            against: String::new(),
            ratio: None,
            target: String::new(),
            met: None,
            json: json!({"what": what, "number": ours, "unit": unit}),
        });
    }

    /// Something that must be known to read the table.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Writes it as JSON.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        if let Some(dir) = file.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let lines: Vec<&Value> = self.lines.iter().map(|line| &line.json).collect();
        let text = serde_json::to_string_pretty(&json!({"measured": lines, "notes": self.notes, "machine": machine()}))
            .context("write JSON")?;
        Ok(std::fs::write(file, text)?)
    }
}

/// Medians beside each other, with the ratio that is aimed at, if any is.
fn beside(what: &str, ours: &Times, (name, theirs): (&str, &Times), most: Option<f64>) -> Line {
    let ratio = ours.median().as_secs_f64() / theirs.median().as_secs_f64();
    Line {
        what: what.to_owned(),
        ours: shown(ours.median()),
        against: format!("{} ({name})", shown(theirs.median())),
        ratio: Some(ratio),
        target: most.map(|most| format!("at most {most} times")).unwrap_or_default(),
        met: most.map(|most| ratio <= most),
        json: json!({"what": what, "ours": ours.json(), "against": name, "theirs": theirs.json(),
                     "ratio": ratio, "target_ratio": most}),
    }
}

/// What was measured on: kernel, processors, control groups.
fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cgroup = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "version 2" } else { "version 1" };
    json!({"kernel": read("/proc/sys/kernel/osrelease"), "cores": cores,
           "cpu": cpu.trim_start_matches([' ', '\t', ':']), "cgroup": cgroup})
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["", "Seawall", "beside", "ratio", "target", ""].map(str::to_owned);
        let rows = self.lines.iter().map(|line| {
            let ratio = line.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let met = match line.met {
                None => "",
                Some(true) => "met",
                Some(false) => "MISSED",
            };
            [&line.what, &line.ours, &line.against, &ratio, &line.target, met].map(|cell: &str| cell.to_owned())
        });
        let rows: Vec<[String; 6]> = std::iter::once(header).chain(rows).collect();
        for row in &rows {
            let mut text = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
                text.push_str(&format!("{cell:<width$}  ", width = width.unwrap_or(0)));
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        for note in &self.notes {
            writeln!(f, "- {note}")?;
        }
        write!(f, "{}", machine())
    }
}

fn shown(time: Duration) -> String {
    let ns = time.as_secs_f64() * 1e9;
    match ns {
        ..1e3 => format!("{ns:.0} ns"),
        ..1e4 => format!("{:.2} µs", ns / 1e3),
        ..1e6 => format!("{:.1} µs", ns / 1e3),
        ..1e9 => format!("{:.2} ms", ns / 1e6),
        _ => format!("{:.2} s", ns / 1e9),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        ..0x10_0000 => format!("{}.{} KiB", bytes >> 10, ((bytes & 0x3ff) * 10) >> 10),
        _ => format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_a_missed_target_is_shown() {
        let times = |all: &[u64]| Times(all.iter().map(|ms| Duration::from_millis(*ms)).collect());
        assert_eq!(times(&[9, 1, 5]).median(), Duration::from_millis(5));
        let mut report = Report::default();
        report.compare("x", &times(&[3]), ("y", &times(&[1])), 2.0);
        report.size("z", 3 << 19, 2 << 20);
        report.size("small", 3 << 9, 1 << 10);
        report.rate("often", 10.0, ("seldom", 20.0), 0.4);
        report.speed("quick", times(&[10, 30]).per_second(), 60.0);
        let text = report.to_string();
        let of = |what: &str| text.lines().find(|line| line.starts_with(what)).unwrap();
        assert!(of("small").contains("1.5 KiB") && of("small").ends_with("MISSED"), "{text}");
        assert!(of("often").contains("0.50") && of("often").ends_with(" met"), "{text}");
        assert!(of("quick").contains("50 a second") && of("quick").ends_with("MISSED"), "{text}");
        assert!(text.contains("3.00") && text.contains("MISSED") && text.contains("1.5 MiB"), "{text}");
    }
}
