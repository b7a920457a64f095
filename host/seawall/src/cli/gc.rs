//! `seawall backend gc`: workloads that no session owns.

use clap::Args;
use reqwest::Method;
use seawall_control::{Cleanup, Fate, Overview};
use seawall_model::{BackendName, Timestamp};

use super::Global;
use super::format::{age, table};
use super::sessions::word;
use crate::client::Client;
use crate::exit::Failure;

/// `backend gc`.
#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Its name. Default: every backend
    backend: Option<BackendName>,
    /// Show what would be removed, and remove nothing
    #[arg(long, conflicts_with = "confirm")]
    dry_run: bool,
    /// Remove also what is held back because it is too much
    #[arg(long)]
    confirm: bool,
}

impl Gc {
    /// Cleans each up, and goes on after one that failed.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        let backends = match self.backend {
            Some(backend) => vec![backend],
            None => {
                let all: Overview = client.get(&["backends"], &[]).await?;
                all.backends.into_iter().map(|status| status.name).collect()
            }
        };
        let query = [("dry_run", self.dry_run.to_string()), ("confirm", self.confirm.to_string())];
        let (mut done, mut failures) = (Vec::new(), Vec::new());
        for backend in backends {
            let asked = client.send(Method::POST, &["backends", backend.as_str(), "gc"], &query).await;
            match asked {
                Ok(response) => done.push(client.json::<Cleanup>(response).await?),
                Err(failure) => failures.push(failure),
            }
        }
        global.show(&done, |done| describe(done, Timestamp::now()))?;
        failures.extend(done.iter().filter_map(not_removed));
        let mut first = None;
        for failure in failures {
            match first {
                None => first = Some(failure),
                Some(_) => super::report(global, &failure),
            }
        }
        first.map_or(Ok(0), Err)
    }
}

fn count(cleanup: &Cleanup, fate: Fate) -> usize {
    cleanup.orphans.iter().filter(|orphan| orphan.fate == fate).count()
}

fn not_removed(cleanup: &Cleanup) -> Option<Failure> {
    let failed = count(cleanup, Fate::Failed);
    let why = cleanup.orphans.iter().find_map(|orphan| orphan.error.as_ref())?;
    Some(Failure::Pending(format!(
        "{failed} orphans of {} could not be removed, the first since {why}; Seawall goes on trying",
        cleanup.backend
    )))
}

fn describe(done: &[Cleanup], now: Timestamp) -> String {
    let orphans = done.iter().flat_map(|cleanup| cleanup.orphans.iter().map(move |orphan| (cleanup, orphan)));
    let rows: Vec<_> = orphans
        .map(|(cleanup, orphan)| {
            vec![
                cleanup.backend.to_string(),
                orphan.session.to_string(),
                orphan.incarnation.to_string(),
                word(&orphan.state),
                age(now, orphan.since),
                word(&orphan.fate),
            ]
        })
        .collect();
    let mut text = if rows.is_empty() {
        "no orphans\n".to_owned()
    } else {
        table(&["BACKEND", "SESSION", "INCARNATION", "STATE", "KNOWN FOR", "FATE"], rows)
    };
    for cleanup in done {
        let Cleanup { backend, known, most, unlisted, .. } = cleanup;
        if count(cleanup, Fate::Held) > 0 {
            text.push_str(&format!(
                "{backend}: {} orphans beside {known} workloads that have a session, and no more than {most} are removed \
                 unasked: `seawall backend gc {backend} --confirm` removes them\n",
                cleanup.count()
            ));
        }
        if *unlisted > 0 {
            text.push_str(&format!("{backend}: {unlisted} more orphans come up when these are gone\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_orphan_has_its_fate_and_what_is_held_back_says_how_to_go_on() {
        let orphan = |session: &str, fate: &str| {
            serde_json::json!({"session": session, "incarnation": 1, "state": "running",
                "since": "2026-01-01T00:00:00Z", "fate": fate})
        };
        let done: Vec<Cleanup> = serde_json::from_value(serde_json::json!([
            {"backend": "docker", "known": 3, "most": 1, "unlisted": 7,
             "orphans": [orphan("00000000000000aa", "held"), orphan("00000000000000ab", "young")]},
            {"backend": "process", "known": 1, "most": 3, "unlisted": 0,
             "orphans": [orphan("00000000000000ac", "removed")]},
        ]))
        .unwrap();
        insta::assert_snapshot!(describe(&done, "2026-01-01T00:02:00Z".parse().unwrap()));
        assert_eq!(describe(&[], Timestamp::now()), "no orphans\n");
    }
}
