//! Containers that have their stamp from an image.
//!
//! An image that was committed from one of our containers carries its labels, and so does every container that is made of
//! it. Whoever gives such a one the name of ours as well, once that is free, has all that is looked at where the Engine's
//! id is not known. What tells them apart is the image: no container of ours has its own stamp from there.

use std::collections::HashSet;
use std::sync::Arc;

use bollard::errors::Error as Bollard;
use seawall_backend::Error;
use seawall_model::Incarnation;
use serde::Deserialize;

use crate::Inner;
use crate::connection::Client;
use crate::identity::{INCARNATION, SESSION, STORE};
use crate::listing::percent_encode;
use crate::wire;

/// Images with a stamp, and what it says.
#[derive(Debug, Default)]
pub(crate) struct Copies(HashSet<(String, String, Incarnation)>);

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "Id")]
    id: String,
    #[serde(rename = "Labels")]
    labels: Option<std::collections::HashMap<String, String>>,
}

impl Copies {
    /// Whether the workload's container has its stamp from its image.
    pub(crate) fn has(&self, image: Option<&str>, (session, incarnation): (&str, Incarnation)) -> bool {
        !self.0.is_empty()
            && image.is_some_and(|image| self.0.contains(&(image.to_owned(), session.to_owned(), incarnation)))
    }
}

impl Inner {
    pub(crate) async fn copies(&self, client: &Arc<Client>) -> Result<Copies, Error> {
        let filters = serde_json::json!({"label": [format!("{STORE}={}", self.namespace.store)]});
        let path = format!("{}/images/json?all=1&filters={}", client.prefix(), percent_encode(&filters.to_string()));
        let asked = async {
            let bytes = wire::get(&client.endpoint, &path).await?.bytes().await?;
            let wrong = |error: serde_json::Error| Bollard::JsonDataError {
                message: error.to_string(),
                column: error.column(),
            };
            serde_json::from_slice::<Vec<Image>>(&bytes).map_err(wrong)
        };
        let images = asked.await.map_err(|error| self.connection.failed(client, "list images", &error))?;
        let stamp = |image: Image| {
            let labels = image.labels?;
            Some((image.id, labels.get(SESSION)?.clone(), labels.get(INCARNATION)?.parse().ok()?))
        };
        Ok(Copies(images.into_iter().filter_map(stamp).collect()))
    }
}
