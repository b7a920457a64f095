//! The program `seawall`: everything is in the library beside it.

/// A burst of sessions leaves an allocator in pieces: glibc's kept three times what was in use after 10,000 creations, and
/// took a sixth more processor time over them. One that reserves much at once would not do: the child that compiles plugins
/// is bounded in what it may have.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    seawall::main()
}
