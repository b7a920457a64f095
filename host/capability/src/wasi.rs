//! WASI 0.2 for guests of other toolchains: linked, but inert.
//!
//! Clocks and random numbers work; standard output and error are lines of the plugin's log, cut and redacted as those are
//! that it writes there itself. The environment and the arguments are empty, standard input is at its end, no directory is
//! open, and every socket and name look-up is refused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncWrite;
use tracing::Level;
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::log::Log;

/// As much is taken at once.
const LARGEST_WRITE: usize = 8 << 10;

/// A guest that asks for more random bytes at once is refused: the host would have to hold them.
const MOST_RANDOM: u64 = 4 << 10;

/// A context in which nothing of the machine can be reached.
pub(crate) fn inert(log: &Arc<Mutex<Log>>) -> WasiCtx {
    let mut builder = WasiCtx::builder();
    builder
        .stdout(Output::new(log, Level::INFO))
        .stderr(Output::new(log, Level::WARN))
        .max_random_size(MOST_RANDOM)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    builder.build()
}

/// Standard output or error.
struct Output {
    lines: Arc<Mutex<Lines>>,
}

/// Bytes become lines. What is left of one at the end of the call is a line too. A line is never written in parts, which
/// might be those of a secret: one that is longer than what is left of the log's budget is dropped.
struct Lines {
    log: Arc<Mutex<Log>>,
    level: Level,
    partial: Vec<u8>,
    /// Bytes of this line that there was no room for.
    excess: usize,
}

impl Output {
    fn new(log: &Arc<Mutex<Log>>, level: Level) -> Self {
        Self { lines: Arc::new(Mutex::new(Lines { log: log.clone(), level, partial: Vec::new(), excess: 0 })) }
    }
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(end) => {
                    self.keep(end);
                    self.flush();
                }
                None => self.keep(piece),
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.log().room().saturating_sub(self.partial.len());
        if self.excess == 0 && bytes.len() <= room {
            self.partial.extend_from_slice(bytes);
        } else {
            self.excess = self.excess.saturating_add(bytes.len());
        }
    }

    fn flush(&mut self) {
        let partial = std::mem::take(&mut self.partial);
        let excess = std::mem::take(&mut self.excess);
        if excess > 0 {
            self.log().drop_line(partial.len().saturating_add(excess));
        } else if !partial.is_empty() {
            self.log().write(self.level, String::from_utf8_lossy(&partial).into_owned());
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.flush();
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for this, which is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Writer { lines: self.lines.clone() })
    }
}

struct Writer {
    lines: Arc<Mutex<Lines>>,
}

impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LARGEST_WRITE)
    }
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {}
}
