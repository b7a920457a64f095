//! What is given to a command in a container, or to a container itself.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bollard::query_parameters::ResizeContainerTTYOptionsBuilder;
use bytes::Bytes;
use seawall_backend::{Error, Input};
use seawall_model::{Signal, TerminalSize};
use tokio::io::AsyncWriteExt as _;

use crate::connection::Client;
use crate::exec::Place;
use crate::wire::Writer;
use crate::{Inner, fault};

/// What a terminal takes for the end of a file, unless it was told otherwise: which it was, the Engine does not say.
const END_OF_FILE: u8 = 4;

/// To whom.
pub(crate) enum Of {
    /// A command.
    Command(Arc<Place>),
    /// A container.
    Container(Container),
}

/// A container that somebody is attached to.
pub(crate) struct Container {
    pub(crate) inner: Arc<Inner>,
    pub(crate) client: Arc<Client>,
    pub(crate) id: String,
}

/// The writing end of a hijacked connection, and what goes by other ways.
pub(crate) struct Hands {
    of: Of,
    /// Absent: it takes no input, or none any more.
    writer: Option<Writer>,
    terminal: bool,
    /// What was written last does not end a line.
    in_line: bool,
}

impl Hands {
    pub(crate) fn new(of: Of, writer: Option<Writer>, terminal: bool) -> Self {
        Self { of, writer, terminal, in_line: false }
    }
}

#[async_trait]
impl Input for Hands {
    async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        let Some(writer) = &mut self.writer else { return Err(unsupported("its standard input is not open")) };
        writer.write_all(&bytes).await?;
        self.in_line = bytes.last().map_or(self.in_line, |last| !matches!(last, b'\n' | b'\r'));
        Ok(())
    }

    async fn close(&mut self) -> io::Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if self.terminal {
            // In the middle of a line the first only ends that.
            let ends = [END_OF_FILE; 2];
            writer.write_all(ends.get(usize::from(!self.in_line)..).unwrap_or_default()).await?;
            self.in_line = false;
            return Ok(());
        }
        if matches!(self.of, Of::Container(_)) {
            return Err(unsupported("the Docker Engine closes the standard input of no container"));
        }
        writer.shutdown().await?;
        self.writer = None;
        Ok(())
    }

    async fn resize(&mut self, size: TerminalSize) -> io::Result<()> {
        if !self.terminal {
            return Err(unsupported("it has no terminal"));
        }
        let resized = match &self.of {
            Of::Command(command) => command.resize(size).await,
            Of::Container(container) => container.resize(size).await,
        };
        resized.map_err(io::Error::other)
    }

    async fn signal(&mut self, signal: Signal) -> io::Result<()> {
        match &self.of {
            Of::Command(command) => command.signal(signal).await,
            Of::Container(_) => Err(unsupported("a signal to a session is sent to it, and not by way of its input")),
        }
    }
}

impl Container {
    /// Changes the size of its terminal; one that ended needs none.
    pub(crate) async fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        let options = ResizeContainerTTYOptionsBuilder::new().h(size.rows.into()).w(size.columns.into()).build();
        match self.client.api.resize_container_tty(&self.id, options).await {
            Err(error) if !fault::is_answer(&error) => {
                Err(self.inner.connection.failed(&self.client, "resize a terminal", &error))
            }
            _ => Ok(()),
        }
    }
}

fn unsupported(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, message)
}
