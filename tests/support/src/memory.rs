//! A backend in memory, for tests of what stands before one: it does all that it is asked, at once.
//!
//! Behind the feature `memory`, so that `cargo xtask` is not built with what it depends on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use seawall_backend::{
    Attachment, Error, ExecEvent, ExecEvents, Execution, ExecutionBackend, Info, Input, Interface, LogChunk, LogStream,
    Source,
};
use seawall_model::{
    AttachOptions, CommandEnd, ExecOptions, Exit, Found, Health, Incarnation, Inspection, Key, LogOptions, Page,
    Report, SessionId, SessionName, SessionSpec, Signal, State, Status, TerminalSize, Timestamp, Workload,
};
use tokio::sync::mpsc;

/// The schema of a session's options.
pub const OPTIONS: &str = r#"{"type":"object","additionalProperties":false,"properties":{"speed":{"type":"integer"}}}"#;

/// Workloads in memory. A session with the label `bad` cannot be created; what one writes is `out` and `err`.
#[derive(Debug)]
pub struct Memory {
    check: fn() -> Result<(), Error>,
    info: Info,
    /// What its sessions write never ends.
    flood: bool,
    /// Commands and attachments that are open.
    open: Arc<()>,
    workloads: Mutex<BTreeMap<SessionId, (Incarnation, State)>>,
}

impl Default for Memory {
    fn default() -> Self {
        let info = Info {
            name: "fake".to_owned(),
            version: "1.2.3".to_owned(),
            description: "For tests".to_owned(),
            config_schema: String::new(),
            options_schema: OPTIONS.to_owned(),
            interfaces: vec![Interface::Logs],
        };
        Self { check: || Ok(()), info, flood: false, open: Arc::default(), workloads: Mutex::default() }
    }
}

impl Memory {
    /// One whose checks end so.
    pub fn checked(check: fn() -> Result<(), Error>) -> Self {
        Self { check, ..Self::default() }
    }

    /// One whose sessions write for ever.
    pub fn flooding() -> Self {
        Self { flood: true, ..Self::default() }
    }

    /// One whose sessions and commands repeat what they are sent: input as it is, and in words what else is asked of
    /// them. They end when their input is closed, or by a signal. The command `flood` writes for ever.
    pub fn echoing() -> Self {
        let mut memory = Self::default();
        memory.info.interfaces = vec![Interface::Logs, Interface::Exec, Interface::Attach, Interface::Input];
        memory
    }

    /// Goes up with each command or attachment that is open.
    pub fn open(&self) -> Weak<()> {
        Arc::downgrade(&self.open)
    }

    fn has(&self, interface: Interface) -> Result<(), Error> {
        let lacking = || Error::Unsupported(format!("the plugin fake does not export `{}`", interface.as_str()));
        self.info.has(interface).then_some(()).ok_or_else(lacking)
    }

    /// What is said, and what is repeated of it.
    fn echo(&self) -> (Echo, mpsc::Receiver<ExecEvent>) {
        let (to, said) = mpsc::channel(1);
        (Echo { to: Some(to), _open: Arc::clone(&self.open) }, said)
    }

    fn workloads(&self) -> MutexGuard<'_, BTreeMap<SessionId, (Incarnation, State)>> {
        self.workloads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, key: &Key, state: State) -> Status {
        self.workloads().insert(key.session.clone(), (key.incarnation, state));
        status(state)
    }
}

fn status(state: State) -> Status {
    let exit = state.ended().then(|| Exit { signal: Some(15), ..Exit::default() });
    Status { state, health: Health::Healthy, exit, created_at: None, started_at: None, handle: None }
}

#[async_trait]
impl ExecutionBackend for Memory {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn check(&self) -> Result<Report, Error> {
        (self.check)()?;
        Ok(Report { version: "engine 9".to_owned(), attributes: Vec::new() })
    }

    async fn create(&self, key: &Key, _: &SessionName, spec: &SessionSpec) -> Result<Status, Error> {
        if spec.labels.contains_key("bad") {
            return Err(Error::invalid("image", "there is no such image"));
        }
        let (_, state) = *self.workloads().entry(key.session.clone()).or_insert((key.incarnation, State::Created));
        Ok(status(state))
    }

    async fn start(&self, key: &Key) -> Result<Status, Error> {
        Ok(Status { started_at: Some(Timestamp::now()), ..self.set(key, State::Running) })
    }

    async fn signal(&self, key: &Key, _: Signal) -> Result<(), Error> {
        self.set(key, State::Exited);
        Ok(())
    }

    async fn remove(&self, key: &Key, _: bool) -> Result<(), Error> {
        self.workloads().remove(&key.session);
        Ok(())
    }

    async fn inspect(&self, keys: &[Key]) -> Result<Inspection, Error> {
        let workloads = self.workloads();
        let found = keys.iter().enumerate().filter_map(|(position, key)| {
            workloads.get(&key.session).map(|(_, state)| Found { position, status: status(*state) })
        });
        Ok(Inspection { found: found.collect(), unknown: Vec::new() })
    }

    async fn list(&self, _: Option<&str>) -> Result<Page, Error> {
        let workloads = self.workloads();
        let workloads = workloads.iter().map(|(session, (incarnation, state))| Workload {
            session: session.clone(),
            incarnation: *incarnation,
            status: status(*state),
        });
        Ok(Page { workloads: workloads.collect(), next: None })
    }

    async fn logs(&self, _: &Key, options: &LogOptions) -> Result<LogStream, Error> {
        if self.flood {
            let line = LogChunk { source: Source::Stdout, bytes: Bytes::from_static(&[b'x'; 4096]) };
            return Ok(futures_util::stream::repeat_with(move || Ok(line.clone())).boxed());
        }
        let chunk = |source, bytes: &'static [u8]| Ok(LogChunk { source, bytes: Bytes::from_static(bytes) });
        let chunks = futures_util::stream::iter([chunk(Source::Stdout, b"out\xff"), chunk(Source::Stderr, b"err")]);
        if options.follow { Ok(chunks.chain(futures_util::stream::pending()).boxed()) } else { Ok(chunks.boxed()) }
    }

    async fn exec(&self, _: &Key, options: &ExecOptions) -> Result<Execution, Error> {
        self.has(Interface::Exec)?;
        let (echo, said) = self.echo();
        if options.command == ["flood"] {
            let line = ExecEvent::Output(LogChunk { source: Source::Stdout, bytes: Bytes::from_static(&[b'x'; 4096]) });
            let events = futures_util::stream::repeat_with(move || Ok(line.clone())).boxed();
            return Ok(Execution { events, input: Box::new(echo) });
        }
        Ok(Execution { events: repeated(said), input: Box::new(echo) })
    }

    async fn attach(&self, _: &Key, _: &AttachOptions) -> Result<Attachment, Error> {
        self.has(Interface::Attach)?;
        let (echo, said) = self.echo();
        let output = repeated(said).filter_map(async |event| match event {
            Ok(ExecEvent::Output(chunk)) => Some(Ok(chunk)),
            _ => None,
        });
        Ok(Attachment { output: output.boxed(), input: Box::new(echo) })
    }

    async fn input(&self, _: &Key) -> Result<Box<dyn Input>, Error> {
        self.has(Interface::Input)?;
        let (echo, mut said) = self.echo();
        tokio::spawn(async move { while said.recv().await.is_some() {} });
        Ok(Box::new(echo))
    }
}

fn repeated(said: mpsc::Receiver<ExecEvent>) -> ExecEvents {
    futures_util::stream::unfold(said, async |mut said| said.recv().await.map(|event| (Ok(event), said))).boxed()
}

/// Takes input, and has it repeated.
struct Echo {
    to: Option<mpsc::Sender<ExecEvent>>,
    _open: Arc<()>,
}

impl Echo {
    async fn say(&mut self, event: ExecEvent) -> std::io::Result<()> {
        let to = self.to.as_ref().ok_or(std::io::ErrorKind::BrokenPipe)?;
        to.send(event).await.map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }

    async fn repeat(&mut self, bytes: Bytes) -> std::io::Result<()> {
        self.say(ExecEvent::Output(LogChunk { source: Source::Stdout, bytes })).await
    }
}

#[async_trait]
impl Input for Echo {
    async fn write(&mut self, bytes: Bytes) -> std::io::Result<()> {
        self.repeat(bytes).await
    }

    async fn close(&mut self) -> std::io::Result<()> {
        self.say(ExecEvent::Ended(CommandEnd::Code(7))).await?;
        self.to = None;
        Ok(())
    }

    async fn resize(&mut self, size: TerminalSize) -> std::io::Result<()> {
        self.repeat(format!("<{} columns, {} rows>", size.columns, size.rows).into()).await
    }

    async fn signal(&mut self, signal: Signal) -> std::io::Result<()> {
        if signal == Signal::KILL {
            return self.say(ExecEvent::Ended(CommandEnd::Signal(9))).await;
        }
        Err(std::io::Error::new(std::io::ErrorKind::Unsupported, format!("{signal} is not sent here")))
    }
}
