//! WASI 0.2 for guests of other toolchains: linked, but inert.
//!
//! Clocks and random numbers work; standard output and error are lines of the plugin's log. The environment and the
//! arguments are empty, standard input is at its end, no directory is open, and every socket and name look-up is refused.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncWrite;
use tracing::Level;
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::log::Log;

/// A line longer than this is broken.
const LONGEST_LINE: usize = 8 << 10;

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

/// Bytes become lines. What is left of one at the end of the call is a line too.
struct Lines {
    log: Arc<Mutex<Log>>,
    level: Level,
    partial: Vec<u8>,
}

impl Output {
    fn new(log: &Arc<Mutex<Log>>, level: Level) -> Self {
        Self { lines: Arc::new(Mutex::new(Lines { log: log.clone(), level, partial: Vec::new() })) }
    }
}

impl Lines {
    fn push(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            self.partial.extend_from_slice(line);
            self.flush();
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.partial.extend_from_slice(bytes);
        if self.partial.len() > LONGEST_LINE {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.partial.is_empty() {
            let line = String::from_utf8_lossy(&self.partial).into_owned();
            self.partial.clear();
            self.log.lock().unwrap_or_else(PoisonError::into_inner).write(self.level, line);
        }
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
        Ok(LONGEST_LINE)
    }
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {}
}
