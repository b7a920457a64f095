//! Hands on a session that runs: commands in it, its terminal, its standard input. What they give is the backend's own:
//! nothing here has to go on for it, and dropping it releases everything.

use std::sync::Arc;
use std::time::Duration;

use seawall_backend::{Attachment, Error, Execution, ExecutionBackend as _, Holding, Input, Interface};
use seawall_model::{AttachOptions, ExecOptions, Key, LogOptions, SessionId, SessionState};

use crate::backend::{Backend, call};
use crate::core::Core;
use crate::draft::key;
use crate::pause::able;
use crate::reader::Reader;
use crate::state::Entry;
use crate::{Control, ControlError};

impl Control {
    /// Runs a command in a session. It ends with what is handed out, where its engine can end it.
    ///
    /// # Errors
    /// `NoSuchSession`, `NoSuchBackend`, `Conflict` if the session does not run, `Backend`.
    pub async fn exec(&self, id: &SessionId, options: &ExecOptions) -> Result<Execution, ControlError> {
        let (backend, key, reader) = self.running(id, Interface::Exec)?;
        let Execution { events, input } = call("exec.run", backend.driver.exec(&key, options)).await?;
        Ok(Execution { events: Box::pin(Holding::new(events, reader)), input })
    }

    /// Attaches to a session. It goes on when what is handed out is dropped.
    ///
    /// # Errors
    /// `NoSuchSession`, `NoSuchBackend`, `Conflict` if the session does not run or takes no input, `Backend`.
    pub async fn attach(&self, id: &SessionId, options: &AttachOptions) -> Result<Attachment, ControlError> {
        let (backend, key, reader) = self.running(id, Interface::Attach)?;
        let driver = &backend.driver;
        let early = match options.stdout && options.stderr {
            true => self.entry(id)?.with(|cell| cell.early.take_if(|(of, _)| *of == key.incarnation)),
            false => None,
        };
        let Attachment { output, input } = match early {
            Some((_, Early::Held(mut attachment))) => {
                if let Some(size) = options.size {
                    // It shows what it showed before, in another size.
                    let _ = attachment.input.resize(size).await;
                }
                attachment
            }
            Some((_, Early::Logged)) => {
                let all = LogOptions { follow: true, ..LogOptions::default() };
                let output = call("logs.open", driver.logs(&key, &all)).await?;
                let unread = AttachOptions { stdout: false, stderr: false, ..*options };
                Attachment { output, input: call("attach.open", driver.attach(&key, &unread)).await?.input }
            }
            None => call("attach.open", driver.attach(&key, options)).await?,
        };
        Ok(Attachment { output: Box::pin(Holding::new(output, reader)), input })
    }

    /// Opens the standard input of a session.
    ///
    /// # Errors
    /// `NoSuchSession`, `NoSuchBackend`, `Conflict` if the session does not run or takes no input, `Backend`.
    pub async fn input(&self, id: &SessionId) -> Result<Box<dyn Input>, ControlError> {
        let (backend, key, reader) = self.running(id, Interface::Input)?;
        let input = call("input.open", backend.driver.input(&key)).await?;
        Ok(Box::new(Holding::new(input, reader)))
    }

    fn running(&self, id: &SessionId, by: Interface) -> Result<(Arc<Backend>, Key, Reader), ControlError> {
        self.core.open()?;
        let entry = self.entry(id)?;
        let backend = self.core.backend(&entry.backend)?;
        able(&backend, by)?;
        let key = running(&entry)?;
        let reader =
            Reader::new(entry, key.incarnation, self.core.config.session_streams).ok_or_else(|| self.too_many(id))?;
        Ok((backend, key, reader))
    }

    pub(crate) fn too_many(&self, id: &SessionId) -> ControlError {
        let most = self.core.config.session_streams;
        let message = format!(
            "session {id} has {most} streams open, which is as many as it may: close one, or raise `session-streams` in \
             [control]"
        );
        ControlError::Backend(Error::Exhausted { message, retry_after: None })
    }
}

/// What the backend knows a session by that runs. Of one that is unknown the backend says what stands in the way.
pub(crate) fn running(entry: &Entry) -> Result<Key, ControlError> {
    let (key, state) = entry.with(|cell| (key(&cell.record), cell.record.state));
    if (state.runs() || state == SessionState::Unknown) && key.incarnation > 0 {
        return Ok(key);
    }
    let id = &entry.id;
    Err(ControlError::Conflict(format!("session {id} does not run: it is {state}, `seawall why {id}` says why")))
}

/// What a session writes from its very start.
pub(crate) enum Early {
    /// Attached to before it began.
    Held(Attachment),
    /// Its backend attaches to what runs only: it is all in the log.
    Logged,
}

/// So long it is held for whoever said that he comes.
const HELD: Duration = Duration::from_secs(10);

impl Core {
    /// Attaches to a session that is about to start, if somebody is waiting for it to be at its keyboard: so nothing that it
    /// says first is missed.
    pub(crate) async fn attach_early(self: &Arc<Self>, entry: &Arc<Entry>, backend: &Backend, key: &Key) {
        let wanted = entry.with(|cell| cell.awaited() && cell.record.spec.stdin);
        if !wanted || !backend.driver.info().has(Interface::Attach) {
            return;
        }
        let options = AttachOptions { stdout: true, stderr: true, stdin: true, size: None };
        let early = match call("attach.open", backend.driver.attach(key, &options)).await {
            Ok(attachment) => Early::Held(attachment),
            Err(Error::Conflict { .. }) if backend.driver.info().has(Interface::Logs) => Early::Logged,
            // Whoever comes later is told.
            Err(_) => return,
        };
        let incarnation = key.incarnation;
        entry.with(|cell| cell.early = Some((incarnation, early)));
        let (core, entry) = (Arc::clone(self), Arc::clone(entry));
        self.tasks.spawn(async move {
            tokio::select! {
                () = core.soft.cancelled() => {}
                () = tokio::time::sleep(HELD) => {}
            }
            // What a later one has written is held for as long again.
            drop(entry.with(|cell| cell.early.take_if(|(of, _)| *of == incarnation)));
        });
    }
}
