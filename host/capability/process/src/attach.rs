//! Somebody at the keyboard and the screen of a process. What it writes is read from its log, from the present end on: a
//! reader that is slow holds up nobody and loses nothing that is not rotated away. What it is given goes to its
//! supervisor, which holds its standard input and its terminal, so that a restart of the daemon is nothing to either.

use seawall_backend::{Attachment, Error, Input, NoInput};
use seawall_model::{AttachOptions, Key, LogOptions, TerminalSize};
use seawall_supervisor::protocol::Request;
use seawall_supervisor::record::Program;

use crate::Process;
use crate::client::{self, Refused};
use crate::exec::older;
use crate::follow;
use crate::keyboard::{Has, Keyboard, Line};
use crate::runs::{self, Phase, Run};

impl Process {
    /// Its terminal, or its output and standard input, from now on. Of several attached at once each sees everything,
    /// and what they give is mixed as it comes.
    ///
    /// # Errors
    /// `Conflict` if it does not run, or its input was not kept open and is asked for; `Unsupported` if its supervisor
    /// is of an older version and would have to do something.
    pub async fn attach(&self, key: &Key, options: &AttachOptions) -> Result<Attachment, Error> {
        let (run, program) = self.running(key).await?;
        if options.stdin && !program.stdin {
            return Err(without_stdin(key));
        }
        let log = LogOptions { follow: true, stdout: options.stdout, stderr: options.stderr, ..LogOptions::default() };
        // Before anything can be given: what comes of it is seen.
        let output = follow::open_at_end(run.dir.clone(), log, &self.inner.readers).await;
        let output = output.map_err(|error| {
            Error::unavailable(format!("the log of session {} cannot be read: {error}", key.session))
        })?;
        let size = options.size.filter(|_| program.tty);
        let has = Has { stdin: options.stdin, terminal: program.tty, signals: false };
        let input: Box<dyn Input> = match self.keyboard(key, &run, has).await {
            Ok(mut keyboard) => {
                if let Some(size) = size {
                    resize(&mut keyboard, size).await?;
                }
                Box::new(keyboard)
            }
            // It has nothing to do.
            Err(Error::Unsupported(_)) if !options.stdin && size.is_none() => Box::new(NoInput),
            Err(error) => return Err(error),
        };
        Ok(Attachment { output, input })
    }

    /// Its standard input. Letting go of it closes nothing.
    ///
    /// # Errors
    /// `Conflict` if it does not run or its input was not kept open; `Unsupported` if its supervisor is of an older
    /// version.
    pub async fn input(&self, key: &Key) -> Result<Box<dyn Input>, Error> {
        let (run, program) = self.running(key).await?;
        if !program.stdin {
            return Err(without_stdin(key));
        }
        let has = Has { stdin: true, terminal: program.tty, signals: false };
        Ok(Box::new(self.keyboard(key, &run, has).await?))
    }

    async fn running(&self, key: &Key) -> Result<(Run, Program), Error> {
        let run = self.run(key).await?;
        let not_running = not_running(key);
        self.blocking(move |inner| {
            let Phase::Running(Some(_)) = inner.settle(&run)?.0 else { return Err(not_running) };
            let program = run.program().map_err(|error| runs::unreadable(run.dir.path(), &error))?;
            Ok((run, program))
        })
        .await
    }

    async fn keyboard(&self, key: &Key, run: &Run, has: Has) -> Result<Keyboard, Error> {
        let (dir, not_running) = (run.dir.clone(), not_running(key));
        let (stream, received) = self
            .blocking(move |_| {
                client::begin(&dir, Request::Attach).map_err(|refused| match refused {
                    Refused::Nobody => not_running,
                    Refused::Unsupported(_) => older("takes no input"),
                    Refused::Failed(message) => {
                        Error::unavailable(format!("the supervisor in {}: {message}", dir.path().display()))
                    }
                })
            })
            .await?;
        let line = Line::new(stream);
        let line =
            line.map_err(|error| Error::Other(format!("the connection to a supervisor cannot be used: {error}")))?;
        Ok(Keyboard::of_session(line, has, received))
    }
}

async fn resize(keyboard: &mut Keyboard, size: TerminalSize) -> Result<(), Error> {
    let resized = keyboard.resize(size).await;
    resized.map_err(|error| Error::unavailable(format!("the size of its terminal cannot be changed: {error}")))
}

fn not_running(key: &Key) -> Error {
    Error::conflict(format!("session {} does not run", key.session))
}

fn without_stdin(key: &Key) -> Error {
    Error::conflict(format!(
        "session {} was made without `stdin`, so nothing can be given to it: one that is to take input is made with it",
        key.session
    ))
}
