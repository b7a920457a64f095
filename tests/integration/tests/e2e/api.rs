//! What the API answers to requests that are wrong: a problem document that names the field, and nothing changed.

use anyhow::Result;
use seawall_integration::{home, problem, refused, run};
use seawall_testing::http;

#[test]
fn every_wrong_request_is_answered_by_a_problem() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let id = run(&home, &["--backend", "mock", "--name", "mine"])?;
    let long = "a".repeat(5000);
    let post = |body| ("POST", "/v1/sessions", Some(body));
    let huge = format!(r#"{{"backend":"mock","name":"{}"}}"#, "x".repeat(2 << 20));

    problem(&home, ("GET", "/v1/nothing", None), (404, "not_found"), &[])?;
    problem(&home, ("PATCH", "/v1/sessions", None), (405, "method_not_allowed"), &[])?;
    problem(&home, ("GET", "/v1/sessions?alll=true", None), (400, "malformed"), &["alll"])?;
    problem(&home, ("GET", "/v1/backends/none", None), (404, "not_found"), &["none"])?;

    problem(&home, post(""), (400, "malformed"), &[])?;
    problem(&home, post("{"), (400, "malformed"), &[])?;
    problem(&home, post("{}"), (400, "malformed"), &["backend"])?;
    problem(&home, post(r#"{"backend":"mock","comand":["x"]}"#), (400, "malformed"), &["comand"])?;
    problem(
        &home,
        post(r#"{"backend":"mock","resources":{"memory":"lots"}}"#),
        (400, "malformed"),
        &["resources.memory"],
    )?;
    problem(
        &home,
        post(r#"{"backend":"mock","restart":"sometimes"}"#),
        (400, "malformed"),
        &["restart", "on-failure"],
    )?;
    problem(&home, post(r#"{"backend":"none"}"#), (422, "invalid"), &["none", "backend"])?;
    problem(&home, post(r#"{"backend":"mock","name":"mine"}"#), (409, "conflict"), &[&id])?;
    problem(&home, post(r#"{"backend":"mock","env":{"1BAD":"x"}}"#), (422, "invalid"), &["env.1BAD"])?;
    problem(&home, post(r#"{"backend":"mock","labels":{"seawall.store":"x"}}"#), (422, "invalid"), &["labels"])?;
    problem(&home, post(r#"{"backend":"mock","options":{"oops":1}}"#), (422, "invalid"), &["oops"])?;
    problem(&home, post(&huge), (413, "too_large"), &[])?;

    for target in
        ["/v1/sessions/nobody", "/v1/sessions/ffffffffffffffff", "/v1/sessions/%2e%2e%2fetc", "/v1/sessions/a%00b"]
    {
        problem(&home, ("GET", target, None), (404, "not_found"), &[])?;
    }
    problem(&home, ("GET", &format!("/v1/sessions/{long}"), None), (400, "malformed"), &[])?;
    problem(&home, ("DELETE", &format!("/v1/sessions/{id}"), None), (409, "conflict"), &[])?;
    problem(&home, ("POST", "/v1/sessions/nobody/stop", None), (404, "not_found"), &[])?;
    problem(&home, ("POST", &format!("/v1/sessions/{id}/stop?grace=soon"), None), (400, "malformed"), &["grace"])?;
    problem(&home, ("GET", &format!("/v1/sessions/{id}/logs"), None), (501, "unsupported"), &["logs"])?;

    // One session was made, and it has noticed nothing.
    let sessions = home.json(&["ps", "--all"])?;
    assert_eq!(sessions.as_array().map(Vec::len), Some(1));
    assert_eq!(sessions[0]["state"], "running");
    Ok(())
}

#[test]
fn bytes_that_are_no_http_do_no_harm() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let garbage: [&[u8]; 4] = [
        b"\0\x01\x02\xff\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        &[b'A'; 100_000],
    ];
    for bytes in garbage {
        // Whether it answers at all is its own affair; a refused write is an answer too.
        if let Ok(answer) = http::raw(&home.socket(), bytes) {
            assert!(answer.status >= 400, "{}", answer.status);
        }
    }
    assert_eq!(home.http("GET", "/healthz", None)?.status, 200);
    Ok(())
}

#[test]
fn strange_names_on_the_command_line_are_refused_and_change_nothing() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let long = "a".repeat(5000);
    for name in ["a", "-", "a b", "a/b", "../../etc", "ä1", "a\nb", &long[..64]] {
        let name = format!("--name={name}");
        refused(&home, &["run", "--backend", "mock", &name], 2, &["session name"])?;
    }
    for id in ["nobody", "../../../etc/passwd", "a b?c#d", "%00", "ffffffffffffffff0"] {
        refused(&home, &["inspect", id], 65, &[])?;
        refused(&home, &["stop", id], 65, &[])?;
        refused(&home, &["rm", "--force", id], 65, &[])?;
    }
    refused(&home, &["inspect", &long], 65, &[])?;
    refused(&home, &["run", "--backend", "none"], 64, &["none"])?;
    refused(&home, &["run", "--backend", "mock", "--env", "1BAD=x"], 64, &["env.1BAD"])?;
    refused(&home, &["run", "--backend", "mock", "--option", "oops=1"], 64, &["oops"])?;
    assert_eq!(home.json(&["ps", "--all"])?, serde_json::json!([]));
    Ok(())
}

#[test]
fn a_prefix_that_means_several_sessions_is_refused() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    run(&home, &["--backend", "mock", "--name", "one"])?;
    // An empty or short beginning would mean many.
    for prefix in ["0", "00", "000"] {
        refused(&home, &["inspect", prefix], 65, &[])?;
    }
    Ok(())
}

#[test]
fn a_client_that_waits_gets_what_it_waited_for() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    run(&home, &["--backend", "mock", "--name", "mine"])?;
    refused(&home, &["wait", "--timeout", "100ms", "mine"], 75, &["still running"])?;
    let mut waiting = home.command(["wait", "mine"]).stdout(std::process::Stdio::piped()).spawn()?;
    home.ok(&["stop", "mine"])?;
    assert!(waiting.wait()?.code().is_some());
    Ok(())
}
