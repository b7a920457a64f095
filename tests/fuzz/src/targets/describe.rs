//! What a plugin says of itself when it is loaded. It may read nothing then, so the input is put into the component,
//! which is compiled anew each time: the memory from address 0, where `describe` says that its answer lies.

use seawall_backend::{ExecutionBackend as _, Fault, FaultKind};
use seawall_runtime::{LoadError, Runtime, RuntimeConfig};

use super::assert_readable;
use super::guest::{Guest, executor, plugin, runtime};
use crate::{Run, Target};

const LONGEST: usize = 512;

pub(crate) const TARGET: Target = Target { name: "describe", longest: LONGEST, tries: 20, seeds, make };

/// What stands where the input goes.
const PLACE: [u8; LONGEST] = [0xa5; LONGEST];

fn seeds() -> Vec<Vec<u8>> {
    let info = |texts: [&str; 5]| {
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        for text in texts {
            head.extend(u32::try_from(40 + tail.len()).unwrap().to_le_bytes());
            head.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
            tail.extend_from_slice(text.as_bytes());
        }
        [head, tail].concat()
    };
    vec![
        info(["box", "1.2.3", "A box.", "", ""]),
        info(["box", "1.2.3-rc.1+x", "A box.", r#"{"type":"object"}"#, r#"{"properties":{"a":{"type":"string"}}}"#]),
        info(["Box\n", "1", "a\u{1b}[2J", "{", "[]"]),
    ]
}

fn make() -> Run {
    let data: String = PLACE.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let field = format!("(data (i32.const 0) \"{data}\")");
    let component = Guest::new().body("describe", "i32.const 0").field(&field).component().into_owned();
    let at = component.windows(LONGEST).position(|window| window == PLACE).unwrap();
    let (executor, runtime) = (executor(), runtime(RuntimeConfig::default()));
    Box::new(move |input| {
        let mut component = component.clone();
        let place = &mut component[at..at + LONGEST];
        place.fill(0);
        place[..input.len()].copy_from_slice(input);
        executor.block_on(run(&runtime, component));
    })
}

async fn run(runtime: &Runtime, component: Vec<u8>) {
    match runtime.load_ungranted(plugin(component)).await {
        Ok(backend) => {
            let info = backend.info();
            assert!((1..=32).contains(&info.name.len()) && (1..=64).contains(&info.version.len()));
            for text in [&info.name, &info.version, &info.description] {
                assert_readable("a description", text, 500);
            }
            // What is no usable schema is refused by whoever loads; it must not hurt before that.
            for schema in [&info.config_schema, &info.options_schema] {
                let _ = seawall::outside::problems(schema, &serde_json::json!({"a": {"a": [1, "a", null]}}));
            }
        }
        Err(LoadError::Trial(Fault { kind, message, .. })) => {
            assert!(matches!(kind, FaultKind::BadAnswer | FaultKind::Trap), "{kind:?}: {message}");
            assert!(message.len() < 4096, "{} bytes", message.len());
        }
        Err(error) => panic!("only what it says was changed: {error}"),
    }
}
