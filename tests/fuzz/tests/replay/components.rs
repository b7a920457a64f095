//! Real components, as compilers make them, changed: too large to be kept in the corpus, and slow to compile, so a few
//! changes of each.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Built by `cargo xtask plugins`, which `cargo xtask test` calls.
const FOLDERS: [&str; 2] = ["../../plugins/dist", "../fixtures/dist"];
/// Of each component.
const TRIES: u32 = 6;

fn components() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = FOLDERS.iter().filter_map(|folder| std::fs::read_dir(here.join(folder)).ok()).flatten();
    let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "wasm"));
    files.sort();
    files
}

/// The sections of a component, each with its head; the file's own head comes first.
fn sections(wasm: &[u8]) -> Vec<&[u8]> {
    let (head, mut rest) = wasm.split_at(wasm.len().min(8));
    let mut sections = vec![head];
    while rest.len() > 1 {
        let (mut length, mut at) = (0_usize, 1);
        while let Some(byte) = rest.get(at) {
            length |= usize::from(byte & 0x7f) << (7 * (at - 1));
            at += 1;
            if byte & 0x80 == 0 || at > 5 {
                break;
            }
        }
        let (section, after) = rest.split_at((at + length).min(rest.len()));
        sections.push(section);
        rest = after;
    }
    sections
}

#[derive(Clone, Debug)]
enum Change {
    Flip { at: u32, bit: u8 },
    Cut { at: u32 },
    Swap { one: u16, other: u16 },
    Remove { section: u16 },
    Double { section: u16 },
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<u32>(), 0..8_u8).prop_map(|(at, bit)| Change::Flip { at, bit }),
        1 => any::<u32>().prop_map(|at| Change::Cut { at }),
        2 => (any::<u16>(), any::<u16>()).prop_map(|(one, other)| Change::Swap { one, other }),
        1 => any::<u16>().prop_map(|section| Change::Remove { section }),
        1 => any::<u16>().prop_map(|section| Change::Double { section }),
    ]
}

fn changed(wasm: &[u8], change: &Change) -> Vec<u8> {
    let mut sections = sections(wasm);
    // The head stays where it is.
    let index = |at: u16| 1 + usize::from(at) % (sections.len() - 1).max(1);
    let place = |at: u32| usize::try_from(at).unwrap() % wasm.len();
    match *change {
        Change::Flip { at, bit } => {
            let mut wasm = wasm.to_vec();
            wasm[place(at)] ^= 1 << bit;
            return wasm;
        }
        Change::Cut { at } => return wasm[..place(at)].to_vec(),
        Change::Swap { one, other } => {
            let (one, other) = (index(one), index(other));
            sections.swap(one, other);
        }
        Change::Remove { section } => {
            let at = index(section);
            sections.remove(at);
        }
        Change::Double { section } => {
            let at = index(section);
            sections.insert(at, sections[at]);
        }
    }
    sections.concat()
}

#[test]
fn real_components_that_were_changed_are_backends_or_have_a_reason_why_not() {
    let files = components();
    // A fresh clone has none built; whoever skips nothing has.
    assert!(!files.is_empty() || std::env::var_os("CI").is_none(), "build them: cargo xtask plugins");
    let run = RefCell::new((seawall_fuzz::target("loader").unwrap().make)());
    for file in files {
        let wasm = std::fs::read(&file).unwrap();
        let sections_of = sections(&wasm);
        assert_eq!(sections_of.concat(), wasm, "{}", file.display());
        if sections_of.len() < 3 {
            continue;
        }
        let config = Config { cases: TRIES, failure_persistence: None, ..Config::default() };
        let tried = TestRunner::new(config).run(&change(), |change| {
            (run.borrow_mut())(&changed(&wasm, &change));
            Ok(())
        });
        if let Err(error) = tried {
            panic!("{}: {error}", file.display());
        }
    }
}
