//! From a guest to the model. Everything is checked here.

use std::time::Duration;

use seawall_backend::Error;
use seawall_model::{
    AttachOptions, CheckResult, Endpoint, ExecOptions, Exit, Found, Health, InvalidSpec, Key, LogOptions, Measurement,
    Page, Problem, Protocol, Secret, Signal, State, Status, TerminalSize, Timestamp, Transfer, Usage, Workload,
    one_line,
};

use super::{LARGEST_BATCH, LARGEST_CURSOR, LARGEST_HANDLE, LONGEST_TEXT, Refusal};
use crate::bindings::types;

/// No engine asks for a longer pause; a guest that does is not believed.
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

/// The most problems that one `invalid` may list.
const MOST_PROBLEMS: usize = 64;

/// A key, as an argument of a host function.
///
/// # Errors
/// A session that is no session id, incarnation 0, a handle that is too long.
pub fn key(key: types::Key) -> Result<Key, Refusal> {
    let session = key.session.parse().map_err(|error| Refusal::new("key.session", format!("{error}")))?;
    if key.incarnation == 0 {
        return Err(Refusal::new("key.incarnation", "counted from 1"));
    }
    Ok(Key { session, incarnation: key.incarnation, handle: key.handle.map(handle).transpose()? })
}

fn handle(handle: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    if handle.len() > LARGEST_HANDLE {
        return Err(Refusal::new("handle", format!("{} bytes, where 4096 is the most", handle.len())));
    }
    Ok(handle)
}

/// Keys of a batch.
///
/// # Errors
/// More than 1000, or one that is not valid.
pub fn keys(keys: Vec<types::Key>) -> Result<Vec<Key>, Refusal> {
    if keys.len() > LARGEST_BATCH {
        return Err(Refusal::new("keys", "at most 1000 at once"));
    }
    keys.into_iter().map(key).collect()
}

/// A signal's number.
///
/// # Errors
/// Outside 1 to 64.
pub fn signal(number: u32) -> Result<Signal, Refusal> {
    Signal::from_number(number).map_err(|error| Refusal::new("signal", error.to_string()))
}

/// Which part of an output.
pub fn log_options(options: types::LogOptions) -> LogOptions {
    LogOptions {
        follow: options.follow,
        tail: options.tail,
        since: options.since.map(Timestamp::from_millis),
        until: options.until.map(Timestamp::from_millis),
        stdout: options.stdout,
        stderr: options.stderr,
        timestamps: options.timestamps,
    }
}

/// A command.
pub fn exec_options(options: types::ExecOptions) -> ExecOptions {
    ExecOptions {
        command: options.command,
        env: options.env.into_iter().map(|(name, value)| (name, Secret::new(value))).collect(),
        working_dir: options.working_dir,
        user: options.user,
        timeout: options.timeout.map(Duration::from_millis),
        tty: options.tty,
        size: options.size.map(terminal_size),
        stdin: options.stdin,
    }
}

/// How to attach.
pub fn attach_options(options: types::AttachOptions) -> AttachOptions {
    let types::AttachOptions { stdout, stderr, stdin, size } = options;
    AttachOptions { stdout, stderr, stdin, size: size.map(terminal_size) }
}

fn terminal_size(size: types::TerminalSize) -> TerminalSize {
    TerminalSize { columns: size.columns, rows: size.rows }
}

/// What was measured, of a batch of `asked` keys.
///
/// # Errors
/// A position that was not asked about or that is there twice.
pub fn measurements(answers: Vec<types::Measurement>, asked: usize) -> Result<Vec<Measurement>, Refusal> {
    let mut positions = Positions::new("measurement.position", asked);
    let measurement = |answer: types::Measurement| {
        Ok(Measurement { position: positions.take(answer.position)?, usage: usage(answer.usage) })
    };
    answers.into_iter().map(measurement).collect()
}

fn usage(usage: types::Usage) -> Usage {
    let types::Usage { at, cpu_time, memory, memory_limit, processes, processes_limit, network, disk } = usage;
    let transfer = |given: types::Transfer| Transfer { incoming: given.incoming, outgoing: given.outgoing };
    Usage {
        at: Timestamp::from_millis(at),
        cpu_time,
        memory,
        memory_limit,
        processes,
        processes_limit,
        network: network.map(transfer),
        disk: disk.map(transfer),
    }
}

/// Where ports are reached.
///
/// # Errors
/// More than a session may publish, port 0, no IP address.
pub fn endpoints(endpoints: Vec<types::Endpoint>) -> Result<Vec<Endpoint>, Refusal> {
    if endpoints.len() > LARGEST_BATCH {
        return Err(Refusal::new("endpoints", format!("{}, where 1000 is the most", endpoints.len())));
    }
    let endpoint = |(at, given): (usize, types::Endpoint)| {
        let refuse = |field: &str, message: &str| Refusal::new(format!("endpoints[{at}].{field}"), message);
        let address = given.address.parse().map_err(|_| refuse("address", "no IP address"))?;
        if given.container == 0 || given.port == 0 {
            return Err(refuse("port", "0, which is none"));
        }
        let protocol = match given.protocol {
            types::Protocol::Tcp => Protocol::Tcp,
            types::Protocol::Udp => Protocol::Udp,
        };
        Ok(Endpoint { container: given.container, protocol, address, port: given.port })
    };
    endpoints.into_iter().enumerate().map(endpoint).collect()
}

/// How a health check went. What it wrote becomes one line, cut where it is long.
///
/// # Errors
/// A code out of range.
pub fn check_result(result: types::CheckResult) -> Result<CheckResult, Refusal> {
    let code = result.code.map(u8::try_from).transpose();
    let code = code.map_err(|_| Refusal::new("check-result.code", "outside 0 to 255"))?;
    Ok(CheckResult { at: Timestamp::from_millis(result.at), code, output: text(result.output) })
}

/// A cursor of a listing.
///
/// # Errors
/// Longer than 4 KiB, or empty.
pub fn cursor(cursor: Option<String>) -> Result<Option<String>, Refusal> {
    match &cursor {
        Some(cursor) if cursor.len() > LARGEST_CURSOR => Err(Refusal::new("cursor", "longer than 4096 bytes")),
        Some(cursor) if cursor.is_empty() => Err(Refusal::new("cursor", "empty; absent is what means none")),
        _ => Ok(()),
    }?;
    Ok(cursor)
}

/// A status. Health is that of a running workload; of any other it is unknown, whatever the guest said.
///
/// # Errors
/// An exit without an end or an end without an exit; numbers out of range; a handle that is too long.
pub fn status(status: types::Status) -> Result<Status, Refusal> {
    let state = match status.state {
        types::State::Created => State::Created,
        types::State::Running => State::Running,
        types::State::Paused => State::Paused,
        types::State::Exited => State::Exited,
        types::State::Dead => State::Dead,
    };
    let health = match status.health {
        _ if state != State::Running => Health::Unknown,
        types::Health::Healthy => Health::Healthy,
        types::Health::Unhealthy => Health::Unhealthy,
        types::Health::Starting => Health::Starting,
        types::Health::Unknown => Health::Unknown,
    };
    match (&status.exit, state.ended()) {
        (Some(_), false) => return Err(Refusal::new("status.exit", "present, though the workload has not ended")),
        (None, true) => return Err(Refusal::new("status.exit", "absent, though the workload has ended")),
        _ => {}
    }
    Ok(Status {
        state,
        health,
        exit: status.exit.map(exit).transpose()?,
        created_at: status.created_at.map(Timestamp::from_millis),
        started_at: status.started_at.map(Timestamp::from_millis),
        handle: status.handle.map(handle).transpose()?,
    })
}

fn exit(exit: types::Exit) -> Result<Exit, Refusal> {
    let code = match exit.code.map(u8::try_from) {
        None => None,
        Some(Ok(code)) => Some(code),
        Some(Err(_)) => return Err(Refusal::new("status.exit.code", "outside 0 to 255")),
    };
    let signal = match exit.signal.map(Signal::from_number) {
        None => None,
        Some(Ok(signal)) => Some(signal.number()),
        Some(Err(_)) => return Err(Refusal::new("status.exit.signal", "outside 1 to 64")),
    };
    Ok(Exit {
        code,
        signal,
        oom: exit.oom_killed,
        message: exit.message.map(text),
        at: exit.at.map(Timestamp::from_millis),
    })
}

/// The answers of a batch of `asked` keys.
///
/// # Errors
/// A position that was not asked about or that is there twice, or a status that is not valid.
pub fn found(answers: Vec<types::Found>, asked: usize) -> Result<Vec<Found>, Refusal> {
    let mut positions = Positions::new("found.position", asked);
    let mut all = Vec::with_capacity(answers.len().min(asked));
    for answer in answers {
        let position = positions.take(answer.position)?;
        let status = status(answer.status)
            .map_err(|refusal| Refusal::new(format!("found[{position}].{}", refusal.field), refusal.message))?;
        all.push(Found { position, status });
    }
    Ok(all)
}

/// Positions in a question, each to be answered once.
struct Positions {
    field: &'static str,
    seen: Vec<bool>,
}

impl Positions {
    fn new(field: &'static str, asked: usize) -> Self {
        Self { field, seen: vec![false; asked] }
    }

    fn take(&mut self, position: u32) -> Result<usize, Refusal> {
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        let asked = self.seen.len();
        match self.seen.get_mut(position) {
            None => {
                let message = format!("{position} is out of range: {asked} keys were asked about");
                Err(Refusal::new(self.field, message))
            }
            Some(true) => Err(Refusal::new(self.field, format!("{position} is there twice"))),
            Some(first) => {
                *first = true;
                Ok(position)
            }
        }
    }
}

/// A part of a listing.
///
/// # Errors
/// More than 1000 workloads, ids that are not valid, a cursor that is too long or empty, a status that is not valid.
pub fn page(page: types::Page) -> Result<Page, Refusal> {
    if page.workloads.len() > LARGEST_BATCH {
        return Err(Refusal::new("page.workloads", format!("{}, where 1000 is the most", page.workloads.len())));
    }
    let workloads = page.workloads.into_iter().enumerate().map(|(at, workload)| {
        let name = |refusal: Refusal| Refusal::new(format!("workloads[{at}].{}", refusal.field), refusal.message);
        let session = workload.session.parse().map_err(|error| name(Refusal::new("session", format!("{error}"))))?;
        if workload.incarnation == 0 {
            return Err(name(Refusal::new("incarnation", "counted from 1")));
        }
        let status = status(workload.status).map_err(name)?;
        Ok(Workload { session, incarnation: workload.incarnation, status })
    });
    Ok(Page { workloads: workloads.collect::<Result<_, _>>()?, next: cursor(page.next)? })
}

/// An error, its texts bounded and printable.
pub fn error(error: types::Error) -> Error {
    error_with(error, |text| text)
}

/// The same, each text changed before it is cut: half a secret at its end would not be found.
pub fn error_with(error: types::Error, change: impl Fn(String) -> String) -> Error {
    let text = |given| text(change(given));
    match error {
        types::Error::NotFound(message) => Error::NotFound(text(message)),
        types::Error::Conflict(trouble) => {
            Error::Conflict { retry_after: retry(trouble.retry_after), message: text(trouble.message) }
        }
        types::Error::Invalid(problems) => {
            let mut problems: Vec<_> = problems
                .into_iter()
                .take(MOST_PROBLEMS)
                .map(|problem| Problem { field: text(problem.field), message: text(problem.message) })
                .collect();
            if problems.is_empty() {
                let message = "the plugin refused it and did not say why".to_owned();
                problems.push(Problem { field: "spec".to_owned(), message });
            }
            Error::Invalid(InvalidSpec { problems })
        }
        types::Error::Denied(message) => Error::Denied(text(message)),
        types::Error::Exhausted(trouble) => {
            Error::Exhausted { retry_after: retry(trouble.retry_after), message: text(trouble.message) }
        }
        types::Error::Unavailable(trouble) => {
            Error::Unavailable { retry_after: retry(trouble.retry_after), message: text(trouble.message) }
        }
        types::Error::Unsupported(message) => Error::Unsupported(text(message)),
        types::Error::Other(message) => Error::Other(text(message)),
    }
}

fn retry(millis: Option<u64>) -> Option<Duration> {
    millis.map(|millis| Duration::from_millis(millis).min(LONGEST_RETRY))
}

/// A text for people: one line, bounded, in which every character can be seen.
pub fn text(text: String) -> String {
    one_line(text, LONGEST_TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> types::Status {
        types::Status {
            state: types::State::Running,
            health: types::Health::Healthy,
            exit: None,
            created_at: None,
            started_at: Some(1),
            handle: None,
        }
    }

    fn ended(code: u32) -> types::Status {
        let exit = types::Exit { code: Some(code), signal: None, oom_killed: false, message: None, at: None };
        types::Status { state: types::State::Exited, exit: Some(exit), ..running() }
    }

    #[test]
    fn an_exit_is_there_exactly_when_it_ended() {
        assert!(status(running()).is_ok());
        assert_eq!(status(ended(3)).unwrap().exit.unwrap().code, Some(3));
        assert!(status(types::Status { state: types::State::Dead, ..running() }).is_err());
        assert!(status(types::Status { state: types::State::Running, ..ended(0) }).is_err());
    }

    #[test]
    fn numbers_out_of_range_are_refused_and_not_wrapped() {
        assert_eq!(status(ended(256)).unwrap_err().field, "status.exit.code");
        assert_eq!(status(ended(u32::MAX)).unwrap_err().field, "status.exit.code");
        let mut killed = ended(0);
        killed.exit.as_mut().unwrap().signal = Some(0);
        assert_eq!(status(killed).unwrap_err().field, "status.exit.signal");
    }

    #[test]
    fn health_is_that_of_a_running_workload_only() {
        assert_eq!(status(ended(0)).unwrap().health, Health::Unknown);
    }

    #[test]
    fn a_batch_answers_what_was_asked_and_once() {
        let answer = |position| types::Found { position, status: running() };
        assert_eq!(found(vec![answer(1), answer(0)], 2).unwrap().len(), 2);
        assert!(found(vec![answer(2)], 2).is_err());
        assert!(found(vec![answer(1), answer(1)], 2).is_err());
        assert!(found(vec![answer(u32::MAX)], 2).is_err());
    }

    #[test]
    fn a_long_handle_is_refused() {
        let big = types::Status { handle: Some(vec![0; LARGEST_HANDLE + 1]), ..running() };
        assert_eq!(status(big).unwrap_err().field, "handle");
    }

    #[test]
    fn a_page_names_the_workload_at_fault() {
        let workload = types::Workload { session: "../../etc".to_owned(), incarnation: 1, status: running() };
        let refusal = page(types::Page { workloads: vec![workload], next: None }).unwrap_err();
        assert_eq!(refusal.field, "workloads[0].session");
    }

    #[test]
    fn texts_are_bounded_and_printable() {
        assert_eq!(text("a\u{1b}[2Jb\nc".to_owned()), "a\u{fffd}[2Jb c");
        assert!(text("ä".repeat(1 << 20)).len() < LONGEST_TEXT + 8);
    }

    #[test]
    fn an_error_keeps_its_kind() {
        for given in [
            Error::NotFound("x".to_owned()),
            Error::conflict("x"),
            Error::invalid("image", "x"),
            Error::Denied("x".to_owned()),
            Error::Exhausted { message: "x".to_owned(), retry_after: Some(Duration::from_secs(2)) },
            Error::unavailable("x"),
            Error::Unsupported("x".to_owned()),
            Error::Other("x".to_owned()),
        ] {
            assert_eq!(error(super::super::to_guest::error(given.clone())), given);
        }
    }
}
