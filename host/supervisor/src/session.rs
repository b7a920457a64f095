//! The life of a session: one loop over everything that may happen.
//!
//! ```text
//!  preparing --fifo closed--> running --first process ended--> ending --tree gone, output read--> exit recorded
//!      '-------------------- first process ended ----------------^
//! ```

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use seawall_supervisor::cgroup::Plan;
use seawall_supervisor::log::{Stream, Writer};
use seawall_supervisor::protocol::{Reply, Report, Request};
use seawall_supervisor::record::{self, Ended, Failure, Interactive, Reserved, Started, User};
use seawall_supervisor::{CANNOT_RECORD, Outcome, RunDir, now, signal};

use crate::attached::{self, Attached};
use crate::command::{self, Running};
use crate::control::{self, Connection, Served};
use crate::exec::EXECUTING;
use crate::keyboard::Keyboard;
use crate::spawn::Child;
use crate::stdin::Stdin;
use crate::supervise::say;
use crate::tree::{End, News, Tree};

/// How long a killed tree may take to be gone. Only a process stuck in the kernel takes longer.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// How long to go on reading when the tree is gone: only what passed its streams to strangers keeps them open.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);
/// Between two tries to kill.
const AGAIN: Duration = Duration::from_millis(20);
/// How long to try to record the exit.
const RECORD_PATIENCE: Duration = Duration::from_secs(60);
/// How much of one stream is read before the others have their turn.
const TURN: usize = 4;

pub(crate) struct Session {
    dir: RunDir,
    log: Writer,
    listener: UnixListener,
    connections: Vec<Connection>,
    commands: Vec<Running>,
    attached: Vec<Attached>,
    /// Whom the program runs as.
    user: Option<User>,
    /// How the execution goes, until that is known.
    fifo: Option<File>,
    said: Vec<u8>,
    exit: Reserved,
    plan: Plan,
    tree: Tree,
    stdin: Stdin,
    terminal: Option<File>,
    outputs: Vec<(File, Stream)>,
    failure: Option<Failure>,
    ending: Option<Ending>,
    buffer: Vec<u8>,
}

struct Ending {
    end: Option<End>,
    at: u64,
    /// When nothing is left of the tree.
    gone: bool,
    until: Instant,
}

enum Ready {
    Fifo,
    Tree,
    Listener,
    Output(usize),
    Connection(usize),
    /// Something that has its turn in any case.
    Other,
}

impl Session {
    #[expect(clippy::too_many_arguments, reason = "each is a part that its maker could fail to make")]
    pub(crate) fn new(
        dir: RunDir,
        log: Writer,
        listener: UnixListener,
        fifo: File,
        exit: Reserved,
        plan: Plan,
        user: Option<User>,
        tree: Tree,
        child: Child,
    ) -> Self {
        Self {
            dir,
            log,
            listener,
            connections: Vec::new(),
            commands: Vec::new(),
            attached: Vec::new(),
            user,
            fifo: Some(fifo),
            said: Vec::new(),
            exit,
            plan,
            tree,
            stdin: child.stdin,
            terminal: child.terminal,
            outputs: child.outputs,
            failure: None,
            ending: None,
            buffer: vec![0; 32 << 10],
        }
    }

    pub(crate) fn run(mut self) {
        loop {
            if let Some(ending) = &self.ending {
                let over = Instant::now() >= ending.until;
                if (ending.gone && self.outputs.is_empty()) || over {
                    // What was written in time is there, however late it is by now.
                    (0..self.outputs.len()).rev().for_each(|at| self.read_output(at));
                    break;
                }
                if !ending.gone {
                    self.kill();
                }
            }
            // The highest first, so that what is removed does not move what comes after.
            for ready in self.wait().into_iter().rev() {
                match ready {
                    Ready::Fifo => self.read_fifo(),
                    Ready::Tree => self.hear(),
                    Ready::Listener => control::accept(&self.listener, &mut self.connections),
                    Ready::Output(at) => self.read_output(at),
                    Ready::Connection(at) => self.serve(at),
                    Ready::Other => {}
                }
            }
            self.commands.retain_mut(|command| command.turn(&self.tree));
            self.stdin.turn();
            self.attached.retain_mut(|attached| attached.turn(&mut self.stdin, self.terminal.as_ref()));
        }
        self.finish();
    }

    fn wait(&self) -> Vec<Ready> {
        let ending = self.ending.as_ref();
        let timeout = ending.map(|ending| {
            let left = ending.until.saturating_duration_since(Instant::now());
            if ending.gone { left } else { left.min(AGAIN) }
        });
        let due = self.commands.iter().filter_map(Running::due).min();
        let due = due.map(|due| due.saturating_duration_since(Instant::now()));
        let timeout = [timeout, due].into_iter().flatten().min();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());

        let mut sources = Vec::new();
        let mut polled = Vec::new();
        let mut add_for = |ready, fd, flags| {
            sources.push(ready);
            polled.push(PollFd::from_borrowed_fd(fd, flags));
        };
        use std::os::fd::AsFd;
        let attached = self.attached.iter().filter_map(|attached| attached.source(&self.stdin));
        let others = self.commands.iter().flat_map(Running::sources).chain(attached).chain(self.stdin.source());
        for (fd, flags) in others {
            add_for(Ready::Other, fd, flags);
        }
        let mut add = |ready, fd| add_for(ready, fd, PollFlags::IN);
        add(Ready::Listener, self.listener.as_fd());
        for (at, connection) in self.connections.iter().enumerate() {
            add(Ready::Connection(at), connection.as_fd());
        }
        if !ending.is_some_and(|ending| ending.gone) {
            add(Ready::Tree, self.tree.as_fd());
        }
        for (at, (output, _)) in self.outputs.iter().enumerate() {
            add(Ready::Output(at), output.as_fd());
        }
        // Last here, so first handled: what is said before the end is heard before the end.
        if let Some(fifo) = &self.fifo {
            add(Ready::Fifo, fifo.as_fd());
        }
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) => {
                let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
                sources.into_iter().zip(ready).filter_map(|(source, ready)| ready.then_some(source)).collect()
            }
            // Interrupted, or short of memory: once more.
            Err(_) => Vec::new(),
        }
    }

    /// What the child says of its preparation. The end of it means that the program was executed, or that the child
    /// is gone.
    fn read_fifo(&mut self) {
        let Some(fifo) = &mut self.fifo else { return };
        match fifo.read_to_end(&mut self.said) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            _ => self.fifo = None,
        }
        let said = self.said.strip_prefix(&[EXECUTING]);
        match (said, said.unwrap_or(&self.said)) {
            (Some(_), []) => self.started(),
            (None, []) => {
                self.failure =
                    Some(Failure { field: None, message: "it ended before it became the program".to_owned() });
            }
            (_, bytes) => {
                self.failure = Some(record::decode(bytes).unwrap_or_else(|error| Failure {
                    field: None,
                    message: format!("it was not executed, and its reason cannot be read: {error}"),
                }));
            }
        }
    }

    fn started(&mut self) {
        let started = Started {
            at: now(),
            pid: self.tree.first.as_raw_nonzero().get(),
            supervisor: rustix::process::getpid().as_raw_nonzero().get(),
        };
        if let Err(error) = record::write(&self.dir.started(), &started, false) {
            eprintln!("seawall-supervisor: cannot write when it started: {error}");
        }
        report(say(Outcome::Started));
    }

    fn hear(&mut self) {
        match self.tree.news() {
            News::Ended(end) => {
                self.begin_to_end(Some(end));
                self.kill();
            }
            News::CommandEnded(pid, end) => self.commands.iter_mut().for_each(|command| command.hear(pid, end)),
            News::Gone => {
                self.begin_to_end(None);
                if let Some(ending) = &mut self.ending {
                    ending.gone = true;
                    ending.until = Instant::now() + DRAIN_PATIENCE;
                }
            }
        }
    }

    fn begin_to_end(&mut self, end: Option<End>) {
        // Whatever was said before the end is there by now.
        self.read_fifo();
        if self.ending.is_none() {
            self.ending = Some(Ending { end, at: now(), gone: false, until: Instant::now() + KILL_PATIENCE });
        }
    }

    fn kill(&self) {
        if let Err(error) = self.plan.kill() {
            eprintln!("seawall-supervisor: cannot kill by the control group: {error}");
        }
        self.tree.kill();
    }

    fn read_output(&mut self, at: usize) {
        let Some((output, stream)) = self.outputs.get_mut(at) else { return };
        for _ in 0..TURN {
            match output.read(&mut self.buffer) {
                Ok(0) => {
                    self.outputs.remove(at);
                    return;
                }
                Ok(length) => self.log.write(now(), *stream, self.buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // A terminal that nobody has open any more says EIO.
                Err(_) => {
                    self.outputs.remove(at);
                    return;
                }
            }
        }
    }

    fn serve(&mut self, at: usize) {
        let Some(mut connection) = (at < self.connections.len()).then(|| self.connections.swap_remove(at)) else {
            return;
        };
        match connection.serve(|request| self.answer(request)) {
            Served::Open => self.connections.push(connection),
            Served::Over => {}
            Served::Run(command) => self.begin_command(&command, connection),
            Served::Attach => self.attach(connection),
        }
    }

    fn runs(&self) -> bool {
        self.fifo.is_none() && self.failure.is_none() && self.ending.is_none()
    }

    fn attach(&mut self, mut connection: Connection) {
        if self.attached.len() >= attached::MOST {
            // What those gave who are gone, and nobody has read since, gives way.
            self.attached.retain(|attached| !attached.hung_up());
        }
        if !self.runs() {
            connection.reply(&Reply::Failed("the session does not run".to_owned()));
        } else if self.attached.len() >= attached::MOST {
            let why = format!("{} are attached to this session already, and more are not let in", attached::MOST);
            connection.reply(&Reply::Failed(why));
        } else {
            let (connection, received) = connection.into_parts();
            self.attached.extend(Attached::new(Keyboard::new(connection, received)));
        }
    }

    fn begin_command(&mut self, command: &Interactive, mut connection: Connection) {
        let refused = if !self.runs() {
            Some("the session does not run".to_owned())
        } else if self.commands.len() >= command::MOST {
            Some(format!("{} commands run in this session already, and more are not let in", command::MOST))
        } else {
            None
        };
        if let Some(why) = refused {
            connection.reply(&Reply::Failed(why));
            return;
        }
        let (connection, received) = connection.into_parts();
        match Running::start(command, self.user, &self.tree, Keyboard::new(connection, received)) {
            Ok(running) => self.commands.push(running),
            Err((mut keyboard, error)) => {
                let reply = Reply::Failed(format!("it cannot be started: {error}"));
                // Whoever is gone does not listen.
                let _ = keyboard.connection.write_all(&reply.encode());
            }
        }
    }

    fn answer(&mut self, request: Request) -> Reply {
        match request {
            // They are dealt with by the connection.
            Request::Hello { .. } | Request::Run(_) | Request::Attach => Reply::Done,
            Request::Write(_) | Request::Resize(_) => {
                Reply::Unsupported("this connection is neither a command's nor attached".to_owned())
            }
            Request::Status => Reply::Status(Report {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: self.tree.pid().map(|pid| pid.as_raw_nonzero().get()),
                dropped: self.log.dropped(),
            }),
            Request::Kill => self.kill_all(),
            Request::Signal(9) => self.kill_all(),
            Request::Signal(number) => match signal::from_number(number) {
                Some(signal) => done(self.tree.signal(signal)),
                None => Reply::Unsupported(format!("signal {number} cannot be sent to a process of this backend")),
            },
            Request::CloseStdin => {
                self.stdin.close();
                Reply::Done
            }
        }
    }

    fn kill_all(&mut self) -> Reply {
        self.kill();
        done(self.tree.signal(Signal::KILL))
    }

    fn finish(mut self) {
        self.log.finish(now());
        let ending = self.ending.take();
        let end = ending.as_ref().and_then(|ending| ending.end);
        let mut ended = Ended { at: ending.map(|ending| ending.at), ..Ended::default() };
        match end {
            Some(End::Code(code)) => ended.code = Some(code),
            Some(End::Signal(signal)) => ended.signal = Some(signal),
            None => {}
        }
        ended.oom = self.plan.oom_kills() > 0 && ended.code != Some(0);
        if let Some(failure) = self.failure.take() {
            ended.message = Some(failure.message.clone());
            ended.failure = Some(failure);
        }
        if let Err(error) = self.plan.remove(Duration::from_millis(500)) {
            eprintln!("seawall-supervisor: cannot remove the control group: {error}");
        }
        let _ = std::fs::remove_file(self.dir.ctl());
        let _ = std::fs::remove_file(self.dir.exec());
        let until = Instant::now() + RECORD_PATIENCE;
        while let Err(error) = self.exit.write(&ended) {
            eprintln!("seawall-supervisor: {CANNOT_RECORD}{error}");
            if Instant::now() >= until {
                break;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        if ended.failure.is_some() {
            report(say(Outcome::Failed));
        }
    }
}

fn done(result: io::Result<()>) -> Reply {
    match result {
        Ok(()) => Reply::Done,
        Err(error) => Reply::Failed(error.to_string()),
    }
}

fn report(result: io::Result<()>) {
    if let Err(error) = result {
        eprintln!("seawall-supervisor: {error}");
    }
}
