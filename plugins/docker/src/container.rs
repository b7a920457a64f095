//! From a session's spec to a typed description of a container. Every field of the spec ends up in it (A5); what the
//! operator did not grant, the capability refuses, naming the field.

use seawall_sdk::docker::{Container, HealthCheck, HealthCommand, Mount, MountSource, Network, Port, Ulimit};
use seawall_sdk::{Problems, Result, Spec, no_options};
use serde::Deserialize;

use crate::config::Config;

/// A session's `options`: what Docker has and other backends have not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Instead of the image's own.
    entrypoint: Option<Vec<String>>,
    /// The root file system cannot be written.
    read_only_root: bool,
    /// Linux capabilities to take away.
    drop_capabilities: Vec<String>,
    /// Linux capabilities to add; each must be granted.
    add_capabilities: Vec<String>,
    /// Must be granted.
    privileged: bool,
}

/// Describes the container of a session.
///
/// # Errors
/// `invalid`, naming each field that no container can have.
pub fn container(spec: Spec, options: Options, config: Config) -> Result<Container> {
    let mut problems = Problems::new();
    problems.refuse_if(spec.image.is_none(), "image", "a container is made of an image: name one");
    let no_program = options.entrypoint.as_ref().is_some_and(Vec::is_empty);
    problems.refuse_if(no_program, "options.entrypoint", "a program and its arguments, or leave it out");
    for (at, mount) in spec.mounts.iter().enumerate() {
        let said = !no_options(&mount.options);
        problems.refuse_if(said, &format!("mounts[{at}].options"), "a mount has no options of this backend's own");
    }
    let named = matches!(spec.network, Some(seawall_sdk::Network::Named(_)));
    problems.refuse_if(named, "network.named", "this backend knows no networks by name: internet, isolated or host");
    let networked = matches!(spec.network, None | Some(seawall_sdk::Network::Internet));
    problems.refuse_if(
        !networked && !named && !spec.ports.is_empty(),
        "ports",
        "ports are published from the network `internet` only: an isolated session has none, and on the host's own \
         network every port is the host's",
    );
    let on_host = matches!(spec.network, Some(seawall_sdk::Network::Host));
    problems.refuse_if(
        on_host && spec.hostname.is_some(),
        "hostname",
        "on the host's own network a session has the host's name",
    );
    problems.finish()?;

    Ok(Container {
        key: spec.key,
        name: Some(spec.name),
        image: spec.image.unwrap_or_default(),
        entrypoint: options.entrypoint,
        command: spec.command,
        env: spec.env,
        labels: spec.labels,
        hostname: spec.hostname,
        working_dir: spec.working_dir,
        user: spec.user,
        mounts: spec.mounts.into_iter().map(mount).collect(),
        memory: spec.resources.memory.or(config.memory),
        cpu_millis: spec.resources.cpu_millis,
        default_cpu_millis: config.cpu_millis,
        processes: spec.resources.processes,
        ulimits: spec.resources.ulimits.into_iter().map(ulimit).collect(),
        tty: spec.tty,
        stdin: spec.stdin,
        init: spec.init,
        read_only_root: options.read_only_root,
        drop_capabilities: options.drop_capabilities,
        add_capabilities: options.add_capabilities,
        privileged: options.privileged,
        network: spec.network.and_then(network),
        ports: spec.ports.into_iter().map(port).collect(),
        stop_signal: spec.stop_signal,
        stop_grace: Some(spec.stop_grace),
        health_check: health_check(spec.health_check),
        log_max_size: spec.logs.max_size,
        log_max_files: spec.logs.max_files,
    })
}

fn mount(mount: seawall_sdk::Mount) -> Mount {
    let source = match mount.source {
        seawall_sdk::MountSource::Bind(path) => MountSource::Bind(path),
        seawall_sdk::MountSource::Volume(name) => MountSource::Volume(name),
        seawall_sdk::MountSource::Tmpfs(size) => MountSource::Tmpfs(size),
    };
    Mount { source, target: mount.target, read_only: mount.read_only }
}

fn ulimit(limit: seawall_sdk::Ulimit) -> Ulimit {
    Ulimit { name: limit.name, soft: limit.soft, hard: limit.hard }
}

/// Networks with names were refused before.
fn network(network: seawall_sdk::Network) -> Option<Network> {
    match network {
        seawall_sdk::Network::Internet => Some(Network::Internet),
        seawall_sdk::Network::Isolated => Some(Network::Isolated),
        seawall_sdk::Network::Host => Some(Network::Host),
        seawall_sdk::Network::Named(_) => None,
    }
}

fn port(port: seawall_sdk::Port) -> Port {
    Port { container: port.container, host: port.host, address: port.address, protocol: port.protocol }
}

fn health_check(check: seawall_sdk::HealthCheck) -> HealthCheck {
    match check {
        seawall_sdk::HealthCheck::Inherited => HealthCheck::Image,
        seawall_sdk::HealthCheck::Disabled => HealthCheck::Disabled,
        seawall_sdk::HealthCheck::Command(check) => HealthCheck::Command(HealthCommand {
            command: check.command,
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seawall_sdk::{Error, Key, LogLimits, Resources};

    fn spec() -> Spec {
        Spec {
            key: Key { session: "0123456789abcdef".to_owned(), incarnation: 1, handle: None },
            name: "web".to_owned(),
            labels: vec![],
            image: Some("busybox".to_owned()),
            command: vec![],
            env: vec![],
            working_dir: None,
            user: None,
            hostname: None,
            mounts: vec![],
            resources: Resources { memory: None, cpu_millis: None, processes: None, ulimits: vec![] },
            network: None,
            ports: vec![],
            tty: false,
            stdin: false,
            init: false,
            stop_signal: None,
            stop_grace: 10_000,
            health_check: seawall_sdk::HealthCheck::Inherited,
            logs: LogLimits { max_size: None, max_files: None },
            options: "{}".to_owned(),
        }
    }

    fn text(words: &str) -> Vec<String> {
        words.split(' ').map(str::to_owned).collect()
    }

    fn fields(result: Result<Container>) -> Vec<String> {
        match result {
            Err(Error::Invalid(problems)) => problems.into_iter().map(|problem| problem.field).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_session_that_asks_for_nothing_gets_the_default_limits() {
        let made = container(spec(), Options::default(), Config::default()).unwrap();
        assert_eq!((made.memory, made.default_cpu_millis), (Some(2 << 30), Some(2_000)));
        assert!(!made.privileged && made.network.is_none());
        let none = Config { memory: None, cpu_millis: None };
        let made = container(spec(), Options::default(), none).unwrap();
        assert_eq!((made.memory, made.default_cpu_millis), (None, None));
    }

    #[test]
    fn every_field_of_the_spec_reaches_the_container() {
        let asked = Spec {
            labels: vec![("tier".to_owned(), "front".to_owned())],
            command: text("httpd -f"),
            env: vec![("A".to_owned(), "b".to_owned())],
            working_dir: Some("/srv".to_owned()),
            user: Some("1:2".to_owned()),
            hostname: Some("web".to_owned()),
            mounts: vec![
                seawall_sdk::Mount {
                    source: seawall_sdk::MountSource::Bind("/data".to_owned()),
                    target: "/in".to_owned(),
                    read_only: true,
                    options: "{}".to_owned(),
                },
                seawall_sdk::Mount {
                    source: seawall_sdk::MountSource::Volume("v".to_owned()),
                    target: "/v".to_owned(),
                    read_only: false,
                    options: "{}".to_owned(),
                },
                seawall_sdk::Mount {
                    source: seawall_sdk::MountSource::Tmpfs(Some(7)),
                    target: "/t".to_owned(),
                    read_only: false,
                    options: "{}".to_owned(),
                },
            ],
            resources: Resources {
                memory: Some(64 << 20),
                cpu_millis: Some(250),
                processes: Some(9),
                ulimits: vec![seawall_sdk::Ulimit { name: "nofile".to_owned(), soft: 1, hard: 2 }],
            },
            network: Some(seawall_sdk::Network::Internet),
            ports: vec![seawall_sdk::Port {
                container: 80,
                host: Some(8080),
                address: Some("127.0.0.2".to_owned()),
                protocol: seawall_sdk::Protocol::Udp,
            }],
            tty: true,
            stdin: true,
            init: true,
            stop_signal: Some(2),
            health_check: seawall_sdk::HealthCheck::Command(seawall_sdk::HealthCommand {
                command: text("test -e /ok"),
                interval: 1,
                timeout: 2,
                start_period: 3,
                start_interval: Some(5),
                retries: 4,
            }),
            logs: LogLimits { max_size: Some(5), max_files: Some(6) },
            ..spec()
        };
        let options = Options {
            entrypoint: Some(text("/bin/sh -c")),
            read_only_root: true,
            drop_capabilities: text("ALL"),
            add_capabilities: text("NET_ADMIN"),
            privileged: true,
        };
        let made = container(asked, options, Config::default()).unwrap();
        // Written out whole: a field that is forgotten in the mapping would show a default here.
        let shown = format!("{made:?}");
        for part in [
            "session: \"0123456789abcdef\"",
            "image: \"busybox\"",
            "entrypoint: Some([\"/bin/sh\", \"-c\"])",
            "command: [\"httpd\", \"-f\"]",
            "env: [(\"A\", \"b\")]",
            "labels: [(\"tier\", \"front\")]",
            "hostname: Some(\"web\")",
            "working-dir: Some(\"/srv\")",
            "user: Some(\"1:2\")",
            "Bind(\"/data\")",
            "target: \"/in\", read-only: true",
            "Volume(\"v\")",
            "Tmpfs(Some(7))",
            "memory: Some(67108864)",
            "cpu-millis: Some(250)",
            "processes: Some(9)",
            "name: \"nofile\", soft: 1, hard: 2",
            "tty: true",
            "stdin: true",
            "init: true",
            "read-only-root: true",
            "drop-capabilities: [\"ALL\"]",
            "add-capabilities: [\"NET_ADMIN\"]",
            "privileged: true",
            "network: Some(Network::Internet)",
            "container: 80, host: Some(8080), address: Some(\"127.0.0.2\"), protocol: Protocol::Udp",
            "name: Some(\"web\")",
            "stop-signal: Some(2)",
            "stop-grace: Some(10000)",
            "command: [\"test\", \"-e\", \"/ok\"], interval: 1, timeout: 2, start-period: 3, start-interval: Some(5), retries: 4",
            "log-max-size: Some(5)",
            "log-max-files: Some(6)",
        ] {
            assert!(shown.contains(part), "{part} is not in {shown}");
        }
    }

    #[test]
    fn what_no_container_can_have_is_refused_by_name() {
        let bare = Spec { image: None, ..spec() };
        let no_program = Options { entrypoint: Some(vec![]), ..Options::default() };
        assert_eq!(fields(container(bare, no_program, Config::default())), ["image", "options.entrypoint"]);

        let port =
            || seawall_sdk::Port { container: 80, host: None, address: None, protocol: seawall_sdk::Protocol::Tcp };
        let with_options = seawall_sdk::Mount {
            source: seawall_sdk::MountSource::Tmpfs(None),
            target: "/t".to_owned(),
            read_only: false,
            options: r#"{"mode":7}"#.to_owned(),
        };
        let back = seawall_sdk::Attachment { name: "back".to_owned(), aliases: vec![], options: "{}".to_owned() };
        let named = Some(seawall_sdk::Network::Named(vec![back]));
        let later = Spec { mounts: vec![with_options], network: named, ports: vec![port()], ..spec() };
        assert_eq!(
            fields(container(later, Options::default(), Config::default())),
            ["mounts[0].options", "network.named"]
        );
        let isolated = Spec { network: Some(seawall_sdk::Network::Isolated), ports: vec![port()], ..spec() };
        assert_eq!(fields(container(isolated, Options::default(), Config::default())), ["ports"]);
        let host = Spec {
            network: Some(seawall_sdk::Network::Host),
            ports: vec![port()],
            hostname: Some("web".to_owned()),
            ..spec()
        };
        assert_eq!(fields(container(host, Options::default(), Config::default())), ["ports", "hostname"]);
    }
}
