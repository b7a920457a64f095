//! Where plugins are compiled: in this program, started again for nothing else.
//!
//! `seawall --compile-component PARENT MEMORY SECONDS` reads a component from standard input and writes its code to
//! standard output. It is for the daemon alone, stands in no help, and may change with any version.

use std::ffi::OsStr;
use std::process::ExitCode;

use seawall_runtime::Compiler;

const ARGUMENT: &str = "--compile-component";

/// The file that runs now, also if it was replaced or removed since: what it compiles must fit what it runs.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Where the runtime is to compile.
pub(crate) fn child() -> Compiler {
    Compiler::Child { program: THIS_PROGRAM.into(), arguments: vec![ARGUMENT.into()] }
}

/// Does the child's work, if this process was started for it.
pub(crate) fn run() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next()?;
    (first == OsStr::new(ARGUMENT)).then(|| seawall_runtime::compile_standard_input(arguments))
}
