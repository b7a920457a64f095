//! News: of this backend's containers, and of no other's.

use futures_util::StreamExt as _;
use seawall_backend::{Wake, Wakes};
use seawall_docker::{Docker, DockerGrant};
use seawall_model::Key;
use seawall_testing::PATIENCE;
use seawall_testing::docker::Engine;

use crate::{Fixture, at, scope, sleeper};

async fn next(wakes: &mut Wakes) -> Wake {
    let next = tokio::time::timeout(PATIENCE, wakes.next()).await;
    next.unwrap().unwrap().unwrap()
}

fn of(key: &Key) -> Wake {
    Wake::Workload(key.session.clone(), key.incarnation)
}

#[tokio::test]
async fn every_change_of_an_own_container_wakes_and_no_other_does() {
    let Some(fixture) = Fixture::new() else { return };
    let act = |act: &str, key: &Key| drop(fixture.engine.docker([act, &fixture.name(key)]).unwrap());
    // Each act has a container of its own: what is told of one is not taken for the next.
    let mut acts = Vec::new();
    for act in ["start", "rm"] {
        let container = sleeper();
        fixture.docker.create(&container).await.unwrap();
        acts.push((act, container.key));
    }
    for act in ["pause", "unpause", "kill"] {
        acts.push((act, fixture.run(&sleeper()).await));
    }
    act("pause", &acts[3].1);
    let mut wakes = fixture.docker.watch().await.unwrap();
    // Somebody else's comes first, and is not told of.
    let other = Docker::new(scope("app"), at(fixture.engine, DockerGrant::default()));
    let stranger = other.create(&sleeper()).await.unwrap();
    let stranger = String::from_utf8(stranger.handle.unwrap()).unwrap();
    fixture.engine.docker(["start", &stranger]).unwrap();
    let mut told = Vec::new();
    for (name, key) in &acts {
        act(name, key);
        told.push(of(key));
        // Of one act more than one change may come, and the later ones after the next act.
        loop {
            let wake = next(&mut wakes).await;
            assert!(told.contains(&wake), "{wake:?} came after `{name}`");
            if wake == of(key) {
                break;
            }
        }
    }
    fixture.engine.docker(["rm", "--force", &stranger]).unwrap();
}

#[tokio::test]
async fn the_end_of_the_engine_is_the_end_of_the_watch_and_an_error() {
    let Some(engine) = Engine::start_or_skip("the watch of an Engine that goes") else { return };
    let docker = Docker::new(scope("app"), at(&engine, DockerGrant::default()));
    let mut wakes = docker.watch().await.unwrap();
    engine.kill().unwrap();
    wakes.next().await.unwrap().unwrap_err();
    assert!(wakes.next().await.is_none());
    assert_eq!(docker.watch().await.err().map(|error| error.kind()), Some("unavailable"));
}
