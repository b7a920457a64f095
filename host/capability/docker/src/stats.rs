//! What containers use: one listing says which of them run, then one request each, several at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error as Bollard;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use seawall_backend::Error;
use seawall_model::{Key, Measurement, Timestamp, Transfer, Usage};
use serde::Deserialize;

use crate::connection::Client;
use crate::{Docker, Inner, fault, wire};

/// How many containers are measured at the same time.
const PARALLEL: usize = 16;
/// How long one container may keep all the others waiting: the Engine locks those that it is busy with.
const PATIENCE: Duration = Duration::from_secs(2);

/// The Engine's answer, as far as it is looked at. Absent groups are those of other systems, or of no network.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Sample {
    cpu_stats: Cpu,
    memory_stats: Memory,
    pids_stats: Pids,
    blkio_stats: Disk,
    networks: Option<HashMap<String, Network>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cpu {
    cpu_usage: CpuUsage,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CpuUsage {
    /// Nanoseconds.
    total_usage: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Memory {
    usage: Option<u64>,
    limit: Option<u64>,
    stats: Option<Cache>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cache {
    /// Version 1 of control groups.
    total_inactive_file: Option<u64>,
    /// Version 2.
    inactive_file: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pids {
    current: Option<u64>,
    limit: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Disk {
    io_service_bytes_recursive: Option<Vec<DiskEntry>>,
}

#[derive(Deserialize)]
struct DiskEntry {
    op: String,
    value: u64,
}

#[derive(Deserialize)]
struct Network {
    rx_bytes: u64,
    tx_bytes: u64,
}

impl Sample {
    /// `machine`: the memory that there is, which the Engine gives as the limit of what has none.
    fn usage(&self, at: Timestamp, machine: u64) -> Usage {
        let network = self.networks.as_ref().map(|networks| {
            let sum = |bytes: fn(&Network) -> u64| networks.values().map(bytes).fold(0, u64::saturating_add);
            Transfer { incoming: sum(|network| network.rx_bytes), outgoing: sum(|network| network.tx_bytes) }
        });
        Usage {
            at,
            cpu_time: self.cpu_stats.cpu_usage.total_usage,
            memory: self.memory_stats.usage.map(|usage| usage.saturating_sub(self.memory_stats.droppable(usage))),
            memory_limit: self.memory_stats.limit.filter(|limit| *limit > 0 && (machine == 0 || *limit < machine)),
            processes: self.pids_stats.current,
            // An Engine of another age says 0, or the largest number, where there is no limit.
            processes_limit: self.pids_stats.limit.filter(|limit| !matches!(*limit, 0 | u64::MAX)),
            network,
            disk: self.blkio_stats.transfer(),
        }
    }
}

impl Memory {
    /// What of it the kernel could drop at once, as `docker stats` takes it off.
    fn droppable(&self, usage: u64) -> u64 {
        let cache = self.stats.as_ref().and_then(|stats| stats.total_inactive_file.or(stats.inactive_file));
        cache.filter(|cache| *cache < usage).unwrap_or_default()
    }
}

impl Disk {
    fn transfer(&self) -> Option<Transfer> {
        let entries = self.io_service_bytes_recursive.as_ref()?;
        let sum = |op: &str| {
            let of = entries.iter().filter(|entry| entry.op.eq_ignore_ascii_case(op));
            of.map(|entry| entry.value).fold(0, u64::saturating_add)
        };
        Some(Transfer { incoming: sum("read"), outgoing: sum("write") })
    }
}

impl Docker {
    /// What each uses now; what does not run is left out, and so is one that the Engine cannot tell of soon.
    ///
    /// # Errors
    /// The engine cannot be asked.
    pub async fn stats(&self, keys: &[Key]) -> Result<Vec<Measurement>, Error> {
        let inner = &self.inner;
        let client = inner.connection.client().await?;
        let running = inner.running(&client, keys).await?;
        if running.is_empty() {
            return Ok(Vec::new());
        }
        let machine = inner.connection.facts(&client).await?.memory;
        let client = &client;
        let asked = running.into_iter().map(|(position, id)| async move {
            let usage = inner.sample(client, &id, machine).await?;
            Ok::<_, Error>(usage.map(|usage| Measurement { position, usage }))
        });
        let measured: Vec<_> = stream::iter(asked.collect::<Vec<_>>()).buffer_unordered(PARALLEL).try_collect().await?;
        Ok(measured.into_iter().flatten().collect())
    }
}

impl Inner {
    /// `None`: it went, or it cannot be measured now. The other containers do not suffer for it.
    async fn sample(&self, client: &Arc<Client>, id: &str, machine: u64) -> Result<Option<Usage>, Error> {
        let path = format!("{}/containers/{id}/stats?stream=false&one-shot=true", client.prefix());
        let asked = async { wire::get(&client.endpoint, &path).await?.bytes().await };
        let bytes = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) if fault::is_answer(&error) => return Ok(None),
            Ok(Err(error)) => return Err(self.connection.failed(client, "measure a container", &error)),
            Err(_) => return Ok(None),
        };
        let wrong =
            |error: serde_json::Error| Bollard::JsonDataError { message: error.to_string(), column: error.column() };
        let sample: Sample = serde_json::from_slice(&bytes)
            .map_err(|error| self.connection.failed(client, "measure a container", &wrong(error)))?;
        Ok(Some(sample.usage(Timestamp::now(), machine)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: u64 = 8 << 30;

    fn usage(json: &str) -> Usage {
        serde_json::from_str::<Sample>(json).unwrap().usage(Timestamp::from_millis(1), MACHINE)
    }

    #[test]
    fn memory_is_what_docker_stats_shows() {
        let version_1 = usage(
            r#"{"memory_stats":{"usage":1000,"limit":4000,"stats":{"total_inactive_file":300,"inactive_file":1}}}"#,
        );
        assert_eq!((version_1.memory, version_1.memory_limit), (Some(700), Some(4000)));
        let version_2 = usage(r#"{"memory_stats":{"usage":1000,"limit":8589934592,"stats":{"inactive_file":400}}}"#);
        assert_eq!((version_2.memory, version_2.memory_limit), (Some(600), None), "the machine's own is no limit");
        let odd = usage(r#"{"memory_stats":{"usage":1000,"stats":{"inactive_file":4000}}}"#);
        assert_eq!(odd.memory, Some(1000));
    }

    #[test]
    fn what_the_engine_does_not_tell_is_absent() {
        let nothing = usage(r#"{"blkio_stats":{"io_service_bytes_recursive":null},"pids_stats":{}}"#);
        let at = nothing.at;
        let absent = Usage {
            at,
            cpu_time: None,
            memory: None,
            memory_limit: None,
            processes: None,
            processes_limit: None,
            network: None,
            disk: None,
        };
        assert_eq!(nothing, absent);
    }

    #[test]
    fn networks_and_disks_are_summed() {
        let usage = usage(
            r#"{"cpu_stats":{"cpu_usage":{"total_usage":7}},
                "pids_stats":{"current":3,"limit":18446744073709551615},
                "networks":{"eth0":{"rx_bytes":1,"tx_bytes":10},"eth1":{"rx_bytes":2,"tx_bytes":20}},
                "blkio_stats":{"io_service_bytes_recursive":[
                    {"major":8,"minor":0,"op":"read","value":5},{"major":8,"minor":16,"op":"Read","value":6},
                    {"major":8,"minor":0,"op":"Write","value":7},{"major":8,"minor":0,"op":"Total","value":99}]}}"#,
        );
        assert_eq!(usage.network, Some(Transfer { incoming: 3, outgoing: 30 }));
        assert_eq!(usage.disk, Some(Transfer { incoming: 11, outgoing: 7 }));
        assert_eq!((usage.cpu_time, usage.processes, usage.processes_limit), (Some(7), Some(3), None));
    }
}
