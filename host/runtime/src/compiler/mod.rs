//! Compiles components: the one thing done with a plugin's bytes that can neither be interrupted nor given a budget.
//!
//! Fuel, limits and deadlines hold for code that runs. The compiler runs before that, on bytes that nobody has checked,
//! and a small file can cost it minutes and gigabytes. So the daemon compiles in a child process: itself, started again
//! with a hidden first argument, under bounds that the kernel enforces. What the child is given and what it answers:
//!
//! ```text
//!   parent                                       child
//!     component in a memory file --- stdin ----->  sets its own bounds, then reads
//!     tag, length, code or words <-- stdout -----  compiles for the same engine settings
//!     what a crash leaves behind <-- stderr -----
//! ```
//!
//! [`parent`] bounds the time, the size of the answer and how many compile at once; when the load that waits is dropped,
//! the child is killed. [`child`] bounds its memory. Nothing else of the daemon parses a component: types, imports and
//! exports are read from the compiled form.
//!
//! Deliberately absent: a defence against wrong code. What the child answers is run by the parent, so the child is
//! trusted as far as the compiler is.

mod child;
mod parent;

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use seawall_model::Size;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use wasmtime::Engine;

use crate::code::Code;

pub use child::compile_standard_input;

/// Where components are compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Compiler {
    /// In this process, without any bound: for tests and benchmarks of guests that are trusted.
    #[default]
    InProcess,
    /// In a child process with the bounds of [`CompileConfig`].
    Child {
        /// The program: this one, or another that calls [`compile_standard_input`].
        program: PathBuf,
        /// What makes it do so. The bounds follow as further arguments.
        arguments: Vec<OsString>,
    },
}

/// The bounds on compiling one component: `[runtime.compile]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct CompileConfig {
    /// How long it may take. Default 60 s.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub time: Duration,
    /// The memory that the process that compiles may have for itself, touched or not. Default 1 GiB.
    pub memory: Size,
    /// Bytes of compiled code, which the daemon loads. Default 256 MiB.
    pub code: Size,
    /// How many are compiled at one time. Default: one for each processor.
    pub parallel: usize,
}

impl Default for CompileConfig {
    fn default() -> Self {
        let parallel = std::thread::available_parallelism().map_or(1, usize::from);
        Self { time: Duration::from_secs(60), memory: Size(1 << 30), code: Size(256 << 20), parallel }
    }
}

impl CompileConfig {
    /// The first field that makes no sense, and why.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let zero = || "0 would let nothing be compiled".to_owned();
        match self {
            Self { time: Duration::ZERO, .. } => Err(("compile.time", zero())),
            Self { memory: Size(0), .. } => Err(("compile.memory", zero())),
            Self { code: Size(0), .. } => Err(("compile.code", zero())),
            Self { parallel: 0, .. } => Err(("compile.parallel", zero())),
            Self { parallel, .. } if *parallel > Semaphore::MAX_PERMITS => {
                Err(("compile.parallel", format!("at most {}", Semaphore::MAX_PERMITS)))
            }
            Self { .. } => Ok(()),
        }
    }
}

/// Why a component was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// It does not validate, cannot be compiled, or does not fit the pool.
    #[error("it does not compile: {0}")]
    Invalid(String),
    /// It was cut off by the clock.
    #[error("it takes longer than {limit:?} to compile, which is all that `runtime.compile.time` gives it")]
    Time {
        /// As configured.
        limit: Duration,
    },
    /// It was cut off by the bound on memory.
    #[error("it needs more than {limit} to compile, which is all that `runtime.compile.memory` gives it")]
    Memory {
        /// As configured.
        limit: Size,
    },
    /// It became too large.
    #[error("its compiled code has {size}, and `runtime.compile.code` lets it have {limit}")]
    Code {
        /// How much it is.
        size: Size,
        /// As configured.
        limit: Size,
    },
    /// The compiler ended without an answer.
    #[error("the compiler crashed over it: {0}")]
    Crashed(String),
    /// The compiler's process cannot be started or asked.
    #[error("the compiler {} cannot be used", program.display())]
    Start {
        /// What was to be started.
        program: PathBuf,
        /// Why it was not.
        source: std::io::Error,
    },
}

/// Compiles, with as many at one time as are allowed.
pub(crate) struct Compiling {
    compiler: Compiler,
    config: CompileConfig,
    turns: Semaphore,
}

impl Compiling {
    /// `config` has been checked.
    pub(crate) fn new(compiler: Compiler, config: CompileConfig) -> Self {
        Self { compiler, config, turns: Semaphore::new(config.parallel) }
    }

    /// Compiles for `engine`. Waiting for a turn is not part of the time that it has.
    ///
    /// Cancel-safe: a child is killed; what is compiled in this process is finished and thrown away.
    pub(crate) async fn compile(&self, engine: &Engine, wasm: Arc<Cow<'static, [u8]>>) -> Result<Code, CompileError> {
        // Nobody closes it.
        let _turn = self.turns.acquire().await.ok();
        match &self.compiler {
            Compiler::InProcess => {
                let engine = engine.clone();
                let compiling = tokio::task::spawn_blocking(move || engine.precompile_component(&wasm));
                let compiled = compiling.await.map_err(|panic| CompileError::Crashed(plain(&panic.to_string())))?;
                // Vouched for: it was compiled here and now.
                compiled.map(Code::vouched_for).map_err(|error| CompileError::Invalid(plain(&format!("{error:#}"))))
            }
            Compiler::Child { program, arguments } => {
                let child = parent::Child { program, arguments, config: &self.config };
                // Vouched for: our own program compiled it, and nobody else could have written to the pipe.
                child.compile(wasm).await.map(Code::vouched_for)
            }
        }
    }
}

/// More than any message that a person would read.
const LONGEST_MESSAGE: usize = 2_000;

/// Words that quote a component, such as the names of its functions: of bounded length and on one line.
pub(crate) fn plain(text: &str) -> String {
    let line = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(LONGEST_MESSAGE).collect()
}
