//! Compiles what is on standard input, as the daemon does when it starts itself: for tests of the runtime, which is a
//! library and has no program of its own. The first argument says whose it is, for whoever looks at the process table.

fn main() -> std::process::ExitCode {
    seawall_runtime::compile_standard_input(std::env::args_os().skip(2))
}
