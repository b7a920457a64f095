//! What can be said of a container is all that the Engine is ever asked for, whatever stands in the texts.

use std::collections::BTreeSet;
use std::time::Duration;

use seawall_backend::Error;
use seawall_docker::{Container, Docker, DockerGrant, HealthCheck, MountGrant};
use seawall_model::{HealthCommand, Mount, MountSource, Network, Port, Protocol, Secret, Signal, Size, Ulimit};
use seawall_testing::recorder::Recorder;
use serde_json::Value;

use crate::{Fixture, at, key, sleeper};

/// Every field that a request to create a container may have. `*` stands for names that somebody chose, `[]` for an
/// item of a list.
const FIELDS: &[&str] = &[
    "AttachStdin",
    "Cmd[]",
    "Entrypoint[]",
    "Env[]",
    "ExposedPorts.*",
    "Healthcheck.Interval",
    "Healthcheck.Retries",
    "Healthcheck.StartInterval",
    "Healthcheck.StartPeriod",
    "Healthcheck.Test[]",
    "Healthcheck.Timeout",
    "Hostname",
    "HostConfig.CapAdd[]",
    "HostConfig.CapDrop[]",
    "HostConfig.Init",
    "HostConfig.LogConfig.Config.compress",
    "HostConfig.LogConfig.Config.max-file",
    "HostConfig.LogConfig.Config.max-size",
    "HostConfig.LogConfig.Type",
    "HostConfig.Memory",
    "HostConfig.MemorySwap",
    "HostConfig.Mounts[].BindOptions.NonRecursive",
    "HostConfig.Mounts[].BindOptions.Propagation",
    "HostConfig.Mounts[].ReadOnly",
    "HostConfig.Mounts[].Source",
    "HostConfig.Mounts[].Target",
    "HostConfig.Mounts[].TmpfsOptions.SizeBytes",
    "HostConfig.Mounts[].Type",
    "HostConfig.Mounts[].VolumeOptions.DriverConfig.Name",
    "HostConfig.NanoCpus",
    "HostConfig.NetworkMode",
    "HostConfig.PidsLimit",
    "HostConfig.PortBindings.*[].HostIp",
    "HostConfig.PortBindings.*[].HostPort",
    "HostConfig.Privileged",
    "HostConfig.ReadonlyRootfs",
    "HostConfig.RestartPolicy.Name",
    "HostConfig.Ulimits[].Hard",
    "HostConfig.Ulimits[].Name",
    "HostConfig.Ulimits[].Soft",
    "Image",
    "Labels.*",
    "OpenStdin",
    "StdinOnce",
    "StopSignal",
    "StopTimeout",
    "Tty",
    "User",
    "WorkingDir",
];

/// Fields whose value nobody chooses, or only out of these.
const FIXED: &[(&str, &[&str])] = &[
    ("AttachStdin", &["false"]),
    ("HostConfig.LogConfig.Type", &["\"local\""]),
    ("HostConfig.Mounts[].BindOptions.Propagation", &["\"rprivate\""]),
    ("HostConfig.Mounts[].Type", &["\"bind\"", "\"volume\"", "\"tmpfs\""]),
    ("HostConfig.Mounts[].VolumeOptions.DriverConfig.Name", &["\"local\""]),
    ("HostConfig.NetworkMode", &["\"bridge\"", "\"none\"", "\"host\""]),
    ("HostConfig.RestartPolicy.Name", &["\"no\""]),
    ("StdinOnce", &["false"]),
];

/// The names of these tables were chosen by somebody.
const CHOSEN: &[&str] = &["Labels", "ExposedPorts", "HostConfig.PortBindings"];

fn leaves(value: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let name = if CHOSEN.contains(&path) { "*" } else { name };
                leaves(value, format!("{path}.{name}").trim_start_matches('.'), found);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().for_each(|item| leaves(item, &format!("{path}[]"), found))
        }
        leaf => found.push((path.to_owned(), leaf.clone())),
    }
}

/// Texts that mean something to Docker, on its command line, in its JSON or in a path.
const TEXTS: &[&str] = &[
    "--privileged",
    "container:1",
    "host",
    r#"","HostConfig":{"Privileged":true,"PidMode":"host"},"x":""#,
    "seccomp=unconfined",
    "apparmor=unconfined,label=disable,no-new-privileges=false,systempaths=unconfined",
    "/var/run/docker.sock:/var/run/docker.sock",
    "type=bind,source=/,target=/host",
    "volumes-from=other",
    "../../../etc",
    "%2e%2e%2f",
    "io.kubernetes.cri.untrusted-workload",
    "a=b",
];

/// Everything granted, everything asked for, and a text of these in every place that takes one.
fn greedy(text: &str, root: &std::path::Path) -> Container {
    let owned = || text.to_owned();
    let mount = |source, target: &str, read_only| Mount::new(source, format!("/{target}"), read_only);
    Container {
        name: Some(owned()),
        entrypoint: Some(vec![owned()]),
        command: vec![owned(), owned()],
        env: vec![("PidMode".to_owned(), Secret::new(text)), (text.replace('=', ""), Secret::new(text))],
        labels: vec![(owned(), owned()), ("HostConfig".to_owned(), owned())],
        working_dir: Some(format!("/{text}")),
        user: Some(owned()),
        mounts: vec![
            mount(MountSource::Bind(root.display().to_string()), &format!("a{text}").replace("..", ""), true),
            mount(MountSource::Volume("plain-volume".to_owned()), "b", false),
            mount(MountSource::Tmpfs(Some(Size(1 << 20))), "c", false),
        ],
        memory: Some(64 << 20),
        cpu_millis: Some(500),
        processes: Some(u32::MAX),
        ulimits: vec![
            Ulimit { name: "nofile".to_owned(), soft: u64::MAX, hard: u64::MAX },
            Ulimit { name: "rtprio".to_owned(), soft: 99, hard: 99 },
        ],
        tty: true,
        stdin: true,
        init: true,
        read_only_root: true,
        privileged: true,
        drop_capabilities: vec!["ALL".to_owned()],
        add_capabilities: vec!["SYS_ADMIN".to_owned(), "SYS_NICE".to_owned()],
        ports: vec![Port { container: 80, host: None, address: "0.0.0.0".parse().ok(), protocol: Protocol::Udp }],
        stop_signal: Some(Signal::from_number(64).unwrap()),
        stop_grace: Some(Duration::MAX),
        health_check: HealthCheck::Command(HealthCommand {
            command: vec!["NONE".to_owned(), owned()],
            interval: Duration::from_millis(1),
            timeout: Duration::from_secs(1),
            start_period: Duration::ZERO,
            start_interval: None,
            retries: 1,
        }),
        log_max_size: Some(1 << 20),
        log_max_files: Some(1),
        ..Container::new(key(), "busybox:latest")
    }
}

#[tokio::test]
async fn no_request_has_a_field_that_the_vocabulary_has_not() {
    let Some(engine) = crate::shared() else { return };
    let root = engine.dir().join("typed");
    std::fs::create_dir_all(&root).unwrap();
    let recorder = Recorder::start(engine.dir().join("typed.sock"), &engine.socket()).unwrap();
    let grant = DockerGrant {
        host: Some(recorder.host()),
        mounts: vec![MountGrant { path: root.clone(), write: false }],
        volumes: true,
        host_network: true,
        privileged: true,
        capabilities: vec!["SYS_ADMIN".to_owned(), "SYS_NICE".to_owned()],
        publish: vec!["0.0.0.0".parse().unwrap()],
        pull: false,
    };
    let docker = Docker::new(crate::scope("app"), grant);
    let mut asked = TEXTS.len();
    for text in TEXTS {
        // Whether the Engine makes of it what it can is its own affair: what it was asked for counts.
        let _ = docker.create(&greedy(text, &root)).await;
    }
    for network in [None, Some(Network::Isolated), Some(Network::Host)] {
        let hostname = network.is_none().then(|| "boat".to_owned());
        let container = Container { network, hostname, health_check: HealthCheck::Disabled, ..sleeper() };
        docker.create(&container).await.unwrap();
        asked += 1;
    }

    let mut seen = BTreeSet::new();
    let mut bodies = 0;
    for request in recorder.requests() {
        if request.method == "GET" {
            continue;
        }
        let (path, query) = request.target.split_once('?').unwrap();
        assert!(request.method == "POST" && path.ends_with("/containers/create"), "{}", request.target);
        assert!(
            query.starts_with("name=seawall-") && query.split("platform=").nth(1).is_none_or(str::is_empty),
            "{query}"
        );
        let mut found = Vec::new();
        leaves(&serde_json::from_slice(&request.body).unwrap(), "", &mut found);
        for (field, value) in found {
            // Nothing, said at length: no list, no map.
            if matches!(&value, Value::Null) || value == serde_json::json!([]) {
                continue;
            }
            assert!(FIELDS.contains(&field.as_str()), "{field} = {value}");
            let fixed = FIXED.iter().find(|(name, _)| *name == field);
            assert!(fixed.is_none_or(|(_, values)| values.contains(&value.to_string().as_str())), "{field} = {value}");
            seen.insert(field);
        }
        bodies += 1;
    }
    assert_eq!(bodies, asked, "each was asked for");
    // The list is no longer than it must be. An Engine is not asked for what it has not: to count swap, start intervals.
    let unused: Vec<_> = FIELDS.iter().filter(|field| !seen.contains(**field)).collect();
    let lacking = ["HostConfig.MemorySwap", "Healthcheck.StartInterval"];
    assert!(unused.iter().all(|field| lacking.contains(field)), "never asked for: {unused:?}");
}

#[tokio::test]
async fn what_cannot_be_said_is_as_the_engine_has_it_by_default() {
    let Some(fixture) = Fixture::new() else { return };
    // An image that says all it can.
    let tag = format!("greedy:{}", fixture.scope.store);
    let seed = fixture.engine.docker(["create", "busybox", "true"]).unwrap();
    let mut arguments = vec!["commit".to_owned()];
    for change in [
        "LABEL seawall.store=ffffffff seawall.backend=app2 seawall.session=00000000000000aa seawall.incarnation=7",
        "LABEL seawall.health=1 HostConfig.Privileged=true",
        "ENV LD_PRELOAD=/evil.so",
        "VOLUME /var/run",
        "USER root",
        "EXPOSE 2375",
    ] {
        arguments.extend(["--change".to_owned(), change.to_owned()]);
    }
    arguments.extend([seed, tag.clone()]);
    fixture.engine.docker(arguments).unwrap();
    let container = Container { image: tag, ..sleeper() };
    let key = fixture.run(&container).await;
    let seen = fixture.inspected(&key);
    let (config, host) = (&seen["Config"], &seen["HostConfig"]);
    for (label, value) in [
        ("seawall.store", fixture.scope.store.to_string()),
        ("seawall.backend", "app".to_owned()),
        ("seawall.session", key.session.to_string()),
        ("seawall.incarnation", "1".to_owned()),
        ("seawall.health", "0".to_owned()),
    ] {
        assert_eq!(config["Labels"][label], value, "{label}");
    }
    for field in [
        "Binds",
        "VolumesFrom",
        "Links",
        "CapAdd",
        "DeviceRequests",
        "DeviceCgroupRules",
        "Devices",
        "ExtraHosts",
        "GroupAdd",
        "SecurityOpt",
        "Sysctls",
        "StorageOpt",
        "Tmpfs",
        "Annotations",
        "Dns",
        "DnsOptions",
        "DnsSearch",
        "PidMode",
        "UTSMode",
        "UsernsMode",
        "Cgroup",
        "CgroupParent",
        "CpusetCpus",
        "CpuRealtimeRuntime",
        "OomScoreAdj",
        "OomKillDisable",
        "Privileged",
        "PublishAllPorts",
        "AutoRemove",
        "PortBindings",
        "Mounts",
        "Ulimits",
    ] {
        let value = &host[field];
        let nothing = match value {
            Value::Null | Value::Bool(false) => true,
            Value::Number(number) => number.as_i64() == Some(0),
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            Value::Bool(true) => false,
        };
        assert!(nothing, "{field} = {value}");
    }
    assert_eq!((&host["IpcMode"], &host["Runtime"]), (&"private".into(), &"runc".into()));
    assert_eq!(host["ShmSize"], 64 << 20);
    for (field, path) in [("MaskedPaths", "/proc/kcore"), ("ReadonlyPaths", "/proc/sys")] {
        assert!(host[field].as_array().is_some_and(|paths| paths.contains(&path.into())), "{field}");
    }
}

#[tokio::test]
async fn limits_of_a_process_are_given_up_to_where_others_would_suffer() {
    let Some(engine) = crate::shared() else { return };
    let with =
        |name: &str, hard| Container { ulimits: vec![Ulimit { name: name.to_owned(), soft: 0, hard }], ..sleeper() };
    let plain = Docker::new(crate::scope("app"), at(engine, DockerGrant::default()));
    let nice = DockerGrant { capabilities: vec!["SYS_NICE".to_owned()], ..DockerGrant::default() };
    let granted = Docker::new(crate::scope("app"), at(engine, nice));
    for (name, most) in [("rtprio", 0), ("nice", 20)] {
        plain.create(&with(name, most)).await.unwrap();
        for above in [most + 1, u64::MAX] {
            let error = plain.create(&with(name, above)).await.unwrap_err();
            let Error::Denied(message) = &error else { panic!("{error}") };
            assert!(message.contains("resources.ulimits[0]") && message.contains("SYS_NICE"), "{message}");
            granted.create(&with(name, above)).await.unwrap();
        }
    }
}
