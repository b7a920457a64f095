//! Somebody at the keyboard and the screen of a container.
//!
//! The Engine sends what the container writes to each connection by itself. It keeps about a megabyte for one that reads
//! slowly, and then the container waits to write until that one reads on or goes.

use std::sync::Arc;

use seawall_backend::{Attachment, Error, Input};
use seawall_model::{AttachOptions, Key, State};

use crate::input::{Container, Hands, Of};
use crate::logs::output;
use crate::{Docker, status, wire};

impl Docker {
    /// Its terminal, or its output and standard input, from now on; of one that is yet to be started from its first byte
    /// on. Letting go of it closes nothing of the container.
    ///
    /// # Errors
    /// `Conflict` if it is over, or its input was not kept open and is asked for; `Invalid` where nothing is asked for.
    pub async fn attach(&self, key: &Key, options: &AttachOptions) -> Result<Attachment, Error> {
        if !options.stdout && !options.stderr && !options.stdin {
            return Err(Error::invalid("stdout", "choose standard output, standard error or input"));
        }
        let inner = &self.inner;
        let client = inner.connection.client().await?;
        let there = inner.own(&client, key).await?.ok_or_else(|| inner.missing(key))?;
        if !matches!(status::raw_state(&there), State::Created | State::Running) {
            return Err(Error::conflict(format!("the container of session {} does not run", key.session)));
        }
        let config = there.config.unwrap_or_default();
        if options.stdin && config.open_stdin != Some(true) {
            return Err(Error::conflict(format!(
                "session {} was made without `stdin`, so nothing can be given to it: one that is to take input is made \
                 with it",
                key.session
            )));
        }
        let terminal = config.tty.unwrap_or(false);
        let id = there.id.unwrap_or_default();
        let path = format!(
            "{}/containers/{id}/attach?stream=1&stdin={}&stdout={}&stderr={}",
            client.prefix(),
            u8::from(options.stdin),
            u8::from(options.stdout),
            u8::from(options.stderr)
        );
        let attached = wire::hijack(&client.endpoint, &path, String::new()).await;
        let (pieces, writer) =
            attached.map_err(|error| inner.connection.failed(&client, "attach to a container", &error))?;
        let container = Container { inner: Arc::clone(inner), client, id };
        if let Some(size) = options.size.filter(|_| terminal) {
            container.resize(size).await?;
        }
        let hands = Hands::new(Of::Container(container), Some(writer).filter(|_| options.stdin), terminal);
        Ok(Attachment { output: output(pieces, terminal), input: Box::new(hands) })
    }

    /// Its standard input. Letting go of it closes nothing of the container.
    ///
    /// # Errors
    /// `Conflict` if it does not run or its input was not kept open.
    pub async fn input(&self, key: &Key) -> Result<Box<dyn Input>, Error> {
        let options = AttachOptions { stdout: false, stderr: false, stdin: true, size: None };
        Ok(self.attach(key, &options).await?.input)
    }
}
