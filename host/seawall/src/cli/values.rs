//! Values of `run`'s flags, written as in Docker.

use std::str::FromStr as _;
use std::time::Duration;

use seawall_model::{Attachment, LogLimits, Mount, MountSource, Network, Port, Protocol, RestartBudget, Ulimit};

pub(super) fn ulimit(text: &str) -> Result<Ulimit, String> {
    let refuse = || format!("{text:?} is no limit: write nofile=1024 or nofile=1024:4096");
    let (name, limits) = text.split_once('=').ok_or_else(refuse)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    Ok(Ulimit {
        name: name.to_owned(),
        soft: soft.parse().map_err(|_| refuse())?,
        hard: hard.parse().map_err(|_| refuse())?,
    })
}

pub(super) fn volume(text: &str) -> Result<Mount, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, read_only) = match parts.as_slice() {
        [source, target] => (*source, *target, true),
        [source, target, "ro"] => (*source, *target, true),
        [source, target, "rw"] => (*source, *target, false),
        _ => return Err(format!("{text:?} is no mount: write SOURCE:TARGET, and :rw to write to it")),
    };
    let source = if source.starts_with('/') {
        MountSource::Bind(source.to_owned())
    } else if source.is_empty() {
        return Err(format!("{text:?} has no source"));
    } else {
        MountSource::Volume(source.to_owned())
    };
    Ok(Mount::new(source, target, read_only))
}

pub(super) fn tmpfs(text: &str) -> Result<Mount, String> {
    let (target, size) = match text.split_once(':') {
        Some((target, size)) => (target, Some(size.strip_prefix("size=").unwrap_or(size).parse()?)),
        None => (text, None),
    };
    Ok(Mount::new(MountSource::Tmpfs(size), target, false))
}

/// Docker's `--mount`, read-only unless it says otherwise.
pub(super) fn mount(text: &str) -> Result<Mount, String> {
    let (mut kind, mut source, mut target, mut size, mut read_only) = ("volume", None, None, None, None);
    for part in text.split(',') {
        let (key, value) = part.split_once('=').unwrap_or((part, "true"));
        match key {
            "type" => kind = value,
            "source" | "src" => source = Some(value.to_owned()),
            "target" | "destination" | "dst" => target = Some(value),
            "tmpfs-size" => size = Some(value.parse()?),
            "readonly" | "ro" => {
                let wrong = |_| format!("{part:?}: write readonly, or readonly=false to write to it");
                read_only = Some(value.parse::<bool>().map_err(wrong)?);
            }
            _ => return Err(format!("{key:?} is none of type, source, target, readonly and tmpfs-size")),
        }
    }
    let target = target.ok_or_else(|| format!("{text:?} has no target"))?;
    let named = source.ok_or_else(|| format!("{text:?} has no source"));
    let from = match (kind, size) {
        ("bind", None) => MountSource::Bind(named?),
        ("volume", None) => MountSource::Volume(named?),
        ("tmpfs", size) if named.is_err() => MountSource::Tmpfs(size),
        ("tmpfs", _) => return Err(format!("{text:?}: memory has no source")),
        ("bind" | "volume", Some(_)) => return Err(format!("{text:?}: tmpfs-size is for type=tmpfs")),
        _ => return Err(format!("{kind:?} is no type of a mount: write bind, volume or tmpfs")),
    };
    let read_only = read_only.unwrap_or(!matches!(from, MountSource::Tmpfs(_)));
    Ok(Mount::new(from, target, read_only))
}

pub(super) fn network(text: &str) -> Result<Network, String> {
    match text {
        // And as Docker calls them.
        "internet" | "bridge" | "default" => Ok(Network::Internet),
        "isolated" | "none" => Ok(Network::Isolated),
        "host" => Ok(Network::Host),
        name if Attachment::is_name(name) => {
            let network = Attachment { name: name.to_owned(), aliases: Vec::new(), options: serde_json::Map::new() };
            Ok(Network::Named(vec![network]))
        }
        _ => Err(format!("{text:?} is no network: write internet, isolated, host or the name of one")),
    }
}

/// As Docker's `json-file` and `local` have them.
pub(super) fn log_option(text: &str) -> Result<LogLimits, String> {
    let mut limits = LogLimits::default();
    for option in text.split(',') {
        match option.split_once('=') {
            Some(("max-size", size)) => limits.max_size = Some(size.parse()?),
            Some(("max-file", files)) => {
                let number = |_| format!("{files:?} is no number of files: write max-file=3");
                limits.max_files = Some(files.parse().map_err(number)?);
            }
            _ => return Err(format!("{option:?} is no option of a log here: write max-size=10m or max-file=3")),
        }
    }
    Ok(limits)
}

pub(super) fn port(text: &str) -> Result<Port, String> {
    let refuse = || format!("{text:?} is no port: write 80, 8080:80 or 127.0.0.1:8080:80/tcp");
    let (ports, protocol) = match text.rsplit_once('/') {
        None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some(_) => return Err(refuse()),
    };
    let number = |text: &str| u16::from_str(text).ok().filter(|port| *port != 0).ok_or_else(refuse);
    let (rest, container) = match ports.rsplit_once(':') {
        None => return Ok(Port { container: number(ports)?, host: None, address: None, protocol }),
        Some((rest, container)) => (rest, number(container)?),
    };
    let (address, host) = match rest.rsplit_once(':') {
        None => (None, rest),
        Some((address, host)) => {
            let address = address.trim_start_matches('[').trim_end_matches(']');
            (Some(address.parse().map_err(|_| refuse())?), host)
        }
    };
    let host = if host.is_empty() && address.is_some() { None } else { Some(number(host)?) };
    Ok(Port { container, host, address, protocol })
}

/// `1s`, or `1s..5m` with what it grows to.
pub(super) fn restart_backoff(text: &str) -> Result<(Duration, Option<Duration>), String> {
    let (first, most) = text.split_once("..").map_or((text, None), |(first, most)| (first, Some(most)));
    let wrong = |_| format!("{text:?} is no backoff: write 1s, or 1s..5m");
    let most = most.map(humantime::parse_duration).transpose().map_err(wrong)?;
    Ok((humantime::parse_duration(first).map_err(wrong)?, most))
}

/// `5/10m`.
pub(super) fn restart_budget(text: &str) -> Result<RestartBudget, String> {
    let refuse = || format!("{text:?} is no budget: write 5/10m for five restarts within ten minutes");
    let (restarts, within) = text.split_once('/').ok_or_else(refuse)?;
    Ok(RestartBudget {
        restarts: restarts.parse().map_err(|_| refuse())?,
        within: humantime::parse_duration(within).map_err(|_| refuse())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_values_say_what_to_write() {
        for (said, wrong) in [
            (ulimit("nofile").unwrap_err(), "nofile=1024"),
            (volume("/a").unwrap_err(), "SOURCE:TARGET"),
            (volume(":/a").unwrap_err(), "no source"),
            (port("0").unwrap_err(), "8080:80"),
            (port("80/sctp").unwrap_err(), "8080:80"),
            (port("x:1:2").unwrap_err(), "8080:80"),
            (network("container:web").unwrap_err(), "isolated"),
            (network("").unwrap_err(), "isolated"),
            (log_option("max-size=lots").unwrap_err(), "64MiB"),
            (log_option("max-file=x").unwrap_err(), "max-file=3"),
            (log_option("labels=a").unwrap_err(), "max-size=10m"),
            (log_option("").unwrap_err(), "max-size=10m"),
            (restart_backoff("soon").unwrap_err(), "1s..5m"),
            (restart_backoff("1s..").unwrap_err(), "1s..5m"),
            (restart_budget("5").unwrap_err(), "5/10m"),
            (restart_budget("-1/10m").unwrap_err(), "5/10m"),
            (restart_budget("5/soon").unwrap_err(), "5/10m"),
        ] {
            assert!(said.contains(wrong), "{said}");
        }
        assert_eq!(port("[::1]::80").unwrap().host, None);
    }

    #[test]
    fn a_mount_is_read_as_docker_does_and_only_read_unless_it_says_otherwise() {
        for (text, source, read_only) in [
            ("type=bind,source=/srv,target=/t", MountSource::Bind("/srv".to_owned()), true),
            ("type=bind,src=/srv,dst=/t,readonly=false", MountSource::Bind("/srv".to_owned()), false),
            ("src=cache,dst=/t,ro", MountSource::Volume("cache".to_owned()), true),
            ("type=tmpfs,destination=/t,tmpfs-size=1m", MountSource::Tmpfs("1MiB".parse().ok()), false),
        ] {
            assert_eq!(mount(text), Ok(Mount::new(source, "/t", read_only)), "{text}");
        }
        assert_eq!(tmpfs("/t:size=1m"), tmpfs("/t:1MiB"));
        assert_eq!((network("none"), network("bridge")), (Ok(Network::Isolated), Ok(Network::Internet)));
        let Ok(Network::Named(named)) = network("lan") else { panic!("a name is a network's") };
        assert_eq!((named.len(), named[0].name.as_str(), named[0].aliases.len()), (1, "lan", 0));
        let both = LogLimits { max_size: "10MiB".parse().ok(), max_files: Some(3) };
        assert_eq!(log_option("max-size=10m,max-file=3"), Ok(both));
        for (text, wrong) in [
            ("type=bind,source=/srv", "no target"),
            ("type=bind,target=/t", "no source"),
            ("type=npipe,source=a,target=/t", "no type of a mount"),
            ("type=tmpfs,source=a,target=/t", "memory has no source"),
            ("source=a,target=/t,tmpfs-size=1m", "for type=tmpfs"),
            ("source=a,target=/t,readonly=perhaps", "readonly=false"),
            ("source=a,target=/t,bind-propagation=shared", "\"bind-propagation\" is none of"),
        ] {
            let said = mount(text).unwrap_err();
            assert!(said.contains(wrong), "{text}: {said}");
        }
    }
}
