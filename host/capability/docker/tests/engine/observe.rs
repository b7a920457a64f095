//! Inspecting and listing: what is there, how it fares, and nothing that is not.

use std::time::Duration;

use seawall_docker::{Container, HealthCheck};
use seawall_model::{Health, HealthCommand, Key, State};

use crate::{Fixture, busybox, key, sleeper};

fn checked(script: &str, start_period: u64) -> Container {
    let check = HealthCommand {
        command: vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()],
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(5),
        start_period: Duration::from_secs(start_period),
        start_interval: None,
        retries: 1,
    };
    Container { health_check: HealthCheck::Command(check), ..sleeper() }
}

#[tokio::test]
async fn the_engine_says_who_it_is() {
    let Some(fixture) = Fixture::new() else { return };
    let engine = fixture.docker.ping().await.unwrap();
    assert_eq!(engine.version, fixture.engine.docker(["version", "-f", "{{.Server.Version}}"]).unwrap());
    assert!(engine.cpus > 0 && engine.memory > 0 && engine.api_version.starts_with("1."));
    assert!(engine.attributes.iter().any(|(name, _)| name == "cgroup_version"));
}

#[tokio::test]
async fn a_batch_is_answered_by_position_and_leaves_out_what_is_not_there() {
    let Some(fixture) = Fixture::new() else { return };
    let running = fixture.run(&sleeper()).await;
    let ended = fixture.run(&busybox(&["true"])).await;
    fixture.until_ended(&ended).await;
    let made = sleeper();
    fixture.docker.create(&made).await.unwrap();
    let other_incarnation = Key { incarnation: 2, handle: None, ..running.clone() };
    let without_handle = Key { handle: None, ..running.clone() };
    let wrong_handle = Key { handle: Some("0".repeat(64).into_bytes()), ..running.clone() };

    let keys = [key(), ended, running, other_incarnation, made.key, without_handle, wrong_handle];
    let mut found = fixture.docker.inspect(&keys).await.unwrap();
    found.sort_by_key(|found| found.position);
    let seen: Vec<_> = found.iter().map(|found| (found.position, found.status.state, found.status.health)).collect();
    assert_eq!(
        seen,
        [
            (1, State::Exited, Health::Unknown),
            (2, State::Running, Health::Healthy),
            (4, State::Created, Health::Unknown),
            (5, State::Running, Health::Healthy),
        ]
    );
    assert!(found[1].status.handle.is_none(), "unchanged");
    assert!(found[3].status.handle.is_some(), "not known before");
}

#[tokio::test]
async fn health_is_the_engines_own_word() {
    let Some(fixture) = Fixture::new() else { return };
    let healthy = fixture.run(&checked("true", 0)).await;
    let unhealthy = fixture.run(&checked("false", 0)).await;
    let starting = fixture.run(&checked("false", 1000)).await;
    let disabled = fixture.run(&Container { health_check: HealthCheck::Disabled, ..sleeper() }).await;
    fixture.until(&healthy, "healthy", |status| status.health == Health::Healthy).await;
    fixture.until(&unhealthy, "unhealthy", |status| status.health == Health::Unhealthy).await;
    let found = fixture.docker.inspect(&[healthy, unhealthy, starting, disabled]).await.unwrap();
    let health: Vec<_> = found.iter().map(|found| found.status.health).collect();
    assert_eq!(health, [Health::Healthy, Health::Unhealthy, Health::Starting, Health::Healthy]);
}

#[tokio::test]
async fn an_images_own_health_check_is_honoured() {
    let Some(fixture) = Fixture::new() else { return };
    let tag = format!("checked:{}", fixture.scope.store);
    let seed = fixture.engine.docker(["create", "busybox", "true"]).unwrap();
    let check = "HEALTHCHECK --interval=100ms --retries=1 CMD false";
    fixture.engine.docker(["commit", "--change", check, &seed, &tag]).unwrap();
    let key = fixture.run(&Container { image: tag.clone(), ..sleeper() }).await;
    fixture.until(&key, "unhealthy", |status| status.health == Health::Unhealthy).await;
    let off = Container { image: tag, health_check: HealthCheck::Disabled, ..sleeper() };
    let key = fixture.run(&off).await;
    assert_eq!(fixture.status(&key).await.unwrap().health, Health::Healthy);
}

#[tokio::test]
async fn a_listing_has_everything_of_ours_ended_ones_too() {
    let Some(fixture) = Fixture::new() else { return };
    let running = fixture.run(&sleeper()).await;
    let ended = fixture.run(&busybox(&["sh", "-c", "exit 4"])).await;
    fixture.until_ended(&ended).await;
    let page = fixture.docker.list(None).await.unwrap();
    assert_eq!(page.next, None);
    assert_eq!(page.workloads.len(), 2);
    for workload in page.workloads {
        assert!(workload.status.handle.is_some() && workload.status.created_at.is_some());
        if workload.session == ended.session {
            assert_eq!(workload.status.exit.unwrap().code, Some(4));
        } else {
            assert_eq!((workload.session, workload.status.state), (running.session.clone(), State::Running));
        }
    }
    let past_the_end = "f".repeat(64);
    assert!(fixture.docker.list(Some(&past_the_end)).await.unwrap().workloads.is_empty());
}
