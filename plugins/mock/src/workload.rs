//! One pretended workload: what is stored of it, and what it is at a given moment.
//!
//! Nothing runs. A workload is the few numbers below, and its status follows from them and the time: so an answer costs
//! no write, and thousands of workloads cost nothing while nobody asks.

use seawall_sdk::{Exit, Health, State, Status};

/// How a workload is to behave, settled when it is created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// It ends this long after its start, in ms; `None`: it runs until a signal ends it.
    pub exit_after: Option<u64>,
    /// With this code.
    pub exit_code: u8,
    /// It ends for want of memory instead.
    pub oom: bool,
    /// It ends and nobody can say how.
    pub exit_lost: bool,
    /// Only signal 9 ends it.
    pub ignore_term: bool,
    /// Its health is `starting` for this long, in ms.
    pub starting_for: u64,
    /// And this afterwards.
    pub health: Mood,
    /// How long one half of a flap is, in ms.
    pub flap_period: u64,
}

/// The health that a workload shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// Always well.
    #[default]
    Healthy,
    /// Always ill.
    Unhealthy,
    /// For ever starting.
    Starting,
    /// The backend never knows.
    Unknown,
    /// Well and ill by turns.
    Flapping,
}

/// What is stored of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// How it behaves.
    pub script: Script,
    /// ms since the Unix epoch.
    pub created_at: u64,
    /// ms since the Unix epoch.
    pub started_at: Option<u64>,
    /// When a signal ended it, and which.
    pub killed: Option<(u64, u8)>,
}

/// The first byte of every stored value: another layout gets another number.
const FORMAT: u8 = 1;

/// 9, which cannot be ignored.
const KILL: u8 = 9;

impl Stored {
    /// A workload just made.
    pub fn new(script: Script, now: u64) -> Self {
        Self { script, created_at: now, started_at: None, killed: None }
    }

    /// When it ends or ended, if that is known.
    fn ends_at(&self) -> Option<u64> {
        let by_itself = match (self.started_at, self.script.exit_after) {
            (Some(started), Some(after)) => Some(started.saturating_add(after)),
            _ => None,
        };
        match (by_itself, self.killed) {
            (Some(end), Some((killed, _))) => Some(end.min(killed)),
            (end, killed) => end.or(killed.map(|(at, _)| at)),
        }
    }

    /// Whether it runs at this time.
    pub fn runs(&self, now: u64) -> bool {
        self.started_at.is_some() && !self.ended(now)
    }

    /// Whether it ended before this time.
    pub fn ended(&self, now: u64) -> bool {
        self.ends_at().is_some_and(|end| end <= now)
    }

    /// A signal reaches it. True if that changed anything.
    pub fn signal(&mut self, signal: u8, now: u64) -> bool {
        // Signals whose default is to be ignored, to stop or to go on: a pretended program has no other answer.
        let harmless = matches!(signal, 17..=23 | 28);
        if !self.runs(now) || harmless || (self.script.ignore_term && signal != KILL) {
            return false;
        }
        self.killed = Some((now, signal));
        true
    }

    /// What an engine would say of it at this time.
    pub fn status(&self, now: u64) -> Status {
        let exit = if self.ended(now) { self.exit() } else { None };
        let state = match (&exit, self.started_at) {
            (Some(_), _) if self.script.exit_lost && self.killed.is_none() => State::Dead,
            (Some(_), _) => State::Exited,
            (None, Some(_)) => State::Running,
            (None, None) => State::Created,
        };
        let health = if state == State::Running { self.health(now) } else { Health::Unknown };
        Status { state, health, exit, created_at: Some(self.created_at), started_at: self.started_at, handle: None }
    }

    fn exit(&self) -> Option<Exit> {
        let at = self.ends_at()?;
        let none = Exit { code: None, signal: None, oom_killed: false, message: None, at: Some(at) };
        Some(match self.killed {
            Some((killed, signal)) if killed == at => Exit { signal: Some(signal.into()), ..none },
            _ if self.script.exit_lost => Exit { message: Some("the mock lost its exit, as asked".to_owned()), ..none },
            _ if self.script.oom => Exit { signal: Some(KILL.into()), oom_killed: true, ..none },
            _ => Exit { code: Some(self.script.exit_code.into()), ..none },
        })
    }

    fn health(&self, now: u64) -> Health {
        let age = now.saturating_sub(self.started_at.unwrap_or(now));
        if age < self.script.starting_for {
            return Health::Starting;
        }
        match self.script.health {
            Mood::Healthy => Health::Healthy,
            Mood::Unhealthy => Health::Unhealthy,
            Mood::Starting => Health::Starting,
            Mood::Unknown => Health::Unknown,
            Mood::Flapping if (age / self.script.flap_period.max(1)).is_multiple_of(2) => Health::Healthy,
            Mood::Flapping => Health::Unhealthy,
        }
    }

    /// As it is stored: a format byte, a byte of flags, a byte of health, the exit code, the killing signal, then the
    /// numbers, each as 8 bytes, little endian. Fixed, so that a batch of a thousand is read without parsing.
    pub fn encode(&self) -> Vec<u8> {
        let script = &self.script;
        let flag = |at: u8, set: bool| u8::from(set) << at;
        let flags = flag(0, script.exit_after.is_some())
            | flag(1, script.oom)
            | flag(2, script.exit_lost)
            | flag(3, script.ignore_term)
            | flag(4, self.started_at.is_some())
            | flag(5, self.killed.is_some());
        let (killed_at, signal) = self.killed.unwrap_or_default();
        let mood = match script.health {
            Mood::Healthy => 0,
            Mood::Unhealthy => 1,
            Mood::Starting => 2,
            Mood::Unknown => 3,
            Mood::Flapping => 4,
        };
        let mut bytes = Vec::with_capacity(5 + 6 * 8);
        bytes.extend([FORMAT, flags, mood, script.exit_code, signal]);
        for number in [
            self.created_at,
            self.started_at.unwrap_or_default(),
            killed_at,
            script.exit_after.unwrap_or_default(),
            script.starting_for,
            script.flap_period,
        ] {
            bytes.extend(number.to_le_bytes());
        }
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` if it did not.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<5>()?;
        let [FORMAT, flags, mood, exit_code, signal] = *head else { return None };
        let (numbers, []) = rest.as_chunks::<8>() else { return None };
        let [created_at, started_at, killed_at, exit_after, starting_for, flap_period] = numbers else { return None };
        let number = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
        let flag = |at: u8| flags & (1 << at) != 0;
        Some(Self {
            script: Script {
                exit_after: flag(0).then(|| number(exit_after)),
                exit_code,
                oom: flag(1),
                exit_lost: flag(2),
                ignore_term: flag(3),
                starting_for: number(starting_for),
                health: match mood {
                    0 => Mood::Healthy,
                    1 => Mood::Unhealthy,
                    2 => Mood::Starting,
                    3 => Mood::Unknown,
                    4 => Mood::Flapping,
                    _ => return None,
                },
                flap_period: number(flap_period),
            },
            created_at: number(created_at),
            started_at: flag(4).then(|| number(started_at)),
            killed: flag(5).then(|| (number(killed_at), signal)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(script: Script) -> Stored {
        Stored { started_at: Some(1_000), ..Stored::new(script, 900) }
    }

    #[test]
    fn a_workload_is_created_runs_and_ends_by_itself() {
        let script = Script { exit_after: Some(500), exit_code: 3, ..Script::default() };
        let fresh = Stored::new(script.clone(), 900);
        assert_eq!(fresh.status(10_000).state, State::Created, "what never started never ends");
        let workload = started(script);
        assert_eq!(workload.status(1_499).state, State::Running);
        assert_eq!(workload.status(1_499).health, Health::Healthy);
        let status = workload.status(1_500);
        assert_eq!(status.state, State::Exited);
        assert_eq!(status.health, Health::Unknown);
        let exit = status.exit.unwrap();
        assert_eq!((exit.code, exit.signal, exit.oom_killed, exit.at), (Some(3), None, false, Some(1_500)));
    }

    #[test]
    fn a_signal_ends_what_does_not_ignore_it() {
        let mut polite = started(Script::default());
        assert!(!polite.signal(18, 1_100), "SIGCONT ends nothing");
        assert!(polite.signal(15, 1_200));
        let exit = polite.status(1_200).exit.unwrap();
        assert_eq!((exit.code, exit.signal, exit.at), (None, Some(15), Some(1_200)));
        assert!(!polite.signal(9, 1_300), "it has ended");

        let mut stubborn = started(Script { ignore_term: true, ..Script::default() });
        assert!(!stubborn.signal(15, 1_200));
        assert!(stubborn.runs(1_200));
        assert!(stubborn.signal(9, 1_300));
        assert!(stubborn.ended(1_300));
    }

    #[test]
    fn a_signal_after_the_end_changes_nothing() {
        let mut workload = started(Script { exit_after: Some(100), ..Script::default() });
        assert!(!workload.signal(9, 2_000));
        assert_eq!(workload.status(2_000).exit.unwrap().code, Some(0));
    }

    #[test]
    fn want_of_memory_and_a_lost_exit_are_no_zero() {
        let oom = started(Script { exit_after: Some(0), oom: true, ..Script::default() });
        let exit = oom.status(1_000).exit.unwrap();
        assert_eq!((exit.code, exit.signal, exit.oom_killed), (None, Some(9), true));
        let lost = started(Script { exit_after: Some(0), exit_lost: true, ..Script::default() });
        let status = lost.status(1_000);
        assert_eq!(status.state, State::Dead);
        assert_eq!(status.exit.map(|exit| (exit.code, exit.signal)), Some((None, None)));
    }

    #[test]
    fn health_starts_then_flaps() {
        let script = Script { starting_for: 100, health: Mood::Flapping, flap_period: 1_000, ..Script::default() };
        let workload = started(script);
        let seen: Vec<_> = [1_050, 1_100, 1_999, 2_000, 3_000].map(|now| workload.status(now).health).into();
        use Health::{Healthy, Starting, Unhealthy};
        assert_eq!(seen, [Starting, Healthy, Healthy, Unhealthy, Healthy]);
    }

    #[test]
    fn what_is_stored_reads_back() {
        let script = Script {
            exit_after: Some(u64::MAX),
            exit_code: 255,
            oom: true,
            exit_lost: true,
            ignore_term: true,
            starting_for: 7,
            health: Mood::Flapping,
            flap_period: 9,
        };
        for workload in [
            Stored::new(Script::default(), 0),
            Stored { script, created_at: 1, started_at: Some(2), killed: Some((3, 64)) },
        ] {
            assert_eq!(Stored::decode(&workload.encode()), Some(workload));
        }
    }

    #[test]
    fn what_is_no_workload_is_not_read_as_one() {
        let good = Stored::new(Script::default(), 5).encode();
        let mut other_format = good.clone();
        other_format[0] = 2;
        let mut other_mood = good.clone();
        other_mood[2] = 9;
        for bad in [&[][..], &good[..good.len() - 1], &[good.clone(), vec![0]].concat(), &other_format, &other_mood] {
            assert_eq!(Stored::decode(bad), None);
        }
    }
}
