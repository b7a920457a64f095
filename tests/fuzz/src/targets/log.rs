//! The files of a process's log: whatever is in them, reading comes to an end, gives no more than there is, and finds a
//! file's records behind a damaged one. The input is how to read, and then up to three files, each with its length.

use std::path::Path;

use seawall_backend::Source;
use seawall_model::{LogOptions, Timestamp};
use seawall_supervisor::log::{Limits, Reader, Stream, Writer};

use crate::pieces::Bytes;
use crate::{Run, Target};

pub(crate) const TARGET: Target = Target { name: "log", longest: 4096, tries: 300, seeds, make };

fn seeds() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), Limits::default()).unwrap();
    writer.write(1_000, Stream::Stdout, b"one\ntw");
    writer.write(2_000, Stream::Stderr, b"error\n");
    writer.write(3_000, Stream::Stdout, b"o\nthree\n\n\nfour");
    writer.write(4_000, Stream::Lost, &7_u64.to_le_bytes());
    let file = std::fs::read(dir.path().join("0000000001")).unwrap();
    let input = |head: [u8; 4], files: &[&[u8]]| {
        let length = |file: &[u8]| u16::try_from(file.len()).unwrap().to_be_bytes();
        let files = files.iter().flat_map(|file| [&length(file), *file].concat());
        head.into_iter().chain(files).collect::<Vec<u8>>()
    };
    vec![
        input([0b000_1111, 0, 0, 0], &[&file]),
        input([0b001_0111, 2, 0, 0], &[&file, &file]),
        input([0b111_1011, 1, 1, 4], &[&file[..40], &file, &file[..9]]),
    ]
}

fn make() -> Run {
    let dir = tempfile::tempdir().unwrap();
    Box::new(move |input| run(dir.path(), input))
}

fn run(dir: &Path, input: &[u8]) {
    let mut input = Bytes(input);
    let [how, lines, since, until] = [input.byte(), input.byte(), input.byte(), input.byte()];
    let seconds = |seconds: u8| Timestamp::from_millis(u64::from(seconds) * 1000);
    let options = LogOptions {
        follow: false,
        stdout: how & 1 != 0,
        stderr: how & 2 != 0,
        timestamps: how & 8 != 0,
        tail: (how & 16 != 0).then_some(u64::from(lines)),
        since: (how & 32 != 0).then_some(seconds(since)),
        until: (how & 64 != 0).then_some(seconds(until)),
    };
    let mut size = 0;
    for number in 1..=3_u8 {
        let length = usize::from(u16::from_be_bytes([input.byte(), input.byte()]));
        let file = if number == 3 { input.0 } else { input.take(length) };
        size += file.len();
        std::fs::write(dir.join(format!("{number:010}")), file).unwrap();
    }

    let mut reader = Reader::open(dir).unwrap();
    let records: Vec<_> = std::iter::from_fn(|| reader.read().unwrap()).collect();
    assert!(records.iter().map(|record| record.bytes.len() + 16).sum::<usize>() <= size, "more than there is");

    let all = LogOptions { timestamps: false, tail: None, ..options };
    let plain = text(&seawall_process::output(dir, all).unwrap());
    let lost: usize = records.iter().filter(|record| record.lost().is_some()).count();
    assert!(plain.len() <= size + lost * 100);
    let wrong = |chunk: &seawall_backend::LogChunk| match chunk.source {
        Source::Stdout => !options.stdout,
        Source::Stderr => !options.stderr,
    };
    let chunks = seawall_process::output(dir, options).unwrap();
    assert!(!chunks.iter().any(wrong), "a stream that was not asked for");
    if let (Some(tail), false) = (options.tail, options.timestamps) {
        // The last so many lines; the last may be without its end.
        let lines: Vec<_> = plain.split_inclusive(|byte| *byte == b'\n').collect();
        let first = lines.len().saturating_sub(usize::try_from(tail).unwrap());
        assert_eq!(text(&chunks), lines[first..].concat());
    }
}

fn text(chunks: &[seawall_backend::LogChunk]) -> Vec<u8> {
    chunks.iter().flat_map(|chunk| chunk.bytes.to_vec()).collect()
}
