//! Where a container is reached: its published ports.

use std::collections::HashMap;

use bollard::models::PortBinding;
use seawall_backend::Error;
use seawall_model::{Endpoint, Key, Protocol, State};

use crate::{Docker, status};

impl Docker {
    /// The ports that were published for it, and where; none if it does not run.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn endpoints(&self, key: &Key) -> Result<Vec<Endpoint>, Error> {
        let inner = &self.inner;
        let client = inner.connection.client().await?;
        let there = inner.own(&client, key).await?.ok_or_else(|| inner.missing(key))?;
        if !matches!(status::raw_state(&there), State::Running | State::Paused) {
            return Ok(Vec::new());
        }
        Ok(of(&there.network_settings.and_then(|network| network.ports).unwrap_or_default()))
    }
}

/// In the order of ports and addresses. The Engine's words for a port are `80/tcp`; one that is not published has no
/// binding.
fn of(ports: &HashMap<String, Option<Vec<PortBinding>>>) -> Vec<Endpoint> {
    let bound = ports.iter().flat_map(|(port, bindings)| bindings.iter().flatten().map(move |binding| (port, binding)));
    let mut endpoints: Vec<_> = bound.filter_map(|(port, binding)| endpoint(port, binding)).collect();
    endpoints.sort_by_key(|at| (at.container, at.protocol == Protocol::Udp, at.address, at.port));
    endpoints
}

fn endpoint(port: &str, binding: &PortBinding) -> Option<Endpoint> {
    let (number, protocol) = port.split_once('/')?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        // Seawall publishes no others.
        _ => return None,
    };
    Some(Endpoint {
        container: number.parse().ok()?,
        protocol,
        address: binding.host_ip.as_deref()?.parse().ok()?,
        port: binding.host_port.as_deref()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_ports_are_listed_in_order_and_others_are_not() {
        let json = r#"{
            "8080/tcp": [{"HostIp":"::1","HostPort":"18080"},{"HostIp":"127.0.0.1","HostPort":"18080"}],
            "53/udp": [{"HostIp":"127.0.0.1","HostPort":"5353"}],
            "53/tcp": [{"HostIp":"127.0.0.1","HostPort":"5354"}],
            "9000/tcp": null,
            "9/sctp": [{"HostIp":"127.0.0.1","HostPort":"9"}],
            "7/tcp": [{"HostIp":"","HostPort":""}]
        }"#;
        let shown: Vec<String> = of(&serde_json::from_str(json).unwrap())
            .iter()
            .map(|at| format!("{}/{:?} {}", at.container, at.protocol, at.socket()))
            .collect();
        let expected =
            ["53/Tcp 127.0.0.1:5354", "53/Udp 127.0.0.1:5353", "8080/Tcp 127.0.0.1:18080", "8080/Tcp [::1]:18080"];
        assert_eq!(shown, expected);
    }
}
