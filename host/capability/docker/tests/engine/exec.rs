//! Commands in containers, and how the Engine's own health checks went.

use std::time::Duration;

use seawall_backend::Error;
use seawall_docker::{Container, HealthCheck};
use seawall_model::{CommandEnd, ExecOptions, Health, HealthCommand, Key, Secret};
use seawall_testing::PATIENCE;

use crate::keyboard::gone;
use crate::{Fixture, key, sleeper};

fn sh(script: &str) -> ExecOptions {
    ExecOptions { command: ["sh", "-c", script].map(str::to_owned).to_vec(), ..ExecOptions::default() }
}

async fn run(fixture: &Fixture, key: &Key, options: &ExecOptions) -> (String, CommandEnd) {
    let execution = fixture.docker.exec(key, options).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, execution.finish(1 << 20)).await;
    let (output, end) = ended.unwrap().unwrap();
    (String::from_utf8(output).unwrap(), end)
}

#[tokio::test]
async fn a_command_gives_its_output_and_its_code() {
    let Some(fixture) = Fixture::new() else { return };
    let key = fixture.run(&sleeper()).await;
    let (output, end) = run(&fixture, &key, &sh("echo out; echo err >&2; exit 7")).await;
    assert!(output.contains("out\n") && output.contains("err\n"), "{output}");
    assert_eq!(end, CommandEnd::Code(7));
    let options = ExecOptions {
        env: vec![("A".to_owned(), Secret::new("b"))],
        working_dir: Some("/etc".to_owned()),
        user: Some("1:2".to_owned()),
        ..sh("echo $A; pwd; id -u; id -g")
    };
    assert_eq!(run(&fixture, &key, &options).await, ("b\n/etc\n1\n2\n".to_owned(), CommandEnd::Code(0)));
    let absent = ExecOptions { command: vec!["no-such-program".to_owned()], ..ExecOptions::default() };
    assert!(matches!(run(&fixture, &key, &absent).await.1, CommandEnd::Code(126 | 127)));
    // It closes its output long before it ends.
    let silent = ExecOptions { timeout: Some(PATIENCE), ..sh("exec >&- 2>&-; sleep 1; exit 3") };
    assert_eq!(run(&fixture, &key, &silent).await.1, CommandEnd::Code(3));
}

#[tokio::test]
async fn at_its_timeout_a_command_is_killed_and_the_container_goes_on() {
    let Some(fixture) = Fixture::new() else { return };
    let key = fixture.run(&sleeper()).await;
    let options =
        ExecOptions { timeout: Some(Duration::from_millis(500)), ..sh("trap '' TERM; sleep 4321 & sleep 1234") };
    assert_eq!(run(&fixture, &key, &options).await.1, CommandEnd::TimedOut);
    for argument in ["4321", "1234"] {
        gone(&fixture, &key, argument).await;
    }
    assert!(!fixture.status(&key).await.unwrap().state.ended());
}

#[tokio::test]
async fn only_a_container_of_ours_that_runs_runs_a_command() {
    let Some(fixture) = Fixture::new() else { return };
    let container = sleeper();
    let made = fixture.docker.create(&container).await.unwrap();
    let created = Key { handle: made.handle, ..container.key.clone() };
    assert!(matches!(fixture.docker.exec(&created, &sh("true")).await, Err(Error::Conflict { .. })));
    assert!(matches!(fixture.docker.exec(&key(), &sh("true")).await, Err(Error::NotFound(_))));
    let Err(Error::Invalid(invalid)) = fixture.docker.exec(&created, &ExecOptions::default()).await else {
        panic!("a command of nothing was taken")
    };
    assert_eq!(invalid.problems[0].field, "command");
}

#[tokio::test]
async fn how_the_newest_health_check_went_is_told() {
    let Some(fixture) = Fixture::new() else { return };
    let check = HealthCommand {
        command: ["sh", "-c", "echo it is ill; exit 1"].map(str::to_owned).to_vec(),
        interval: Duration::from_millis(200),
        timeout: Duration::from_secs(10),
        start_period: Duration::ZERO,
        start_interval: None,
        retries: 1,
    };
    let key = fixture.run(&Container { health_check: HealthCheck::Command(check), ..sleeper() }).await;
    fixture.until(&key, "that it is unhealthy", |status| status.health == Health::Unhealthy).await;
    let last = fixture.docker.last_health_check(&key).await.unwrap().unwrap();
    assert_eq!((last.code, last.output.trim()), (Some(1), "it is ill"));

    let without = fixture.run(&sleeper()).await;
    assert_eq!(fixture.docker.last_health_check(&without).await.unwrap(), None);
}
