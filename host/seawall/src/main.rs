//! The program `seawall`: everything is in the library beside it.

fn main() -> std::process::ExitCode {
    seawall::main()
}
