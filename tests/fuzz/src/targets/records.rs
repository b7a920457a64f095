//! The records of a run directory: damaged ones are refused, and one that is read is written as it was.

use std::fmt::Debug;

use seawall_supervisor::log::Limits;
use seawall_supervisor::record::{self, Ended, Failure, Program, Record, Rlimit, Stamp, Started, User};

use crate::{Run, Target};

pub(crate) const TARGET: Target =
    Target { name: "records", longest: 2048, tries: 2000, seeds, make: || Box::new(run) as Run };

fn seeds() -> Vec<Vec<u8>> {
    let stamp = Stamp {
        store: "0123abcd".to_owned(),
        backend: "process".to_owned(),
        session: "0123456789abcdef".to_owned(),
        incarnation: 3,
        created_at: 1_700_000_000_000,
    };
    let failure = Failure { field: Some("user".to_owned()), message: "no such user".to_owned() };
    let ended = Ended {
        at: Some(5),
        code: Some(3),
        signal: Some(9),
        oom: true,
        message: Some("m".to_owned()),
        failure: Some(failure),
    };
    let program = Program {
        file: "/bin/sh".to_owned(),
        arguments: vec!["sh".to_owned(), "-c".to_owned()],
        env: vec![("A".to_owned(), "b".to_owned())],
        working_dir: Some("/".to_owned()),
        user: Some(User { uid: 1, gid: 2 }),
        rlimits: vec![Rlimit { name: "nofile".to_owned(), soft: 1, hard: u64::MAX }],
        tty: true,
        stdin: false,
        log: Limits::default(),
        cgroup: Default::default(),
    };
    vec![
        record::encode(&stamp).unwrap(),
        record::encode(&ended).unwrap(),
        record::encode(&program).unwrap(),
        record::encode(&Started { at: 1, pid: 2, supervisor: 3 }).unwrap(),
    ]
}

fn check<R: Record + PartialEq>(input: &[u8]) {
    let Ok(read) = record::decode::<R>(input) else { return };
    let again: R = record::decode(&record::encode(&read).unwrap()).unwrap();
    assert!(again == read, "a record reads back as another");
}

fn run(input: &[u8]) {
    check::<Stamp>(input);
    check::<Program>(input);
    check::<Started>(input);
    check::<Ended>(input);
    check::<Failure>(input);
    outside_of_debug::<Stamp>(input);
}

/// Errors name no more of a damaged record than a line.
fn outside_of_debug<R: Record + Debug>(input: &[u8]) {
    if let Err(error) = record::decode::<R>(input) {
        super::assert_readable("an error", &error.to_string(), 512);
    }
}
