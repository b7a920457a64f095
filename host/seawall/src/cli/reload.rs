//! `seawall reload`.

use clap::Args;
use reqwest::Method;

use super::Global;
use super::format::facts;
use crate::client::Client;
use crate::exit::Failure;
use crate::reload::Reloaded;

/// `reload`.
#[derive(Debug, Args)]
pub(crate) struct Reload {}

impl Reload {
    /// Asks, and shows what was done.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        let response = client.send(Method::POST, &["reload"], &[]).await?;
        let reloaded: Reloaded = client.json(response).await?;
        global.show(&reloaded, describe)?;
        Ok(0)
    }
}

fn describe(reloaded: &Reloaded) -> String {
    let Reloaded { added, removed, restarted, left, settings } = reloaded;
    let names = |names: &[_]| list(names.iter().map(ToString::to_string));
    let restarted = restarted.iter().map(|(name, changed)| format!("{name} ({})", changed.join(", ")));
    facts(&[
        ("added", names(added)),
        ("removed", names(removed)),
        ("restarted", list(restarted)),
        ("left", names(left)),
        ("settings", list(settings.iter().cloned())),
    ])
}

fn list(items: impl Iterator<Item = String>) -> Option<String> {
    let items: Vec<String> = items.collect();
    (!items.is_empty()).then(|| items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_said_backend_by_backend() {
        let changed = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        let reloaded = Reloaded {
            added: vec!["eggs".parse().unwrap(), "tea".parse().unwrap()],
            removed: Vec::new(),
            restarted: [("mock".parse().unwrap(), changed(&["plugin", "config"]))].into(),
            left: vec!["process".parse().unwrap()],
            settings: changed(&["shutdown"]),
        };
        insta::assert_snapshot!(describe(&reloaded), @r"
        added:     eggs, tea
        restarted: mock (plugin, config)
        left:      process
        settings:  shutdown
        ");
    }
}
