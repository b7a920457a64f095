//! Many containers at once: one listing, the fields we need of it, and a cheap join with what was asked about.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error as Bollard;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use seawall_backend::Error;
use seawall_model::{Found, Health, Incarnation, Key, Page, SessionId, State, Status, Timestamp, Workload};
use serde::Deserialize;

use crate::Inner;
use crate::connection::Client;
use crate::copies::Copies;
use crate::identity::{self, Stamp};
use crate::{fault, status, wire};

/// How many containers are inspected at the same time, beyond what the listing tells.
const PARALLEL: usize = 8;
/// How long one container may keep all the others waiting: the Engine locks those that it is busy with.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most workloads on one page, and keys in one batch: the contract of `list` and `inspect`.
const PAGE: usize = 1000;

/// A string of the answer. Names and ids are borrowed; only what has an escape in it is copied.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(rename = "Id", borrow)]
    id: Cow<'a, str>,
    #[serde(rename = "Names", borrow)]
    names: Option<Vec<Text<'a>>>,
    #[serde(rename = "ImageID", borrow)]
    image: Option<Cow<'a, str>>,
    #[serde(rename = "State", borrow)]
    state: Cow<'a, str>,
    /// Seconds.
    #[serde(rename = "Created")]
    created: Option<u64>,
    #[serde(rename = "Labels", borrow)]
    labels: Option<Labels<'a>>,
    /// Since API 1.52. Before, the list has it as prose only.
    #[serde(rename = "Health", borrow)]
    health: Option<Healthy<'a>>,
}

#[derive(Deserialize)]
struct Labels<'a> {
    #[serde(rename = "seawall.store", borrow)]
    store: Option<Text<'a>>,
    #[serde(rename = "seawall.backend", borrow)]
    backend: Option<Text<'a>>,
    #[serde(rename = "seawall.session", borrow)]
    session: Option<Text<'a>>,
    #[serde(rename = "seawall.incarnation", borrow)]
    incarnation: Option<Text<'a>>,
    #[serde(rename = "seawall.health", borrow)]
    health: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Healthy<'a> {
    #[serde(rename = "Status", borrow)]
    status: Option<Text<'a>>,
}

fn text<'a>(text: Option<&'a Text<'_>>) -> Option<&'a str> {
    text.map(|text| &*text.0)
}

impl Row<'_> {
    fn stamp(&self) -> Stamp<'_> {
        // A legacy link gives a container more names, as paths: `/other/alias`.
        let names = self.names.iter().flatten().map(|name| name.0.strip_prefix('/').unwrap_or(&name.0));
        let name = names.into_iter().find(|name| !name.contains('/')).unwrap_or_default();
        let Some(labels) = &self.labels else { return Stamp { id: &self.id, name, ..Stamp::default() } };
        Stamp {
            id: &self.id,
            name,
            store: text(labels.store.as_ref()),
            backend: text(labels.backend.as_ref()),
            session: text(labels.session.as_ref()),
            incarnation: text(labels.incarnation.as_ref()),
        }
    }

    fn state(&self) -> State {
        status::state(&self.state)
    }

    fn has_check(&self) -> bool {
        self.labels.as_ref().is_some_and(|labels| text(labels.health.as_ref()) == Some("1"))
    }

    /// Health as far as the listing itself has it.
    fn typed_health(&self) -> Option<Health> {
        match (self.state(), self.health.as_ref().and_then(|health| text(health.status.as_ref()))) {
            (State::Running, _) if !self.has_check() => Some(Health::Healthy),
            (State::Running, Some("healthy" | "none")) => Some(Health::Healthy),
            (State::Running, Some("unhealthy")) => Some(Health::Unhealthy),
            (State::Running, Some("starting")) => Some(Health::Starting),
            (State::Running, _) => None,
            _ => Some(Health::Unknown),
        }
    }
}

fn decode(bytes: &[u8]) -> Result<Vec<Row<'_>>, Bollard> {
    let wrong =
        |error: serde_json::Error| Bollard::JsonDataError { message: error.to_string(), column: error.column() };
    serde_json::from_slice(bytes).map_err(wrong)
}

/// What inspecting one container gave.
enum Detail {
    Known(Status),
    /// It was removed since it was listed.
    Gone,
    /// The Engine cannot tell, or not soon. The other containers do not suffer for it.
    Unclear,
}

/// Health by the Engine's own filters, where any container that is asked about has a check. Healthy and unhealthy are
/// each asked for: what is in neither answer has not come to one.
#[derive(Default)]
struct Healths {
    healthy: HashSet<String>,
    unhealthy: HashSet<String>,
}

impl Healths {
    fn of(&self, row: &Row<'_>) -> Health {
        if let Some(health) = row.typed_health() {
            health
        } else if self.unhealthy.contains(&*row.id) {
            Health::Unhealthy
        } else if self.healthy.contains(&*row.id) {
            Health::Healthy
        } else {
            Health::Starting
        }
    }
}

impl Inner {
    async fn rows(&self, client: &Arc<Client>, health: Option<&str>) -> Result<bytes::Bytes, Error> {
        self.listed(client, true, health).await
    }

    /// With `all`, those that do not run as well.
    async fn listed(&self, client: &Arc<Client>, all: bool, health: Option<&str>) -> Result<bytes::Bytes, Error> {
        let mut filters = serde_json::json!({"label": self.namespace.filters()});
        if let (Some(health), Some(filters)) = (health, filters.as_object_mut()) {
            filters.insert("health".to_owned(), serde_json::json!([health]));
        }
        let query = percent_encode(&filters.to_string());
        let path = format!("{}/containers/json?all={}&filters={query}", client.prefix(), u8::from(all));
        let answer = async { wire::get(&client.endpoint, &path).await?.bytes().await };
        answer.await.map_err(|error| self.connection.failed(client, "list containers", &error))
    }

    async fn healths<'a>(
        &self,
        client: &Arc<Client>,
        rows: impl Iterator<Item = &'a Row<'a>>,
    ) -> Result<Healths, Error> {
        let mut rows = rows;
        if !rows.any(|row| row.typed_health().is_none()) {
            return Ok(Healths::default());
        }
        let asked =
            futures_util::future::try_join(self.rows(client, Some("healthy")), self.rows(client, Some("unhealthy")));
        let (healthy, unhealthy) = asked.await?;
        let ids = |bytes: &[u8]| -> Result<HashSet<String>, Error> {
            let rows = decode(bytes).map_err(|error| self.connection.failed(client, "list containers", &error))?;
            Ok(rows.into_iter().map(|row| row.id.into_owned()).collect())
        };
        Ok(Healths { healthy: ids(&healthy)?, unhealthy: ids(&unhealthy)? })
    }

    /// What the listing cannot tell of one that ended.
    async fn detail(&self, client: &Arc<Client>, id: &str) -> Result<Detail, Error> {
        let asked = client.api.inspect_container(id, None);
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(container)) => Ok(Detail::Known(status::of(&container))),
            Ok(Err(error)) if fault::status(&error) == Some(404) => Ok(Detail::Gone),
            Ok(Err(error)) if fault::is_answer(&error) => Ok(Detail::Unclear),
            Ok(Err(error)) => Err(self.connection.failed(client, "inspect a container", &error)),
            Err(_) => Ok(Detail::Unclear),
        }
    }

    /// The status of these, in this order; what was removed meanwhile is left out.
    async fn statuses<T: Copy>(&self, client: &Arc<Client>, of: &[(T, &Row<'_>)]) -> Result<Vec<(T, Status)>, Error> {
        let healths = self.healths(client, of.iter().map(|(_, row)| *row)).await?;
        // A container that could not be started stays `created` for the Engine; the reason is not in the listing.
        let unclear = |row: &Row<'_>| row.state().ended() || row.state() == State::Created;
        let asked = of.iter().filter(|(_, row)| unclear(row)).map(|(_, row)| row.id.clone().into_owned());
        let asked = asked.map(|id| async move {
            let detail = self.detail(client, &id).await?;
            Ok::<_, Error>((id, detail))
        });
        let details: HashMap<String, Detail> =
            stream::iter(asked.collect::<Vec<_>>()).buffer_unordered(PARALLEL).try_collect().await?;
        let mut statuses = Vec::with_capacity(of.len());
        for (what, row) in of {
            let listed = |state, health| Status {
                state,
                health,
                exit: None,
                created_at: row.created.map(|seconds| Timestamp::from_millis(seconds.saturating_mul(1000))),
                started_at: None,
                handle: Some(row.id.as_bytes().to_vec()),
            };
            let status = match details.get(&*row.id) {
                Some(Detail::Known(status)) => status.clone(),
                Some(Detail::Gone) => continue,
                // It may have ended, and to say so without how would be to say that it is lost.
                Some(Detail::Unclear) => listed(State::Running, Health::Unknown),
                None => listed(row.state(), healths.of(row)),
            };
            statuses.push((*what, status));
        }
        Ok(statuses)
    }

    pub(crate) async fn inspect(&self, keys: &[Key]) -> Result<Vec<Found>, Error> {
        let ids = handles(keys)?;
        let client = self.connection.client().await?;
        let bytes = self.rows(&client, None).await?;
        let copies = self.copies_unless_known(&client, &ids).await?;
        let rows = decode(&bytes).map_err(|error| self.connection.failed(&client, "list containers", &error))?;
        let asked = self.asked(&rows, &copies, keys, &ids);
        let statuses = self.statuses(&client, &asked).await?;
        let found = statuses.into_iter().map(|(position, mut status)| {
            // What the caller gave us need not travel back, and a listing's seconds say less than what `create` said.
            if keys.get(position).is_some_and(|key| key.handle == status.handle) {
                status.handle = None;
                if !status.state.ended() {
                    status.created_at = None;
                }
            }
            Found { position, status }
        });
        Ok(found.collect())
    }

    /// Position and id of those that run, frozen ones too.
    pub(crate) async fn running(&self, client: &Arc<Client>, keys: &[Key]) -> Result<Vec<(usize, String)>, Error> {
        let ids = handles(keys)?;
        let bytes = self.listed(client, false, None).await?;
        let copies = self.copies_unless_known(client, &ids).await?;
        let rows = decode(&bytes).map_err(|error| self.connection.failed(client, "list containers", &error))?;
        let asked = self.asked(&rows, &copies, keys, &ids).into_iter();
        let running = asked.filter(|(_, row)| matches!(row.state(), State::Running | State::Paused));
        Ok(running.map(|(position, row)| (position, row.id.clone().into_owned())).collect())
    }

    /// An id tells them apart already.
    async fn copies_unless_known(&self, client: &Arc<Client>, ids: &[Option<&str>]) -> Result<Copies, Error> {
        if ids.iter().all(Option::is_some) { Ok(Copies::default()) } else { self.copies(client).await }
    }

    /// The rows of these keys, each with the position of its key.
    fn asked<'a>(
        &self,
        rows: &'a [Row<'a>],
        copies: &Copies,
        keys: &[Key],
        ids: &[Option<&str>],
    ) -> Vec<(usize, &'a Row<'a>)> {
        let mut ours = HashMap::with_capacity(rows.len());
        for row in rows {
            if let Some(workload) = self.namespace.parse(&row.stamp())
                && !copies.has(row.image.as_deref(), workload)
            {
                ours.insert(workload, row);
            }
        }
        let asked = keys.iter().zip(ids).enumerate().filter_map(|(position, (key, id))| {
            let row = ours.get(&(key.session.as_str(), key.incarnation))?;
            id.is_none_or(|id| id == row.id).then_some((position, *row))
        });
        asked.collect()
    }

    /// Incarnation and id of every container of a session, ended ones too.
    pub(crate) async fn of_session(
        &self,
        client: &Arc<Client>,
        session: &SessionId,
    ) -> Result<Vec<(Incarnation, String)>, Error> {
        let (bytes, copies) = futures_util::future::try_join(self.rows(client, None), self.copies(client)).await?;
        let rows = decode(&bytes).map_err(|error| self.connection.failed(client, "list containers", &error))?;
        let ours = rows.iter().filter_map(|row| {
            let workload = self.namespace.parse(&row.stamp())?;
            let own = workload.0 == session.as_str() && !copies.has(row.image.as_deref(), workload);
            own.then(|| (workload.1, row.id.clone().into_owned()))
        });
        Ok(ours.collect())
    }

    pub(crate) async fn list(&self, cursor: Option<&str>) -> Result<Page, Error> {
        if cursor.is_some_and(|cursor| !identity::is_id(cursor)) {
            return Err(Error::invalid("cursor", "give back what the last page had as `next`"));
        }
        let client = self.connection.client().await?;
        let (bytes, copies) = futures_util::future::try_join(self.rows(&client, None), self.copies(&client)).await?;
        let rows = decode(&bytes).map_err(|error| self.connection.failed(&client, "list containers", &error))?;
        let ours = rows.iter().filter_map(|row| Some((self.namespace.parse(&row.stamp())?, row)));
        let ours = ours.filter(|(workload, row)| !copies.has(row.image.as_deref(), *workload));
        let (ours, next) = cut(ours.collect(), cursor, PAGE);
        let mut workloads = Vec::with_capacity(ours.len());
        for ((session, incarnation), status) in self.statuses(&client, &ours).await? {
            if let Ok(session) = session.parse() {
                workloads.push(Workload { session, incarnation, status });
            }
        }
        Ok(Page { workloads, next })
    }
}

/// The Engine's ids of a batch, as far as they are known.
fn handles(keys: &[Key]) -> Result<Vec<Option<&str>>, Error> {
    if keys.len() > PAGE {
        return Err(Error::invalid("keys", format!("{} at once; at most {PAGE}", keys.len())));
    }
    keys.iter().map(identity::handle).collect()
}

/// Every byte that is not a letter or digit, for the value of a query.
pub(crate) fn percent_encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// One page, in the order of ids: what is made meanwhile moves nothing that is there.
fn cut<'a, T>(
    mut rows: Vec<(T, &'a Row<'a>)>,
    cursor: Option<&str>,
    size: usize,
) -> (Vec<(T, &'a Row<'a>)>, Option<String>) {
    rows.retain(|(_, row)| cursor.is_none_or(|cursor| *row.id > *cursor));
    rows.sort_unstable_by(|(_, a), (_, b)| a.id.cmp(&b.id));
    let more = rows.len() > size;
    rows.truncate(size);
    let next = rows.last().filter(|_| more).map(|(_, row)| row.id.clone().into_owned());
    (rows, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_of_any_release_is_read() {
        let json = r#"[
            {"Id":"a","Names":["/other/alias","/seawall-0000abcd-00000000000000aa-3"],"State":"running","Created":7,
             "Labels":{"seawall.store":"0000abcd","seawall.health":"1","x\"y":"\u0001"},"Health":{"Status":"starting","FailingStreak":0}},
            {"Id":"b","Names":null,"State":"new-word","Labels":null,"Mounts":[]},
            {"Id":"c","Names":["/c"],"State":"running","Labels":{"seawall.session":"es\"cape"},"Status":"Up 2 hours (unhealthy)"}
        ]"#;
        let rows = decode(json.as_bytes()).unwrap();
        assert_eq!(rows[0].stamp().name, "seawall-0000abcd-00000000000000aa-3");
        assert_eq!(rows[0].typed_health(), Some(Health::Starting));
        assert_eq!(rows[1].state(), State::Running);
        assert_eq!(rows[2].stamp().session, Some("es\"cape"));
        assert_eq!(rows[2].typed_health(), Some(Health::Healthy), "prose is never read");
    }

    #[test]
    fn health_by_filter_is_starting_until_the_engine_says_otherwise() {
        let json = r#"[{"Id":"a","State":"running","Labels":{"seawall.health":"1"}}]"#;
        let rows = decode(json.as_bytes()).unwrap();
        let mut healths = Healths::default();
        assert_eq!(healths.of(&rows[0]), Health::Starting);
        healths.healthy.insert("a".to_owned());
        assert_eq!(healths.of(&rows[0]), Health::Healthy);
        healths.unhealthy.insert("a".to_owned());
        assert_eq!(healths.of(&rows[0]), Health::Unhealthy);
    }

    #[test]
    fn the_pages_together_are_everything_whatever_is_made_between_them() {
        let json = |ids: &[&str]| {
            serde_json::Value::Array(ids.iter().map(|id| serde_json::json!({"Id": id, "State": "exited"})).collect())
        };
        let before = json(&["d", "b", "a", "e", "c"]).to_string();
        let rows = decode(before.as_bytes()).unwrap();
        let (page, next) = cut(rows.iter().map(|row| ((), row)).collect(), None, 2);
        let ids = |page: &[((), &Row<'_>)]| page.iter().map(|(_, row)| row.id.to_string()).collect::<String>();
        assert_eq!((ids(&page).as_str(), next.as_deref()), ("ab", Some("b")));

        let after = json(&["d", "b", "aa", "e", "c", "bb"]).to_string();
        let rows = decode(after.as_bytes()).unwrap();
        let (page, next) = cut(rows.iter().map(|row| ((), row)).collect(), next.as_deref(), 4);
        assert_eq!((ids(&page).as_str(), next), ("bbcde", None));
    }

    #[test]
    fn a_query_is_encoded() {
        assert_eq!(percent_encode(r#"{"a":["b=c"]}"#), "%7B%22a%22%3A%5B%22b%3Dc%22%5D%7D");
    }
}
