//! The child's side: compiles what is on standard input, and knows nothing of the daemon.
//!
//! It bounds itself before it reads a byte, so that no `unsafe` hook between fork and exec is needed; until then it has
//! read nothing that could be hostile. It starts no thread, opens no file and reads no variable.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use rustix::process::{Pid, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};
use wasmtime::Engine;

use crate::engine::code_config;

/// Before the compiled code.
pub(super) const CODE: u8 = b'C';
/// Before the reason why there is none.
pub(super) const INVALID: u8 = b'I';
/// Memory ran out.
pub(super) const MEMORY: u8 = b'M';

/// As much nicer than the daemon.
const NICE: i32 = 5;

/// The bounds that the parent asks for, as they stand on the command line.
struct Bounds {
    parent: Pid,
    /// Bytes of memory of its own that can be written, touched or not.
    memory: u64,
    /// Seconds of processor time: a backstop, for the parent looks at the clock.
    seconds: u64,
}

/// Compiles the component on standard input, in a process that is there for nothing else: `arguments` are those that
/// [`Compiler::Child`](crate::Compiler::Child) put behind its own. Call it first thing in `main`: it takes from this
/// process almost everything that a process has.
#[must_use]
pub fn compile_standard_input(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let answer = match Bounds::read(arguments).and_then(|bounds| bounds.set()) {
        Ok(()) => compile(),
        Err(error) => Err(error),
    };
    match answer.and_then(|(tag, bytes)| answer_with(tag, &bytes)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The parent says it on, if it is still there.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

impl Bounds {
    fn read(mut arguments: impl Iterator<Item = OsString>) -> io::Result<Self> {
        let mut number = || arguments.next()?.to_str()?.parse::<u64>().ok();
        let mut all = || {
            let parent = Pid::from_raw(i32::try_from(number()?).ok()?)?;
            Some(Self { parent, memory: number()?, seconds: number()? })
        };
        all().ok_or_else(|| io::Error::other("the bounds are missing: this is for Seawall's own use"))
    }

    fn set(&self) -> io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if rustix::process::getppid() != Some(self.parent) {
            return Err(io::Error::other("whoever wanted it compiled is gone"));
        }
        rustix::thread::set_no_new_privs(true)?;
        let none = CapabilitySet::empty();
        rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
        rustix::process::nice(NICE)?;
        for (resource, most) in [
            // Not the address space: of that the stack takes its part too, and dies where it gets none.
            (Resource::Data, self.memory),
            (Resource::Cpu, self.seconds),
            (Resource::Core, 0),
            // What is open stays open: three streams, none of them a file that could grow.
            (Resource::Nofile, 0),
            (Resource::Fsize, 0),
        ] {
            rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
        }
        Ok(())
    }
}

fn compile() -> io::Result<(u8, Vec<u8>)> {
    let mut wasm = Vec::new();
    match io::stdin().lock().read_to_end(&mut wasm) {
        Err(error) if is_out_of_memory(&error) => return Ok((MEMORY, Vec::new())),
        read => read?,
    };
    let compiled = Engine::new(&code_config()).and_then(|engine| engine.precompile_component(&wasm));
    Ok(match compiled {
        Ok(code) => (CODE, code),
        Err(error) if ran_out_of_memory(&error) => (MEMORY, Vec::new()),
        Err(error) => (INVALID, super::plain(&format!("{error:#}")).into_bytes()),
    })
}

fn ran_out_of_memory(error: &wasmtime::Error) -> bool {
    error.is::<wasmtime::OutOfMemory>()
        || error.chain().any(|source| source.downcast_ref::<io::Error>().is_some_and(is_out_of_memory))
}

fn is_out_of_memory(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory
}

fn answer_with(tag: u8, bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(&[tag])?;
    out.write_all(&(bytes.len() as u64).to_le_bytes())?;
    out.write_all(bytes)?;
    out.flush()
}
