//! Every target with what was kept in `corpus/`, and with changes of it that are chosen at random; with
//! `SEAWALL_FUZZ_TIMES=100` with so many times as many.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod changes;
mod components;

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use changes::Change;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use seawall_fuzz::Target;

/// What is kept, and what is made: never nothing.
fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let mut inputs = (target.seeds)();
    assert!(!inputs.is_empty());
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    inputs.extend(files.iter().map(|file| std::fs::read(file).unwrap()));
    inputs
}

fn replay(name: &str) {
    let target = seawall_fuzz::target(name).unwrap();
    let inputs = inputs(&target);
    let run = RefCell::new((target.make)());
    for input in &inputs {
        (run.borrow_mut())(input);
    }

    let times = std::env::var("SEAWALL_FUZZ_TIMES").ok().map_or(1, |times| times.parse().unwrap());
    let config = Config { cases: target.tries * times, failure_persistence: None, ..Config::default() };
    let changed = (0..inputs.len(), proptest::collection::vec(any::<Change>(), 1..8));
    let tried = TestRunner::new(config).run(&changed, |(which, changes)| {
        let input = changes::apply(&inputs, which, &changes, target.longest);
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| (run.borrow_mut())(&input)));
        prop_assert!(ended.is_ok(), "keep this as corpus/{name}/NAME: b\"{}\"", input.escape_ascii());
        Ok(())
    });
    if let Err(error) = tried {
        panic!("{error}");
    }
}

macro_rules! targets {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                replay($name);
            }
        )*

        #[test]
        fn every_target_is_replayed() {
            let replayed = [$($name),*];
            assert!(seawall_fuzz::TARGETS.iter().map(|target| target.name).eq(replayed));
        }
    };
}

targets! {
    a_configuration_is_refused_or_reads_back: "config",
    a_spec_is_refused_or_reads_back_and_gives_no_secret_away: "spec",
    a_plugins_schema_hurts_nobody: "schema",
    no_request_is_the_daemons_fault: "api",
    a_stream_says_the_same_however_it_is_cut: "stream",
    what_is_read_of_a_word_is_written_so_that_it_reads_the_same: "units",
    a_changed_component_is_a_backend_or_one_reason_why_not: "loader",
    a_plugin_that_describes_itself_badly_is_refused: "describe",
    an_answer_of_a_guest_can_be_true_or_is_one_fault: "answers",
    a_changed_file_of_the_cache_is_never_run: "cache",
    whatever_answers_at_the_engines_socket_a_call_ends_well: "engine",
    a_message_between_daemon_and_supervisor_reads_back: "protocol",
    a_damaged_record_is_refused: "records",
    a_log_is_read_to_its_end_whatever_is_in_its_files: "log",
}
