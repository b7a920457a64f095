//! A session's spec in the words of `wit/backend/types.wit`. Every field that is a backend's affair is in it; restart
//! policy, removal and probes are the host's and are not.

use std::time::Duration;

use seawall_capability::convert::to_guest;
use seawall_model::{
    Attachment, HealthCheck, Key, Mount, MountSource, Network, Port, Protocol, SessionName, SessionSpec, Size,
};

use crate::bindings::wit;

/// The whole spec, values of the environment included: the plugin hands them to the engine.
pub(crate) fn to_guest(key: &Key, name: &SessionName, spec: &SessionSpec) -> wit::Spec {
    let SessionSpec {
        backend: _,
        name: _,
        labels,
        image,
        command,
        env,
        working_dir,
        user,
        hostname,
        mounts,
        resources,
        network,
        ports,
        tty,
        stdin,
        init,
        stop_signal,
        stop_grace,
        // Their values are in `env` by now.
        env_from: _,
        restart: _,
        restart_backoff: _,
        restart_budget: _,
        auto_remove: _,
        health_check,
        restart_unhealthy: _,
        probes: _,
        logs,
        options,
    } = spec;
    wit::Spec {
        key: to_guest::key(key),
        name: name.as_str().to_owned(),
        labels: labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        image: image.clone(),
        command: command.clone(),
        env: env.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect(),
        working_dir: working_dir.clone(),
        user: user.clone(),
        hostname: hostname.clone(),
        mounts: mounts.iter().map(mount).collect(),
        resources: wit::Resources {
            memory: resources.memory.map(|memory| memory.0),
            cpu_millis: resources.cpus.map(|cpus| cpus.millis),
            processes: resources.processes,
            ulimits: resources
                .ulimits
                .iter()
                .map(|limit| wit::Ulimit { name: limit.name.clone(), soft: limit.soft, hard: limit.hard })
                .collect(),
        },
        network: network.as_ref().map(|network| match network {
            Network::Internet => wit::Network::Internet,
            Network::Isolated => wit::Network::Isolated,
            Network::Host => wit::Network::Host,
            Network::Named(attachments) => wit::Network::Named(attachments.iter().map(attachment).collect()),
        }),
        ports: ports.iter().map(port).collect(),
        tty: *tty,
        stdin: *stdin,
        init: *init,
        stop_signal: stop_signal.map(|signal| u32::from(signal.number())),
        stop_grace: millis(stop_grace.unwrap_or(SessionSpec::STOP_GRACE)),
        health_check: match health_check {
            None => wit::HealthCheck::Inherited,
            Some(HealthCheck::Disabled) => wit::HealthCheck::Disabled,
            Some(HealthCheck::Command(check)) => wit::HealthCheck::Command(wit::HealthCommand {
                command: check.command.clone(),
                interval: millis(check.interval),
                timeout: millis(check.timeout),
                start_period: millis(check.start_period),
                start_interval: check.start_interval.map(millis),
                retries: check.retries,
            }),
        },
        logs: wit::LogLimits { max_size: logs.max_size.map(|size| size.0), max_files: logs.max_files },
        options: json(options),
    }
}

fn mount(mount: &Mount) -> wit::Mount {
    let source = match &mount.source {
        MountSource::Bind(path) => wit::MountSource::Bind(path.clone()),
        MountSource::Volume(name) => wit::MountSource::Volume(name.clone()),
        MountSource::Tmpfs(size) => wit::MountSource::Tmpfs(size.map(|Size(bytes)| bytes)),
    };
    wit::Mount { source, target: mount.target.clone(), read_only: mount.read_only, options: json(&mount.options) }
}

fn attachment(attachment: &Attachment) -> wit::Attachment {
    let Attachment { name, aliases, options } = attachment;
    wit::Attachment { name: name.clone(), aliases: aliases.clone(), options: json(options) }
}

fn json(options: &serde_json::Map<String, serde_json::Value>) -> String {
    serde_json::Value::Object(options.clone()).to_string()
}

fn port(port: &Port) -> wit::Port {
    wit::Port {
        container: port.container,
        host: port.host,
        address: port.address.map(|address| address.to_string()),
        protocol: match port.protocol {
            Protocol::Tcp => wit::Protocol::Tcp,
            Protocol::Udp => wit::Protocol::Udp,
        },
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
