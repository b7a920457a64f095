//! Plugins that cannot be loaded are refused by name of what is wrong; plugins that misbehave cost one call.

use anyhow::{Context, Result};
use seawall_integration::{eventually, fixture, home, refused, run, until_state};
use seawall_testing::daemon::Home;

fn backend(name: &str, fixture: &std::path::Path) -> String {
    format!("[backend.{name}]\nplugin = {:?}\n", fixture.display().to_string())
}

#[test]
fn a_plugin_that_cannot_be_loaded_is_refused_by_name_of_what_is_wrong() -> Result<()> {
    let cases: [(&str, &[&str]); 7] = [
        ("no-wasm", &["component"]),
        ("core-module", &["core WebAssembly module"]),
        ("wrong-world", &["execution-backend"]),
        ("wrong-version", &["seawall:backend"]),
        ("missing-function", &["execution-backend"]),
        ("wrong-type", &["execution-backend"]),
        ("ungranted", &["seawall:host/", "grants."]),
    ];
    for (name, words) in cases {
        let file = fixture(name)?;
        let home = home(&backend("broken", &file))?;
        let output = home.serve_command().output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(76), "{name}: {said}");
        for word in words.iter().chain(&["broken"]) {
            assert!(said.contains(word), "{name} does not say {word:?}: {said}");
        }
        // The line that names the plugin.
        let text = std::fs::read_to_string(home.config())?;
        let line = text.lines().position(|line| line.starts_with("plugin = ")).context("the plugin is configured")? + 1;
        let place = format!("{}:{line}:1: ", home.config().display());
        assert!(said.contains(&place), "{name} does not say {place}: {said}");
        assert!(!home.socket().exists(), "{name}: the daemon listened");
    }
    Ok(())
}

#[test]
fn plugin_inspect_says_what_a_file_is_without_a_daemon() -> Result<()> {
    let home = home("")?;
    let good = fixture("spin")?.display().to_string();
    let shown = home.ok(&["plugin", "inspect", &good])?;
    assert!(shown.contains("execution-backend"), "{shown}");
    let document = home.json(&["plugin", "inspect", &good])?;
    assert!(document.is_object(), "{document}");
    for name in ["no-wasm", "core-module", "wrong-world"] {
        let file = fixture(name)?.display().to_string();
        refused(&home, &["plugin", "inspect", &file], 76, &[&file])?;
    }
    refused(&home, &["plugin", "inspect", "/no/such/file.wasm"], 65, &["/no/such/file.wasm"])?;
    // What it imports is shown, though nothing is granted here.
    let ungranted = fixture("ungranted")?.display().to_string();
    assert!(home.ok(&["plugin", "inspect", &ungranted])?.contains("seawall:host/"));
    Ok(())
}

/// Waits until `backend inspect` says one of these of what is wrong with a backend. On a busy machine what takes no time
/// may be cut off first, too.
fn fails_with(home: &Home, name: &str, words: &[&str]) -> Result<()> {
    let mut error = String::new();
    let found = eventually(&format!("backend {name} fails with one of {words:?}"), || {
        error = home.json(&["backend", "inspect", name])?["error"].as_str().unwrap_or_default().to_owned();
        Ok(words.iter().any(|word| error.contains(word)).then_some(()))
    });
    found.with_context(|| format!("at last with {error:?}"))
}

#[test]
fn a_misbehaving_plugin_costs_its_call_and_nobody_else_anything() -> Result<()> {
    let cases: [(&str, &[&str]); 5] = [
        ("spin", &["fuel", "deadline", "longer than"]),
        ("trap", &["trap", "unreachable"]),
        ("hog", &["memory"]),
        ("hang", &["deadline", "longer than", "not answer"]),
        ("panic", &["trap", "panic"]),
    ];
    let mut config = String::new();
    for (name, _) in cases {
        config.push_str(&backend(name, &fixture(name)?));
        config.push_str(&format!("[backend.{name}.deadlines]\ncheck = \"2s\"\n"));
    }
    let home = home(&config)?;
    let daemon = home.serve(false)?;
    run(&home, &["--backend", "mock", "--name", "witness", "--restart", "always"])?;
    for (name, words) in cases {
        fails_with(&home, name, words)?;
        eventually("it is unhealthy", || {
            Ok((home.json(&["backend", "inspect", name])?["health"] == "unhealthy").then_some(()))
        })?;
        refused(&home, &["run", "--backend", name], 69, &[name])?;
    }
    // All five are at it, again and again; others start and end meanwhile.
    run(&home, &["--backend", "process", "--name", "neighbour", "--", "true"])?;
    assert_eq!(home.run(["wait", "neighbour"])?.code, Some(0));
    for (name, _) in cases {
        assert_eq!(home.json(&["backend", "inspect", name])?["health"], "unhealthy", "{name}");
    }
    let witness = until_state(&home, "witness", "running")?;
    assert_eq!((&witness["incarnation"], &witness["restarts"]), (&1.into(), &0.into()));
    assert_eq!(home.json(&["backend", "inspect", "mock"])?["health"], "healthy");
    let resident = daemon.process().and_then(|process| process.resident()).context("its memory")?;
    assert!(resident < 1 << 30, "the daemon holds {resident} bytes");
    assert!(daemon.terminate()?.success());
    Ok(())
}

#[test]
fn a_flood_of_log_lines_is_cut_off() -> Result<()> {
    let home = home(&backend("flood", &fixture("flood")?))?;
    let _daemon = home.serve(true)?;
    eventually("flood was called", || {
        Ok(home.json(&["backend", "inspect", "flood"])?["checked_at"].is_string().then_some(()))
    })?;
    assert!(home.log().len() < 5 << 20, "{} bytes of log", home.log().len());
    Ok(())
}

/// What the fixture `liar` can be told to say.
const LIES: [&str; 12] = [
    "position-out-of-range",
    "position-twice",
    "exit-of-running",
    "no-exit-of-ended",
    "impossible-code",
    "impossible-signal",
    "huge-handle",
    "strange-session",
    "incarnation-zero",
    "endless-list",
    "huge-message",
    "everything-gone",
];

#[test]
fn whatever_a_plugin_answers_the_host_stays_whole_and_neighbours_untouched() -> Result<()> {
    let file = fixture("liar")?;
    let mut config = String::new();
    for lie in LIES {
        config.push_str(&backend(lie, &file));
        config.push_str(&format!("[backend.{lie}.config]\nlie = \"{lie}\"\n"));
    }
    let home = home(&config)?;
    let daemon = home.serve(false)?;
    run(&home, &["--backend", "mock", "--name", "witness", "--restart", "always"])?;
    for lie in LIES {
        let name = format!("of-{lie}");
        let output = home.run(["run", "--no-wait", "--backend", lie, "--name", &name])?;
        assert!(output.stderr.len() < 10_000, "{lie}: {} bytes of error", output.stderr.len());
    }
    // A few sweeps and lists later everything still answers, at once and within bounds.
    let seen = home.json(&["backend", "inspect", "mock"])?["checked_at"].clone();
    eventually("mock was checked again", || {
        Ok((home.json(&["backend", "inspect", "mock"])?["checked_at"] != seen).then_some(()))
    })?;
    let shown = home.ok(&["ps", "--all", "--json"])?;
    assert!(shown.len() < 200_000, "{} bytes", shown.len());
    let witness = home.json(&["inspect", "witness"])?;
    assert_eq!((&witness["state"], &witness["incarnation"]), (&"running".into(), &1.into()));
    let resident = daemon.process().and_then(|process| process.resident()).context("its memory")?;
    assert!(resident < 1 << 30, "the daemon holds {resident} bytes");
    assert!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}
