//! The bulkhead as an operator meets it: what is kept apart, what is refused, and what is said about it.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use seawall_integration::{eventually, fixture, home, problem, refused, run, text, until_state};
use seawall_testing::daemon::Home;
use serde_json::Value;

/// Backends and the journal, where a test looks again and again.
fn bulkhead(home: &Home, backend: &str) -> Result<Value> {
    Ok(home.json(&["backend", "inspect", backend])?["bulkhead"].clone())
}

fn kinds(home: &Home) -> Result<Vec<String>> {
    let events = home.ok(&["events", "--json"])?;
    let kind = |line: &str| -> Result<String> { Ok(text(&serde_json::from_str(line)?, "kind")?.to_owned()) };
    events.lines().map(kind).collect()
}

#[test]
fn a_poisonous_session_is_quarantined_and_its_neighbours_on_the_same_backend_work() -> Result<()> {
    let plugin = fixture("poison")?;
    let home = home(&format!("[backend.cup]\nplugin = {:?}\n", plugin.display().to_string()))?;
    let _daemon = home.serve(true)?;
    let neighbours = ["one", "two", "three", "four", "five"];
    for name in neighbours {
        run(&home, &["--backend", "cup", "--name", name, "--restart", "always"])?;
    }
    let bad = run(&home, &["--backend", "cup", "--name", "bad", "--label", "poison=yes", "--restart", "on-failure:1"])?;

    let why = eventually("it is quarantined", || {
        let why = home.json(&["why", "bad"])?;
        Ok(why["quarantine"].as_array().is_some_and(|list| !list.is_empty()).then_some(why))
    })?;
    let quarantined = &why["quarantine"][0];
    assert_eq!((&quarantined["function"], &quarantined["session"]), (&"inspect".into(), &bad.as_str().into()));
    assert!(quarantined["left"].is_string() && quarantined["faults"].as_u64() >= Some(2), "{quarantined}");
    assert!(text(&why, "summary")?.contains("quarantined"), "{why:#}");
    assert!(text(quarantined, "reason")?.contains("trapped"), "{quarantined}");
    // It is not known whether it runs; that is no reason to do anything to it.
    let session = until_state(&home, "bad", "unknown")?;
    assert_eq!((&session["last_state"], &session["incarnation"]), (&"running".into(), &1.into()));
    for words in [["why", "bad"].as_slice(), &["backend", "inspect", "cup"]] {
        let shown = home.ok(words)?;
        assert!(shown.contains("`inspect` is not asked about") && shown.contains(&bad), "{shown}");
    }
    let answer = home.http("GET", &format!("/v1/sessions/{bad}/why"), None)?;
    assert_eq!((answer.status, answer.json()["session"].as_str()), (200, Some(bad.as_str())));

    // All the others are seen to run, by sweeps that began after the quarantine did.
    let after = home.json(&["why", "one"])?["observed"]["at"].clone();
    for name in neighbours {
        eventually(&format!("{name} is looked at again"), || {
            let why = home.json(&["why", name])?;
            ensure!(why["observed"]["state"] == "running", "a neighbour is not known to run: {why:#}");
            Ok((why["observed"]["at"].as_str() > after.as_str()).then_some(()))
        })?;
    }
    run(&home, &["--backend", "cup", "--name", "late"])?;
    let status = home.json(&["backend", "inspect", "cup"])?;
    assert_eq!((&status["bulkhead"]["breaker"]["state"], &status["health"]), (&"closed".into(), &"healthy".into()));
    assert!(kinds(&home)?.contains(&"session.quarantined".to_owned()));

    home.ok(&["rm", "--force", "bad"])?;
    assert_eq!(bulkhead(&home, "cup")?["quarantine"], Value::Null);
    Ok(())
}

#[test]
fn a_backend_whose_every_call_faults_is_left_alone_and_used_again_when_it_is_well() -> Result<()> {
    let sick = "[backend.sick]\nplugin = \"builtin:mock\"\ngrants.state = true\n\
                config.list = { fail-first = 8, error = \"trap\" }\n";
    let home = home(sick)?;
    let _daemon = home.serve(true)?;
    run(&home, &["--backend", "mock", "--name", "witness", "--restart", "always"])?;
    eventually("its breaker opened, and closed again", || {
        let kinds = kinds(&home)?;
        let at = |kind: &str| kinds.iter().position(|told| told == kind);
        Ok(at("backend.breaker_open").zip(at("backend.breaker_closed")).filter(|(open, closed)| open < closed))
    })?;
    run(&home, &["--backend", "sick", "--name", "late"])?;
    let witness = home.json(&["inspect", "witness"])?;
    assert_eq!((&witness["state"], &witness["incarnation"]), (&"running".into(), &1.into()));
    let status = home.json(&["backend", "inspect", "sick"])?;
    assert_eq!((&status["health"], &status["failures"]), (&"healthy".into(), &0.into()), "its checks were good");
    Ok(())
}

#[test]
fn nothing_is_placed_on_a_backend_that_is_left_alone_and_one_is_told_when_to_come_back() -> Result<()> {
    // Its check never comes to an end here, so that nothing but its time lets calls in again.
    let sick = "[backend.sick]\nplugin = \"builtin:mock\"\ngrants.state = true\n\
                deadlines.check = \"10m\"\nconfig.check.latency = \"10m\"\n\
                config.list = { failure-rate = 1.0, error = \"trap\" }\n\
                bulkhead.breaker.open-for = \"1h\"\n\
                [control.check]\ntimeout = \"10m\"\n";
    let home = home("")?;
    home.configure(&format!("[control]\nsweep-interval = \"200ms\"\nlist-interval = \"500ms\"\n{sick}"))?;
    let _daemon = home.serve(false)?;
    eventually("its breaker is open", || Ok((bulkhead(&home, "sick")?["breaker"]["state"] == "open").then_some(())))?;
    let body = r#"{"backend": "sick"}"#;
    problem(&home, ("POST", "/v1/sessions", Some(body)), (503, "open"), &["trying again in"])?;
    let answer = home.http("POST", "/v1/sessions", Some(body))?;
    let seconds: u64 = answer.header("retry-after").context("when to come back")?.parse()?;
    assert!((3000..=3600).contains(&seconds), "{seconds}");
    refused(&home, &["run", "--backend", "sick"], 69, &["left alone", "trying again in"])?;
    let shown = home.ok(&["backend", "inspect", "sick"])?;
    assert!(shown.contains("open for") && shown.contains("`list`"), "{shown}");
    assert!(home.ok(&["backend", "ls"])?.contains("open 3"), "the list does not show it");
    run(&home, &["--backend", "mock", "--name", "neighbour"])?;
    Ok(())
}

/// A reader of logs that stays.
struct Follower(std::process::Child);

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_full_bulkhead_is_busy_and_says_when_to_come_back() -> Result<()> {
    let home = home("[backend.process]\nbulkhead.limit.streams = 1\n")?;
    let _daemon = home.serve(true)?;
    let id = run(&home, &["--backend", "process", "--name", "talker", "--", "sh", "-c", "echo word; sleep 1000"])?;
    let streams = || Ok::<_, anyhow::Error>(bulkhead(&home, "process")?["permits"]["streams"].clone());

    let reader = home.command(["logs", "--follow", "talker"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let reader = Follower(reader);
    eventually("the one stream is open", || Ok((streams()?["in_flight"] == 1).then_some(())))?;
    let target = format!("/v1/sessions/{id}/logs");
    problem(&home, ("GET", &target, None), (503, "full"), &["busy", "streams"])?;
    assert_eq!(home.http("GET", &target, None)?.header("retry-after"), Some("1"));
    refused(&home, &["logs", "talker"], 69, &["busy"])?;
    assert_eq!(streams()?["refused"], 3);

    // Busy is not down, and nobody's failure.
    let status = home.json(&["backend", "inspect", "process"])?;
    assert_eq!((&status["health"], &status["bulkhead"]["breaker"]["failures"]), (&"healthy".into(), &0.into()));
    let session = home.json(&["inspect", "talker"])?;
    assert_eq!((&session["state"], &session["restarts"]), (&"running".into(), &0.into()));
    assert_eq!(kinds(&home)?.iter().filter(|kind| *kind == "backend.full").count(), 1);

    drop(reader);
    eventually("the stream's permit is back", || Ok((streams()?["in_flight"] == 0).then_some(())))?;
    assert!(home.ok(&["logs", "talker"])?.contains("word"));
    Ok(())
}

#[test]
fn calls_that_fill_a_backend_turn_others_away_after_their_wait_and_keep_no_check_out() -> Result<()> {
    let slow = "[backend.slow]\nplugin = \"builtin:mock\"\ngrants.state = true\n\
                config.list.latency = \"10m\"\ndeadlines.observe = \"20m\"\n\
                bulkhead.limit = { calls = 1, calls-wait = \"50ms\" }\n";
    let home = home(slow)?;
    let _daemon = home.serve(true)?;
    eventually("the one permit is taken", || {
        Ok((bulkhead(&home, "slow")?["permits"]["calls"]["in_flight"] == 1).then_some(()))
    })?;
    // It is wanted and will be made; for now there is no room, which is told.
    home.ok(&["run", "--no-wait", "--backend", "slow", "--name", "waits", "--restart", "on-failure:1"])?;
    let why = eventually("it was turned away", || {
        let why = home.json(&["why", "waits"])?;
        Ok(why["observed"]["reason"].is_string().then_some(why))
    })?;
    assert!(text(&why["observed"], "reason")?.contains("busy"), "{why:#}");
    assert_eq!((&why["observed"]["state"], &why["retry"]["failed"]), (&"pending".into(), &0.into()));
    let seen = home.json(&["backend", "inspect", "slow"])?["checked_at"].clone();
    eventually("it is checked all the same", || {
        let status = home.json(&["backend", "inspect", "slow"])?;
        ensure!(status["health"] == "healthy", "busy is not down: {status:#}");
        Ok((status["checked_at"] != seen).then_some(()))
    })?;
    refused(&home, &["logs", "waits"], 66, &["not made yet"])?;
    Ok(())
}

#[test]
fn what_a_plugin_says_of_its_sessions_is_told_without_their_secrets() -> Result<()> {
    let told = r#"config.inspect = { error = { unavailable = { message = "hunter2 is not known" } } }"#;
    let plugin = fixture("puppet")?.display().to_string();
    let home = home(&format!("[backend.leak]\nplugin = {plugin:?}\n{told}\n"))?;
    let _daemon = home.serve(true)?;
    for name in ["one", "two"] {
        run(&home, &["--backend", "leak", "--name", name, "--env", "TOKEN=hunter2"])?;
    }
    let clean = "[redacted] is not known";
    let why = eventually("it is told why nobody knows of one", || {
        let why = home.json(&["why", "one"])?;
        Ok(why.to_string().contains(clean).then_some(why))
    })?;
    let status = eventually("the breaker opens", || {
        let status = home.json(&["backend", "inspect", "leak"])?;
        Ok((status["bulkhead"]["breaker"]["state"] != "closed").then_some(status))
    })?;
    let events = home.ok(&["events", "--json"])?;
    ensure!(events.contains(clean), "nobody was told: {events}");
    for said in [why.to_string(), status.to_string(), events, home.json(&["inspect", "two"])?.to_string(), home.log()] {
        ensure!(!said.contains("hunter2"), "a secret was told: {said}");
    }
    Ok(())
}
