//! Helpers of the end-to-end tests, which drive the real `seawall` from its command line and its API.
//!
//! The tests themselves are in `tests/e2e`. Each has a daemon of its own; compiled plugins are shared in Cargo's
//! directory for tests, and so is one private Docker Engine by those tests that do nothing to the engine itself.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::net::{AddressFamily, SocketType};
use seawall_testing::PATIENCE;
pub use seawall_testing::daemon::QUICK;
use seawall_testing::daemon::{Home, Output, seawall_binary};
use seawall_testing::docker::Engine;
use seawall_testing::processes::Process;
use serde_json::Value;

/// A home with the quick configuration and this behind it; Docker is absent.
///
/// # Errors
/// `seawall` has not been built.
pub fn home(more_config: &str) -> Result<Home> {
    // target/PROFILE/deps/e2e-...: Cargo's own directory for tests is target/tmp.
    let own = std::env::current_exe().context("find the running test")?;
    let target = own.ancestors().nth(3).context("find the target directory")?;
    let home = Home::new(&seawall_binary()?)?.with_cache(&target.join("tmp/seawall-cache"));
    home.configure(&format!("{QUICK}{more_config}"))?;
    Ok(home)
}

/// The engine that tests share, or `None` after saying loudly that Docker is not tested.
pub fn engine() -> Option<&'static Engine> {
    // Never dropped; the engine ends when this process does, however that happens.
    static ENGINE: OnceLock<Option<Engine>> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::start_or_skip("sessions on Docker, end to end")).as_ref()
}

/// A guest that misbehaves, by its name in `tests/fixtures`.
///
/// # Errors
/// It has not been built.
pub fn fixture(name: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/dist").join(name).with_extension("wasm");
    path.canonicalize().with_context(|| format!("{} has not been built: cargo xtask plugins", path.display()))
}

/// Asks until there is an answer.
///
/// # Errors
/// Asking fails, or there is none within [`PATIENCE`].
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for this: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until a line of the daemon's log has all of these words: it may be written after the answer was sent.
///
/// # Errors
/// There is none within [`PATIENCE`].
pub fn logged(home: &Home, words: &[&str]) -> Result<String> {
    let line = eventually(&format!("a line of the log with {words:?}"), || {
        let log = home.log();
        Ok(log.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned))
    });
    line.with_context(|| home.log())
}

/// Waits until a session is so, as `inspect --json` shows it.
///
/// # Errors
/// It does not come to be so; with what it is instead.
pub fn until(home: &Home, session: &str, what: &str, so: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut last = Value::Null;
    let found = eventually(&format!("session {session}: {what}"), || {
        last = home.json(&["inspect", session])?;
        Ok(so(&last).then(|| last.clone()))
    });
    found.with_context(|| format!("it is {last:#}"))
}

/// Waits until a session is in this state.
///
/// # Errors
/// As [`until`].
pub fn until_state(home: &Home, session: &str, state: &str) -> Result<Value> {
    until(home, session, state, |now| now.get("state").is_some_and(|found| found == state))
}

/// Waits until the checks of a backend find it healthy: nothing is placed on it before.
///
/// # Errors
/// They do not.
pub fn until_healthy(home: &Home, backend: &str) -> Result<()> {
    eventually(&format!("{backend} is healthy"), || {
        let shown = home.json(&["backend", "inspect", backend])?;
        Ok(shown.get("health").is_some_and(|health| health == "healthy").then_some(()))
    })
}

/// Starts a session, which must run, and gives its id.
///
/// # Errors
/// It did not run.
pub fn run(home: &Home, arguments: &[&str]) -> Result<String> {
    let id = home.ok(&[&["run"], arguments].concat())?.trim().to_owned();
    let is_id = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    ensure!(is_id, "`seawall run` printed {id:?} and not an id");
    Ok(id)
}

/// Holds a failed command against its documented exit code and the words that its message must have. With `--json`
/// among the arguments the message is a problem document, which is given back.
///
/// # Errors
/// It ended otherwise.
pub fn refused(home: &Home, arguments: &[&str], code: i32, words: &[&str]) -> Result<Output> {
    let output = home.run(arguments)?;
    let line = arguments.join(" ");
    ensure!(
        output.code == Some(code),
        "`seawall {line}` ended with {:?} instead of {code}: {}{}",
        output.code,
        output.stdout,
        output.stderr
    );
    for word in words {
        ensure!(output.stderr.contains(word), "`seawall {line}` does not say {word:?}: {}", output.stderr);
    }
    ensure!(output.stderr.len() < 4000, "`seawall {line}` says too much: {} bytes", output.stderr.len());
    Ok(output)
}

/// The one process of this home with exactly these arguments, once it is there: a program that is said to run has been
/// executed, and shows its arguments a moment later.
///
/// # Errors
/// There is none, or there are several.
pub fn process(home: &Home, command: &[&str]) -> Result<Process> {
    eventually(&format!("one process {command:?}"), || {
        let mut found: Vec<_> = home.processes().into_iter().filter(|process| process.command == command).collect();
        Ok(found.pop().filter(|_| found.is_empty()))
    })
}

/// What was refused changed nothing: there is no session, not even one that is over.
///
/// # Errors
/// There is one.
pub fn nothing_left(home: &Home) -> Result<()> {
    let sessions = home.json(&["ps", "-a"])?;
    ensure!(sessions.as_array().is_some_and(Vec::is_empty), "there are sessions: {sessions:#}");
    Ok(())
}

/// Asks the API for something that it must refuse, and holds the problem document against status, kind and words.
///
/// # Errors
/// It answered otherwise.
pub fn problem(
    home: &Home,
    (method, target, body): (&str, &str, Option<&str>),
    (status, kind): (u16, &str),
    words: &[&str],
) -> Result<Value> {
    let answer = home.http(method, target, body).with_context(|| format!("{method} {target}"))?;
    let text = answer.text();
    ensure!(answer.status == status, "{method} {target} answered {} instead of {status}: {text}", answer.status);
    let media = answer.header("content-type").unwrap_or_default();
    ensure!(media == "application/problem+json", "{method} {target} answered with {media:?}: {text}");
    let document = answer.json();
    let said = (document.get("type").cloned(), document.get("status").cloned());
    ensure!(
        said == (Some(format!("urn:seawall:problem:{kind}").into()), Some(status.into())),
        "{method} {target} is not {kind}: {text}"
    );
    for word in words {
        ensure!(text.contains(word), "{method} {target} does not say {word:?}: {text}");
    }
    ensure!(text.len() < 4000, "{method} {target} says too much: {} bytes", text.len());
    Ok(document)
}

/// The text of a field that must be there.
///
/// # Errors
/// It is not, or is no text.
pub fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    match value.get(field).and_then(Value::as_str) {
        Some(text) => Ok(text),
        None => bail!("there is no text {field:?} in {value}"),
    }
}

/// A port of this machine that refuses connections for as long as the socket is kept: it has the port and does not listen.
///
/// # Errors
/// There is no free port.
pub fn refusing() -> Result<(u16, OwnedFd)> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    let port = SocketAddrV4::try_from(rustix::net::getsockname(&socket)?)?.port();
    Ok((port, socket))
}
