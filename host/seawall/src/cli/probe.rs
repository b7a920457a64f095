//! A probe in one flag: `http:8080/healthz,interval=5s`, `tcp:5432`, `exec:pg_isready -q,failure-threshold=5`.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use seawall_model::{ExecCheck, HttpCheck, Probe, ProbeCheck, Secret, TcpCheck};

const FORMS: &str = "write http:8080/healthz, tcp:5432 or exec:COMMAND, and after it what differs from the defaults: \
                     ,interval=5s,timeout=2s,initial-delay=10s,failure-threshold=3,success-threshold=1,header=NAME:VALUE";

/// Reads the value of `--startup`, `--readiness` or `--liveness`.
pub(super) fn probe(text: &str) -> Result<Probe, String> {
    let (kind, rest) = text.split_once(':').ok_or_else(|| format!("{text:?} is no probe: {FORMS}"))?;
    let (what, settings) = match kind {
        // A comma within quotes is the command's.
        "exec" => settings(rest, |command| shlex::split(command).is_some()),
        _ => settings(rest, |_| true),
    };
    let mut probe = Probe::new(match kind {
        "http" => http(what)?,
        "tcp" => ProbeCheck::Tcp(TcpCheck { port: port(what)? }),
        "exec" => exec(what)?,
        _ => return Err(format!("{kind:?} is no kind of probe: {FORMS}")),
    });
    for (name, value) in settings {
        match name {
            "interval" => probe.interval = duration(name, value)?,
            "timeout" => probe.timeout = duration(name, value)?,
            "initial-delay" => probe.initial_delay = duration(name, value)?,
            "failure-threshold" => probe.failure_threshold = number(name, value)?,
            "success-threshold" => probe.success_threshold = number(name, value)?,
            "header" => header(&mut probe.check, value)?,
            _ => return Err(format!("{name:?} is nothing that a probe has: {FORMS}")),
        }
    }
    Ok(probe)
}

/// What is asked, and the settings after it, which stand at the end: a command may have commas of its own.
fn settings(text: &str, may_end: impl Fn(&str) -> bool) -> (&str, Vec<(&str, &str)>) {
    let (mut what, mut settings) = (text, Vec::new());
    while let Some((before, last)) = what.rsplit_once(',')
        && let Some((name, value)) = last.split_once('=')
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        && may_end(before)
    {
        settings.push((name, value));
        what = before;
    }
    settings.reverse();
    (what, settings)
}

fn http(text: &str) -> Result<ProbeCheck, String> {
    let (number, path) = match text.find('/') {
        Some(at) => text.split_at(at),
        None => (text, "/"),
    };
    if path.contains(',') {
        return Err(format!("{path:?} has a comma: write it as %2C, and settings as NAME=VALUE"));
    }
    Ok(ProbeCheck::Http(HttpCheck { port: port(number)?, path: path.to_owned(), headers: Default::default() }))
}

fn port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| format!("{text:?} is no port: a number from 1 to 65535"))
}

/// Words as a shell has them, quotes included; nothing else of a shell.
fn exec(text: &str) -> Result<ProbeCheck, String> {
    let command = shlex::split(text).ok_or_else(|| format!("{text:?} has a quote that does not end"))?;
    if command.is_empty() {
        return Err(format!("exec: there is no command: {FORMS}"));
    }
    Ok(ProbeCheck::Exec(ExecCheck { command }))
}

fn duration(name: &str, value: &str) -> Result<Duration, String> {
    humantime::parse_duration(value).map_err(|error| format!("{name}={value}: {error}; write 5s or 500ms"))
}

fn number<T: FromStr<Err: Display>>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|error| format!("{name}={value}: {error}"))
}

fn header(check: &mut ProbeCheck, text: &str) -> Result<(), String> {
    let ProbeCheck::Http(http) = check else { return Err("header: only a probe by http has headers".to_owned()) };
    let (name, value) = text.split_once(':').ok_or("header: write header=NAME:VALUE")?;
    if http.headers.insert(name.to_owned(), Secret::new(value.trim_start())).is_some() {
        return Err(format!("header: {name} is given twice"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read_with_its_settings() {
        let seconds = Duration::from_secs;
        let http = probe("http:8080/healthz?full=1,interval=5s,timeout=500ms,header=X-A:b=c,header=Host: web").unwrap();
        assert_eq!((http.interval, http.timeout), (seconds(5), Duration::from_millis(500)));
        let ProbeCheck::Http(check) = http.check else { panic!("{http:?}") };
        assert_eq!((check.port, check.path.as_str()), (8080, "/healthz?full=1"));
        assert_eq!((check.headers["X-A"].reveal(), check.headers["Host"].reveal()), ("b=c", "web"));

        let tcp = probe("tcp:5432,initial-delay=10s,failure-threshold=5,success-threshold=2").unwrap();
        assert_eq!(tcp.check, ProbeCheck::Tcp(TcpCheck { port: 5432 }));
        assert_eq!((tcp.initial_delay, tcp.failure_threshold, tcp.success_threshold), (seconds(10), 5, 2));

        let words = |text: &str| match probe(text).unwrap().check {
            ProbeCheck::Exec(exec) => exec.command,
            other => panic!("{other:?}"),
        };
        assert_eq!(words("exec:check --a=b,c 'd e',interval=1s"), ["check", "--a=b,c", "d e"]);
        assert_eq!(words("exec:sh -c \"exit 3\""), ["sh", "-c", "exit 3"]);
        assert_eq!(words("exec:sh -c 'x,interval=1s'"), ["sh", "-c", "x,interval=1s"]);
        let ProbeCheck::Http(root) = probe("http:80").unwrap().check else { panic!() };
        assert_eq!(root.path, "/");
    }

    #[test]
    fn wrong_values_say_what_to_write() {
        let wrong = [
            "8080",
            "https:8080/",
            "http:x/healthz",
            "http:0/",
            "http:80/,intervall=5s",
            "http:80/a,b",
            "tcp:",
            "tcp:80/x",
            "tcp:80,header=a:b",
            "tcp:80,interval=soon",
            "tcp:80,failure-threshold=-1",
            "exec:",
            "exec:sh -c 'exit",
            "http:80,header=a",
            "http:80,header=a:b,header=a:c",
        ];
        let said: Vec<_> = wrong.iter().map(|text| format!("{text}\n  {}", probe(text).unwrap_err())).collect();
        insta::assert_snapshot!(said.join("\n"));
    }
}
