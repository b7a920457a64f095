//! What is not granted or cannot be is refused by name, and nothing is made.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use seawall_backend::Error;
use seawall_docker::{Container, Docker, DockerGrant, HealthCheck, MountGrant, Scope};
use seawall_model::{Attachment, HealthCommand, Mount, MountSource, Network, Port, Protocol, Secret, Size, Ulimit};

use crate::{Fixture, at, sleeper};

fn bind(source: &Path, read_only: bool) -> Mount {
    Mount::new(MountSource::Bind(source.display().to_string()), "/data", read_only)
}

fn port(container: u16, address: Option<&str>) -> Port {
    let address = address.map(|address| address.parse().unwrap());
    Port { container, host: None, address, protocol: Protocol::Tcp }
}

#[tokio::test]
async fn what_is_not_granted_is_denied_by_field_with_the_line_that_grants_it() {
    let Some(fixture) = Fixture::new() else { return };
    let volume = Mount::new(MountSource::Volume("data".to_owned()), "/data", true);
    for (container, field, line) in [
        (Container { privileged: true, ..sleeper() }, "options.privileged", "privileged = true"),
        (Container { network: Some(Network::Host), ..sleeper() }, "network", "host-network = true"),
        (
            Container { add_capabilities: vec!["SYS_ADMIN".to_owned()], ..sleeper() },
            "options.add_capabilities",
            "SYS_ADMIN is not granted",
        ),
        (Container { mounts: vec![volume], ..sleeper() }, "mounts[0].source", "volumes = true"),
        (Container { mounts: vec![bind(Path::new("/etc"), true)], ..sleeper() }, "mounts[0].source", "`mounts`"),
        (Container { ports: vec![port(80, Some("0.0.0.0"))], ..sleeper() }, "ports[0].address", "`publish`"),
        (Container { ports: vec![port(80, Some("::"))], ..sleeper() }, "ports[0].address", "`publish`"),
    ] {
        let error = fixture.docker.create(&container).await.unwrap_err();
        let Error::Denied(message) = &error else { panic!("{error:?}") };
        assert!(message.contains(field) && message.contains(line), "{message}");
        assert!(message.contains("[backend.app.grants.docker]"), "{message}");
    }
    assert!(fixture.docker.list(None).await.unwrap().workloads.is_empty());
}

#[tokio::test]
async fn what_cannot_be_is_invalid_by_field() {
    let Some(fixture) = Fixture::granted(DockerGrant { host_network: true, ..DockerGrant::default() }) else { return };
    let text = |text: &str| Some(text.to_owned());
    let tmpfs = |target: &str, size| Mount::new(MountSource::Tmpfs(size), target, false);
    let check = |command: Vec<String>| {
        let second = std::time::Duration::from_secs(1);
        HealthCheck::Command(HealthCommand {
            command,
            interval: second,
            timeout: second,
            start_period: second,
            start_interval: None,
            retries: 1,
        })
    };
    let mut with_options = tmpfs("/a", None);
    with_options.options.insert("mode".to_owned(), 7.into());
    let limit = |name: &str, soft, hard| Ulimit { name: name.to_owned(), soft, hard };
    for (container, field) in [
        (Container { image: "../../info".to_owned(), ..sleeper() }, "image"),
        (Container { image: "busybox?x=1".to_owned(), ..sleeper() }, "image"),
        (Container { image: String::new(), ..sleeper() }, "image"),
        (Container { command: vec!["a\0b".to_owned()], ..sleeper() }, "command"),
        (Container { env: vec![("A=B".to_owned(), Secret::new("x"))], ..sleeper() }, "env.A=B"),
        (Container { env: vec![("A".to_owned(), Secret::new("x\0"))], ..sleeper() }, "env.A"),
        (
            Container { labels: vec![("seawall.session".to_owned(), "x".to_owned())], ..sleeper() },
            "labels.seawall.session",
        ),
        (Container { name: text("a\nb"), ..sleeper() }, "name"),
        (Container { name: text(""), ..sleeper() }, "name"),
        (Container { hostname: text("a b"), ..sleeper() }, "hostname"),
        (Container { hostname: Some("h".repeat(64)), ..sleeper() }, "hostname"),
        (Container { hostname: text("boat"), network: Some(Network::Host), ..sleeper() }, "hostname"),
        (Container { user: text("no\nbody"), ..sleeper() }, "user"),
        (Container { working_dir: text("tmp"), ..sleeper() }, "working_dir"),
        (Container { memory: Some(1 << 20), ..sleeper() }, "resources.memory"),
        (Container { memory: Some(u64::MAX), ..sleeper() }, "resources.memory"),
        (Container { cpu_millis: Some(0), ..sleeper() }, "resources.cpus"),
        (Container { processes: Some(0), ..sleeper() }, "resources.processes"),
        (Container { ulimits: vec![limit("files", 1, 1)], ..sleeper() }, "resources.ulimits[0].name"),
        (Container { ulimits: vec![limit("nofile", 2, 1)], ..sleeper() }, "resources.ulimits[0]"),
        (Container { drop_capabilities: vec!["net raw".to_owned()], ..sleeper() }, "options.drop_capabilities"),
        (Container { mounts: vec![tmpfs("data", None)], ..sleeper() }, "mounts[0].target"),
        (Container { mounts: vec![tmpfs("/", None)], ..sleeper() }, "mounts[0].target"),
        (Container { mounts: vec![tmpfs("/a/../b", None)], ..sleeper() }, "mounts[0].target"),
        (Container { mounts: vec![tmpfs("/a", Some(Size(0)))], ..sleeper() }, "mounts[0].source"),
        (Container { mounts: vec![tmpfs("/a", None), tmpfs("/a/", None)], ..sleeper() }, "mounts[1].target"),
        (Container { mounts: vec![with_options], ..sleeper() }, "mounts[0].options"),
        (Container { ports: vec![port(0, None)], ..sleeper() }, "ports[0]"),
        (Container { ports: vec![port(80, None)], network: Some(Network::Isolated), ..sleeper() }, "ports"),
        (Container { ports: vec![port(80, None)], network: Some(Network::Host), ..sleeper() }, "ports"),
        (Container { health_check: check(Vec::new()), ..sleeper() }, "health_check.command"),
        (Container { log_max_size: Some(1), ..sleeper() }, "logs.max_size"),
        (Container { log_max_files: Some(0), ..sleeper() }, "logs.max_files"),
    ] {
        let error = fixture.docker.create(&container).await.unwrap_err();
        let Error::Invalid(invalid) = &error else { panic!("{field}: {error:?}") };
        assert!(invalid.problems.iter().any(|problem| problem.field == field), "{field}: {error}");
    }
    assert!(fixture.docker.list(None).await.unwrap().workloads.is_empty());
}

#[tokio::test]
async fn what_this_engine_has_not_is_unsupported_by_field() {
    let Some(fixture) = Fixture::new() else { return };
    let back = Attachment { name: "back".to_owned(), aliases: vec![], options: serde_json::Map::new() };
    let second = std::time::Duration::from_secs(1);
    let check = HealthCheck::Command(HealthCommand {
        command: vec!["true".to_owned()],
        interval: second,
        timeout: second,
        start_period: second,
        start_interval: Some(second),
        retries: 1,
    });
    let mut cases = vec![(Container { network: Some(Network::Named(vec![back])), ..sleeper() }, "network: ")];
    let container = Container { health_check: check, ..sleeper() };
    let version = fixture.docker.ping().await.unwrap().api_version;
    let (major, minor) = version.split_once('.').unwrap();
    if (major.parse::<u32>().unwrap(), minor.parse::<u32>().unwrap()) < (1, 44) {
        cases.push((container, "health_check.start_interval: "));
    } else {
        fixture.docker.create(&container).await.unwrap();
        let seen = &fixture.inspected(&container.key)["Config"]["Healthcheck"]["StartInterval"];
        assert_eq!(*seen, serde_json::json!(1_000_000_000));
        fixture.docker.remove(&container.key, true).await.unwrap();
    }
    for (container, field) in cases {
        let error = fixture.docker.create(&container).await.unwrap_err();
        assert!(matches!(&error, Error::Unsupported(message) if message.starts_with(field)), "{field}: {error}");
    }
    assert!(fixture.docker.list(None).await.unwrap().workloads.is_empty());
}

#[tokio::test]
async fn only_files_beneath_a_granted_root_are_mounted_and_never_the_protected() {
    let Some(engine) = crate::shared() else { return };
    let base = engine.dir().join("mounts");
    for dir in ["read/sub", "write/sub", "write/kept/deep", "outside", "app/data"] {
        std::fs::create_dir_all(base.join(dir)).unwrap();
    }
    symlink(base.join("outside"), base.join("write/escape")).unwrap();
    symlink("../../outside", base.join("write/sub/climb")).unwrap();
    symlink("/proc/self/root", base.join("write/magic")).unwrap();
    symlink("sub", base.join("write/inner")).unwrap();
    let _socket = UnixListener::bind(base.join("write/some.sock")).unwrap();
    let grant = DockerGrant {
        mounts: vec![
            MountGrant { path: base.join("read"), write: false },
            MountGrant { path: base.join("write"), write: true },
            MountGrant { path: base.join("write/kept"), write: false },
            MountGrant { path: base.join("app"), write: true },
            MountGrant { path: engine.dir().to_owned(), write: false },
            MountGrant { path: "/run".into(), write: true },
        ],
        ..DockerGrant::default()
    };
    let scope = Scope { protected: vec![base.join("app/data")], ..crate::scope("app") };
    let docker = Docker::new(scope, at(engine, grant));
    let attempt = async |path: &str, read_only| {
        let container = Container { mounts: vec![bind(&base.join(path), read_only)], ..sleeper() };
        docker.create(&container).await.map(drop)
    };

    for (path, read_only) in [
        ("read", true),
        ("read/sub", true),
        ("write", true),
        ("write/sub", false),
        ("write/inner", false),
        ("write/kept", true),
    ] {
        attempt(path, read_only).await.unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    for (path, read_only, why) in [
        ("read", false, "write = true"),
        ("read/sub", false, "write = true"),
        ("write/kept/deep", false, "write = true"),
        ("write", false, "write = true"),
        ("write/escape", true, "link"),
        ("write/sub/climb", true, "link"),
        ("write/magic", true, "link"),
        ("write/some.sock", true, "neither a directory nor a file"),
        ("app/data", true, "never given away"),
        ("app", true, "never given away"),
        ("..", true, "without `..`"),
        ("write/../outside", true, "without `..`"),
        ("write/absent", true, "does not exist"),
    ] {
        let error = attempt(path, read_only).await.unwrap_err();
        assert!(matches!(error, Error::Denied(_) | Error::Invalid(_)), "{path}: {error:?}");
        assert!(error.to_string().contains(why), "{path}: {error}");
    }
    // The Engine's own socket, what holds it, and where Docker's usual socket lies.
    for path in [engine.socket(), engine.dir().to_owned(), "/run".into()] {
        let container = Container { mounts: vec![bind(&path, true)], ..sleeper() };
        let error = docker.create(&container).await.unwrap_err();
        assert!(matches!(error, Error::Denied(_)), "{}: {error:?}", path.display());
    }
}

#[tokio::test]
async fn a_read_only_mount_cannot_be_written() {
    let Some(engine) = crate::shared() else { return };
    let root = engine.dir().join("readonly");
    std::fs::create_dir_all(&root).unwrap();
    std::fs::write(root.join("file"), "from the host").unwrap();
    let grant = DockerGrant { mounts: vec![MountGrant { path: root.clone(), write: false }], ..DockerGrant::default() };
    let fixture = Fixture::granted(grant).unwrap();
    let script = "cat /data/file; echo x > /data/file || exit 7";
    let container = Container { mounts: vec![bind(&root, true)], ..crate::shell(script) };
    let key = fixture.run(&container).await;
    assert_eq!(fixture.until_ended(&key).await.exit.unwrap().code, Some(7));
    assert_eq!(std::fs::read_to_string(root.join("file")).unwrap(), "from the host");
}

#[tokio::test]
async fn files_of_another_machine_are_not_mounted() {
    let grant = DockerGrant { host: Some("tcp://192.0.2.1:2375".to_owned()), ..DockerGrant::default() };
    let docker = Docker::new(crate::scope("app"), grant);
    // No Engine is needed to see that a handle, or too many keys, cannot be.
    let key = seawall_model::Key { handle: Some(b"../info".to_vec()), ..crate::key() };
    assert!(matches!(docker.inspect(std::slice::from_ref(&key)).await, Err(Error::Invalid(_))));
    assert!(matches!(docker.inspect(&vec![crate::key(); 1001]).await, Err(Error::Invalid(_))));
    assert!(matches!(docker.list(Some("x")).await, Err(Error::Invalid(_))));
}
