//! Changes of an input, in the manner of a fuzzer, as values that can be shrunk.

use proptest::prelude::*;

/// One change. Places are taken modulo what there is.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Flip { at: u16, bit: u8 },
    Set { at: u16, to: u8 },
    Insert { at: u16, bytes: Vec<u8> },
    Remove { at: u16, length: u8 },
    Repeat { at: u16, length: u8, times: u8 },
    Cut { at: u16 },
    Splice { at: u16, with: u16, from: u16 },
}

impl Arbitrary for Change {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let at = any::<u16>;
        // What breaks things more often than other bytes do.
        let byte = prop_oneof![any::<u8>(), proptest::sample::select(vec![0, 1, 0x7f, 0x80, 0xff, b'"', b'\n', b'/'])];
        let bytes = proptest::collection::vec(byte.clone(), 1..9);
        prop_oneof![
            (at(), 0..8_u8).prop_map(|(at, bit)| Self::Flip { at, bit }),
            (at(), byte).prop_map(|(at, to)| Self::Set { at, to }),
            (at(), bytes).prop_map(|(at, bytes)| Self::Insert { at, bytes }),
            (at(), 1..32_u8).prop_map(|(at, length)| Self::Remove { at, length }),
            (at(), 1..32_u8, 1..9_u8).prop_map(|(at, length, times)| Self::Repeat { at, length, times }),
            at().prop_map(|at| Self::Cut { at }),
            (at(), at(), at()).prop_map(|(at, with, from)| Self::Splice { at, with, from }),
        ]
        .boxed()
    }
}

/// The input `which`, changed; no longer than `longest`.
pub(crate) fn apply(inputs: &[Vec<u8>], which: usize, changes: &[Change], longest: usize) -> Vec<u8> {
    let mut input = inputs[which].clone();
    for change in changes {
        one(&mut input, change, inputs);
    }
    input.truncate(longest);
    input
}

fn one(input: &mut Vec<u8>, change: &Change, inputs: &[Vec<u8>]) {
    let within = |at: u16, length: usize| usize::from(at) % (length + 1);
    let end = |at: usize, length: u8, all: usize| (at + usize::from(length)).min(all);
    let all = input.len();
    match change {
        Change::Flip { at, bit } => {
            if let Some(byte) = input.get_mut(within(*at, all)) {
                *byte ^= 1 << bit;
            }
        }
        Change::Set { at, to } => {
            if let Some(byte) = input.get_mut(within(*at, all)) {
                *byte = *to;
            }
        }
        Change::Insert { at, bytes } => {
            let at = within(*at, all);
            input.splice(at..at, bytes.iter().copied());
        }
        Change::Remove { at, length } => {
            let at = within(*at, all);
            input.drain(at..end(at, *length, all));
        }
        Change::Repeat { at, length, times } => {
            let at = within(*at, all);
            let piece = input[at..end(at, *length, all)].repeat(usize::from(*times));
            input.splice(at..at, piece);
        }
        Change::Cut { at } => input.truncate(within(*at, all)),
        Change::Splice { at, with, from } => {
            let other = &inputs[usize::from(*with) % inputs.len()];
            input.truncate(within(*at, all));
            input.extend_from_slice(&other[within(*from, other.len())..]);
        }
    }
}
