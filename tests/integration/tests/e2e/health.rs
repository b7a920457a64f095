//! Health of sessions: probes and health checks, on real processes and real containers.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use seawall_integration::{engine, eventually, home, refused, refusing, run, text, until};
use seawall_testing::daemon::Home;

const PROCESS: [&str; 2] = ["--backend", "process"];
const DOCKER: [&str; 4] = ["--backend", "docker", "--image", "busybox"];
/// Often, and as late an answer as may be: one that is slow on a busy machine is none that failed.
const PATIENT: &str = "interval=100ms,timeout=60s";

/// A directory that the session's user may write, and that is gone with the test.
struct Shared(PathBuf);

impl Shared {
    fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("seawall-health-{name}-{}", std::process::id()));
        fs::create_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
        Ok(Self(path))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Answers every request on a port of this machine: well, or with 503.
fn answering() -> Result<(u16, Arc<AtomicBool>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    let well = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&well);
    // Ends with this process; the port is nobody else's.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let status = if told.load(Ordering::SeqCst) { "200 OK" } else { "503 Service Unavailable" };
            let _ = stream.read(&mut [0; 1024]);
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    Ok((port, well))
}

/// A port that nobody has now, and none of those that the kernel gives to whoever asks for any.
fn unclaimed() -> Result<u16> {
    let given = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let first: u16 = given.split_whitespace().next().context("where they begin")?.parse()?;
    // Another run of these tests looks for one, too.
    let from = usize::try_from(std::process::id())? % 10_000;
    let mut ports = (1024..first).rev().skip(from);
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).context("no port is free")
}

fn event_kinds(home: &Home) -> Result<String> {
    home.ok(&["events"])
}

#[test]
fn a_process_that_fails_its_liveness_probe_is_started_again_and_recovers() -> Result<()> {
    let shared = Shared::new("live")?;
    let ill = shared.0.join("ill");
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let liveness = format!("exec:test ! -e {},{PATIENT},failure-threshold=2", ill.display());
    let startup = format!("exec:test -e {},{PATIENT},failure-threshold=1000", shared.0.join("up").display());
    let flags = ["--name", "live", "--restart", "always", "--startup", &startup, "--liveness", &liveness];
    let id = run(&home, &[&PROCESS[..], &flags, &["--", "sleep", "1000"]].concat())?;
    let starting = home.json(&["inspect", "live"])?;
    assert_eq!((&starting["health"], &starting["ready"]), (&"starting".into(), &false.into()));

    fs::write(shared.0.join("up"), "")?;
    until(&home, "live", "is healthy and ready", |now| now["health"] == "healthy" && now["ready"] == true)?;
    fs::write(&ill, "")?;
    until(&home, "live", "is started again", |now| now["incarnation"].as_u64() >= Some(2))?;
    fs::remove_file(&ill)?;
    let well = until(&home, "live", "is well again", |now| now["health"] == "healthy" && now["state"] == "running")?;
    assert!(well["restarts"].as_u64() >= Some(1), "{well:#}");
    let events = event_kinds(&home)?;
    assert!(
        events.contains("session.unhealthy") && events.contains("its liveness probe fails: exit code 1"),
        "{events}"
    );
    assert!(home.ok(&["inspect", &id])?.contains("liveness"));
    // The newest result may be from before it was well.
    eventually("why tells of a probe that passed", || {
        Ok((home.json(&["why", "live"])?["probes"][0]["result"] == "passed").then_some(()))
    })?;
    Ok(())
}

#[test]
fn http_and_tcp_probes_reach_a_process_on_loopback() -> Result<()> {
    let (port, well) = answering()?;
    let (deaf, _kept) = refusing()?;
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let readiness = format!("http:{port}/ready,{PATIENT},failure-threshold=1");
    let liveness = format!("tcp:{port},{PATIENT}");
    let flags = ["--name", "open", "--restart", "always", "--readiness", &readiness, "--liveness", &liveness];
    run(&home, &[&PROCESS[..], &flags, &["--", "sleep", "1000"]].concat())?;
    until(&home, "open", "is ready and healthy", |now| now["ready"] == true && now["health"] == "healthy")?;
    well.store(false, Ordering::SeqCst);
    until(&home, "open", "is not ready", |now| now["ready"] == false && now["health"] == "healthy")?;
    well.store(true, Ordering::SeqCst);
    until(&home, "open", "is ready again", |now| now["ready"] == true && now["incarnation"] == 1)?;

    // Nobody listens there, and nothing may be started again.
    let liveness = format!("tcp:{deaf},{PATIENT},failure-threshold=2");
    run(&home, &[&PROCESS[..], &["--name", "deaf", "--liveness", &liveness, "--", "sleep", "1000"]].concat())?;
    let left = until(&home, "deaf", "is unhealthy", |now| now["health"] == "unhealthy")?;
    assert_eq!((&left["state"], &left["incarnation"]), (&"running".into(), &1.into()));
    assert!(text(&left, "reason")?.contains("no connection to 127.0.0.1"), "{left:#}");
    Ok(())
}

#[test]
fn a_health_check_of_a_process_is_run_by_the_host() -> Result<()> {
    let shared = Shared::new("check")?;
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let command = format!("test -e {}", shared.0.join("well").display());
    let check =
        ["--health-cmd", &command, "--health-interval", "100ms", "--health-retries", "2", "--restart", "always"];
    run(&home, &[&PROCESS[..], &["--name", "left"], &check, &["--", "sleep", "1000"]].concat())?;
    let asked = ["--name", "asked", "--restart-unhealthy"];
    run(&home, &[&PROCESS[..], &asked, &check, &["--", "sleep", "1000"]].concat())?;
    until(&home, "left", "is unhealthy", |now| now["health"] == "unhealthy")?;
    until(&home, "asked", "is started again", |now| now["incarnation"].as_u64() >= Some(2))?;
    fs::write(shared.0.join("well"), "")?;
    let left = until(&home, "left", "is healthy", |now| now["health"] == "healthy")?;
    assert_eq!(left["incarnation"], 1, "nothing follows from Docker's health check by itself");
    until(&home, "asked", "is healthy", |now| now["health"] == "healthy" && now["state"] == "running")?;
    Ok(())
}

#[test]
fn a_pretended_session_answers_as_its_configuration_says() -> Result<()> {
    let home = home("[backend.mock]\nconfig.exec-code = 3\n")?;
    let _daemon = home.serve(true)?;
    let check = ["--health-cmd", "anything", "--health-interval", "100ms", "--health-retries", "1"];
    let well = ["--liveness", "exec:true,interval=100ms,timeout=60s"];
    let slow = ["--liveness", "exec:sleep 5,interval=100ms,timeout=50ms,failure-threshold=1"];
    for (name, flags, health) in
        [("ill", &check[..], "unhealthy"), ("well", &well[..], "healthy"), ("slow", &slow[..], "unhealthy")]
    {
        run(&home, &[&["--backend", "mock", "--name", name], flags].concat())?;
        until(&home, name, health, |now| now["health"] == health)?;
    }
    assert!(text(&home.json(&["inspect", "ill"])?, "reason")?.contains("exit code 3"));
    assert!(text(&home.json(&["inspect", "slow"])?, "reason")?.contains("took longer than 50ms"));
    Ok(())
}

#[test]
fn a_container_is_probed_where_it_publishes_its_port() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    let publish = format!("127.0.0.1:{}:80", unclaimed()?);
    let startup = format!("exec:test -e /www/index.html,{PATIENT},failure-threshold=1000");
    let (readiness, liveness) = (format!("http:80/index.html,{PATIENT}"), format!("tcp:80,{PATIENT}"));
    let probes = ["--startup", &startup, "--readiness", &readiness, "--liveness", &liveness];
    let script = "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www";
    let flags = ["--name", "web", "--publish", &publish];
    run(&home, &[&DOCKER[..], &flags, &probes, &["--", "sh", "-c", script]].concat())?;
    until(&home, "web", "is ready and healthy", |now| now["ready"] == true && now["health"] == "healthy")?;

    for (probe, words) in [("tcp:80", "publish this port"), ("http:81/", "publish this port")] {
        let unpublished = [&["run"], &DOCKER[..], &["--liveness", probe, "--", "sleep", "1000"]].concat();
        refused(&home, &unpublished, 64, &["probes.liveness.check", words])?;
    }
    let chosen = [&["run"], &DOCKER[..], &["-p", "80", "--liveness", "tcp:80", "--", "sleep", "1000"]].concat();
    refused(&home, &chosen, 64, &["probes.liveness.check.tcp.port", "name the host's port"])?;
    assert_eq!(home.json(&["ps", "--all"])?.as_array().map(Vec::len), Some(1));
    Ok(())
}

#[test]
fn a_container_that_the_engine_finds_ill_is_started_again_if_that_is_asked_for() -> Result<()> {
    let Some(engine) = engine() else { return Ok(()) };
    let home = home("")?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    let check = ["--health-cmd", "test ! -e /ill", "--health-interval", "300ms", "--health-retries", "1"];
    let flags = ["--name", "ward", "--restart", "always", "--restart-unhealthy", "--stop-grace", "1s"];
    let id = run(&home, &[&DOCKER[..], &flags, &check, &["--", "sleep", "1000"]].concat())?;
    until(&home, "ward", "is healthy", |now| now["health"] == "healthy")?;
    let name = engine.docker(["ps", "--format", "{{.Names}}", "--filter", &format!("label=seawall.session={id}")])?;
    engine.docker(["exec", name.trim(), "touch", "/ill"])?;
    let again = until(&home, "ward", "is well again", |now| now["incarnation"] == 2 && now["health"] == "healthy")?;
    assert_eq!(again["restarts"], 1);
    Ok(())
}

#[test]
fn wrong_probes_are_refused_by_name() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    let with = |flags: &[&'static str]| [&["run", "--backend", "process"], flags, &["--", "sleep", "1000"]].concat();
    refused(&home, &with(&["--liveness", "https:80/"]), 2, &["http:8080/healthz"])?;
    refused(&home, &with(&["--liveness", "tcp:80,interval=1ms"]), 64, &["probes.liveness.interval", "100ms"])?;
    let twice = with(&["--startup", "tcp:80,success-threshold=2"]);
    refused(&home, &twice, 64, &["probes.startup.success_threshold", "only readiness"])?;
    let disabled = with(&["--no-healthcheck", "--restart-unhealthy"]);
    refused(&home, &disabled, 64, &["restart_unhealthy", "disabled"])?;
    assert_eq!(home.json(&["ps", "--all"])?, serde_json::json!([]));
    Ok(())
}
