//! An Engine that is absent, hangs, dies in mid-call and comes back.

use std::time::Duration;

use futures_util::StreamExt;
use seawall_backend::Error;
use seawall_docker::{Docker, DockerGrant};
use seawall_model::{Health, Key, LogOptions, State};
use seawall_testing::PATIENCE;
use seawall_testing::docker::Engine;

use crate::{at, scope, sleeper};

fn unavailable<T: std::fmt::Debug>(result: Result<T, Error>, socket: &str) {
    match result {
        Err(Error::Unavailable { message, .. }) => assert!(message.contains(socket), "{message}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_engine_that_is_absent_is_unavailable_for_every_call() {
    let grant = DockerGrant { host: Some("unix:///no/such/docker.sock".to_owned()), ..DockerGrant::default() };
    let docker = Docker::new(scope("app"), grant);
    let container = sleeper();
    let key = container.key.clone();
    let socket = "unix:///no/such/docker.sock";
    unavailable(docker.ping().await, socket);
    unavailable(docker.create(&container).await, socket);
    unavailable(docker.start(&key).await, socket);
    unavailable(docker.signal(&key, seawall_model::Signal::TERM).await, socket);
    unavailable(docker.remove(&key, true).await, socket);
    unavailable(docker.inspect(std::slice::from_ref(&key)).await, socket);
    unavailable(docker.list(None).await, socket);
    unavailable(docker.logs(&key, &LogOptions::default()).await.map(drop), socket);
}

#[tokio::test]
async fn a_socket_that_nobody_listens_on_or_that_is_no_engine_says_so() {
    let dir = std::env::temp_dir().join(format!("seawall-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let path = dir.join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let host = format!("unix://{}", path.display());
    let docker = Docker::new(scope("app"), DockerGrant { host: Some(host.clone()), ..DockerGrant::default() });
    unavailable(docker.ping().await, &host);

    // Answers, breaks off in the middle, and speaks something else.
    std::fs::remove_file(&path).unwrap();
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        for answer in ["HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"ApiVers", "SSH-2.0-nothing\r\n"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await;
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await;
        }
    });
    unavailable(docker.ping().await, &host);
    unavailable(docker.ping().await, &host);
    server.await.unwrap();
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn an_engine_that_hangs_dies_and_returns_is_used_again() {
    let Some(engine) = Engine::start_or_skip("outages of the Engine") else { return };
    let docker = Docker::new(scope("app"), at(&engine, DockerGrant::default()));
    let container = sleeper();
    let made = docker.create(&container).await.unwrap();
    let key = Key { handle: made.handle, ..container.key.clone() };
    docker.start(&key).await.unwrap();

    // It hangs: the call is cut by whoever made it, and leaves nothing behind.
    engine.pause_process().unwrap();
    let cut = tokio::time::timeout(Duration::from_millis(300), docker.inspect(std::slice::from_ref(&key))).await;
    assert!(cut.is_err(), "{cut:?}");
    engine.resume().unwrap();
    let found = docker.inspect(std::slice::from_ref(&key)).await.unwrap();
    assert_eq!(found[0].status.state, State::Running);

    // It dies in mid-call, and in the middle of a stream.
    let options = LogOptions { follow: true, ..LogOptions::default() };
    let mut stream = docker.logs(&key, &options).await.unwrap();
    engine.pause_process().unwrap();
    let keys = [key.clone()];
    let (answer, rest, killed) = tokio::join!(
        tokio::time::timeout(PATIENCE, docker.inspect(&keys)),
        tokio::time::timeout(PATIENCE, stream.next()),
        async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            engine.kill()
        },
    );
    killed.unwrap();
    unavailable(answer.unwrap(), "d.sock");
    assert!(matches!(rest.unwrap(), Some(Err(_)) | None), "a stream that was cut");
    unavailable(docker.ping().await, &engine.host());
    unavailable(docker.inspect(&keys).await, &engine.host());

    // It comes back: the same capability goes on, and creating again meets the container of before.
    engine.up().unwrap();
    docker.ping().await.unwrap();
    assert_eq!(docker.inspect(&keys).await.unwrap().len(), 1);
    assert_eq!(docker.create(&container).await.unwrap().handle, key.handle);
    engine.restart().unwrap();
    assert!(docker.inspect(&keys).await.unwrap()[0].status.exit.is_some(), "a polite shutdown ends containers");
    docker.remove(&key, false).await.unwrap();
}

/// Answers one request for each connection, by its path; `None` is never answered.
async fn imitate(listener: tokio::net::UnixListener, answer: impl Fn(&str) -> Option<(u16, String)>) {
    let mut open = Vec::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 4096];
        let read = tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.unwrap();
        buffer.truncate(read);
        let request = String::from_utf8_lossy(&buffer).into_owned();
        let path = request.split_whitespace().nth(1).unwrap_or_default().to_owned();
        match answer(&path) {
            Some((status, body)) => {
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
                tokio::io::AsyncWriteExt::write_all(&mut stream, (head + &body).as_bytes()).await.unwrap();
            }
            None => open.push(stream),
        }
    }
}

#[tokio::test]
async fn one_container_that_the_engine_cannot_tell_about_does_not_spoil_the_batch() {
    let dir = std::env::temp_dir().join(format!("seawall-imitation-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let path = dir.join("docker.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let scope = scope("app");
    let keys: Vec<Key> = (0..4).map(|_| crate::key()).collect();
    let ids: Vec<String> = (0..4).map(|number| format!("{number:064x}")).collect();
    let rows = keys.iter().zip(&ids).map(|(key, id)| {
        serde_json::json!({
            "Id": id, "State": if *id == ids[0] { "running" } else { "exited" },
            "Names": [format!("/seawall-{}-{}-1", scope.store, key.session)],
            "Labels": {"seawall.store": scope.store, "seawall.backend": "app", "seawall.session": key.session,
                "seawall.incarnation": "1"},
        })
    });
    let list = serde_json::Value::Array(rows.collect()).to_string();
    let (locked, failing) = (ids[1].clone(), ids[2].clone());
    let server = tokio::spawn(imitate(listener, move |path| {
        if path.contains("/version") {
            Some((200, r#"{"ApiVersion":"1.41","Version":"20.10"}"#.to_owned()))
        } else if path.contains("/containers/json") {
            Some((200, list.clone()))
        } else if path.contains("/images/json") {
            Some((200, "[]".to_owned()))
        } else if path.contains(&locked) {
            None
        } else if path.contains(&failing) {
            Some((500, r#"{"message":"no idea"}"#.to_owned()))
        } else {
            Some((404, r#"{"message":"No such container"}"#.to_owned()))
        }
    }));
    let grant = DockerGrant { host: Some(format!("unix://{}", path.display())), ..DockerGrant::default() };
    let docker = Docker::new(scope, grant);
    let unclear = (State::Running, Health::Unknown);
    let expected = [(0, State::Running, Health::Healthy), (1, unclear.0, unclear.1), (2, unclear.0, unclear.1)];
    let mut seen = Vec::new();
    // On a machine that is busy another one may be told about too late, which is as unclear.
    let told = async {
        while seen != expected {
            let found = docker.inspect(&keys).await.unwrap();
            seen = found.iter().map(|found| (found.position, found.status.state, found.status.health)).collect();
        }
    };
    let told = tokio::time::timeout(PATIENCE, told).await;
    server.abort();
    std::fs::remove_dir_all(dir).unwrap();
    assert!(told.is_ok(), "{seen:?}");
}
