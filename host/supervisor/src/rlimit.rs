//! Limits of a process, by the names that `ulimit` and Docker use.

use rustix::process::{Resource, Rlimit};

const NAMES: [(&str, Resource); 16] = [
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

/// The limit of this name.
pub fn resource(name: &str) -> Option<Resource> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, resource)| *resource)
}

/// Every name, for messages.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, _)| *name)
}

/// A pair of bounds, where `u64::MAX` is none.
pub fn bounds(soft: u64, hard: u64) -> Rlimit {
    let bound = |value| (value != u64::MAX).then_some(value);
    Rlimit { current: bound(soft), maximum: bound(hard) }
}
