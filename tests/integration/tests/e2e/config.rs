//! A configuration that is wrong is refused before anything is touched, with the place of the mistake.

use anyhow::Result;
use seawall_integration::home;

#[test]
fn every_mistake_is_refused_with_its_line_before_anything_is_touched() -> Result<()> {
    let cases = [
        ("\nsokcet = \"/x\"\n", ":2:", "did you mean `socket`"),
        ("[control]\nsweep-interval = \"soon\"\n", ":2:", "expected a duration"),
        ("[control]\nsweep-interval = \"1us\"\n", ":2:", "sweep-interval"),
        ("[control.check]\nfailures = 0\n", ":2:", "failures"),
        ("shutdown = \"never\"\n", ":1:", "leave"),
        ("[backend.docker.grants]\ndoker = {}\n", ":2:", "docker"),
        ("[backend.docker.grants.docker]\nprivilged = true\n", ":2:", "privileged"),
        ("[backend.mock]\n[backend.mock]\n", ":2:", "duplicate key"),
        ("[backend.mock]\nplugin = \"builtin:none\"\n", ":2:", "none"),
        ("[backend.other]\n", ":1:", "plugin"),
        ("[backend.Mock]\n", ":1:", "backend name"),
        ("[backend.mock.config]\nsede = 3\n", ":2:", "sede"),
        ("[backend.mock.config.create]\nfailure-rate = \"often\"\n", ":2:", "failure-rate"),
        ("[backend.docker.grants.docker]\nmounts = [{ path = \"relative\" }]\n", ":2:", "relative"),
        ("[runtime.limits.check]\nfuel = 0\n", ":2:", "runtime.limits.check.fuel"),
        ("[runtime]\nquantum = \"1h\"\n", ":2:", "runtime.quantum"),
        ("[backend.mock.limits.check]\nmemory = \"1TiB\"\n", ":2:", "backend.mock.limits.check.memory"),
        ("[backend.process.grants.process]\nuser = \"no-such-user-here\"\n", ":2:", "grants.process.user"),
        ("this is no toml\n", ":1:", "seawall.toml"),
    ];
    for (text, place, word) in cases {
        let home = home("")?;
        home.configure(text)?;
        let output = home.serve_command().output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{text}\n{said}");
        assert!(said.contains(word), "{text}\n{said}");
        assert!(said.contains(&format!("seawall.toml{place}")), "{text}\n{said}");
        assert!(!home.socket().exists(), "{text}: it listened");
        // Checked beforehand, it is refused in the same words, and nothing is made.
        let config = home.config().display().to_string();
        let checked = home.run(["config", "check", "--config", &config])?;
        assert_eq!(checked.code, Some(78), "{text}\n{}", checked.stderr);
        assert!(said.contains(checked.stderr.trim()), "{text}\n{said}\n{}", checked.stderr);
        // A plugin's own table is held against the schema in the plugin, which is asked late.
        let late = ["[backend.mock.config", "[backend.mock.limits", "[backend.process.grants", "[runtime"];
        if !late.iter().any(|table| text.starts_with(table)) {
            assert!(!home.data_dir().exists(), "{text}: something was made");
        }
    }
    Ok(())
}

#[test]
fn a_file_that_is_not_there_and_a_socket_that_is_too_long_are_named() -> Result<()> {
    let home = home("")?;
    let output = home.command(["serve", "--config", "/no/such/seawall.toml"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("/no/such/seawall.toml"), "{said}");

    let long = home.dir().join("x".repeat(120));
    let mut serve = home.command(["serve"]);
    serve.arg("--data-dir").arg(home.data_dir()).arg("--config").arg(home.config()).arg("--socket").arg(&long);
    let output = serve.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("107") || said.contains("108"), "{said}");
    assert!(!home.data_dir().exists());
    Ok(())
}

#[test]
fn what_is_in_effect_can_be_shown_and_reads_back() -> Result<()> {
    let home = home("[backend.mock.config]\nseed = 4\n")?;
    let config = home.config().display().to_string();
    home.ok(&["config", "check", "--config", &config])?;
    let shown = home.ok(&["config", "check", "--config", &config, "--show-effective"])?;
    // As in the file, which begins with the quick intervals.
    for line in [format!("seed = 4 # {config}:"), format!("list-interval = \"500ms\" # {config}:4\n")] {
        assert!(shown.contains(&line), "{line}\n{shown}");
    }
    for table in ["[backend.docker.grants.docker]", "[backend.process.limits.long]"] {
        assert!(shown.contains(table), "{table}\n{shown}");
    }
    home.configure(&shown)?;
    home.ok(&["config", "check", "--config", &config])?;
    Ok(())
}

#[test]
fn a_backend_can_be_left_out_and_its_sessions_are_not_forgotten() -> Result<()> {
    use seawall_integration::{QUICK, run, until_state};

    let home = home("")?;
    let daemon = home.serve(true)?;
    run(&home, &["--backend", "mock", "--name", "kept"])?;
    daemon.terminate()?;
    home.configure(&format!("{QUICK}[backend.mock]\nenabled = false\n"))?;
    let daemon = home.serve(true)?;
    let session = home.json(&["inspect", "kept"])?;
    assert_eq!((&session["state"], &session["last_state"]), (&"unknown".into(), &"running".into()));
    assert!(session["reason"].as_str().is_some_and(|reason| reason.contains("mock")), "{session:#}");
    daemon.terminate()?;
    home.configure(QUICK)?;
    let _daemon = home.serve(true)?;
    let session = until_state(&home, "kept", "running")?;
    assert_eq!(session["incarnation"], 1);
    Ok(())
}
