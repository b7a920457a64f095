//! The table of fields says what the types say, and stands in the README and in `wit/backend` as it is.

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::time::Duration;

    use seawall_model::table::{PROBE, SPEC, markdown};
    use seawall_model::{
        Attachment, ExecCheck, HealthCheck, HealthCommand, HttpCheck, LogLimits, Mount, MountSource, Network, Port,
        Probe, ProbeCheck, Probes, Protocol, Resources, RestartBackoff, RestartBudget, RestartPolicy, Secret,
        SessionSpec, Signal, Size, TcpCheck, Ulimit,
    };
    use serde_json::Value;

    /// Takes down the rows that a value has fields of, and complains about a field that is in no row.
    fn walk(value: &Value, path: &str, rows: &BTreeSet<&str>, met: &mut BTreeSet<String>) {
        if rows.contains(path) {
            met.insert(path.to_owned());
            return;
        }
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| walk(value, &below(name), rows, met)),
            Value::Array(items) => items.iter().for_each(|item| walk(item, &format!("{path}[]"), rows, met)),
            Value::String(word) if rows.contains(below(word).as_str()) => {
                met.insert(below(word));
            }
            _ => panic!("the table has no row for {path:?} ({value})"),
        }
    }

    fn probe(check: ProbeCheck) -> Probe {
        let second = Duration::from_secs(1);
        // No `..`: a field that is added has to be written here, and then in the table.
        Probe {
            check,
            interval: second,
            timeout: second,
            initial_delay: second,
            failure_threshold: 1,
            success_threshold: 1,
        }
    }

    fn checks() -> [ProbeCheck; 3] {
        let headers = [("a".to_owned(), Secret::new("b"))].into();
        [
            ProbeCheck::Exec(ExecCheck { command: vec!["true".to_owned()] }),
            ProbeCheck::Http(HttpCheck { port: 80, path: "/x".to_owned(), headers }),
            ProbeCheck::Tcp(TcpCheck { port: 80 }),
        ]
    }

    /// A spec with everything in it.
    fn full(network: Network, health_check: HealthCheck) -> SessionSpec {
        let options: serde_json::Map<_, _> = [("a".to_owned(), Value::from(1))].into_iter().collect();
        let mount = |source| Mount { source, target: "/t".to_owned(), read_only: true, options: options.clone() };
        let [exec, http, tcp] = checks().map(|check| Some(probe(check)));
        let second = Some(Duration::from_secs(1));
        SessionSpec {
            backend: "docker".parse().unwrap(),
            name: Some("name".parse().unwrap()),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            image: Some("i".to_owned()),
            command: vec!["c".to_owned()],
            env: [("A".to_owned(), Secret::new("b"))].into(),
            env_from: [("B".to_owned(), "/b".to_owned())].into(),
            working_dir: Some("/w".to_owned()),
            user: Some("u".to_owned()),
            hostname: Some("h".to_owned()),
            mounts: vec![
                mount(MountSource::Bind("/b".to_owned())),
                mount(MountSource::Volume("v".to_owned())),
                mount(MountSource::Tmpfs(Some(Size(1)))),
            ],
            resources: Resources {
                memory: Some(Size(1)),
                cpus: Some("1".parse().unwrap()),
                processes: Some(1),
                ulimits: vec![Ulimit { name: "core".to_owned(), soft: 0, hard: 0 }],
            },
            network: Some(network),
            ports: vec![Port { container: 1, host: Some(1), address: "::1".parse().ok(), protocol: Protocol::Udp }],
            tty: true,
            stdin: true,
            init: true,
            stop_signal: Some(Signal::from_number(2).unwrap()),
            stop_grace: Some(Duration::from_secs(1)),
            restart: RestartPolicy::Always,
            restart_backoff: RestartBackoff { first: second, most: second, reset: second },
            restart_budget: Some(RestartBudget { restarts: 1, within: Duration::from_secs(1) }),
            auto_remove: true,
            health_check: Some(health_check),
            restart_unhealthy: true,
            probes: Probes { startup: exec, readiness: http, liveness: tcp },
            logs: LogLimits { max_size: Some(Size(1)), max_files: Some(1) },
            options,
        }
    }

    #[test]
    fn the_table_has_a_row_for_every_field_of_the_spec_and_no_other() {
        let second = Duration::from_secs(1);
        let command = HealthCheck::Command(HealthCommand {
            command: vec!["true".to_owned()],
            interval: second,
            timeout: second,
            start_period: second,
            start_interval: Some(second),
            retries: 1,
        });
        let back = Attachment { name: "a".to_owned(), aliases: vec!["b".to_owned()], options: serde_json::Map::new() };
        let rows: BTreeSet<_> = SPEC.iter().map(|row| row.path).collect();
        assert_eq!(rows.len(), SPEC.len(), "a row is there twice");
        let mut met = BTreeSet::new();
        for (network, check) in [
            (Network::Internet, HealthCheck::Disabled),
            (Network::Isolated, command.clone()),
            (Network::Host, command.clone()),
            (Network::Named(vec![back]), command),
        ] {
            walk(&serde_json::to_value(full(network, check)).unwrap(), "", &rows, &mut met);
        }
        let unmet: Vec<_> = rows.iter().filter(|row| !met.contains(**row)).collect();
        assert!(unmet.is_empty(), "there are no such fields: {unmet:?}");
    }

    #[test]
    fn the_table_has_a_row_for_every_field_of_a_probe_and_no_other() {
        let rows: BTreeSet<_> = PROBE.iter().map(|[path, ..]| *path).collect();
        let mut met = BTreeSet::new();
        for check in checks() {
            walk(&serde_json::to_value(probe(check)).unwrap(), "", &rows, &mut met);
        }
        let unmet: Vec<_> = rows.iter().filter(|row| !met.contains(**row)).collect();
        assert!(unmet.is_empty(), "there are no such fields: {unmet:?}");
    }

    /// The text with what stands between the two marks replaced.
    fn between(text: &str, begin: &str, end: &str, new: &str) -> String {
        let (head, rest) = text.split_once(begin).expect("the mark where the table begins");
        let (_, tail) = rest.split_once(end).expect("the mark where it ends");
        format!("{head}{begin}{new}{end}{tail}")
    }

    #[test]
    fn readme_and_wit_show_the_table_as_it_is() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let table = markdown();
        let (spec, _) = table.split_once("\n\n").expect("the first of the tables");
        let commented: String = spec.lines().map(|line| format!("// {line}\n")).collect();
        for (file, begin, end, shown) in [
            ("README.md", "<!-- table: begin -->\n", "<!-- table: end -->\n", table.clone()),
            ("wit/backend/types.wit", "// table: begin\n", "// table: end\n", commented),
        ] {
            let path = root.join(file);
            let text = std::fs::read_to_string(&path).unwrap();
            let right = between(&text, begin, end, &shown);
            if std::env::var_os("UPDATE").is_some() {
                std::fs::write(&path, &right).unwrap();
            } else {
                assert!(
                    text == right,
                    "{file} does not show the table of host/model/src/table.rs: run this with UPDATE=1"
                );
            }
        }
    }
}
