//! The supervisor of one session's process: `seawall-supervisor RUN_DIR`.
//!
//! It is started by the daemon, leaves the daemon's session, takes the lock of its run directory and holds it for life.
//! It executes itself once more as `--exec`: that child prepares itself (groups, limits, user, terminal) and becomes the
//! program; with `--command` it becomes a command beside it. It is the subreaper of everything that comes of it, writes the log, answers on the control socket, and in
//! the end kills what is left of the tree, records the exit durably and goes.
//!
//! If it is killed itself, the kernel kills the program (parent-death signal) and frees the lock; the daemon kills what
//! is left of the control group.
//!
//! One poll loop, and one thread that does nothing but wait for children: that way the end of the tree is known at once
//! and without a signal handler.

mod attached;
mod command;
mod control;
mod exec;
mod keyboard;
mod session;
mod spawn;
mod stdin;
mod supervise;
mod tree;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match (args.next(), args.next(), args.next()) {
        (Some(flag), None, None) if flag == "--version" => {
            println!("seawall-supervisor {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        (Some(flag), Some(parent), None) if flag == "--exec" => exec::run(&parent),
        (Some(flag), Some(parent), None) if flag == "--command" => exec::run_command(&parent),
        (Some(dir), None, None) if !dir.as_encoded_bytes().starts_with(b"-") => match supervise::run(dir.as_ref()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("seawall-supervisor: {error}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("usage: seawall-supervisor RUN_DIR\nSeawall starts it; there is no need to do so by hand.");
            ExitCode::from(2)
        }
    }
}
