//! From a session's spec to a typed description of a program. What a process cannot have is refused by name (A5).

use seawall_sdk::process::{Program, Rlimit};
use seawall_sdk::{HealthCheck, Problems, Result, Spec, no_options};

/// Linux numbers the real-time signals after this one.
const LAST_NAMED: u32 = 31;

/// Describes the program of a session.
///
/// # Errors
/// `invalid`, naming each field that a process cannot have.
pub fn program(spec: Spec) -> Result<Program> {
    let mut problems = Problems::new();
    problems.refuse_if(spec.command.is_empty(), "command", "a process needs a program: name one");
    problems.refuse_if(
        spec.image.is_some(),
        "image",
        "a process is made of no image: leave it out, or use a backend with containers",
    );
    problems.refuse_if(spec.hostname.is_some(), "hostname", "a process has the host's own name");
    problems.refuse_if(!spec.mounts.is_empty(), "mounts", "a process sees the host's own files");
    problems.refuse_if(
        spec.network.is_some(),
        "network",
        "a process is on the host's own network, which cannot be changed: leave it out",
    );
    problems.refuse_if(
        !spec.ports.is_empty(),
        "ports",
        "a process is on the host's own network: its ports are the host's already",
    );
    let checked = matches!(spec.health_check, HealthCheck::Command(_));
    problems.refuse_if(checked, "health_check", "this backend runs no health check by itself: the host does");
    problems.refuse_if(
        spec.stop_signal.is_some_and(|signal| signal > LAST_NAMED),
        "stop_signal",
        "a process cannot be sent a real-time signal: name one of 1 to 31",
    );
    for (at, limit) in spec.resources.ulimits.iter().enumerate() {
        let twice = spec.resources.ulimits.iter().take(at).any(|earlier| earlier.name == limit.name);
        problems.refuse_if(twice, &format!("resources.ulimits[{at}].name"), "given twice");
    }
    problems.refuse_if(!no_options(&spec.options), "options", "this backend has no options of its own");
    problems.finish()?;

    // `init` is always carried out: the supervisor reaps what the program leaves behind. `stop_signal` and `stop_grace`
    // are the host's, which sends the one and counts the other; name and labels are its record of the session.
    Ok(Program {
        key: spec.key,
        command: spec.command,
        env: spec.env,
        working_dir: spec.working_dir,
        user: spec.user,
        memory: spec.resources.memory,
        cpu_millis: spec.resources.cpu_millis,
        processes: spec.resources.processes,
        rlimits: spec
            .resources
            .ulimits
            .into_iter()
            .map(|limit| Rlimit { name: limit.name, soft: limit.soft, hard: limit.hard })
            .collect(),
        tty: spec.tty,
        stdin: spec.stdin,
        log_max_size: spec.logs.max_size,
        log_max_files: spec.logs.max_files,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use seawall_sdk::{
        Error, HealthCommand, Key, LogLimits, Mount, MountSource, Network, Port, Protocol, Resources, Ulimit,
    };

    fn spec() -> Spec {
        Spec {
            key: Key { session: "0123456789abcdef".to_owned(), incarnation: 3, handle: Some(vec![1]) },
            name: "job".to_owned(),
            labels: vec![("a".to_owned(), "b".to_owned())],
            image: None,
            command: vec!["sleep".to_owned(), "5".to_owned()],
            env: vec![],
            working_dir: None,
            user: None,
            hostname: None,
            mounts: vec![],
            resources: Resources { memory: None, cpu_millis: None, processes: None, ulimits: vec![] },
            network: None,
            ports: vec![],
            tty: false,
            stdin: false,
            init: true,
            stop_signal: Some(2),
            stop_grace: 10_000,
            health_check: HealthCheck::Inherited,
            logs: LogLimits { max_size: None, max_files: None },
            options: "{}".to_owned(),
        }
    }

    #[test]
    fn what_a_process_can_have_reaches_the_program() {
        let asked = Spec {
            env: vec![("A".to_owned(), "b".to_owned())],
            working_dir: Some("/srv".to_owned()),
            user: Some("nobody:nogroup".to_owned()),
            resources: Resources {
                memory: Some(64 << 20),
                cpu_millis: Some(250),
                processes: Some(9),
                ulimits: vec![Ulimit { name: "nofile".to_owned(), soft: 1, hard: 2 }],
            },
            tty: true,
            stdin: true,
            health_check: HealthCheck::Disabled,
            logs: LogLimits { max_size: Some(5), max_files: Some(6) },
            ..spec()
        };
        let made = program(asked).unwrap();
        assert_eq!(made.key.incarnation, 3);
        assert_eq!(made.command, ["sleep", "5"]);
        assert_eq!(made.env, [("A".to_owned(), "b".to_owned())]);
        assert_eq!(made.working_dir.as_deref(), Some("/srv"));
        assert_eq!(made.user.as_deref(), Some("nobody:nogroup"));
        assert_eq!((made.memory, made.cpu_millis, made.processes), (Some(64 << 20), Some(250), Some(9)));
        let limits: Vec<_> = made.rlimits.iter().map(|limit| (limit.name.as_str(), limit.soft, limit.hard)).collect();
        assert_eq!(limits, [("nofile", 1, 2)]);
        assert!(made.tty && made.stdin);
        assert_eq!((made.log_max_size, made.log_max_files), (Some(5), Some(6)));
    }

    #[test]
    fn what_a_process_cannot_have_is_refused_by_name_and_all_at_once() {
        let asked = Spec {
            command: vec![],
            image: Some("busybox".to_owned()),
            hostname: Some("web".to_owned()),
            mounts: vec![Mount {
                source: MountSource::Tmpfs(None),
                target: "/t".to_owned(),
                read_only: false,
                options: "{}".to_owned(),
            }],
            network: Some(Network::Isolated),
            ports: vec![Port { container: 80, host: None, address: None, protocol: Protocol::Tcp }],
            health_check: HealthCheck::Command(HealthCommand {
                command: vec!["true".to_owned()],
                interval: 1,
                timeout: 1,
                start_period: 0,
                start_interval: None,
                retries: 1,
            }),
            stop_signal: Some(34),
            resources: Resources {
                ulimits: [1, 2].map(|soft| Ulimit { name: "core".to_owned(), soft, hard: 2 }).to_vec(),
                ..spec().resources
            },
            options: r#"{"privileged":true}"#.to_owned(),
            ..spec()
        };
        let Err(Error::Invalid(problems)) = program(asked) else { panic!("not refused") };
        let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "command",
                "image",
                "hostname",
                "mounts",
                "network",
                "ports",
                "health_check",
                "stop_signal",
                "resources.ulimits[1].name",
                "options"
            ]
        );
    }
}
