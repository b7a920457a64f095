//! `seawall pull`, and what `run` fetches before it makes a session: an image, and how far it is.
//!
//! How far it is stands on standard error: a bar on a terminal, else a line for each step of each part, and nothing with
//! `--json`. When the command goes, the image is given up.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};

use clap::{Args, ValueEnum};
use futures_util::StreamExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Response;
use seawall_backend::Progress;
use seawall_model::BackendName;
use serde_json::json;

use super::events::Lines;
use super::run::usual_backend;
use super::{Global, printable};
use crate::api::Wanted;
use crate::client::Client;
use crate::exit::Failure;
use crate::problem::{Kind, Problem};

/// `pull`.
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// The backend whose engine fetches it. Default: SEAWALL_BACKEND
    #[arg(short, long)]
    backend: Option<BackendName>,
    /// Only if the engine has none of that name
    #[arg(long)]
    missing: bool,
    /// Such as busybox:latest
    image: String,
}

/// Whether `run` has the image fetched first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum When {
    /// If the engine has none of that name
    Missing,
    /// If the registry has a newer one, too
    Always,
    /// A missing image is an error
    Never,
}

impl Pull {
    /// Fetches it.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        let backend = match self.backend {
            Some(backend) => backend,
            None => usual_backend()?.ok_or_else(|| {
                Failure::Usage(
                    "which backend fetches it? name one with --backend; `seawall backend ls` lists them".into(),
                )
            })?,
        };
        let wanted = Wanted { reference: self.image, missing: self.missing };
        let response = open(client, &backend, &wanted).await?;
        follow(global, client, response, &wanted.reference).await?;
        global
            .show(&json!({"backend": backend, "reference": wanted.reference}), |_| format!("{}\n", wanted.reference))?;
        Ok(0)
    }
}

/// What `run` does before it makes a session. Unless it is said, an image that is missing is fetched by a backend that
/// can.
pub(super) async fn before(
    global: &Global,
    client: &Client,
    backend: &BackendName,
    image: Option<&str>,
    when: Option<When>,
) -> Result<(), Failure> {
    let Some(image) = image else {
        return match when {
            Some(When::Always | When::Missing) => Err(Failure::Usage("--pull: there is no image to fetch".to_owned())),
            Some(When::Never) | None => Ok(()),
        };
    };
    if when == Some(When::Never) {
        return Ok(());
    }
    let wanted = Wanted { reference: image.to_owned(), missing: when != Some(When::Always) };
    match open(client, backend, &wanted).await {
        Ok(response) => follow(global, client, response, &wanted.reference).await,
        // Making the session says better what is wrong with the backend, and may go on when that is over.
        Err(Failure::Daemon(problem)) if when.is_none() && !matches!(problem.kind, Kind::Denied | Kind::Invalid) => {
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}

/// Asks for it; the answer tells how far it is.
async fn open(client: &Client, backend: &BackendName, wanted: &Wanted) -> Result<Response, Failure> {
    client.stream(&["backends", backend.as_str(), "images"], wanted).await
}

async fn follow(global: &Global, client: &Client, response: Response, reference: &str) -> Result<(), Failure> {
    let mut shown = Shown::new(global, reference);
    let (mut body, mut lines) = (response.bytes_stream(), Lines::default());
    let strange = |_| anyhow::anyhow!("the daemon's answer is not what this client expects");
    while let Some(bytes) = body.next().await {
        lines.feed(&bytes.map_err(|error| client.broken(error))?);
        while let Some(message) = lines.next() {
            match message.event.as_str() {
                "progress" => shown.take(&serde_json::from_str(&message.data).map_err(strange)?),
                "failed" => return Err(serde_json::from_str::<Problem>(&message.data).map_err(strange)?.into()),
                "done" => return Ok(()),
                _ => {}
            }
        }
    }
    Err(Failure::Other(anyhow::anyhow!("the daemon broke off while {reference} was fetched")))
}

/// How far it is, on standard error.
struct Shown {
    reference: String,
    way: Way,
    /// Bytes done and in all, and what was done at last, of each part.
    parts: BTreeMap<String, (u64, u64, String)>,
}

enum Way {
    Nothing,
    Lines,
    Bar(ProgressBar),
}

impl Shown {
    fn new(global: &Global, reference: &str) -> Self {
        let way = if global.json {
            Way::Nothing
        } else if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes}  {msg}");
            let bar = ProgressBar::new(0);
            Way::Bar(if let Ok(style) = style { bar.with_style(style) } else { bar })
        } else {
            Way::Lines
        };
        Self { reference: reference.to_owned(), way, parts: BTreeMap::new() }
    }

    fn take(&mut self, progress: &Progress) {
        let Progress { part, doing, done, total } = progress;
        let name = part.clone().unwrap_or_default();
        let (had, all, did) = self.parts.entry(name.clone()).or_default();
        match (done, total) {
            (Some(done), Some(total)) => (*had, *all) = (*done, *total),
            // The next step of it begins, or it is over.
            _ => *had = *all,
        }
        let news = std::mem::replace(did, doing.clone()) != *doing;
        let line = if name.is_empty() { doing.clone() } else { format!("{name}: {doing}") };
        let line = printable(&format!("{}: {line}", self.reference)).replace('\n', " ");
        match &self.way {
            Way::Nothing => {}
            // If standard error is gone there is nobody to tell.
            Way::Lines if news => _ = writeln!(std::io::stderr(), "{line}"),
            Way::Lines => {}
            Way::Bar(bar) => {
                bar.set_length(self.parts.values().map(|(_, all, _)| all).sum());
                bar.set_position(self.parts.values().map(|(had, ..)| had).sum());
                bar.set_message(line);
            }
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Way::Bar(bar) = &self.way {
            bar.finish_and_clear();
        }
    }
}
