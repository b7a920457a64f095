//! Sessions on the mock backend: what the host does of itself, whatever a backend does.

use anyhow::Result;
use seawall_integration::{QUICK, eventually, home, logged, refused, run, text, until, until_state};
use seawall_testing::daemon::{Daemon, Home};
use serde_json::Value;

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
    logged(&home, &["session.created", &format!("\"trace_id\":\"{trace}\"")])?;
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

/// Eight sessions that ran before the mock's answers went wrong in this way, each with its own restart policy.
fn answering(config: &str) -> Result<(Home, Daemon, Vec<String>)> {
    let home = home("")?;
    let daemon = home.serve(true)?;
    let names: Vec<String> = (0..8).map(|number| format!("kept-{number}")).collect();
    for name in &names {
        run(&home, &["--backend", "mock", "--restart", "always", "--name", name])?;
    }
    daemon.terminate()?;
    home.configure(&format!("{QUICK}{config}"))?;
    let daemon = home.serve(true)?;
    Ok((home, daemon, names))
}

/// A condition of the mock, once there is one of this kind.
fn condition(home: &Home, kind: &str) -> Result<String> {
    eventually(&format!("the condition {kind}"), || {
        let status = home.json(&["backend", "inspect", "mock"])?;
        let mut conditions = status["conditions"].as_array().into_iter().flatten();
        let found = conditions.find(|condition| condition["kind"] == kind);
        found.map(|condition| text(condition, "message").map(str::to_owned)).transpose()
    })
}

/// None was started again.
fn kept(home: &Home, names: &[String], states: &[&str]) -> Result<()> {
    for name in names {
        let session = home.json(&["inspect", name])?;
        let state = text(&session, "state")?;
        assert!(states.contains(&state), "{name} is {state}");
        assert_eq!((&session["incarnation"], &session["restarts"]), (&1.into(), &0.into()), "{name}");
    }
    Ok(())
}

#[test]
fn an_empty_answer_loses_no_session_until_an_operator_says_so() -> Result<()> {
    let empty = "[backend.mock.config.inspect]\nempty-rate = 1.0\n[backend.mock.config.list]\nempty-rate = 1.0\n";
    let (home, _daemon, names) = answering(empty)?;
    let message = condition(&home, "answer_not_believed")?;
    assert!(message.contains("8 of its 8") && message.contains("seawall backend confirm-lost mock"), "{message}");
    kept(&home, &names, &["unknown"])?;
    assert!(home.ok(&["why", "kept-0"])?.contains("seawall backend confirm-lost mock"));

    refused(&home, &["backend", "confirm-lost"], 2, &["BACKEND"])?;
    refused(&home, &["backend", "confirm-lost", "nobody"], 65, &["nobody"])?;
    refused(&home, &["backend", "confirm-lost", "mock", "--confirm"], 2, &["--confirm"])?;
    let count = |lost: &Value| lost["sessions"].as_array().map(Vec::len);
    let shown = home.json(&["backend", "confirm-lost", "mock", "--dry-run"])?;
    assert_eq!((count(&shown), &shown["confirmed"]), (Some(8), &false.into()));
    kept(&home, &names, &["unknown"])?;
    let done = home.json(&["backend", "confirm-lost", "mock"])?;
    assert_eq!((count(&done), &done["confirmed"]), (Some(8), &true.into()));
    for name in &names {
        until(&home, name, "goes on by its policy", |now| now["incarnation"].as_u64() >= Some(2))?;
    }
    Ok(())
}

/// Waits until so many full sweeps have gone by.
fn sweeps(home: &Home, count: u64) -> Result<()> {
    eventually("several sweeps", || {
        let status = home.json(&["backend", "inspect", "mock"])?;
        Ok((status["swept_by"]["number"].as_u64() >= Some(count)).then_some(()))
    })
}

#[test]
fn a_partial_answer_loses_no_session_that_the_listing_has() -> Result<()> {
    let (home, _daemon, names) = answering("[backend.mock.config.inspect]\nmissing-rate = 0.9\n")?;
    sweeps(&home, 12)?;
    kept(&home, &names, &["running"])?;
    // One that breaks off after some pages says nothing about the others.
    let broken = "[backend.mock.config]\npage-size = 2\n[backend.mock.config.inspect]\nempty-rate = 1.0\n\
                  [backend.mock.config.list]\nfailure-rate = 0.7\n";
    let (home, _daemon, names) = answering(broken)?;
    condition(&home, "list_failed")?;
    kept(&home, &names, &["running", "unknown"])
}

#[test]
fn partial_answers_and_listings_that_leave_out_more_than_the_share_are_not_believed() -> Result<()> {
    // Each leaves out half of all, and no session is to be believed to be missing.
    let partial = "[backend.mock.config.inspect]\nmissing-rate = 0.5\n[backend.mock.config.list]\nmissing-rate = 0.5\n";
    let (home, daemon, names) = answering("")?;
    daemon.terminate()?;
    let none = QUICK.replacen("[control]\n", "[control]\nmissing-percent = 10\nmissing-minimum = 0\n", 1);
    home.configure(&format!("{none}{partial}"))?;
    let _daemon = home.serve(true)?;
    let message = condition(&home, "answer_not_believed")?;
    assert!(message.contains("of its 8 running sessions are missing at once"), "{message}");
    sweeps(&home, 12)?;
    kept(&home, &names, &["running", "unknown"])
}

#[test]
fn shuffled_answers_are_understood_and_lose_no_session() -> Result<()> {
    let shuffled = "[backend.mock.config]\nseed = 3\n[backend.mock.config.inspect]\nshuffled-rate = 1.0\n\
                    [backend.mock.config.list]\nshuffled-rate = 1.0\n";
    let (home, _daemon, names) = answering(shuffled)?;
    // One of them ends: no other's answer is taken for its.
    home.ok(&["stop", &names[3]])?;
    sweeps(&home, 12)?;
    let (stopped, others): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name == "kept-3");
    kept(&home, &stopped, &["stopped"])?;
    kept(&home, &others, &["running"])?;
    let status = home.json(&["backend", "inspect", "mock"])?;
    assert_eq!(status["conditions"], Value::Null);
    Ok(())
}
