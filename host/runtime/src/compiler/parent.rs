//! The parent's side: starts the child, reads what it answers within bounds, and says what became of it.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use rustix::fs::MemfdFlags;
use rustix::process::Signal;
use seawall_model::Size;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{ChildStderr, ChildStdout, Command};

use super::{CompileConfig, CompileError, child, plain};

/// As much of standard error as is kept.
const WORDS: u64 = 16 << 10;

/// What Rust's standard library writes when memory is refused, before it aborts.
const OUT_OF_MEMORY: &str = "memory allocation of ";

/// A child to be.
pub(super) struct Child<'a> {
    pub(super) program: &'a Path,
    pub(super) arguments: &'a [OsString],
    pub(super) config: &'a CompileConfig,
}

/// What the child wrote.
enum Answer {
    Whole { tag: u8, bytes: Vec<u8> },
    TooLong { size: u64 },
}

impl Child<'_> {
    pub(super) async fn compile(&self, wasm: Arc<Cow<'static, [u8]>>) -> Result<Vec<u8>, CompileError> {
        let input = match tokio::task::spawn_blocking(move || memory_file(&wasm)).await {
            Ok(input) => input.map_err(|error| self.unusable(error))?,
            Err(panic) => return Err(CompileError::Crashed(panic.to_string())),
        };
        // Killed when this future is dropped, in whatever state, and then reaped by tokio.
        let mut process = self.command(input).spawn().map_err(|error| self.unusable(error))?;
        let (Some(stdout), Some(stderr)) = (process.stdout.take(), process.stderr.take()) else {
            return Err(self.unusable(io::Error::other("it has no streams")));
        };
        let most = self.config.code.0;
        let ending = async {
            let (answer, words) = tokio::join!(answer(stdout, most), words(stderr));
            (answer, words, process.wait().await)
        };
        let Ok((answer, words, status)) = tokio::time::timeout(self.config.time, ending).await else {
            // Not only killed: when this is over there is no such process.
            let killed = process.kill().await;
            return Err(killed.map_or_else(|error| self.unusable(error), |()| self.too_slow()));
        };
        let status = status.map_err(|error| self.unusable(error))?;
        match answer {
            Ok(Answer::TooLong { size }) => Err(CompileError::Code { size: Size(size), limit: self.config.code }),
            Ok(Answer::Whole { tag, bytes }) if status.success() => match tag {
                child::CODE => Ok(bytes),
                child::INVALID => Err(CompileError::Invalid(plain(&String::from_utf8_lossy(&bytes)))),
                child::MEMORY => Err(CompileError::Memory { limit: self.config.memory }),
                _ => Err(CompileError::Crashed("its answer is none".to_owned())),
            },
            Ok(Answer::Whole { .. }) | Err(_) => Err(self.crashed(status, &words)),
        }
    }

    fn command(&self, input: File) -> Command {
        // Whatever this process was started with does not go on to the child.
        close_fds::set_fds_cloexec_threadsafe(3, &[]);
        let mut command = Command::new(self.program);
        command
            .args(self.arguments)
            .arg(std::process::id().to_string())
            .arg(self.config.memory.0.to_string())
            .arg(self.config.time.as_secs().saturating_add(1).to_string())
            .env_clear()
            .current_dir("/")
            // A Ctrl-C at the terminal is for the daemon alone.
            .process_group(0)
            .stdin(Stdio::from(input))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    fn unusable(&self, source: io::Error) -> CompileError {
        CompileError::Start { program: self.program.to_owned(), source }
    }

    fn too_slow(&self) -> CompileError {
        CompileError::Time { limit: self.config.time }
    }

    /// It ended without a whole answer.
    fn crashed(&self, status: ExitStatus, words: &[u8]) -> CompileError {
        let words = String::from_utf8_lossy(words);
        if words.contains(OUT_OF_MEMORY) {
            return CompileError::Memory { limit: self.config.memory };
        }
        if status.signal() == Some(Signal::XCPU.as_raw()) {
            return self.too_slow();
        }
        let words = plain(&words);
        CompileError::Crashed(if words.is_empty() { status.to_string() } else { format!("{status}: {words}") })
    }
}

/// The component, at its beginning. The child reads it when it is ready, and no pipe can fill up meanwhile.
fn memory_file(wasm: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("component", MemfdFlags::CLOEXEC)?);
    file.write_all(wasm)?;
    file.rewind()?;
    Ok(file)
}

/// Reads tag, length and as many bytes, unless they are more than `most`.
async fn answer(mut from: ChildStdout, most: u64) -> io::Result<Answer> {
    let tag = from.read_u8().await?;
    let size = from.read_u64_le().await?;
    if size > most {
        // Dropping the pipe ends the child, which goes on to write.
        return Ok(Answer::TooLong { size });
    }
    let length = usize::try_from(size).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(length);
    let got = (&mut from).take(size).read_to_end(&mut bytes).await?;
    if got == length { Ok(Answer::Whole { tag, bytes }) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// What it wrote on standard error, to its end. That it cannot be read is no reason to stop.
async fn words(mut from: ChildStderr) -> Vec<u8> {
    let mut words = Vec::new();
    let _ = (&mut from).take(WORDS).read_to_end(&mut words).await;
    drain(from).await;
    words
}

async fn drain(mut from: impl AsyncRead + Unpin) {
    let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
}
