//! What the plugin of every system does, so that only the road to it differs: an engine whose sessions follow from their
//! ids. No clock, no I/O, and as little work as an answer of real size allows.

/// Which session is meant.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// 16 hexadecimal digits.
    pub session: &'a str,
    /// Counted from 1; [`HOLD`] asks for a call that does not end.
    pub incarnation: u64,
    /// What an earlier answer gave.
    pub handle: Option<&'a [u8]>,
}

/// The incarnation of a key that keeps its call in flight until the caller gives up: how the memory of calls is measured.
pub const HOLD: u64 = u64::MAX;

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Runs.
    Running,
    /// Ended.
    Exited,
}

/// How well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Passes its check.
    Healthy,
    /// Fails it.
    Unhealthy,
    /// Has ended.
    Unknown,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// 0 to 255.
    pub code: u32,
    /// For want of memory.
    pub oom_killed: bool,
    /// In words.
    pub message: String,
    /// ms since the Unix epoch.
    pub at: u64,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it does.
    pub state: State,
    /// How well.
    pub health: Health,
    /// Present if it has ended.
    pub exit: Option<Exit>,
    /// ms since the Unix epoch.
    pub created_at: u64,
    /// ms since the Unix epoch.
    pub started_at: u64,
    /// 64 bytes, as an engine's own id has.
    pub handle: Vec<u8>,
}

/// Version of the engine.
pub const VERSION: &str = "28.5.1";

/// What `check` tells about it.
pub const ATTRIBUTES: [(&str, &str); 3] = [("os", "linux"), ("arch", "x86_64"), ("driver", "overlay2")];

/// The status of a session: of twenty, two have ended and one is unhealthy.
pub fn status(key: Key<'_>) -> Status {
    let number = key.session.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let created_at = 1_790_000_000_000 + number % 10_000_000;
    let (state, health) = match number % 20 {
        0 | 1 => (State::Exited, Health::Unknown),
        2 => (State::Running, Health::Unhealthy),
        _ => (State::Running, Health::Healthy),
    };
    let exit = (state == State::Exited).then(|| Exit {
        code: if number % 20 == 0 { 137 } else { 3 },
        oom_killed: number % 20 == 0,
        message: "the first process ended and nothing restarted it".to_owned(),
        at: created_at + 60_000,
    });
    let handle = match key.handle {
        Some(handle) => handle.to_vec(),
        None => key.session.repeat(4).into_bytes(),
    };
    Status { state, health, exit, created_at, started_at: created_at + 250, handle }
}

/// Takes processor time until somebody ends the call.
pub fn spin() -> ! {
    loop {
        std::hint::black_box(HOLD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_every_kind_are_among_a_thousand() {
        let all: Vec<_> = (0..1_000)
            .map(|number| status(Key { session: &format!("{number:016x}"), incarnation: 1, handle: None }))
            .collect();
        for state in [State::Running, State::Exited] {
            assert!(all.iter().any(|status| status.state == state));
        }
        for health in [Health::Healthy, Health::Unhealthy, Health::Unknown] {
            assert!(all.iter().any(|status| status.health == health));
        }
        for status in &all {
            assert_eq!(status.exit.is_some(), status.state == State::Exited);
            assert_eq!(status.handle.len(), 64);
        }
    }
}
