//! The child's side: `seawall-supervisor --exec PARENT`, run in the run directory. It prepares itself and becomes the
//! program. Nothing here needs `unsafe`, which a hook between fork and exec would.
//!
//! How far it came it says on the fifo `exec`, which the kernel closes when the program takes over: [`EXECUTING`] just
//! before, and a [`Failure`] if that or anything before it went wrong.
//!
//! With `--command` it becomes another program in the same surroundings: what that is it reads from its standard input,
//! a length and so many bytes, and what went wrong it writes to its standard error, ending with the code that a shell
//! would return. Where that is a pipe, what follows in it is for the command.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::process::{Pid, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seawall_supervisor::record::{self, Failure, Program, User};
use seawall_supervisor::{RunDir, rlimit};
use signal_hook::consts::FORBIDDEN;

/// Written to the fifo before the program is executed. No record begins with it.
pub(crate) const EXECUTING: u8 = b'E';

/// What a shell returns when it cannot execute something, and when there is no such thing.
const NOT_EXECUTED: u8 = 126;
const NOT_FOUND: u8 = 127;

pub(crate) fn run(parent: &OsStr) -> ExitCode {
    let dir = RunDir::new(".");
    let mut fifo = match OpenOptions::new().write(true).open(dir.exec()) {
        Ok(fifo) => fifo,
        Err(error) => {
            eprintln!("seawall-supervisor: {}: {error}", dir.exec().display());
            return ExitCode::from(NOT_EXECUTED);
        }
    };
    let executing = || _ = fifo.write_all(&[EXECUTING]);
    let Err(failure) = program(&dir).and_then(|program| become_program(&dir, &program, parent, executing));
    // If nobody listens any more there is nobody to tell.
    let _ = record::encode(&failure.0).and_then(|bytes| fifo.write_all(&bytes));
    ExitCode::from(failure.1)
}

pub(crate) fn run_command(parent: &OsStr) -> ExitCode {
    let dir = RunDir::new(".");
    let Err(Stop(failure, code)) = command(&dir).and_then(|program| become_program(&dir, &program, parent, || ()));
    eprintln!("{}", failure.message);
    ExitCode::from(code)
}

enum Never {}

/// Why it came to nothing, and what to end with.
struct Stop(Failure, u8);

fn program(dir: &RunDir) -> Result<Program, Stop> {
    record::read::<Program>(&dir.program())
        .and_then(|program| program.ok_or_else(|| io::ErrorKind::NotFound.into()))
        .map_err(|error| failure(None, format!("what to run cannot be read: {error}")))
}

/// The session's program, with what the command has of its own.
fn command(dir: &RunDir) -> Result<Program, Stop> {
    let interactive = told().map_err(|error| failure(None, format!("what to run cannot be read: {error}")))?;
    let told = interactive.command;
    let mut program = program(dir)?;
    program.file = told.file;
    program.arguments = told.arguments;
    // Of two variables of one name the later counts.
    program.env.extend(told.env);
    program.working_dir = told.working_dir.or(program.working_dir);
    program.user = told.user.or(program.user);
    program.tty = interactive.terminal.is_some();
    Ok(program)
}

fn told() -> io::Result<record::Interactive> {
    // Not one byte more than was meant is read.
    let mut stdin = File::from(rustix::stdio::stdin().try_clone_to_owned()?);
    let mut length = [0; 4];
    stdin.read_exact(&mut length)?;
    let mut told = Vec::new();
    stdin.take(u64::from(u32::from_le_bytes(length))).read_to_end(&mut told)?;
    let interactive: record::Interactive = record::decode(&told)?;
    match (interactive.stdin, interactive.terminal) {
        (true, None) => {}
        (true, Some(_)) => rustix::stdio::dup2_stdin(rustix::stdio::stdout())?,
        (false, _) => rustix::stdio::dup2_stdin(&File::open("/dev/null")?)?,
    }
    Ok(interactive)
}

fn become_program(dir: &RunDir, program: &Program, parent: &OsStr, executing: impl FnOnce()) -> Result<Never, Stop> {
    let parent = parent
        .to_str()
        .and_then(|text| Pid::from_raw(text.parse().ok()?))
        .ok_or_else(|| failure(None, "the parent's process id is none".to_owned()))?;

    step(None, "begin a session of its own", rustix::process::setsid().map(drop))?;
    if program.tty {
        step(Some("tty"), "take the terminal", rustix::process::ioctl_tiocsctty(rustix::stdio::stdout()))?;
    }
    program
        .cgroup
        .join()
        .map_err(|error| failure(Some("resources"), format!("cannot join its control group: {error}")))?;
    for (at, limit) in program.rlimits.iter().enumerate() {
        let field = format!("resources.ulimits[{at}]");
        let resource = rlimit::resource(&limit.name)
            .ok_or_else(|| failure(Some(&field), format!("the limit {:?} is not known", limit.name)))?;
        let bounds = rlimit::bounds(limit.soft, limit.hard);
        step(Some(&field), &format!("set the limit {:?}", limit.name), rustix::process::setrlimit(resource, bounds))?;
    }
    if program.working_dir.is_none() {
        // Before the user changes: only the directory itself belongs to that user, not the way to it.
        step(Some("working_dir"), "enter the private directory", rustix::process::chdir(dir.work()))?;
    }
    if let Some(user) = program.user {
        change_user(user)
            .map_err(|error| failure(Some("user"), format!("cannot become user {}: {error}", user.uid)))?;
    }
    let nothing = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    step(None, "give up its capabilities", rustix::thread::set_capabilities(None, nothing))?;
    step(None, "give up new privileges", rustix::thread::set_no_new_privs(true))?;
    if let Some(path) = &program.working_dir {
        // The path was resolved and found granted at create. A link that has taken its place since is not followed.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let entered = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
            .and_then(|directory| rustix::process::fchdir(&directory));
        step(Some("working_dir"), &format!("enter {path}"), entered)?;
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    // After the user has changed: a change of credentials takes the signal back.
    step(None, "tie itself to its supervisor", rustix::process::set_parent_process_death_signal(Some(Signal::KILL)))?;
    if rustix::process::getppid() != Some(parent) {
        return Err(failure(None, "its supervisor is gone".to_owned()));
    }

    let Some((name, arguments)) = program.arguments.split_first() else {
        return Err(failure(Some("command"), "there is no program to run".to_owned()));
    };
    default_signals().map_err(|error| failure(None, format!("cannot take its signals as they come: {error}")))?;
    executing();
    let error = Command::new(&program.file)
        .arg0(name)
        .args(arguments)
        .env_clear()
        .envs(program.env.iter().map(|(name, value)| (name, value)))
        .exec();
    let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTED };
    let Stop(failure, _) = failure(Some("command"), execution(&program.file, &error));
    Err(Stop(failure, code))
}

/// Has each signal at its default in the program. What is ignored stays so over an exec, and a shell that starts a daemon in
/// the background has it ignore some; what is handled is at its default afterwards.
fn default_signals() -> io::Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    let ignored = u64::from_str_radix(ignored.trim(), 16).map_err(io::Error::other)?;
    for number in (1..=31).filter(|number| ignored >> (number - 1) & 1 == 1 && !FORBIDDEN.contains(number)) {
        signal_hook::flag::register(number, Arc::default())?;
    }
    Ok(())
}

/// Becomes the user with no supplementary groups, and without what root could regain.
fn change_user(user: User) -> io::Result<()> {
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Past the last one that this kernel has.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    rustix::thread::clear_ambient_capability_set()?;
    let (uid, gid) = (rustix::process::Uid::from_raw(user.uid), rustix::process::Gid::from_raw(user.gid));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

fn execution(file: &str, error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::NotFound if std::fs::exists(file).unwrap_or(false) => {
            "the file is there, but the interpreter or loader that it names is not".to_owned()
        }
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied: the session's user must be able to reach it and to execute it".to_owned()
        }
        io::ErrorKind::ArgumentListTooLong => "arguments and environment are too long".to_owned(),
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            "it is no program for this machine, nor a script that names its interpreter in the first line".to_owned()
        }
        _ => error.to_string(),
    };
    format!("cannot execute {file}: {why}")
}

fn step(field: Option<&str>, what: &str, result: rustix::io::Result<()>) -> Result<(), Stop> {
    result.map_err(|error| failure(field, format!("cannot {what}: {}", io::Error::from(error))))
}

fn failure(field: Option<&str>, message: String) -> Stop {
    Stop(Failure { field: field.map(str::to_owned), message }, NOT_EXECUTED)
}
