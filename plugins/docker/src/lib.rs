//! The Docker backend: sessions are containers on one Docker Engine.
//!
//! It holds the policy, what a session's spec means in containers and what a session gets that does not say; see
//! [`container`] and [`config`]. The capability does the rest, and is the boundary: whatever this plugin asked for, it
//! would get no more than was granted.

pub mod config;
pub mod container;

use config::Config;
use container::Options;
use seawall_sdk::{
    Attach, AttachOptions, Backend, ByteSink, ByteStream, CheckResult, Duplex, Endpoint, Endpoints, Exec, ExecOptions,
    Execution, Found, HealthChecks, Images, Info, Input, Key, LogOptions, Logs, Measurement, Page, Pause, Preparation,
    Report, Result, Spec, Stats, Status, WakeSource, Watch, docker,
};

struct Docker;

seawall_sdk::export!(
    Docker with logs, exec, health_checks, attach, input, stats, endpoint, pause, images, watch
);

impl Backend for Docker {
    fn describe() -> Info {
        Info {
            name: "docker".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "Containers on a Docker Engine".to_owned(),
            config_schema: include_str!("config.schema.json").to_owned(),
            options_schema: include_str!("options.schema.json").to_owned(),
        }
    }

    fn check() -> Result<Report> {
        let engine = docker::ping()?;
        let mut attributes = vec![
            ("api_version".to_owned(), engine.api_version),
            ("cpus".to_owned(), engine.cpus.to_string()),
            ("memory".to_owned(), engine.memory.to_string()),
        ];
        attributes.extend(engine.attributes);
        Ok(Report { version: engine.version, attributes })
    }

    fn create(spec: Spec) -> Result<Status> {
        let options: Options = seawall_sdk::options(&spec)?;
        let config: Config = seawall_sdk::config()?;
        docker::create(&container::container(spec, options, config)?)
    }

    fn start(key: Key) -> Result<Status> {
        docker::start(&key)
    }

    fn signal(key: Key, signal: u32) -> Result<()> {
        docker::signal(&key, signal)
    }

    fn remove(key: Key, force: bool) -> Result<()> {
        docker::remove(&key, force)
    }

    fn inspect(keys: Vec<Key>) -> Result<Vec<Found>> {
        docker::inspect(&keys)
    }

    fn list(cursor: Option<String>) -> Result<Page> {
        docker::list(cursor.as_deref())
    }
}

impl Logs for Docker {
    fn open(key: Key, options: LogOptions) -> Result<ByteStream> {
        docker::logs(&key, options)
    }
}

impl Exec for Docker {
    fn run(key: Key, options: ExecOptions) -> Result<Execution> {
        docker::exec(&key, &options)
    }
}

impl HealthChecks for Docker {
    fn last(key: Key) -> Result<Option<CheckResult>> {
        docker::last_health_check(&key)
    }
}

impl Attach for Docker {
    fn open(key: Key, options: AttachOptions) -> Result<Duplex> {
        docker::attach(&key, options)
    }
}

impl Input for Docker {
    fn open(key: Key) -> Result<ByteSink> {
        docker::input(&key)
    }
}

impl Stats for Docker {
    fn sample(keys: Vec<Key>) -> Result<Vec<Measurement>> {
        docker::stats(&keys)
    }
}

impl Pause for Docker {
    fn pause(key: Key) -> Result<()> {
        docker::pause(&key)
    }

    fn unpause(key: Key) -> Result<()> {
        docker::unpause(&key)
    }
}

impl Watch for Docker {
    fn open() -> Result<WakeSource> {
        docker::watch()
    }
}

impl Endpoints for Docker {
    fn list(key: Key) -> Result<Vec<Endpoint>> {
        docker::endpoints(&key)
    }
}

impl Images for Docker {
    fn prepare(reference: String, missing: bool) -> Result<Preparation> {
        docker::pull(&reference, missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of an object schema's properties.
    fn properties(schema: &str) -> Vec<String> {
        let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
        assert_eq!(schema["additionalProperties"], false, "an unknown key must be refused");
        schema["properties"].as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn the_schemas_know_what_the_plugin_knows() {
        let info = Docker::describe();
        let mut config = properties(&info.config_schema);
        config.sort();
        assert_eq!(config, ["cpus", "memory"]);
        let all = r#"{"entrypoint":["a"],"read_only_root":true,"drop_capabilities":["ALL"],
                      "add_capabilities":["NET_ADMIN"],"privileged":true}"#;
        serde_json::from_str::<Options>(all).unwrap();
        let given: serde_json::Value = serde_json::from_str(all).unwrap();
        for property in properties(&info.options_schema) {
            assert!(given.get(&property).is_some(), "{property} is in the schema and not in the plugin");
        }
    }
}
