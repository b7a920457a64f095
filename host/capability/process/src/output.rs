//! From the records of a log to the pieces that a reader asked for: which streams, which times, how many lines, with or
//! without a time before each.

use std::io;
use std::path::Path;

use bytes::Bytes;
use seawall_backend::{LogChunk, Source};
use seawall_model::{LogOptions, Timestamp};
use seawall_supervisor::log::{Reader, Record, Stream};

/// No more is added to a batch of so many bytes: as much waits for as long as its reader does.
const BATCH: usize = 8 << 10;

/// The output of one process, piece by piece. Blocking.
#[derive(Debug)]
pub(crate) struct Output {
    reader: Reader,
    options: LogOptions,
    /// Ends of lines still to be passed before anything is given.
    skip: u64,
    /// Whether the next byte of stdout, or of stderr, begins a line.
    fresh: [bool; 2],
    /// Of the newest record that was read.
    newest: Option<Timestamp>,
}

impl Output {
    pub(crate) fn open(dir: &Path, options: LogOptions) -> io::Result<Self> {
        let reader = Reader::open(dir)?;
        let mut output = Self { reader, options, skip: 0, fresh: [true; 2], newest: None };
        if let Some(lines) = options.tail {
            output.skip = output.lines()?.saturating_sub(lines);
        }
        Ok(output)
    }

    /// Passes over what there is now.
    pub(crate) fn skip_to_end(&mut self) -> io::Result<()> {
        self.reader.skip_to_end()
    }

    /// What there is now, up to a bound; nothing at the end.
    pub(crate) fn batch(&mut self) -> io::Result<Vec<LogChunk>> {
        let mut chunks = Vec::new();
        let mut size = 0;
        while size < BATCH {
            let Some(record) = self.reader.read()? else { break };
            for piece in [self.gap(&record), self.asked_for(record)].into_iter().flatten() {
                let piece = self.timed(piece);
                size += piece.bytes.len();
                chunks.push(LogChunk { source: piece.source, bytes: Bytes::from(piece.bytes) });
            }
        }
        self.reader.forget();
        Ok(chunks)
    }

    /// What to give of a record.
    fn asked_for(&mut self, record: Record) -> Option<Piece> {
        self.newest = Some(Timestamp::from_millis(record.time));
        if !self.in_time(&record) {
            *self.fresh(source(record.stream)) = record.bytes.ends_with(b"\n");
            return None;
        }
        self.chosen(record).and_then(|piece| self.skipped(piece))
    }

    /// Says that rotation was faster than the reader, if it was before this record. It has the time of the record before the
    /// gap: whoever reads again from the time of this one counts what has that, and this is not said again.
    fn gap(&self, record: &Record) -> Option<Piece> {
        let ends = Timestamp::from_millis(record.time);
        let begins = self.newest.unwrap_or(ends);
        let asked = self.options.since.is_none_or(|since| ends >= since)
            && self.options.until.is_none_or(|until| begins < until);
        let missed = self.options.stderr && asked && record.missing > 0;
        missed.then(|| {
            let text = format!(
                "[seawall: output is missing, rotation removed {} of the log's files unread]\n",
                record.missing
            );
            Piece { source: Source::Stderr, time: begins, bytes: text.into_bytes() }
        })
    }

    /// Lines in what is there now; the last counts without its end.
    fn lines(&self) -> io::Result<u64> {
        let mut reader = self.reader.clone();
        let (mut ends, mut open) = (0, false);
        while let Some(record) = reader.read_known()? {
            if let Some(piece) =
                Some(record).filter(|record| self.in_time(record)).and_then(|record| self.chosen(record))
            {
                ends += count(&piece.bytes);
                open = piece.bytes.last().map_or(open, |byte| *byte != b'\n');
            }
        }
        Ok(ends + u64::from(open))
    }

    fn in_time(&self, record: &Record) -> bool {
        let time = Timestamp::from_millis(record.time);
        self.options.since.is_none_or(|since| time >= since) && self.options.until.is_none_or(|until| time < until)
    }

    fn fresh(&mut self, source: Source) -> &mut bool {
        let [stdout, stderr] = &mut self.fresh;
        if source == Source::Stdout { stdout } else { stderr }
    }

    fn chosen(&self, record: Record) -> Option<Piece> {
        let time = Timestamp::from_millis(record.time);
        let source = source(record.stream);
        let wanted = if source == Source::Stdout { self.options.stdout } else { self.options.stderr };
        let bytes = match record.lost() {
            Some(lost) => format!("[seawall: {lost} bytes of output are missing, the disk was full]\n").into_bytes(),
            None => record.bytes,
        };
        wanted.then_some(Piece { source, time, bytes })
    }

    fn skipped(&mut self, mut piece: Piece) -> Option<Piece> {
        // Taken off at once: a record may hold 65,536 empty lines.
        let mut start = 0;
        while self.skip > 0 {
            let rest = piece.bytes.get(start..)?;
            start += rest.iter().position(|byte| *byte == b'\n')? + 1;
            self.skip -= 1;
            *self.fresh(piece.source) = true;
        }
        piece.bytes.drain(..start);
        (!piece.bytes.is_empty()).then_some(piece)
    }

    fn timed(&mut self, piece: Piece) -> Piece {
        if !self.options.timestamps {
            return piece;
        }
        let fresh = self.fresh(piece.source);
        let mut bytes = Vec::with_capacity(piece.bytes.len() + 64);
        for line in piece.bytes.split_inclusive(|byte| *byte == b'\n') {
            if *fresh {
                bytes.extend_from_slice(format!("{} ", piece.time).as_bytes());
            }
            bytes.extend_from_slice(line);
            *fresh = line.ends_with(b"\n");
        }
        Piece { bytes, ..piece }
    }
}

fn source(stream: Stream) -> Source {
    if stream == Stream::Stdout { Source::Stdout } else { Source::Stderr }
}

#[derive(Debug)]
struct Piece {
    source: Source,
    time: Timestamp,
    bytes: Vec<u8>,
}

fn count(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Everything in the log in this directory, for the fuzz targets.
///
/// # Errors
/// A file cannot be read.
#[doc(hidden)]
pub fn output(dir: &Path, options: LogOptions) -> io::Result<Vec<LogChunk>> {
    let mut output = Output::open(dir, options)?;
    let mut all = Vec::new();
    loop {
        let batch = output.batch()?;
        if batch.is_empty() {
            return Ok(all);
        }
        all.extend(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seawall_supervisor::log::{Limits, Writer};

    fn log(records: &[(u64, Stream, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(dir.path(), Limits::default()).unwrap();
        for (time, stream, text) in records {
            writer.write(*time, *stream, text.as_bytes());
        }
        dir
    }

    fn read(dir: &tempfile::TempDir, options: LogOptions) -> String {
        text(&mut Output::open(dir.path(), options).unwrap())
    }

    fn text(output: &mut Output) -> String {
        let mut text = String::new();
        loop {
            let batch = output.batch().unwrap();
            if batch.is_empty() {
                return text;
            }
            for chunk in batch {
                text.push_str(std::str::from_utf8(&chunk.bytes).unwrap());
            }
        }
    }

    #[test]
    fn the_tail_begins_at_a_line_whatever_the_records() {
        let out = Stream::Stdout;
        let dir = log(&[(1, out, "one\ntw"), (2, out, "o\nthr"), (3, out, "ee\nfour\nfi"), (4, out, "ve")]);
        for (lines, expected) in [
            (0, ""),
            (1, "five"),
            (2, "four\nfive"),
            (3, "three\nfour\nfive"),
            (4, "two\nthree\nfour\nfive"),
            (5, "one\ntwo\nthree\nfour\nfive"),
            (99, "one\ntwo\nthree\nfour\nfive"),
        ] {
            assert_eq!(read(&dir, LogOptions { tail: Some(lines), ..LogOptions::default() }), expected, "{lines}");
        }
    }

    #[test]
    fn whoever_fell_behind_the_rotation_is_told_where_output_is_missing() {
        let at = |millis| Some(Timestamp::from_millis(millis));
        let all = LogOptions { timestamps: true, ..LogOptions::default() };
        for (options, told) in [
            (all, true),
            (LogOptions { since: at(2), ..all }, true),
            (LogOptions { since: at(99), ..all }, false),
            (LogOptions { until: at(2), ..all }, true),
            (LogOptions { until: at(1), ..all }, false),
            (LogOptions { stderr: false, ..all }, false),
        ] {
            let dir = log(&[(1, Stream::Stdout, "first\n")]);
            let mut output = Output::open(dir.path(), options).unwrap();
            let limits = Limits { max_size: Limits::MIN_SIZE, max_files: 1 };
            let mut writer = Writer::open(dir.path(), limits).unwrap();
            for time in 2..10 {
                writer.write(time, Stream::Stdout, &[b"x".repeat(100_000).as_slice(), b"\n"].concat());
            }
            let text = text(&mut output);
            let gap =
                "1970-01-01T00:00:00.001Z [seawall: output is missing, rotation removed 6 of the log's files unread]\n";
            let first =
                if options.since.is_none() && options.until != at(1) { "1970-01-01T00:00:00.001Z first\n" } else { "" };
            let begins = format!("{first}{}", if told { gap } else { "" });
            assert!(text.starts_with(&begins) && text.contains("[seawall") == told, "{options:?}: {:.300}", text);
        }
    }

    #[test]
    fn streams_and_times_are_chosen_before_lines_are_counted() {
        let dir = log(&[
            (10, Stream::Stdout, "a\n"),
            (20, Stream::Stderr, "b\n"),
            (30, Stream::Stdout, "c\n"),
            (40, Stream::Stderr, "d\n"),
        ]);
        let at = |millis| Some(Timestamp::from_millis(millis));
        let all = LogOptions::default();
        assert_eq!(read(&dir, LogOptions { stderr: false, ..all }), "a\nc\n");
        assert_eq!(read(&dir, LogOptions { stdout: false, tail: Some(1), ..all }), "d\n");
        assert_eq!(read(&dir, LogOptions { since: at(20), until: at(40), ..all }), "b\nc\n");
    }

    #[test]
    fn the_end_of_a_line_that_began_too_early_has_no_time() {
        let dir = log(&[(1, Stream::Stdout, "ear"), (2, Stream::Stdout, "ly\nlate\n")]);
        let since = Some(Timestamp::from_millis(2));
        let text = read(&dir, LogOptions { timestamps: true, since, ..LogOptions::default() });
        assert_eq!(text, "ly\n1970-01-01T00:00:00.002Z late\n");
    }

    #[test]
    fn a_time_stands_before_each_line_and_only_there() {
        let dir = log(&[(0, Stream::Stdout, "on"), (1, Stream::Stderr, "x\n"), (2, Stream::Stdout, "e\ntwo\n")]);
        let text = read(&dir, LogOptions { timestamps: true, ..LogOptions::default() });
        assert_eq!(text, "1970-01-01T00:00:00.000Z on1970-01-01T00:00:00.001Z x\ne\n1970-01-01T00:00:00.002Z two\n");
    }
}
