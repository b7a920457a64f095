//! The writing side. It never fails: what cannot be written is dropped and counted, and the count is written down as
//! soon as there is room, since a session must not hang because a disk is full.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{CUT, HEADER, Limits, Stream, file_name, files, header};

/// Writes a log.
#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    limits: Limits,
    /// Absent before the first record, and after a file that could not be put right.
    file: Option<File>,
    number: u64,
    size: u64,
    unsaid: u64,
    dropped: u64,
    buffer: Vec<u8>,
}

impl Writer {
    /// Goes on after whatever is in `dir`, which must be there.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn open(dir: &Path, limits: Limits) -> io::Result<Self> {
        let number = files(dir)?.last().copied().unwrap_or(0);
        Ok(Self { dir: dir.to_owned(), limits, file: None, number, size: 0, unsaid: 0, dropped: 0, buffer: Vec::new() })
    }

    /// Writes a piece of output, in as many records as it takes.
    pub fn write(&mut self, time: u64, stream: Stream, bytes: &[u8]) {
        self.say_lost(time);
        for piece in bytes.chunks(CUT) {
            if self.append(time, stream, piece).is_err() {
                let lost = piece.len() as u64;
                self.unsaid = self.unsaid.saturating_add(lost);
                self.dropped = self.dropped.saturating_add(lost);
            }
        }
    }

    /// Bytes dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The last chance to say what was lost.
    pub fn finish(&mut self, time: u64) {
        self.say_lost(time);
    }

    fn say_lost(&mut self, time: u64) {
        if self.unsaid > 0 && self.append(time, Stream::Lost, &self.unsaid.to_le_bytes()).is_ok() {
            self.unsaid = 0;
        }
    }

    fn append(&mut self, time: u64, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let length = (HEADER + bytes.len()) as u64;
        if self.file.is_none() || (self.size > 0 && self.size + length > self.limits.max_size) {
            self.rotate()?;
        }
        self.buffer.clear();
        self.buffer.extend_from_slice(&header(time, stream, bytes.len()));
        self.buffer.extend_from_slice(bytes);
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        match file.write_all(&self.buffer) {
            Ok(()) => {
                self.size += length;
                Ok(())
            }
            Err(error) => {
                // Half a record must not stand before the next one. If it cannot be cut off, the file is left.
                if file.set_len(self.size).is_err() {
                    self.file = None;
                }
                Err(error)
            }
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let number = self.number + 1;
        let file =
            OpenOptions::new().append(true).create_new(true).mode(0o600).open(self.dir.join(file_name(number)))?;
        (self.file, self.number, self.size) = (Some(file), number, 0);
        let keep = u64::from(self.limits.max_files.max(1));
        for old in files(&self.dir)?.into_iter().take_while(|old| *old + keep <= number) {
            // A file that stays is removed at the next turn.
            let _ = fs::remove_file(self.dir.join(file_name(old)));
        }
        Ok(())
    }
}
