//! `endpoint`: where the ports of a session are reached, as `docker port` shows it.

use clap::Args;
use seawall_model::{Endpoint as Reached, Protocol};

use super::{Global, say};
use crate::client::Client;
use crate::exit::Failure;
use crate::problem::{Kind, Problem};

/// `endpoint`.
#[derive(Debug, Args)]
pub(crate) struct Endpoint {
    /// Its id, the beginning of it (4 digits or more), or its name
    #[arg(value_name = "SESSION")]
    session: String,
    /// Only this port of the session, such as 80 or 53/udp; then the address alone is printed
    #[arg(value_name = "PORT[/PROTOCOL]", value_parser = port)]
    port: Option<(u16, Protocol)>,
}

fn port(text: &str) -> Result<(u16, Protocol), String> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        other => return Err(format!("{other:?} is neither tcp nor udp")),
    };
    match number.parse() {
        Ok(number) if number > 0 => Ok((number, protocol)),
        _ => Err(format!("{number:?} is no port: write 1 to 65535")),
    }
}

fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

impl Endpoint {
    /// Asks and prints.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        let mut reached: Vec<Reached> = client.get(&["sessions", &self.session, "endpoints"], &[]).await?;
        if let Some((port, protocol)) = self.port {
            reached.retain(|at| (at.container, at.protocol) == (port, protocol));
            if reached.is_empty() {
                let protocol = word(protocol);
                let detail = format!("port {port}/{protocol} of session {} is not published", self.session);
                return Err(Problem::new(Kind::NotFound, detail).into());
            }
        }
        if global.json {
            global.show(&reached, |_| String::new())?;
        } else {
            say(&self.text(&reached))?;
        }
        Ok(0)
    }

    fn text(&self, reached: &[Reached]) -> String {
        let line = |at: &Reached| match self.port {
            Some(_) => format!("{}\n", at.socket()),
            None => format!("{}/{} -> {}\n", at.container, word(at.protocol), at.socket()),
        };
        reached.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_written_as_docker_writes_it() {
        assert_eq!(port("80"), Ok((80, Protocol::Tcp)));
        assert_eq!(port("53/udp"), Ok((53, Protocol::Udp)));
        for wrong in ["", "0", "65536", "http", "80/sctp", "80/"] {
            assert!(port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_port_is_its_address_alone() {
        let at = Reached { container: 80, protocol: Protocol::Tcp, address: "::1".parse().unwrap(), port: 8080 };
        let shown = |port| Endpoint { session: "web".to_owned(), port }.text(&[at]);
        assert_eq!(shown(None), "80/tcp -> [::1]:8080\n");
        assert_eq!(shown(Some((80, Protocol::Tcp))), "[::1]:8080\n");
    }
}
