//! The reading side: record by record, across rotation, while it is being written.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{CUT, HEADER, Record, file_name, files, parse_header};
use crate::plain;

/// How much is read at once. A record that is larger, as others than our writer may write it, is read alone.
const BLOCK: usize = HEADER + CUT;

/// Reads a log. It holds the files it knows of, so that rotation does not take them away. Cheap to clone: the clone goes
/// on from the same place.
#[derive(Clone, Debug)]
pub struct Reader {
    dir: PathBuf,
    /// The first is being read. A file is let go when a later one is there and nothing more comes from it.
    known: VecDeque<Known>,
    newest: u64,
    /// Where in the first file the next record begins.
    position: u64,
    /// What was read of it, from `position` on.
    buffer: Vec<u8>,
    start: usize,
}

/// A file that is held.
#[derive(Clone, Debug)]
struct Known {
    file: Arc<File>,
    /// Files right before it that were removed before they were known.
    missing: u64,
}

impl Reader {
    /// Begins with the oldest record there is.
    ///
    /// # Errors
    /// The directory or a file cannot be read.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let mut reader =
            Self { dir: dir.to_owned(), known: VecDeque::new(), newest: 0, position: 0, buffer: Vec::new(), start: 0 };
        reader.discover()?;
        if let Some(oldest) = reader.known.front_mut() {
            // What was removed before somebody read is not missed.
            oldest.missing = 0;
        }
        Ok(reader)
    }

    /// Passes over everything that is there now.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn skip_to_end(&mut self) -> io::Result<()> {
        // Where the last record of a file ends only its records tell; those of older files need not be asked.
        let older = self.known.len().saturating_sub(1);
        if older > 0 {
            self.known.drain(..older);
            self.position = 0;
            self.forget();
        }
        while self.read()?.is_some() {}
        Ok(())
    }

    /// The next record. `None`: no more now; ask again when there may be.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(&mut self) -> io::Result<Option<Record>> {
        self.advance(true)
    }

    /// The next record of the files known so far.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read_known(&mut self) -> io::Result<Option<Record>> {
        self.advance(false)
    }

    fn advance(&mut self, discover: bool) -> io::Result<Option<Record>> {
        loop {
            if let Some(record) = self.parse()? {
                return Ok(Some(record));
            }
            if discover && self.known.len() < 2 {
                self.discover()?;
            }
            if self.known.len() < 2 {
                // Nothing was known before, or there is nothing newer.
                match self.parse()? {
                    Some(record) => return Ok(Some(record)),
                    None => return Ok(None),
                }
            }
            // The writer may have written here after the first look and before it turned to the next file.
            if let Some(record) = self.parse()? {
                return Ok(Some(record));
            }
            self.known.pop_front();
            self.position = 0;
            self.forget();
        }
    }

    /// A whole record from the first file, if there is one now. What is there of an incomplete one is read again next
    /// time: the writer may take back what it could not finish.
    fn parse(&mut self) -> io::Result<Option<Record>> {
        for fresh in [false, true] {
            if fresh && !self.fill()? {
                return Ok(None);
            }
            let bytes = self.buffer.get(self.start..).unwrap_or_default();
            let Some((head, rest)) = bytes.split_first_chunk::<HEADER>() else { continue };
            let Some((time, stream, length)) = parse_header(head) else {
                // Not ours, or damaged: nothing behind it can be told apart.
                return Ok(None);
            };
            let bytes = match rest.get(..length) {
                Some(body) => body.to_vec(),
                None if fresh => match self.alone(length)? {
                    Some(body) => body,
                    None => break,
                },
                None => continue,
            };
            let missing = self.known.front_mut().map_or(0, |known| std::mem::take(&mut known.missing));
            let record = Record { time, stream, bytes, missing };
            self.start += HEADER + length;
            self.position += (HEADER + length) as u64;
            return Ok(Some(record));
        }
        self.forget();
        Ok(None)
    }

    fn fill(&mut self) -> io::Result<bool> {
        let Some(Known { file, .. }) = self.known.front() else { return Ok(false) };
        self.start = 0;
        self.buffer.resize(BLOCK, 0);
        let length = read_at(file, &mut self.buffer, self.position)?;
        self.buffer.truncate(length);
        Ok(length > 0)
    }

    /// The bytes of the record that begins here, if all of them are there.
    fn alone(&self, length: usize) -> io::Result<Option<Vec<u8>>> {
        let Some(Known { file, .. }) = self.known.front() else { return Ok(None) };
        let mut body = vec![0; length];
        let read = read_at(file, &mut body, self.position + HEADER as u64)?;
        Ok((read == length).then_some(body))
    }

    /// Keeps nothing of what was read ahead. Whoever waits, for more of it or for somebody to take what there is, needs no room
    /// for that.
    pub fn forget(&mut self) {
        self.buffer = Vec::new();
        self.start = 0;
    }

    fn discover(&mut self) -> io::Result<()> {
        let seen = self.newest;
        let numbers = match files(&self.dir) {
            // It was removed: what was known of it is still there to be read.
            Err(error) if error.kind() == io::ErrorKind::NotFound && seen > 0 => return Ok(()),
            numbers => numbers?,
        };
        for number in numbers.into_iter().filter(|number| *number > seen) {
            match plain::open(&self.dir.join(file_name(number))) {
                Ok(file) => {
                    let missing = number.saturating_sub(self.newest).saturating_sub(1);
                    self.known.push_back(Known { file: Arc::new(file), missing });
                    self.newest = number;
                }
                // Rotated away in between.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// As much as there is, up to what fits.
fn read_at(file: &File, into: &mut [u8], position: u64) -> io::Result<usize> {
    let mut length = 0;
    while let Some(room) = into.get_mut(length..).filter(|room| !room.is_empty()) {
        match file.read_at(room, position + length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::{Limits, MAX_RECORD, Stream, Writer, header};
    use super::*;

    fn all(reader: &mut Reader) -> Vec<Record> {
        std::iter::from_fn(|| reader.read().unwrap()).collect()
    }

    #[test]
    fn bytes_come_back_as_they_were_across_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = Reader::open(dir.path()).unwrap();
        let mut writer = Writer::open(dir.path(), Limits { max_size: 200_000, max_files: 50 }).unwrap();
        let noise: Vec<u8> = (0..1_500_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut back = Vec::new();
        for (at, piece) in noise.chunks(7919).enumerate() {
            let stream = if at % 2 == 0 { Stream::Stdout } else { Stream::Stderr };
            writer.write(at as u64, stream, piece);
            if at % 3 == 0 {
                back.extend(all(&mut reader).into_iter().flat_map(|record| record.bytes));
            }
        }
        back.extend(all(&mut reader).into_iter().flat_map(|record| record.bytes));
        assert!(back == noise);
        assert!(files(dir.path()).unwrap().len() > 5);

        let whole = all(&mut Reader::open(dir.path()).unwrap());
        assert!(whole.iter().flat_map(|record| record.bytes.iter().copied()).eq(noise.iter().copied()));
        assert!(whole.iter().all(|record| record.bytes.len() <= MAX_RECORD));
    }

    #[test]
    fn from_the_end_only_what_comes_then_is_read_though_a_line_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(dir.path(), Limits { max_size: Limits::MIN_SIZE, max_files: 3 }).unwrap();
        let mut empty = Reader::open(dir.path()).unwrap();
        empty.skip_to_end().unwrap();
        for _ in 0..20 {
            writer.write(1, Stream::Stdout, &[b'x'; 10_000]);
        }
        writer.write(2, Stream::Stdout, b"$ ");
        let mut reader = Reader::open(dir.path()).unwrap();
        reader.skip_to_end().unwrap();
        assert_eq!(all(&mut reader), []);
        writer.write(3, Stream::Stdout, b"true\n");
        assert_eq!(
            all(&mut reader),
            [Record { time: 3, stream: Stream::Stdout, bytes: b"true\n".to_vec(), missing: 0 }]
        );
        assert!(all(&mut empty).len() > 1);
    }

    #[test]
    fn no_more_files_are_kept_than_asked_for_and_none_is_larger() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { max_size: Limits::MIN_SIZE, max_files: 2 };
        let mut writer = Writer::open(dir.path(), limits).unwrap();
        for _ in 0..100 {
            writer.write(1, Stream::Stdout, &[b'x'; 10_000]);
        }
        let numbers = files(dir.path()).unwrap();
        assert_eq!(numbers.len(), 2);
        for number in numbers {
            assert!(dir.path().join(file_name(number)).metadata().unwrap().len() <= limits.max_size);
        }
    }

    #[test]
    fn a_reader_that_fell_behind_goes_on_with_the_oldest_there_is_and_tells_what_it_missed() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { max_size: Limits::MIN_SIZE, max_files: 1 };
        let mut writer = Writer::open(dir.path(), limits).unwrap();
        let mut empty = Reader::open(dir.path()).unwrap();
        writer.write(1, Stream::Stdout, b"first");
        let mut reader = Reader::open(dir.path()).unwrap();
        for time in 2..20 {
            writer.write(time, Stream::Stdout, &[b'x'; MAX_RECORD]);
        }
        let newest = files(dir.path()).unwrap().pop().unwrap();
        let read = all(&mut reader);
        assert_eq!(read.first().map(|record| record.time), Some(1), "a file that is open stays readable");
        assert_eq!(read.last().map(|record| record.time), Some(19));
        let missed = |records: &[Record]| -> Vec<_> {
            records.iter().map(|record| record.missing).filter(|missing| *missing > 0).collect()
        };
        assert_eq!(missed(&read), [newest - 2]);
        assert_eq!(missed(&all(&mut empty)), [newest - 1]);
        assert_eq!(missed(&all(&mut Reader::open(dir.path()).unwrap())), [], "it misses nothing who comes later");
    }

    #[test]
    fn a_log_that_is_removed_is_read_to_the_end_of_what_was_known() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(dir.path(), Limits::default()).unwrap();
        writer.write(1, Stream::Stdout, b"last words");
        let mut reader = Reader::open(dir.path()).unwrap();
        dir.close().unwrap();
        assert_eq!(all(&mut reader).len(), 1);
    }

    #[test]
    fn a_record_that_was_cut_off_is_left_out_and_the_next_file_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(dir.path(), Limits::default()).unwrap();
        writer.write(1, Stream::Stdout, b"whole");
        writer.write(2, Stream::Stdout, b"cut off");
        let first = dir.path().join(file_name(1));
        let length = first.metadata().unwrap().len();
        File::options().write(true).open(&first).unwrap().set_len(length - 3).unwrap();

        let mut reader = Reader::open(dir.path()).unwrap();
        assert_eq!(all(&mut reader).len(), 1);
        Writer::open(dir.path(), Limits::default()).unwrap().write(3, Stream::Stderr, b"later");
        let rest = all(&mut reader);
        assert_eq!(rest, [Record { time: 3, stream: Stream::Stderr, bytes: b"later".to_vec(), missing: 0 }]);
    }

    #[test]
    fn a_record_of_the_largest_size_is_read_once_all_of_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let large: Vec<u8> = (0..MAX_RECORD).map(|at| (at % 251) as u8).collect();
        let written = [&header(1, Stream::Stdout, large.len())[..], &large, &header(2, Stream::Stderr, 3), b"end"];
        let written = written.concat();
        let file = dir.path().join(file_name(1));
        let (first, rest) = written.split_at(MAX_RECORD);
        std::fs::write(&file, first).unwrap();
        let mut reader = Reader::open(dir.path()).unwrap();
        assert_eq!(reader.read().unwrap(), None);
        File::options().append(true).open(&file).unwrap().write_all(rest).unwrap();
        let read: Vec<_> = all(&mut reader).into_iter().map(|record| (record.time, record.bytes)).collect();
        assert!(read == [(1, large), (2, b"end".to_vec())]);
    }

    #[test]
    fn what_a_full_disk_swallowed_is_said_when_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        std::fs::create_dir(&log).unwrap();
        let mut writer = Writer::open(&log, Limits::default()).unwrap();
        // The directory is gone, as good as full.
        std::fs::remove_dir(&log).unwrap();
        writer.write(1, Stream::Stdout, b"12345");
        writer.write(2, Stream::Stdout, b"678");
        assert_eq!(writer.dropped(), 8);
        std::fs::create_dir(&log).unwrap();
        writer.write(3, Stream::Stdout, b"and on");
        let records = all(&mut Reader::open(&log).unwrap());
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].lost(), Some(8));
        assert_eq!(records[1].bytes, b"and on");
    }
}
