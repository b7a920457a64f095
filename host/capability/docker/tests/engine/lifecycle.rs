//! Start, signal, remove and every way to end.

use seawall_backend::Error;
use seawall_docker::Container;
use seawall_model::{Key, Signal, State};

use crate::{Fixture, busybox, key, shell, sleeper};

#[tokio::test]
async fn starting_twice_leaves_it_running_and_tells_since_when() {
    let Some(fixture) = Fixture::new() else { return };
    let container = sleeper();
    fixture.docker.create(&container).await.unwrap();
    let first = fixture.docker.start(&container.key).await.unwrap();
    assert_eq!(first.state, State::Running);
    assert!(first.started_at.is_some() && first.created_at.is_some() && first.handle.is_some());
    assert_eq!(fixture.docker.start(&container.key).await.unwrap(), first);
}

#[tokio::test]
async fn what_ended_is_not_started_again() {
    let Some(fixture) = Fixture::new() else { return };
    let key = fixture.run(&busybox(&["true"])).await;
    fixture.until_ended(&key).await;
    assert!(matches!(fixture.docker.start(&key).await, Err(Error::Conflict { .. })));
    assert!(matches!(fixture.docker.start(&crate::key()).await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn an_end_is_told_by_its_code() {
    let Some(fixture) = Fixture::new() else { return };
    for (script, code) in [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("exit 255", 255)] {
        // Process 1 cannot kill itself: an init is that.
        let key = fixture.run(&Container { init: true, ..shell(script) }).await;
        let status = fixture.until_ended(&key).await;
        let exit = status.exit.unwrap();
        assert_eq!(
            (status.state, exit.code, exit.signal, exit.oom),
            (State::Exited, Some(code), None, false),
            "{script}"
        );
        assert!(exit.at.is_some() && status.started_at.is_some());
    }
}

#[tokio::test]
async fn want_of_memory_is_told_apart() {
    let Some(fixture) = Fixture::new() else { return };
    let want = fixture.engine.want_of_memory().unwrap();
    let hog = "tail /dev/zero; while :; do sleep 0.1; done";
    let key = fixture.run(&Container { memory: Some(16 << 20), ..shell(hog) }).await;
    let name = fixture.name(&key);
    seawall_testing::wait_until("the Engine has heard of it", seawall_testing::PATIENCE, || want.of(&name).unwrap());
    fixture.docker.signal(&key, Signal::KILL).await.unwrap();
    let exit = fixture.until_ended(&key).await.exit.unwrap();
    assert!(exit.oom, "{exit:?}");
    assert!(!exit.success());
}

#[tokio::test]
async fn a_missing_program_is_the_commands_fault_and_stays_visible() {
    let Some(fixture) = Fixture::new() else { return };
    let container = busybox(&["/no/such/program"]);
    let made = fixture.docker.create(&container).await.unwrap();
    let key = Key { handle: made.handle, ..container.key };
    for _ in 0..2 {
        let error = fixture.docker.start(&key).await.unwrap_err();
        let Error::Invalid(invalid) = &error else { panic!("{error:?}") };
        assert_eq!(invalid.problems[0].field, "command");
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }
    let status = fixture.status(&key).await.unwrap();
    let exit = status.exit.unwrap();
    assert_eq!((status.state, exit.code), (State::Dead, Some(127)));
    assert!(exit.message.unwrap().contains("/no/such/program"));
}

#[tokio::test]
async fn a_missing_user_is_the_users_fault() {
    let Some(fixture) = Fixture::new() else { return };
    let container = Container { user: Some("nosuchuser".to_owned()), ..sleeper() };
    fixture.docker.create(&container).await.unwrap();
    let error = fixture.docker.start(&container.key).await.unwrap_err();
    let Error::Invalid(invalid) = &error else { panic!("{error:?}") };
    assert_eq!(invalid.problems[0].field, "user");
}

#[tokio::test]
async fn a_port_that_is_taken_is_a_conflict() {
    let Some(fixture) = Fixture::new() else { return };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = taken.local_addr().unwrap().port();
    let port = seawall_model::Port { container: 80, host: Some(host), address: None, protocol: Default::default() };
    let container = Container { ports: vec![port], ..sleeper() };
    fixture.docker.create(&container).await.unwrap();
    let error = fixture.docker.start(&container.key).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
}

#[tokio::test]
async fn a_signal_ends_it_and_again_is_success() {
    let Some(fixture) = Fixture::new() else { return };
    let key = fixture.run(&shell("trap 'exit 5' USR1; echo ready; while :; do sleep 0.05; done")).await;
    let name = fixture.name(&key);
    seawall_testing::wait_until("the trap is set", seawall_testing::PATIENCE, || {
        fixture.engine.docker(["logs", &name]).unwrap().contains("ready")
    });
    fixture.docker.signal(&key, "USR1".parse().unwrap()).await.unwrap();
    assert_eq!(fixture.until_ended(&key).await.exit.unwrap().code, Some(5));
    fixture.docker.signal(&key, Signal::KILL).await.unwrap();
    fixture.docker.signal(&crate::key(), Signal::KILL).await.unwrap();
}

#[tokio::test]
async fn sigkill_always_ends_it() {
    let Some(fixture) = Fixture::new() else { return };
    let key = fixture.run(&sleeper()).await;
    fixture.docker.signal(&key, Signal::KILL).await.unwrap();
    assert_eq!(fixture.until_ended(&key).await.exit.unwrap().code, Some(137));
    let paused = fixture.run(&sleeper()).await;
    fixture.engine.docker(["pause", &fixture.name(&paused)]).unwrap();
    assert_eq!(fixture.status(&paused).await.unwrap().state, State::Paused);
    fixture.docker.signal(&paused, Signal::KILL).await.unwrap();
    assert_eq!(fixture.until_ended(&paused).await.exit.unwrap().code, Some(137));
}

#[tokio::test]
async fn what_runs_is_removed_only_with_force_and_with_its_anonymous_volumes() {
    let Some(fixture) = Fixture::new() else { return };
    let tag = format!("volumes:{}", fixture.scope.store);
    let seed = fixture.engine.docker(["create", "busybox", "true"]).unwrap();
    fixture.engine.docker(["commit", "--change", "VOLUME /anonymous", &seed, &tag]).unwrap();
    let key = fixture.run(&Container { image: tag, ..sleeper() }).await;
    let volume = fixture.inspected(&key)["Mounts"][0]["Name"].as_str().unwrap().to_owned();

    assert!(matches!(fixture.docker.remove(&key, false).await, Err(Error::Conflict { .. })));
    assert_eq!(fixture.status(&key).await.unwrap().state, State::Running);
    fixture.docker.remove(&key, true).await.unwrap();
    assert!(fixture.status(&key).await.is_none());
    assert!(!fixture.engine.output(["volume", "inspect", &volume]).unwrap().status.success());
    fixture.docker.remove(&key, true).await.unwrap();
    fixture.docker.remove(&crate::key(), false).await.unwrap();
}

#[tokio::test]
async fn somebody_elses_with_our_labels_is_neither_seen_nor_touched() {
    let Some(fixture) = Fixture::new() else { return };
    let container = sleeper();
    fixture.docker.create(&container).await.unwrap();
    let tag = format!("committed:{}", fixture.scope.store);
    fixture.engine.docker(["commit", &fixture.name(&container.key), &tag]).unwrap();
    fixture.docker.remove(&container.key, true).await.unwrap();
    // Same labels, another name.
    let forged = format!("forged-{}", fixture.scope.store);
    let id = fixture.engine.docker(["run", "-d", "--name", &forged, &tag, "sleep", "1000"]).unwrap();

    let with_id = Key { handle: Some(id.clone().into_bytes()), ..container.key.clone() };
    for key in [&container.key, &with_id] {
        assert!(fixture.status(key).await.is_none());
        assert!(matches!(fixture.docker.start(key).await, Err(Error::NotFound(_))));
        assert!(matches!(fixture.docker.logs(key, &Default::default()).await, Err(Error::NotFound(_))));
        fixture.docker.signal(key, Signal::KILL).await.unwrap();
        fixture.docker.remove(key, true).await.unwrap();
    }
    assert!(fixture.docker.list(None).await.unwrap().workloads.is_empty());
    assert_eq!(fixture.engine.docker(["inspect", "-f", "{{.State.Running}}", &id]).unwrap(), "true");

    // Renamed by hand, ours is ours no more.
    let renamed = fixture.run(&Container { key: key(), ..sleeper() }).await;
    let name = format!("renamed-{}", fixture.scope.store);
    fixture.engine.docker(["rename", &fixture.name(&renamed), &name]).unwrap();
    assert!(fixture.status(&renamed).await.is_none());
    fixture.docker.remove(&renamed, true).await.unwrap();
    assert_eq!(fixture.engine.docker(["inspect", "-f", "{{.State.Running}}", &name]).unwrap(), "true");
}
