//! `seawall backend confirm-lost`: an operator says that sessions are gone which a backend has left out.

use clap::Args;
use reqwest::Method;
use seawall_control::Lost;
use seawall_model::BackendName;

use super::Global;
use crate::client::Client;
use crate::exit::Failure;

/// `backend confirm-lost`.
#[derive(Debug, Args)]
pub(crate) struct ConfirmLost {
    /// Its name
    backend: BackendName,
    /// Show which sessions would be lost, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl ConfirmLost {
    /// Asks and shows.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        let query = [("dry_run", self.dry_run.to_string())];
        let response = client.send(Method::POST, &["backends", self.backend.as_str(), "confirm-lost"], &query).await?;
        let lost: Lost = client.json(response).await?;
        global.show(&lost, describe)?;
        Ok(0)
    }
}

fn describe(lost: &Lost) -> String {
    let Lost { backend, sessions, confirmed } = lost;
    if sessions.is_empty() {
        return format!("no session of {backend} is missing\n");
    }
    let mut text: String = sessions.iter().map(|session| format!("{session}\n")).collect();
    text.push_str(&match confirmed {
        true => format!("{backend}: {} sessions are lost, and go on as their restart policy says\n", sessions.len()),
        false => format!(
            "{backend}: {} sessions are missing; without --dry-run they are lost, and go on as their restart policy says\n",
            sessions.len()
        ),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_which_and_whether_they_are_lost_now() {
        let lost = |sessions: &[&str], confirmed| -> Lost {
            let lost = serde_json::json!({"backend": "docker", "sessions": sessions, "confirmed": confirmed});
            serde_json::from_value(lost).unwrap()
        };
        let two = ["00000000000000aa", "00000000000000ab"];
        insta::assert_snapshot!(
            [lost(&two, false), lost(&two, true), lost(&[], true)].map(|lost| describe(&lost)).concat()
        );
    }
}
