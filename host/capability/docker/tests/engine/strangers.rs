//! Containers of others, asked for in every way: none is seen or touched, and the Engine is not even asked to.

use seawall_backend::Error;
use seawall_docker::{Container, Docker, DockerGrant, Scope};
use seawall_model::{BackendName, Key, LogOptions, SessionId, Signal, StoreId};
use seawall_testing::recorder::Recorder;

use crate::{Fixture, handle_text, key, sleeper};

/// A capability whose requests are recorded.
struct Watched {
    fixture: Fixture,
    recorder: Recorder,
}

impl Watched {
    fn new(name: &str) -> Option<Self> {
        let engine = crate::shared()?;
        let recorder = Recorder::start(engine.dir().join(format!("{name}.sock")), &engine.socket()).unwrap();
        let scope = crate::scope("app");
        let grant = DockerGrant { host: Some(recorder.host()), ..DockerGrant::default() };
        Some(Self { fixture: Fixture { engine, docker: Docker::new(scope.clone(), grant), scope }, recorder })
    }

    /// A container of somebody else, which runs, and its id.
    fn stranger(&self, name: &str, labels: &[(&str, &str)]) -> String {
        let mut arguments = vec!["run".to_owned(), "-d".to_owned(), "--name".to_owned(), name.to_owned()];
        arguments.extend(labels.iter().flat_map(|(name, value)| ["--label".to_owned(), format!("{name}={value}")]));
        arguments.extend(["busybox", "sleep", "1000"].map(str::to_owned));
        self.fixture.engine.docker(arguments).unwrap()
    }

    /// All that the Engine says of a container and that a call could change.
    fn facts(&self, id: &str) -> String {
        let format = "{{.Id}} {{.Name}} {{json .State}} {{json .Config.Labels}} {{.RestartCount}}";
        self.fixture.engine.docker(["inspect", "-f", format, id]).unwrap()
    }

    /// Asks for it by every function, and gives whether the key itself was refused. Nothing of it is found, and
    /// nothing is done.
    async fn attack(&self, key: &Key) -> bool {
        let docker = &self.fixture.docker;
        let before = self.recorder.requests().len();
        let none = |error: Error| match error {
            Error::NotFound(_) => false,
            Error::Invalid(invalid) => invalid.problems.iter().any(|problem| problem.field == "handle"),
            other => panic!("{key:?}: {other}"),
        };
        let refused = none(docker.start(key).await.unwrap_err());
        let logs = docker.logs(key, &LogOptions::default()).await.map(drop);
        assert_eq!(none(logs.unwrap_err()), refused);
        // What is missing is success for these, and so nothing can be learned from them either.
        assert_eq!(docker.signal(key, Signal::KILL).await.is_err(), refused);
        assert_eq!(docker.remove(key, true).await.is_err(), refused);
        match docker.inspect(std::slice::from_ref(key)).await {
            Ok(found) => assert!(found.is_empty() && !refused, "{key:?}: {found:?}"),
            Err(error) => assert!(none(error)),
        }
        for request in self.recorder.requests().split_off(before) {
            assert_eq!(request.method, "GET", "{key:?}: {request:?}");
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_');
            let path = request.target.split('?').next().unwrap();
            assert!(path.bytes().all(plain) && !path.contains(".."), "{request:?}");
            assert!(path.ends_with("/json") || path.ends_with("/version"), "{request:?}");
        }
        refused
    }
}

fn with_handle(handle: &[u8]) -> Key {
    Key { handle: Some(handle.to_vec()), ..key() }
}

#[tokio::test]
async fn no_text_in_a_key_reaches_a_container_of_somebody_else() {
    let Some(watched) = Watched::new("text") else { return };
    let name = format!("stranger-{}", watched.fixture.scope.store);
    let id = watched.stranger(&name, &[]);
    let before = watched.facts(&id);

    // Its own full id is a handle like any other, and is found to be nobody's of ours.
    assert!(!watched.attack(&with_handle(id.as_bytes())).await);
    // A session that is called as the id begins.
    let session: SessionId = id.get(..16).unwrap().parse().unwrap();
    assert!(!watched.attack(&Key { session, ..key() }).await);
    for handle in [
        &id[..12],
        &id[..63],
        &name,
        &name[..10],
        &format!("/{name}"),
        &id.to_uppercase(),
        &format!("{id}0"),
        &format!("{id}\n"),
        &format!("{id}/../../images"),
        &format!("{id}?force=1"),
        &format!("{id}#"),
        &format!("{id}/json"),
        &format!("../containers/{id}"),
        &format!("%2e%2e/containers/{id}"),
        &format!("{}%{}", &id[..31], &id[..32]),
        &format!("{}/{}", &id[..31], &id[..32]),
        "",
        ".",
        "..",
        "json",
    ] {
        assert!(watched.attack(&with_handle(handle.as_bytes())).await, "{handle:?} is no handle");
    }
    for handle in [&[0xff; 64][..], &[0; 64], &[b'/'; 64], "ａ".repeat(64).as_bytes()] {
        assert!(watched.attack(&with_handle(handle)).await);
    }
    assert_eq!(watched.facts(&id), before);
}

#[tokio::test]
async fn neither_a_stamp_nor_a_name_alone_makes_a_container_ours() {
    let Some(watched) = Watched::new("stamp") else { return };
    let store = watched.fixture.scope.store.to_string();
    let key = key();
    let session = key.session.to_string();
    let stamp = [
        ("seawall.store", store.as_str()),
        ("seawall.backend", "app"),
        ("seawall.session", session.as_str()),
        ("seawall.incarnation", "1"),
        ("seawall.health", "0"),
    ];
    let without = |label: &str| stamp.iter().copied().filter(|(name, _)| *name != label).collect::<Vec<_>>();
    let with = |label: &'static str, value: &'static str| {
        without(label).into_iter().chain([(label, value)]).collect::<Vec<_>>()
    };
    let named = |session: &str, incarnation: &str| format!("seawall-{store}-{session}-{incarnation}");
    let second = named(&session, "2");
    let mut strangers = Vec::new();
    for (name, labels) in [
        // Our stamp, and another name; twice.
        (format!("committed-{store}"), stamp.to_vec()),
        (format!("x{}", named(&session, "1")), stamp.to_vec()),
        (named(&session, "10"), stamp.to_vec()),
        (named(&session, "01"), with("seawall.incarnation", "01")),
        (second.clone(), stamp.to_vec()),
        // The name, and no stamp, half of one, or another's.
        (named("00000000000000a1", "1"), Vec::new()),
        (named("00000000000000a2", "1"), without("seawall.store")),
        (named("00000000000000a3", "1"), without("seawall.backend")),
        (named("00000000000000a4", "1"), with("seawall.session", "00000000000000a5")),
        (named("00000000000000a6", "1"), with("seawall.backend", "app2")),
        (named("00000000000000a7", "1"), with("seawall.store", "ffffffff")),
    ] {
        let id = watched.stranger(&name, &labels);
        strangers.push((id.clone(), watched.facts(&id)));
        let session: SessionId =
            name.split('-').nth(2).and_then(|part| part.parse().ok()).unwrap_or_else(|| key.session.clone());
        for incarnation in [1, 2, 10] {
            for handle in [None, Some(id.clone().into_bytes())] {
                watched.attack(&Key { session: session.clone(), incarnation, handle }).await;
            }
        }
    }
    assert!(watched.fixture.docker.list(None).await.unwrap().workloads.is_empty());

    // Ours is made beside them, and is the only one that is ours.
    let made = watched.fixture.docker.create(&Container { key: key.clone(), ..sleeper() }).await.unwrap();
    let listed = watched.fixture.docker.list(None).await.unwrap().workloads;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].status.handle, made.handle);
    // A second incarnation finds its name taken, and leaves it to whom it belongs.
    let next = Container { key: Key { incarnation: 2, ..key.clone() }, ..sleeper() };
    let error = watched.fixture.docker.create(&next).await.unwrap_err();
    assert!(matches!(&error, Error::Conflict { message, .. } if message.contains(&second)), "{error}");
    watched.fixture.docker.remove(&key, true).await.unwrap();
    for (id, before) in strangers {
        assert_eq!(watched.facts(&id), before);
    }
}

#[tokio::test]
async fn other_backends_other_stores_and_other_incarnations_are_strangers_too() {
    let Some(watched) = Watched::new("others") else { return };
    let engine = watched.fixture.engine;
    let other = |store: StoreId, backend: &str| {
        let backend: BackendName = backend.parse().unwrap();
        let scope = Scope { store, backend, protected: Vec::new() };
        Docker::new(scope, crate::at(engine, DockerGrant::default()))
    };
    let own = watched.fixture.scope.store.clone();
    for (docker, incarnation) in [
        (other(own.clone(), "app2"), 1),
        (other(own.clone(), "ap"), 1),
        (other(StoreId::random(), "app"), 1),
        // Of our own: the handle of the one before with the number of the one after.
        (watched.fixture.docker.clone(), 2),
    ] {
        let container = sleeper();
        let made = docker.create(&container).await.unwrap();
        docker.start(&container.key).await.unwrap();
        let id = handle_text(&made);
        let before = watched.facts(&id);
        for handle in [None, made.handle.clone()] {
            assert!(!watched.attack(&Key { incarnation, handle, ..container.key.clone() }).await);
        }
        if incarnation == 1 {
            let listed = watched.fixture.docker.list(None).await.unwrap().workloads;
            assert!(listed.iter().all(|workload| workload.session != container.key.session), "{listed:?}");
        }
        assert_eq!(watched.facts(&id), before);
        docker.remove(&container.key, true).await.unwrap();
    }
}

#[tokio::test]
async fn whoever_takes_the_name_and_the_stamp_of_one_that_went_is_not_taken_for_it() {
    let Some(watched) = Watched::new("heir") else { return };
    let fixture = &watched.fixture;
    let container = sleeper();
    let ours = fixture.run(&container).await;
    let (name, tag) = (fixture.name(&container.key), format!("heir:{}", fixture.scope.store));
    fixture.engine.docker(["commit", &name, &tag]).unwrap();
    fixture.engine.docker(["rm", "-f", &name]).unwrap();
    // The image has the labels, and so does what is made of it.
    let id = fixture.engine.docker(["run", "-d", "--name", &name, &tag, "sleep", "1000"]).unwrap();
    let before = watched.facts(&id);
    assert!(before.contains("seawall.session"), "{before}");
    // Whether the id is known, or the answer that had it was lost.
    for key in [ours, container.key.clone()] {
        assert!(!watched.attack(&key).await);
        let error = fixture.docker.create(&Container { key, ..container.clone() }).await.unwrap_err();
        assert!(matches!(error, Error::Conflict { .. }), "it is not adopted: {error}");
    }
    assert!(fixture.docker.list(None).await.unwrap().workloads.is_empty());
    // Ours may be made of that image all the same.
    let other = Container { image: tag, key: key(), ..container };
    let key = fixture.run(&other).await;
    assert!(fixture.status(&other.key).await.is_some());
    assert_eq!(fixture.docker.list(None).await.unwrap().workloads.len(), 1);
    fixture.docker.remove(&key, true).await.unwrap();
    assert_eq!(watched.facts(&id), before);
    fixture.engine.docker(["rm", "-f", &id]).unwrap();
}
