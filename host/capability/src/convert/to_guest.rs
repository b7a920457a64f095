//! From the model to a guest.

use std::time::Duration;

use seawall_backend::Error;
use seawall_model::{
    AttachOptions, CheckResult, Endpoint, ExecOptions, Exit, Found, Health, Key, LogOptions, Measurement, Page,
    Problem, Protocol, State, Status, TerminalSize, Timestamp, Transfer, Usage,
};

use crate::bindings::types;

/// A key.
pub fn key(key: &Key) -> types::Key {
    types::Key { session: key.session.as_str().to_owned(), incarnation: key.incarnation, handle: key.handle.clone() }
}

/// Which part of an output.
pub fn log_options(options: &LogOptions) -> types::LogOptions {
    types::LogOptions {
        follow: options.follow,
        tail: options.tail,
        since: options.since.map(Timestamp::as_millis),
        until: options.until.map(Timestamp::as_millis),
        stdout: options.stdout,
        stderr: options.stderr,
        timestamps: options.timestamps,
    }
}

/// A command. Values of its environment are secrets.
pub fn exec_options(options: &ExecOptions) -> types::ExecOptions {
    types::ExecOptions {
        command: options.command.clone(),
        env: options.env.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect(),
        working_dir: options.working_dir.clone(),
        user: options.user.clone(),
        timeout: options.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        tty: options.tty,
        size: options.size.map(terminal_size),
        stdin: options.stdin,
    }
}

/// How to attach.
pub fn attach_options(options: &AttachOptions) -> types::AttachOptions {
    let AttachOptions { stdout, stderr, stdin, size } = *options;
    types::AttachOptions { stdout, stderr, stdin, size: size.map(terminal_size) }
}

fn terminal_size(size: TerminalSize) -> types::TerminalSize {
    types::TerminalSize { columns: size.columns, rows: size.rows }
}

/// What was measured.
pub fn measurement(measurement: Measurement) -> types::Measurement {
    let Usage { at, cpu_time, memory, memory_limit, processes, processes_limit, network, disk } = measurement.usage;
    let transfer = |Transfer { incoming, outgoing }| types::Transfer { incoming, outgoing };
    let usage = types::Usage {
        at: at.as_millis(),
        cpu_time,
        memory,
        memory_limit,
        processes,
        processes_limit,
        network: network.map(transfer),
        disk: disk.map(transfer),
    };
    types::Measurement { position: u32::try_from(measurement.position).unwrap_or(u32::MAX), usage }
}

/// Where a port is reached.
pub fn endpoint(endpoint: Endpoint) -> types::Endpoint {
    let protocol = match endpoint.protocol {
        Protocol::Tcp => types::Protocol::Tcp,
        Protocol::Udp => types::Protocol::Udp,
    };
    let Endpoint { container, address, port, .. } = endpoint;
    types::Endpoint { container, protocol, address: address.to_string(), port }
}

/// How a health check went.
pub fn check_result(result: CheckResult) -> types::CheckResult {
    types::CheckResult { at: result.at.as_millis(), code: result.code.map(u32::from), output: result.output }
}

/// A status.
pub fn status(status: Status) -> types::Status {
    types::Status {
        state: match status.state {
            State::Created => types::State::Created,
            State::Running => types::State::Running,
            State::Paused => types::State::Paused,
            State::Exited => types::State::Exited,
            State::Dead => types::State::Dead,
        },
        health: match status.health {
            Health::Healthy => types::Health::Healthy,
            Health::Unhealthy => types::Health::Unhealthy,
            Health::Starting => types::Health::Starting,
            Health::Unknown => types::Health::Unknown,
        },
        exit: status.exit.map(exit),
        created_at: status.created_at.map(Timestamp::as_millis),
        started_at: status.started_at.map(Timestamp::as_millis),
        handle: status.handle,
    }
}

fn exit(exit: Exit) -> types::Exit {
    types::Exit {
        code: exit.code.map(u32::from),
        signal: exit.signal.map(u32::from),
        oom_killed: exit.oom,
        message: exit.message,
        at: exit.at.map(Timestamp::as_millis),
    }
}

/// One answer of a batch.
pub fn found(found: Found) -> types::Found {
    types::Found { position: u32::try_from(found.position).unwrap_or(u32::MAX), status: status(found.status) }
}

/// A part of a listing.
pub fn page(page: Page) -> types::Page {
    let workloads = page.workloads.into_iter().map(|workload| types::Workload {
        session: workload.session.as_str().to_owned(),
        incarnation: workload.incarnation,
        status: status(workload.status),
    });
    types::Page { workloads: workloads.collect(), next: page.next }
}

/// An error. A fault is no answer: whoever has one makes a trap of it, see `HostError`.
pub fn error(error: Error) -> types::Error {
    match error {
        Error::NotFound(message) => types::Error::NotFound(message),
        Error::Conflict { message, retry_after } => types::Error::Conflict(trouble(message, retry_after)),
        Error::Invalid(invalid) => types::Error::Invalid(invalid.problems.into_iter().map(problem).collect()),
        Error::Denied(message) => types::Error::Denied(message),
        Error::Exhausted { message, retry_after } => types::Error::Exhausted(trouble(message, retry_after)),
        Error::Unavailable { message, retry_after } => types::Error::Unavailable(trouble(message, retry_after)),
        Error::Unsupported(message) => types::Error::Unsupported(message),
        Error::Other(message) => types::Error::Other(message),
        // What became of a call, not what an engine answered: no capability says these.
        Error::Full { .. } | Error::Open { .. } | Error::Quarantined { .. } | Error::Fault(_) => {
            types::Error::Other(error.to_string())
        }
    }
}

fn problem(problem: Problem) -> types::Problem {
    types::Problem { field: problem.field, message: problem.message }
}

fn trouble(message: String, retry_after: Option<Duration>) -> types::Trouble {
    let retry_after = retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    types::Trouble { message, retry_after }
}
