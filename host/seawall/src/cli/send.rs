//! `seawall send`: bytes for the standard input of a session.

use std::io::Write as _;

use clap::Args;
use tokio_util::io::ReaderStream;

use super::Global;
use crate::api::Sent;
use crate::client::Client;
use crate::exit::Failure;

/// `send`.
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// Close its standard input afterwards
    #[arg(long, visible_alias = "eof")]
    close: bool,
    /// Send the words without a newline after them
    #[arg(short, long, requires = "words")]
    no_newline: bool,
    /// An id, the beginning of one (4 digits or more), or a name
    #[arg(value_name = "SESSION")]
    session: String,
    /// What to send, with spaces between and a newline at the end. Without any: what is read here, as it is
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD")]
    words: Vec<String>,
}

impl Send {
    /// Sends it, and returns when the session has taken all of it.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        let body = if self.words.is_empty() {
            reqwest::Body::wrap_stream(ReaderStream::new(tokio::io::stdin()))
        } else {
            let mut line = self.words.join(" ").into_bytes();
            if !self.no_newline {
                let _ = line.write_all(b"\n");
            }
            line.into()
        };
        let path = ["sessions", self.session.as_str(), "input"];
        let sent: Sent = client.send_on(&path, &[("close", self.close.to_string())], body).await?;
        if global.json {
            global.show(&sent, |_| String::new())?;
        }
        Ok(0)
    }
}
