//! Sessions on the mock backend: what the host does of itself, whatever a backend does.

use anyhow::Result;
use seawall_integration::{eventually, home, refused, run, text, until, until_state};

#[test]
fn a_session_lives_from_run_to_rm() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let id = run(&home, &["--backend", "mock", "--name", "dream", "--label", "team=night"])?;

    let session = until_state(&home, "dream", "running")?;
    assert_eq!(text(&session, "id")?, id);
    assert_eq!(session["incarnation"], 1);
    assert_eq!(session["spec"]["labels"]["team"], "night");
    assert!(home.ok(&["ps"])?.contains("dream"));
    // Any unambiguous beginning of the id names it too.
    assert_eq!(home.json(&["inspect", &id[..6]])?["name"], "dream");

    home.ok(&["stop", "dream"])?;
    assert_eq!(home.json(&["inspect", "dream"])?["state"], "stopped");
    assert_eq!(home.json(&["ps"])?, serde_json::json!([]));
    assert_eq!(home.json(&["ps", "--all"])?.as_array().map(Vec::len), Some(1));

    home.ok(&["start", "dream"])?;
    assert_eq!(until_state(&home, "dream", "running")?["incarnation"], 2);

    home.ok(&["rm", "--force", "dream"])?;
    assert_eq!(home.json(&["ps", "--all"])?, serde_json::json!([]));
    refused(&home, &["inspect", "dream"], 65, &["dream"])?;
    Ok(())
}

#[test]
fn wait_passes_on_the_code_of_the_session() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let ends = ["--backend", "mock", "--option", "exit_after=50ms"];
    run(&home, &[&ends[..], &["--name", "three", "--option", "exit_code=3"]].concat())?;
    assert_eq!(home.run(["wait", "three"])?.code, Some(3));
    let session = home.json(&["inspect", "three"])?;
    assert_eq!((&session["state"], &session["exit"]["code"]), (&"failed".into(), &3.into()));

    run(&home, &[&ends[..], &["--name", "zero"]].concat())?;
    assert_eq!(home.run(["wait", "zero"])?.code, Some(0));
    assert_eq!(home.json(&["inspect", "zero"])?["state"], "stopped");

    run(&home, &[&ends[..], &["--name", "hungry", "--option", "oom=true"]].concat())?;
    assert_ne!(home.run(["wait", "hungry"])?.code, Some(0));
    let session = home.json(&["inspect", "hungry"])?;
    assert_eq!((&session["state"], &session["exit"]["oom"]), (&"failed".into(), &true.into()));

    run(&home, &[&ends[..], &["--name", "nobody-knows", "--option", "exit_lost=true"]].concat())?;
    assert_eq!(home.run(["wait", "nobody-knows"])?.code, Some(71));
    assert_eq!(home.json(&["inspect", "nobody-knows"])?["state"], "lost");
    Ok(())
}

#[test]
fn a_failing_session_is_restarted_as_often_as_it_may_be() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let fails = ["--backend", "mock", "--option", "exit_after=10ms", "--option", "exit_code=1"];
    run(&home, &[&fails[..], &["--name", "twice", "--restart", "on-failure:2"]].concat())?;
    let session = until_state(&home, "twice", "failed")?;
    assert_eq!((&session["restarts"], &session["incarnation"]), (&2.into(), &3.into()));

    // What ended well is not restarted by on-failure, and is by always.
    let ends = ["--backend", "mock", "--option", "exit_after=10ms"];
    run(&home, &[&ends[..], &["--name", "well", "--restart", "on-failure"]].concat())?;
    run(&home, &[&ends[..], &["--name", "again", "--restart", "always"]].concat())?;
    until(&home, "again", "is restarted", |now| now["restarts"].as_u64() >= Some(2))?;
    let well = until_state(&home, "well", "stopped")?;
    assert_eq!(well["restarts"], 0);
    // And stays down once it is told to.
    home.ok(&["stop", "again"])?;
    let stopped = home.json(&["inspect", "again"])?;
    assert_eq!(stopped["state"], "stopped");
    Ok(())
}

#[test]
fn events_tell_the_story_in_order() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    run(&home, &["--backend", "mock", "--name", "told", "--option", "exit_after=10ms"])?;
    home.run(["wait", "told"])?;
    home.ok(&["rm", "told"])?;
    let told = home.ok(&["events", "--json"])?;
    let events: Vec<serde_json::Value> = told.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let ids: Vec<_> = events.iter().map(|event| event["id"].as_u64()).collect();
    assert!(ids.is_sorted() && ids.iter().all(Option::is_some), "{ids:?}");
    let kinds: Vec<_> = events.iter().filter(|event| event["name"] == "told").map(|event| &event["kind"]).collect();
    let place = |word: &str| kinds.iter().position(|kind| kind.as_str().is_some_and(|kind| kind.contains(word)));
    let order = [place("session.created"), place("session.started"), place("session.removed")];
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{kinds:?}");

    // Also of a session that is gone, by its name.
    let removed = home.ok(&["events", "--json", "--session", "told", "--kind", "session.removed", "--since", "10m"])?;
    assert_eq!(removed.lines().count(), 1, "{removed}");
    assert_eq!(home.ok(&["events", "--backend", "mock", "--until", "10m"])?, "");
    assert_eq!(home.ok(&["events", "--kind", "session.", "--tail", "1"])?.lines().count(), 1);
    refused(&home, &["events", "--kind", "sesion."], 64, &["kind", "session."])?;
    refused(&home, &["events", "--follow", "--until", "10m"], 2, &["--until"])?;
    Ok(())
}

#[test]
fn why_says_which_look_and_which_trace() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let id = run(&home, &["--backend", "mock", "--name", "seen"])?;
    let why = eventually("a full sweep has seen it", || {
        let why = home.json(&["why", "seen"])?;
        Ok((why["observed"]["by"]["kind"] == "full").then_some(why))
    })?;
    let by = &why["observed"]["by"];
    assert!(by["number"].as_u64() >= Some(1) && text(by, "trace_id")?.len() == 32, "{why:#}");
    assert!(home.ok(&["why", "seen"])?.contains(" by full sweep "));
    // What was told of it stands in the log under the same trace as in the journal.
    let events = home.ok(&["events", "--json", "--session", &id, "--kind", "session.created"])?;
    let event: serde_json::Value = serde_json::from_str(&events)?;
    let trace = text(&event, "trace_id")?;
    let logged = home.log();
    let line = logged.lines().find(|line| line.contains("session.created")).unwrap_or_default();
    assert!(line.contains(&format!("\"trace_id\":\"{trace}\"")), "{line}");
    Ok(())
}

#[test]
fn lost_acknowledgements_make_no_second_workload() -> Result<()> {
    let home = home("[backend.mock.config]\nseed = 7\n[backend.mock.config.create]\nlost-rate = 0.6\n")?;
    let _daemon = home.serve(true)?;
    let names: Vec<String> = (0..8).map(|number| format!("lost-{number}")).collect();
    for name in &names {
        home.ok(&["run", "--no-wait", "--backend", "mock", "--name", name])?;
    }
    for name in &names {
        let session = until_state(&home, name, "running")?;
        assert_eq!((&session["incarnation"], &session["restarts"]), (&1.into(), &0.into()), "{name}");
    }
    Ok(())
}

#[test]
fn an_empty_answer_loses_no_session() -> Result<()> {
    let config = "[backend.mock.config.inspect]\nempty-rate = 1.0\n[backend.mock.config.list]\nempty-rate = 1.0\n";
    let home = home("")?;
    let daemon = home.serve(true)?;
    let names: Vec<String> = (0..8).map(|number| format!("kept-{number}")).collect();
    for name in &names {
        run(&home, &["--backend", "mock", "--name", name])?;
    }
    daemon.terminate()?;
    home.configure(&format!("{}{config}", seawall_integration::QUICK))?;
    let _daemon = home.serve(true)?;
    // The event or condition that says so is the sign that the empty answers were seen.
    eventually("the daemon says that it does not believe the answer", || {
        let status = home.json(&["backend", "inspect", "mock"])?;
        let conditions = status["conditions"].as_array().is_some_and(|all| !all.is_empty());
        Ok(conditions.then_some(()))
    })?;
    for name in &names {
        let session = home.json(&["inspect", name])?;
        let state = text(&session, "state")?;
        assert!(["running", "unknown"].contains(&state), "{name} is {state}");
        assert_eq!(session["incarnation"], 1);
    }
    Ok(())
}
