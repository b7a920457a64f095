//! Images that are fetched before a session is made: by a private engine, from a registry on a loopback address.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result};
use seawall_integration::{engine, eventually, home, nothing_left, problem, refused, run, until, until_state};
use seawall_testing::daemon::Home;
use seawall_testing::docker::Engine;
use seawall_testing::registry::Registry;

struct Stage {
    engine: &'static Engine,
    registry: Registry,
    home: Home,
}

fn stage(more: &str) -> Result<Option<Stage>> {
    let Some(engine) = engine() else { return Ok(None) };
    let home = home(more)?.with_docker(&engine.host());
    Ok(Some(Stage { engine, registry: Registry::start(engine)?, home }))
}

impl Stage {
    fn has(&self, image: &str) -> Result<bool> {
        Ok(self.engine.output(["image", "inspect", image])?.status.success())
    }
}

#[test]
fn run_fetches_a_missing_image_and_tells_how_far_it_is() -> Result<()> {
    let Some(stage) = stage("")? else { return Ok(()) };
    let Stage { registry, home, .. } = &stage;
    let _daemon = home.serve(true)?;
    let image = registry.image("app");
    registry.hold();
    let mut command =
        home.command(["run", "--backend", "docker", "--name", "web", "--image", &image, "--", "sleep", "1000"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut told = BufReader::new(child.stderr.take().context("its errors")?).lines();
    // It is seen on its way, and nothing is made before it is there.
    let step = told.find(|line| line.as_ref().is_ok_and(|line| line.contains("Downloading"))).context("a step")??;
    assert!(step.starts_with(&format!("{image}: ")), "{step}");
    eventually("the layer is held back", || Ok((registry.waiting() == 1).then_some(())))?;
    nothing_left(home)?;
    registry.release();
    assert!(told.any(|line| line.is_ok_and(|line| line.contains("Pull complete"))));
    assert!(child.wait()?.success());
    assert_eq!(home.json(&["inspect", "web"])?["state"], "running");
    // It is there: nothing is told, and nothing asked of the registry.
    let again = home.run(["run", "--backend", "docker", "--name", "two", "--image", &image, "--", "sleep", "1000"])?;
    assert_eq!((again.code, again.stderr.as_str()), (Some(0), ""));
    let shown = home.run(["pull", "--backend", "docker", "--json", &image])?;
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""));
    Ok(())
}

#[test]
fn what_cannot_be_fetched_is_an_error_of_its_own_kind_and_makes_no_session() -> Result<()> {
    let Some(stage) = stage("")? else { return Ok(()) };
    let Stage { registry, home, .. } = &stage;
    let _daemon = home.serve(true)?;
    let (no_tag, private) = (registry.image("app:nope"), registry.image("private/app"));
    let cases = [
        (no_tag.as_str(), 65, "manifest unknown", (404, "not_found")),
        (private.as_str(), 67, "denied", (403, "denied")),
        ("127.0.0.1:9/app", 69, "connection refused", (503, "unavailable")),
        ("a b", 64, "reference", (422, "invalid")),
    ];
    for (image, code, words, (status, kind)) in cases {
        refused(home, &["run", "--backend", "docker", "--image", image, "--", "true"], code, &[words])?;
        let body = serde_json::json!({"reference": image}).to_string();
        let answer = home.http("POST", "/v1/backends/docker/images", Some(&body))?;
        // What is no reference is not asked for; the rest is the registry's to say.
        assert_eq!(answer.status, if status == 422 { 422 } else { 200 }, "{}", answer.text());
        assert!(answer.text().contains(&format!("urn:seawall:problem:{kind}\",")), "{}", answer.text());
    }
    let named = r#"{"reference":"a"}"#;
    refused(home, &["pull", "--backend", "process", "app"], 68, &["images"])?;
    refused(home, &["run", "--backend", "process", "--pull", "always", "--", "true"], 2, &["--pull"])?;
    problem(home, ("POST", "/v1/backends/process/images", Some(named)), (501, "unsupported"), &["images"])?;
    problem(home, ("POST", "/v1/backends/docker/images", Some(r#"{"image":"a"}"#)), (400, "malformed"), &["image"])?;
    problem(home, ("POST", "/v1/backends/none/images", Some(named)), (404, "not_found"), &["none"])?;
    nothing_left(home)
}

#[test]
fn an_image_is_given_up_when_its_client_goes() -> Result<()> {
    let Some(stage) = stage("")? else { return Ok(()) };
    let Stage { registry, home, .. } = &stage;
    let _daemon = home.serve(true)?;
    let image = registry.image("app");
    registry.hold();
    let mut child = home.command(["pull", "--backend", "docker", &image]).stderr(Stdio::null()).spawn()?;
    eventually("the layer is held back", || Ok((registry.waiting() == 1).then_some(())))?;
    child.kill()?;
    child.wait()?;
    eventually("its permit is free", || {
        let backend = home.json(&["backend", "inspect", "docker"])?;
        Ok((backend["bulkhead"]["permits"]["long"]["in_flight"] == 0).then_some(()))
    })?;
    // It is held back still: the engine does not have it all, and does not wait for it.
    eventually("the engine asks no more", || Ok((registry.waiting() == 0).then_some(())))?;
    assert!(!stage.has(&image)?);
    Ok(())
}

#[test]
fn a_fetch_ends_at_the_deadline_of_long_calls() -> Result<()> {
    let Some(stage) = stage("[backend.docker.deadlines]\nlong = \"2s\"\n")? else { return Ok(()) };
    let Stage { registry, home, .. } = &stage;
    let _daemon = home.serve(true)?;
    registry.hold();
    let image = registry.image("app");
    let output = home.run(["pull", "--backend", "docker", &image])?;
    assert!(output.code != Some(0) && output.stderr.contains("images.prepare"), "{output:?}");
    registry.release();
    Ok(())
}

#[test]
fn a_backend_that_may_fetch_nothing_runs_what_is_there_and_says_so_of_the_rest() -> Result<()> {
    let Some(stage) = stage("[backend.docker.grants.docker]\npull = false\n")? else { return Ok(()) };
    let Stage { registry, home, .. } = &stage;
    let _daemon = home.serve(true)?;
    run(home, &["--backend", "docker", "--image", "busybox", "--name", "there", "--", "sleep", "1000"])?;
    let image = registry.image("app");
    refused(
        home,
        &["run", "--backend", "docker", "--image", &image, "--", "true"],
        67,
        &["pull = true", "docker pull"],
    )?;
    refused(home, &["pull", "--backend", "docker", "busybox"], 67, &["pull = true"])?;
    Ok(())
}

#[test]
fn a_restart_whose_image_is_gone_fails_and_says_what_to_do() -> Result<()> {
    let Some(stage) = stage("")? else { return Ok(()) };
    let Stage { registry, home, engine } = &stage;
    let _daemon = home.serve(true)?;
    let image = registry.image("gone");
    let line =
        ["--backend", "docker", "--name", "web", "--restart", "always", "--image", &image, "--", "sleep", "1000"];
    let id = run(home, &line)?;
    engine.docker(["rmi", "--force", "--no-prune", &image])?;
    let container = engine.docker(["ps", "--quiet", "--filter", &format!("label=seawall.session={id}")])?;
    engine.docker(["kill", &container])?;
    let failed = until(home, "web", "it says why", |session| {
        session["reason"].as_str().is_some_and(|reason| reason.contains("docker pull"))
    })?;
    assert!(failed["reason"].as_str().unwrap_or_default().contains(&image), "{failed:#}");
    home.ok(&["pull", "--backend", "docker", &image])?;
    home.ok(&["start", "web"])?;
    until_state(home, "web", "running")?;
    Ok(())
}
