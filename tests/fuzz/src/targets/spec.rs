//! A session's spec as JSON: refused in words, or the same when written and read again, and its secrets are not shown.

use seawall_model::{Secret, SessionSpec};

use crate::{Run, Target};

pub(crate) const TARGET: Target =
    Target { name: "spec", longest: 8192, tries: 1000, seeds, make: || Box::new(run) as Run };

fn seeds() -> Vec<Vec<u8>> {
    [
        r#"{"backend":"docker","name":"web","image":"busybox","command":["sh","-c","x"],"env":{"TOKEN":"hunter2","A_1":""},"labels":{"a":"b"},"working_dir":"/w","user":"1:2","hostname":"h"}"#,
        r#"{"backend":"process","mounts":[{"source":{"bind":"/srv"},"target":"/t"},{"source":{"volume":"v"},"target":"/v","read_only":false},{"source":{"tmpfs":"1MiB"},"target":"/m"}],"resources":{"memory":"64MiB","cpus":1.5,"processes":9,"ulimits":[{"name":"nofile","soft":1,"hard":18446744073709551615}]}}"#,
        r#"{"backend":"mock","network":"isolated","ports":[{"container":80,"host":8080,"address":"::1","protocol":"udp"}],"tty":true,"stdin":true,"init":true,"stop_signal":"SIGINT","stop_grace":"3s","restart":"on-failure:5","health_check":{"command":{"command":["true"],"interval":"1s"}},"logs":{"max_size":"10MiB","max_files":3},"options":{"a":[1,2.5,null]}}"#,
        r#"{"backend":"x","health_check":"disabled","restart":"always","stop_signal":"9"}"#,
        r#"{"backend":"x","network":{"named":[{"name":"back","aliases":["db"],"options":{"a":1}}]},"mounts":[{"source":{"tmpfs":null},"target":"/m","options":{"b":2}}],"health_check":{"command":{"command":["true"],"start_interval":"1s"}}}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

fn run(input: &[u8]) {
    let spec: SessionSpec = match serde_json::from_slice(input) {
        Ok(spec) => spec,
        Err(error) => {
            let _ = error.to_string();
            return;
        }
    };
    if let Err(invalid) = spec.validate() {
        assert!(!invalid.problems.is_empty());
        assert!(invalid.to_string().len() < 64 << 10, "{} problems", invalid.problems.len());
        for problem in &invalid.problems {
            super::assert_readable("a field", &problem.field, 1024);
            super::assert_readable("a message", &problem.message, 1024);
        }
    }
    let written = serde_json::to_string(&spec).expect("a spec can be written");
    let again: SessionSpec = serde_json::from_str(&written).expect("what was written can be read");
    assert_eq!(again, spec, "{written}");

    let shown = spec.redacted();
    assert!(shown.env.keys().eq(spec.env.keys()));
    assert!(shown.env.values().all(|value| value.reveal() == Secret::REDACTED));
    // The same with values that are nowhere else in the spec must not give them away.
    let mut secret = spec;
    for value in secret.env.values_mut() {
        *value = Secret::new("bd1e4c9a-never-shown");
    }
    let told = format!("{secret:?} {} {:?}", serde_json::to_string(&secret.redacted()).unwrap(), secret.validate());
    assert!(!told.contains("never-shown"), "{told}");
}
