//! `stats`: what sessions use, once or as it goes on, as `docker stats` shows it.
//!
//! The daemon gives what was used since a session's start; shares are worked out here, of two samples.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use seawall_control::{Sample, SessionUsage};
use seawall_model::{Incarnation, SessionId, Transfer, Usage};

use super::format::table;
use super::{Global, printable, say};
use crate::client::Client;
use crate::exit::Failure;
use crate::problem::{Kind, Problem};

/// Between two samples.
const INTERVAL: Duration = Duration::from_secs(1);
/// To the upper left corner; what is left of the screen before is wiped line by line, so that nothing flickers.
const HOME: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K\n";
const REST_OF_SCREEN: &str = "\x1b[J";
/// Wipes the screen once, at the beginning.
const CLEAR: &str = "\x1b[2J";

/// `stats`.
#[derive(Debug, Args)]
#[command(after_help = "\
On a terminal it is redrawn every second, and elsewhere a table is printed every second, until it is interrupted.
CPU % is of one processor: two that are busy are 200 %. MEM % is of the session's limit. What an engine does not tell is `-`.")]
pub(crate) struct Stats {
    /// Ids, beginnings of ids (4 digits or more), or names. Default: all that run
    #[arg(value_name = "SESSION")]
    sessions: Vec<String>,
    /// Only those of this backend; may be repeated
    #[arg(long = "backend", value_name = "NAME")]
    backends: Vec<String>,
    /// Show them once, of two samples a second apart
    #[arg(long)]
    no_stream: bool,
    /// Show ids in full
    #[arg(long)]
    no_trunc: bool,
}

/// A session's figures, with what the difference of two samples says.
#[derive(Debug, serde::Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    session: &'a SessionUsage,
    /// Of one processor, in percent. Absent until there are two samples.
    cpu_percent: Option<f64>,
    /// Of its limit, in percent.
    memory_percent: Option<f64>,
}

/// One moment.
#[derive(Debug, serde::Serialize)]
struct Shown<'a> {
    sessions: Vec<Row<'a>>,
    errors: &'a [seawall_control::Unmeasured],
}

impl Stats {
    /// Samples and shows, again and again.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        let query: Vec<_> = self
            .sessions
            .iter()
            .map(|session| ("session", session.clone()))
            .chain(self.backends.iter().map(|backend| ("backend", backend.clone())))
            .collect();
        let sample = async || client.get::<Sample>(&["stats"], &query).await;
        let screen = std::io::stdout().is_terminal() && !global.json && !self.no_stream;
        let mut before = sample().await?;
        self.nothing_at_all(&before)?;
        if screen {
            say(CLEAR)?;
        }
        let mut said = Vec::new();
        loop {
            tokio::time::sleep(INTERVAL).await;
            let now = sample().await?;
            let shown = Shown { sessions: rows(&before, &now), errors: &now.errors };
            if self.no_stream && global.json {
                global.show(&shown, |_| String::new())?;
            } else if global.json {
                let json = serde_json::to_string(&shown).map_err(anyhow::Error::from)?;
                say(&format!("{json}\n"))?;
            } else if screen {
                say(&on_screen(&(self.text(&shown) + &missing(&shown))))?;
            } else {
                say(&self.text(&shown))?;
                // Once, and not every second.
                for error in missing(&shown).lines().filter(|line| !line.is_empty()) {
                    if !said.iter().any(|known| known == error) {
                        said.push(error.to_owned());
                        eprintln!("{error}");
                    }
                }
            }
            if self.no_stream {
                return Ok(0);
            }
            before = now;
        }
    }

    /// Sessions that were named and of which nobody can say anything are a failure, the same as of any other command.
    fn nothing_at_all(&self, sample: &Sample) -> Result<(), Failure> {
        if self.sessions.is_empty() || !sample.sessions.is_empty() {
            return Ok(());
        }
        match sample.errors.first() {
            Some(error) if error.kind == "unsupported" => {
                Err(Failure::from(Problem::new(Kind::Unsupported, &*error.reason)))
            }
            Some(error) => Err(Failure::from(Problem::new(Kind::Unavailable, &*error.reason))),
            None => {
                let sessions = self.sessions.join(", ");
                let detail = format!("nothing of this runs: {sessions}; `seawall ps -a` says how it is");
                Err(Failure::from(Problem::new(Kind::Conflict, detail)))
            }
        }
    }

    fn text(&self, shown: &Shown<'_>) -> String {
        let header = ["ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"];
        let rows = shown.sessions.iter().map(|row| {
            let SessionUsage { id, name, usage, .. } = row.session;
            let id = if self.no_trunc { id.as_str() } else { id.short() };
            vec![
                id.to_owned(),
                name.to_string(),
                percent(row.cpu_percent),
                format!("{} / {}", bytes(usage.memory), bytes(usage.memory_limit)),
                percent(row.memory_percent),
                transfer(usage.network),
                transfer(usage.disk),
                usage.processes.map_or_else(none, |processes| processes.to_string()),
            ]
        });
        table(&header, rows)
    }
}

fn missing(shown: &Shown<'_>) -> String {
    let line = |error: &seawall_control::Unmeasured| {
        let (backend, reason, sessions) = (&error.backend, &error.reason, error.sessions);
        let of = if sessions == 1 { "1 session".to_owned() } else { format!("{sessions} sessions") };
        printable(&format!("! {backend}: no figures of {of}: {reason}")).replace('\n', " ") + "\n"
    };
    shown.errors.iter().map(line).collect()
}

fn on_screen(text: &str) -> String {
    format!("{HOME}{}{REST_OF_SCREEN}", text.replace('\n', REST_OF_LINE))
}

fn rows<'a>(before: &Sample, now: &'a Sample) -> Vec<Row<'a>> {
    let known: HashMap<(&SessionId, Incarnation), &Usage> =
        before.sessions.iter().map(|row| ((&row.id, row.incarnation), &row.usage)).collect();
    let row = |session: &'a SessionUsage| {
        let before = known.get(&(&session.id, session.incarnation));
        let usage = &session.usage;
        Row {
            session,
            cpu_percent: before.and_then(|before| cpu_percent(before, usage)),
            memory_percent: usage.memory.zip(usage.memory_limit).map(|(used, limit)| share(used, limit)),
        }
    };
    now.sessions.iter().map(row).collect()
}

/// `None` if there is no difference to go by.
fn cpu_percent(before: &Usage, now: &Usage) -> Option<f64> {
    let (used, elapsed) = (now.cpu_time?.saturating_sub(before.cpu_time?), now.at.since(before.at));
    let elapsed = u64::try_from(elapsed.as_nanos()).ok().filter(|elapsed| *elapsed > 0)?;
    Some(share(used, elapsed))
}

/// In percent.
fn share(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

fn none() -> String {
    "-".to_owned()
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(none, |value| format!("{value:.2}%"))
}

fn transfer(transfer: Option<Transfer>) -> String {
    transfer
        .map_or_else(none, |Transfer { incoming, outgoing }| format!("{} / {}", decimal(incoming), decimal(outgoing)))
}

/// Memory has binary units, as in Docker.
fn bytes(value: Option<u64>) -> String {
    value.map_or_else(none, |value| scaled(value, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"]))
}

/// What is transferred has decimal ones, as in Docker.
fn decimal(value: u64) -> String {
    scaled(value, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB"])
}

/// Three or four digits and the unit.
fn scaled(value: u64, step: f64, units: &[&str]) -> String {
    let (mut value, mut units) = (value as f64, units.iter().peekable());
    while let Some(unit) = units.next() {
        if value < step || units.peek().is_none() {
            let digits = if *unit == "B" || value >= 100.0 {
                0
            } else if value >= 10.0 {
                1
            } else {
                2
            };
            return format!("{value:.digits$}{unit}");
        }
        value /= step;
    }
    none()
}

#[cfg(test)]
mod tests {
    use seawall_control::Unmeasured;
    use seawall_model::{SessionState, Timestamp};

    use super::*;

    fn usage(at: u64, cpu_time: u64) -> Usage {
        Usage {
            at: Timestamp::from_millis(at),
            cpu_time: Some(cpu_time),
            memory: Some(3 << 19),
            memory_limit: Some(64 << 20),
            processes: Some(3),
            processes_limit: None,
            network: Some(Transfer { incoming: 1_234_567, outgoing: 999 }),
            disk: None,
        }
    }

    fn session(number: u64, usage: Usage) -> SessionUsage {
        SessionUsage {
            id: format!("{number:016x}").parse().unwrap(),
            name: format!("web-{number}").parse().unwrap(),
            backend: "docker".parse().unwrap(),
            incarnation: 1,
            state: SessionState::Running,
            started_at: None,
            usage,
        }
    }

    fn stats() -> Stats {
        Stats { sessions: Vec::new(), backends: Vec::new(), no_stream: true, no_trunc: false }
    }

    #[test]
    fn two_samples_make_a_table() {
        let nothing = Usage {
            at: Timestamp::from_millis(2000),
            cpu_time: None,
            memory: None,
            memory_limit: None,
            processes: None,
            processes_limit: None,
            network: None,
            disk: None,
        };
        let restarted = SessionUsage { incarnation: 2, ..session(3, usage(2000, 7)) };
        let before = Sample {
            sessions: vec![
                session(1, usage(1000, 500_000_000)),
                session(2, nothing.clone()),
                session(3, usage(1000, 9)),
            ],
            errors: Vec::new(),
        };
        let error = Unmeasured {
            backend: "mock".parse().unwrap(),
            sessions: 2,
            kind: "unsupported".to_owned(),
            reason: "it cannot".to_owned(),
        };
        let now = Sample {
            sessions: vec![session(1, usage(3000, 3_500_000_000)), session(2, nothing), restarted],
            errors: vec![error],
        };
        let shown = Shown { sessions: rows(&before, &now), errors: &now.errors };
        insta::assert_snapshot!(stats().text(&shown) + &missing(&shown));
    }

    #[test]
    fn sizes_have_three_or_four_digits() {
        let sizes = [0, 999, 1023, 1024, 10_300, 1_048_575, 5 << 30, u64::MAX].map(|size| bytes(Some(size)));
        assert_eq!(sizes, ["0B", "999B", "1023B", "1.00KiB", "10.1KiB", "1024KiB", "5.00GiB", "16384PiB"]);
        assert_eq!(decimal(1000), "1.00kB");
    }

    #[test]
    fn what_is_named_and_cannot_be_measured_is_a_failure_of_its_own_kind() {
        let named = Stats { sessions: vec!["web".to_owned()], ..stats() };
        let with = |kind: &str| {
            let (backend, kind, reason) = ("mock".parse().unwrap(), kind.to_owned(), "why".to_owned());
            Sample { sessions: Vec::new(), errors: vec![Unmeasured { backend, sessions: 1, kind, reason }] }
        };
        let code = |sample: &Sample| named.nothing_at_all(sample).unwrap_err().code() as u8;
        assert_eq!([code(&with("unsupported")), code(&with("open")), code(&Sample::default())], [68, 69, 66]);
        assert!(stats().nothing_at_all(&Sample::default()).is_ok(), "nothing runs: that is no failure");
    }
}
