//! Creating: once for a key, as it was said, and never over somebody else's.

use std::time::Duration;

use seawall_backend::Error;
use seawall_docker::{Container, Docker, DockerGrant, HealthCheck, MountGrant};
use seawall_model::{
    Health, HealthCommand, Mount, MountSource, Network, Port, Protocol, Secret, Signal, Size, State, Ulimit,
};

use crate::{Fixture, at, busybox, handle_text, key, sleeper};

#[tokio::test]
async fn creating_twice_makes_one_container_and_gives_the_same_status() {
    let Some(fixture) = Fixture::new() else { return };
    let container = sleeper();
    let first = fixture.docker.create(&container).await.unwrap();
    // The answer to the first was lost: the key has no handle.
    let second = fixture.docker.create(&container).await.unwrap();
    assert_eq!(first, second);
    assert_eq!((first.state, first.health, first.exit), (State::Created, Health::Unknown, None));
    let name = fixture.name(&container.key);
    let ids = fixture.engine.docker(["ps", "-aq", "--no-trunc", "--filter", &format!("name={name}")]).unwrap();
    assert_eq!(ids, handle_text(&second));
}

#[tokio::test]
async fn two_creates_at_once_make_one_container() {
    let Some(fixture) = Fixture::new() else { return };
    let container = sleeper();
    let (one, two) = tokio::join!(fixture.docker.create(&container), fixture.docker.create(&container));
    assert_eq!(one.unwrap().handle, two.unwrap().handle);
}

#[tokio::test]
async fn a_name_that_somebody_else_has_is_a_conflict_and_theirs_stays() {
    let Some(fixture) = Fixture::new() else { return };
    let container = sleeper();
    let name = fixture.name(&container.key);
    let theirs = fixture.engine.docker(["create", "--name", &name, "busybox", "true"]).unwrap();
    let error = fixture.docker.create(&container).await.unwrap_err();
    assert!(matches!(&error, Error::Conflict { message, .. } if message.contains(&name)), "{error:?}");
    fixture.docker.remove(&container.key, true).await.unwrap();
    assert_eq!(
        fixture.engine.docker(["ps", "-aq", "--no-trunc", "--filter", &format!("name={name}")]).unwrap(),
        theirs
    );
}

#[tokio::test]
async fn our_own_name_with_another_id_than_the_handle_is_a_conflict() {
    let Some(fixture) = Fixture::new() else { return };
    let mut container = sleeper();
    fixture.docker.create(&container).await.unwrap();
    container.key.handle = Some("0".repeat(64).into_bytes());
    let error = fixture.docker.create(&container).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
}

#[tokio::test]
async fn every_field_reaches_the_engine() {
    let Some(shared) = crate::shared() else { return };
    let root = shared.dir().join("granted");
    std::fs::create_dir_all(root.join("sub")).unwrap();
    let grant = DockerGrant {
        mounts: vec![
            MountGrant { path: root.clone(), write: false },
            MountGrant { path: root.join("sub"), write: true },
        ],
        volumes: true,
        capabilities: vec!["NET_ADMIN".to_owned()],
        ..DockerGrant::default()
    };
    let fixture = Fixture::granted(grant).unwrap();
    let mount = |source, target: &str, read_only| Mount::new(source, target, read_only);
    let container = Container {
        entrypoint: Some(vec!["/bin/sh".to_owned()]),
        env: vec![
            ("A".to_owned(), Secret::new("first")),
            ("B".to_owned(), Secret::new("b=b")),
            ("A".to_owned(), Secret::new("last")),
        ],
        name: Some("boat-1".to_owned()),
        labels: vec![("team".to_owned(), "sea".to_owned())],
        hostname: Some("boat".to_owned()),
        working_dir: Some("/tmp".to_owned()),
        user: Some("nobody".to_owned()),
        mounts: vec![
            mount(MountSource::Bind(root.join("sub").display().to_string()), "/data", false),
            mount(MountSource::Bind(root.display().to_string()), "/ro", true),
            mount(MountSource::Volume("seawall-volume".to_owned()), "/volume", false),
            mount(MountSource::Tmpfs(Some(Size(1 << 20))), "/scratch", false),
        ],
        memory: Some(64 << 20),
        cpu_millis: Some(500),
        processes: Some(50),
        ulimits: vec![Ulimit { name: "nofile".to_owned(), soft: 100, hard: 200 }],
        tty: true,
        stdin: true,
        init: true,
        read_only_root: true,
        drop_capabilities: vec!["CAP_NET_RAW".to_owned()],
        add_capabilities: vec!["net_admin".to_owned()],
        ports: vec![
            Port { container: 80, host: None, address: None, protocol: Protocol::Tcp },
            Port { container: 53, host: Some(15353), address: "::1".parse().ok(), protocol: Protocol::Udp },
        ],
        stop_signal: Some(Signal::from_number(10).unwrap()),
        stop_grace: Some(Duration::from_millis(2500)),
        health_check: HealthCheck::Command(HealthCommand {
            command: vec!["true".to_owned()],
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(2),
            start_period: Duration::from_secs(3),
            start_interval: None,
            retries: 4,
        }),
        log_max_size: Some(1 << 20),
        log_max_files: Some(1),
        ..busybox(&["-c", "sleep 1000"])
    };
    fixture.docker.create(&container).await.unwrap();
    let seen = fixture.inspected(&container.key);
    let (config, host) = (&seen["Config"], &seen["HostConfig"]);
    for (path, expected) in [
        ("/Image", serde_json::json!("busybox:latest")),
        ("/Entrypoint", serde_json::json!(["/bin/sh"])),
        ("/Cmd", serde_json::json!(["-c", "sleep 1000"])),
        ("/Hostname", serde_json::json!("boat")),
        ("/WorkingDir", serde_json::json!("/tmp")),
        ("/User", serde_json::json!("nobody")),
        ("/Tty", serde_json::json!(true)),
        ("/OpenStdin", serde_json::json!(true)),
        ("/StopSignal", serde_json::json!("10")),
        ("/StopTimeout", serde_json::json!(3)),
        ("/Labels/seawall.name", serde_json::json!("boat-1")),
        ("/Labels/team", serde_json::json!("sea")),
        ("/Labels/seawall.backend", serde_json::json!("app")),
        ("/Labels/seawall.incarnation", serde_json::json!("1")),
        ("/Labels/seawall.health", serde_json::json!("1")),
        ("/Healthcheck/Test", serde_json::json!(["CMD", "true"])),
        ("/Healthcheck/Interval", serde_json::json!(1_000_000_000)),
        ("/Healthcheck/Timeout", serde_json::json!(2_000_000_000)),
        ("/Healthcheck/StartPeriod", serde_json::json!(3_000_000_000_u64)),
        ("/Healthcheck/Retries", serde_json::json!(4)),
    ] {
        assert_eq!(config.pointer(path), Some(&expected), "Config{path}");
    }
    let env = config["Env"].as_array().unwrap();
    assert!(env.contains(&"A=last".into()) && env.contains(&"B=b=b".into()) && !env.contains(&"A=first".into()));
    for (path, expected) in [
        ("/Memory", serde_json::json!(64 << 20)),
        ("/MemorySwap", serde_json::json!(64 << 20)),
        ("/NanoCpus", serde_json::json!(500_000_000)),
        ("/PidsLimit", serde_json::json!(50)),
        ("/Ulimits", serde_json::json!([{"Name": "nofile", "Soft": 100, "Hard": 200}])),
        ("/Init", serde_json::json!(true)),
        ("/ReadonlyRootfs", serde_json::json!(true)),
        ("/Privileged", serde_json::json!(false)),
        ("/CapDrop", serde_json::json!(["NET_RAW"])),
        ("/CapAdd", serde_json::json!(["NET_ADMIN"])),
        ("/NetworkMode", serde_json::json!("bridge")),
        ("/RestartPolicy/Name", serde_json::json!("no")),
        ("/Binds", serde_json::json!(null)),
        ("/LogConfig/Type", serde_json::json!("local")),
        ("/LogConfig/Config/max-size", serde_json::json!("1048576")),
        ("/LogConfig/Config/max-file", serde_json::json!("1")),
        ("/PortBindings/80~1tcp/0/HostIp", serde_json::json!("127.0.0.1")),
        ("/PortBindings/53~1udp/0", serde_json::json!({"HostIp": "::1", "HostPort": "15353"})),
    ] {
        let swapless = path == "/MemorySwap" && host.pointer(path) == Some(&serde_json::json!(-1));
        assert!(swapless || host.pointer(path) == Some(&expected), "HostConfig{path}: {:?}", host.pointer(path));
    }
    let mounts = host["Mounts"].as_array().unwrap();
    let real = root.canonicalize().unwrap();
    assert_eq!(mounts.len(), 4);
    assert_eq!(mounts[0]["Source"], real.join("sub").display().to_string());
    assert_eq!((&mounts[1]["ReadOnly"], &mounts[1]["BindOptions"]["NonRecursive"]), (&true.into(), &true.into()));
    assert_eq!((&mounts[2]["Type"], &mounts[2]["Source"]), (&"volume".into(), &"seawall-volume".into()));
    assert_eq!((&mounts[3]["Type"], &mounts[3]["TmpfsOptions"]["SizeBytes"]), (&"tmpfs".into(), &(1 << 20).into()));
}

#[tokio::test]
async fn more_processors_than_there_are_are_refused_where_asked_for_and_all_of_them_by_default() {
    let Some(fixture) = Fixture::new() else { return };
    let cpus = fixture.docker.ping().await.unwrap().cpus;
    let asked = Container { cpu_millis: Some(cpus * 1000 + 1), ..sleeper() };
    let error = fixture.docker.create(&asked).await.unwrap_err();
    let Error::Invalid(invalid) = &error else { panic!("{error:?}") };
    assert_eq!(invalid.problems[0].field, "resources.cpus");
    assert!(invalid.problems[0].message.contains(&format!("at most {cpus}:")), "{error}");
    let container = Container { default_cpu_millis: Some(u32::MAX), ..sleeper() };
    fixture.docker.create(&container).await.unwrap();
    let nanos = &fixture.inspected(&container.key)["HostConfig"]["NanoCpus"];
    assert_eq!(*nanos, serde_json::json!(u64::from(cpus) * 1_000_000_000));
}

#[tokio::test]
async fn networks_are_as_they_were_asked_for() {
    let Some(fixture) = Fixture::granted(DockerGrant { host_network: true, ..DockerGrant::default() }) else { return };
    for (network, mode) in [
        (None, "bridge"),
        (Some(Network::Isolated), "none"),
        (Some(Network::Host), "host"),
        (Some(Network::Internet), "bridge"),
    ] {
        let container = Container { network, ..sleeper() };
        fixture.docker.create(&container).await.unwrap();
        assert_eq!(fixture.inspected(&container.key)["HostConfig"]["NetworkMode"], mode);
    }
}

#[tokio::test]
async fn a_missing_image_is_named_with_how_to_get_it_and_nothing_is_made() {
    let Some(fixture) = Fixture::new() else { return };
    for check in [HealthCheck::Image, HealthCheck::Disabled] {
        let container = Container { health_check: check, ..Container::new(key(), "nowhere/nothing:7") };
        let error = fixture.docker.create(&container).await.unwrap_err();
        let Error::Invalid(invalid) = &error else { panic!("{error:?}") };
        assert_eq!(invalid.problems[0].field, "image");
        assert!(invalid.problems[0].message.contains("docker pull nowhere/nothing:7"), "{error}");
    }
    assert!(fixture.docker.list(None).await.unwrap().workloads.is_empty());
}

#[tokio::test]
async fn an_images_labels_do_not_change_the_stamp() {
    let Some(fixture) = Fixture::new() else { return };
    let container = sleeper();
    fixture.docker.create(&container).await.unwrap();
    let name = fixture.name(&container.key);
    fixture.engine.docker(["commit", "--change", "LABEL team=forged", &name, "forged:one"]).unwrap();
    let other = Container { image: "forged:one".to_owned(), key: key(), ..container };
    fixture.docker.create(&other).await.unwrap();
    assert_eq!(fixture.inspected(&other.key)["Config"]["Labels"]["seawall.session"], other.key.session.to_string());
}

#[tokio::test]
async fn another_backend_on_the_same_store_sees_none_of_it() {
    let Some(fixture) = Fixture::new() else { return };
    let container = sleeper();
    fixture.docker.create(&container).await.unwrap();
    let scope = seawall_docker::Scope { backend: "app2".parse().unwrap(), ..fixture.scope.clone() };
    let other = Docker::new(scope, at(fixture.engine, DockerGrant::default()));
    assert!(other.list(None).await.unwrap().workloads.is_empty());
    assert!(other.inspect(std::slice::from_ref(&container.key)).await.unwrap().is_empty());
    assert!(matches!(other.start(&container.key).await, Err(Error::NotFound(_))));
    other.remove(&container.key, true).await.unwrap();
    assert_eq!(fixture.status(&container.key).await.unwrap().state, State::Created);
}
