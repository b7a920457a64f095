//! `cargo xtask api`: a stranger tests the API. Schemathesis makes requests out of the daemon's own description and holds
//! every answer against it, over TCP and with a token, with the backends `mock` and `process` behind it.
//!
//! It is a Python program, and is installed into Seawall's cache at the release that is named here. Where that cannot be
//! done, this is said; where nothing may be skipped (`CI=true`), it is a failure.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use seawall_testing::daemon::Home;

use crate::{plugins, say, setup, workspace};

/// Of Schemathesis.
const VERSION: &str = "4.32.5";

/// For [`part`].
const SEED: u32 = 1;

/// Listens where the system says, and keeps strangers' sessions from costing much.
const CONFIG: &str = "\
[api.tcp]
listen = \"127.0.0.1:0\"

[backend.docker]
enabled = false
";

/// Sessions that are there from the beginning, so that not every request is about one that is not.
const SESSIONS: [&str; 6] = ["first", "second", "third", "fourth", "fifth", "sixth"];

/// What differs from Schemathesis's own habits.
///
/// It waits for no answer that is meant to be waited for. A request that is as described may still be refused for what
/// no description can say: a name that is taken, a time that is over, two parameters that contradict each other, a field
/// that this backend cannot carry out (422), a session that was changed meanwhile (412), a connection that is not to be taken
/// over (426), a backend that has no logs (501). It must never be one that cannot be read (400).
///
/// Of what is asked for, only a removal is waited for, so that what is removed is gone. Events that are sent one by one
/// are described as OpenAPI 3.1 can, as one text; Schemathesis takes that for the schema of each event. Their answers are
/// held against the description by the daemon's own tests alone. Entity tags are among what it makes by their pattern and
/// then sends without their quotes, so that it is given one.
///
/// Whether all that is described is taken, and nothing else, depends on what chance comes to try: by `exact` it is asked for,
/// and no change fails for it.
fn habits(exact: bool) -> String {
    format!(
        r#"
[dictionaries]
sessions = {{ values = {SESSIONS:?} }}

[parameters]
"path.id" = {{ dictionary = "sessions", probability = 0.5 }}
"header.If-Match" = "*"
"header.If-None-Match" = "*"
"query.follow" = "false"
"query.wait" = "false"
"query.timeout" = "10ms"

[checks]
positive_data_acceptance.enabled = {exact}
negative_data_rejection.enabled = {exact}
positive_data_acceptance.expected-statuses = ["2xx", "3xx", 401, 403, 404, 409, 412, 422, 426, 429, 501]
negative_data_rejection.expected-statuses = ["4xx", "5xx"]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 501]

[[operations]]
include-operation-id = "remove_session"
parameters = {{ "query.wait" = "true" }}

[[operations]]
include-operation-id = "events"
checks.response_schema_conformance.enabled = false
"#
    )
}

/// Builds the daemon and has it tested.
pub(crate) fn run(seconds: u32) -> Result<()> {
    say::heading("Setup");
    let tool = match install()? {
        Tool::There(tool) => tool,
        Tool::Missing(why) => bail!("Schemathesis is missing: {why}"),
    };
    say::heading("Building");
    plugins::run(false)?;
    let built = workspace::build_seawall(false)?;
    check(&tool, &built.seawall, seconds, None)
}

/// The same as a part of all tests, with a daemon that is built. What cannot be done is said, and in CI is a failure.
pub(crate) fn part(seawall: &Path, seconds: u32) -> Result<()> {
    say::heading("Testing the API by its description");
    match install()? {
        // By the same chance each time: no change fails for what it did not touch.
        Tool::There(tool) => check(&tool, seawall, seconds, Some(SEED)),
        Tool::Missing(why) => {
            ensure!(!setup::in_ci(), "CI=true, and the test of the API by its description would be skipped: {why}");
            say::warn(format_args!("the test of the API by its description is SKIPPED: {why}"));
            Ok(())
        }
    }
}

enum Tool {
    There(PathBuf),
    Missing(String),
}

/// Installs Schemathesis, unless it is there.
fn install() -> Result<Tool> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = match cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"))) {
        Some(cache) => cache.join("seawall/tools"),
        None => {
            return Ok(Tool::Missing("there is no place for it: neither XDG_CACHE_HOME nor HOME is set".to_owned()));
        }
    };
    let place = cache.join(format!("schemathesis-{VERSION}"));
    // Written last: what was cut off is begun again.
    let (complete, tool) = (place.join("complete"), place.join("bin/st"));
    if complete.exists() {
        return Ok(Tool::There(tool));
    }
    say::note(format_args!("installing Schemathesis {VERSION} into {}", place.display()));
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir_all(&cache).with_context(|| format!("make {}", cache.display()))?;
    let wanted = format!("schemathesis=={VERSION}");
    let pip = place.join("bin/pip");
    let place_text = place.display().to_string();
    let steps: [(&Path, &[&str]); 2] = [
        (Path::new("python3"), &["-m", "venv", &place_text]),
        (&pip, &["install", "--quiet", "--disable-pip-version-check", &wanted]),
    ];
    for (program, arguments) in steps {
        let line = format!("{} {}", program.display(), arguments.join(" "));
        let output = match Command::new(program).args(arguments).output() {
            Ok(output) => output,
            Err(error) => return Ok(Tool::Missing(format!("`{line}` cannot be started: {error}"))),
        };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
            let hint = "python3 with venv (Debian: python3-venv) and the Python package index are needed";
            return Ok(Tool::Missing(format!("`{line}` failed ({}): {last}; {hint}", output.status)));
        }
    }
    std::fs::write(&complete, "").with_context(|| format!("write {}", complete.display()))?;
    Ok(Tool::There(tool))
}

/// Starts a daemon and lets the tool at it.
fn check(tool: &Path, seawall: &Path, seconds: u32, seed: Option<u32>) -> Result<()> {
    let home = Home::new(seawall)?;
    home.configure(CONFIG).context("write the configuration")?;
    let daemon = home.serve(true)?;
    let url = home.url()?;
    let token = home.ok(&["token", "create", "schemathesis", "--scope", "admin", "--expires", "1h"])?;

    for name in SESSIONS {
        home.ok(&["run", "--detach", "--backend", "mock", "--restart", "always", "--name", name])?;
    }

    let habits = home.dir().join("schemathesis.toml");
    std::fs::write(&habits, self::habits(seed.is_none())).with_context(|| format!("write {}", habits.display()))?;
    let mut command = Command::new(tool);
    command.arg("--config-file").arg(&habits).args(["--no-color", "run"]).arg(format!("{url}/openapi.json"));
    command.arg("--header").arg(format!("Authorization: Bearer {}", token.trim()));
    command.args(["--warnings", "off", "--max-time", &seconds.to_string(), "--request-timeout", "30"]);
    seed.iter().for_each(|seed| {
        command.arg("--seed").arg(seed.to_string());
    });
    let ended = workspace::run(command.current_dir(home.dir()), "Schemathesis");
    if ended.is_err() {
        say::note(format_args!("the end of the daemon's log:\n{}", home.log_end()));
    }
    // Whatever was found: the daemon must have borne it.
    ensure!(home.http("GET", "/healthz", None).is_ok_and(|answer| answer.status == 200), "the daemon does not answer");
    home.ok(&["down", "--grace", "1s"])?;
    for session in home.json(&["ps", "--all"])?.as_array().into_iter().flatten() {
        let id = session["id"].as_str().context("a session without an id")?;
        home.ok(&["rm", "--force", id])?;
    }
    let status = daemon.terminate()?;
    ensure!(status.success(), "the daemon ended with {status}\n{}", home.log_end());
    ended?;
    say::holds(format_args!("every answer was as it is described, in {seconds} s"));
    Ok(())
}
