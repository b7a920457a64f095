//! How soon a death is seen where the engine tells of it: from the signal to the entry in the journal. No sweep is due.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use seawall_model::Timestamp;
use seawall_testing::daemon::{Home, seawall_binary};
use seawall_testing::docker::{Engine, NoEngine};
use seawall_testing::processes::{self, Process};
use seawall_testing::wait_until;
use serde_json::Value;

use crate::measure::{Report, Times};

const DEATHS: usize = 50;
const MOST: Duration = Duration::from_millis(200);
/// The host looks at a session for a few seconds after its start: these are over then.
const SETTLED: Duration = Duration::from_secs(5);
const CONFIG: &str = "[control]\nsweep-interval = \"12h\"\nlist-interval = \"12h\"\n\
                      restart = { first = \"12h\", most = \"12h\" }\n";

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let engine = match Engine::start() {
        Ok(engine) => Some(engine),
        Err(NoEngine::Skipped(why)) => {
            report.note(format!("deaths of containers were NOT measured: {why}"));
            None
        }
        Err(failed @ NoEngine::Failed(_)) => return Err(failed.into()),
    };
    let mut home = Home::new(&seawall_binary()?)?;
    if let Some(engine) = &engine {
        home = home.with_docker(&engine.host());
    }
    home.configure(CONFIG)?;
    let _daemon = home.serve(true)?;
    if let Some(engine) = &engine {
        let line = ["--backend", "docker", "--image", "busybox"];
        let times = deaths(&home, &line, |id, _| {
            let container = engine.docker(["ps", "-q", "--filter", &format!("label=seawall.session={id}")])?;
            let pid = engine.docker(["inspect", "--format", "{{.State.Pid}}", &container])?;
            Process::read(pid.parse()?).context("its process")
        })?;
        report.time("a container was killed, until it is `restarting`", &times, MOST);
    }
    let times = deaths(&home, &["--backend", "process"], |_, name| {
        let of = |process: &Process| process.command.len() == 4 && process.command.ends_with(&[name.to_owned()]);
        home.processes().into_iter().find(of).context("its process")
    })?;
    report.time("a process was killed, until it is `restarting`", &times, MOST);
    Ok(())
}

fn deaths(home: &Home, line: &[&str], process: impl Fn(&str, &str) -> Result<Process>) -> Result<Times> {
    let mut sessions = Vec::new();
    for number in 0..DEATHS {
        let name = format!("{}{number}", line.get(1).context("a backend")?);
        let end = ["--restart", "always", "--name", &name, "--", "sh", "-c", "sleep 100000; :", &name];
        home.ok(&[&["run"], line, &end].concat())?;
        sessions.push(name);
    }
    std::thread::sleep(SETTLED);
    let mut times = Times::default();
    for name in &sessions {
        let session = home.json(&["inspect", name])?;
        let process = process(text(&session, "id")?, name)?;
        let killed = Timestamp::now();
        processes::signal(&process, Signal::KILL)?;
        wait_until("it is restarting", Duration::from_secs(60), || {
            home.json(&["inspect", name])
                .is_ok_and(|session| text(&session, "state").is_ok_and(|state| state == "restarting"))
        });
        let events = home.ok(&["events", "--json", "--session", name, "--kind", "session.restarting"])?;
        let event: Value = serde_json::from_str(events.lines().last().context("an event")?)?;
        let at: Timestamp = text(&event, "at")?.parse()?;
        times.push(at.since(killed));
    }
    Ok(times)
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value.get(field).and_then(Value::as_str).with_context(|| format!("no text {field:?} in {value}"))
}
