//! `doctor`: what this machine has of what Seawall needs, and what to do about the rest. It looks for itself, and asks the
//! daemon and the Engine if they answer; it starts and changes nothing.

mod groups;
mod limits;
mod machine;
mod storage;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use seawall_control::{BackendHealth, Overview};
use serde::{Deserialize, Serialize};

use super::Global;
use super::format::{latency, table};
use super::serve::SettingsFlags;
use crate::client::Client;
use crate::config::{Backend, PluginSource, Settings};
use crate::embedded;
use crate::exit::{Code, Failure};
use crate::place::{self, Place};

/// `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
It ends with 0 if nothing is wrong, also where something is missing that only some sessions need, and with 1 otherwise.")]
pub(crate) struct Doctor {
    #[command(flatten)]
    settings: SettingsFlags,
}

/// How it is with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    /// As it should be.
    Ok,
    /// Something is missing that some sessions need.
    Warning,
    /// The daemon cannot start, or a backend cannot work.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Finding {
    /// What.
    about: String,
    level: Level,
    /// How it is.
    found: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    pub(super) fn ok(about: &str, found: impl Into<String>) -> Self {
        Self { about: about.to_owned(), level: Level::Ok, found: found.into(), advice: None }
    }

    pub(super) fn warning(about: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(advice.into());
        Self { about: about.to_owned(), level: Level::Warning, found: found.into(), advice }
    }

    pub(super) fn problem(about: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Problem, ..Self::warning(about, found, advice) }
    }
}

impl Doctor {
    /// Looks at everything, and says what it found.
    pub(crate) async fn run(self, global: &Global) -> Result<u8, Failure> {
        let mut findings = machine::look();
        findings.push(groups::look());
        findings.extend(limits::of_the_system());
        match self.settings.load(global) {
            Ok(settings) => {
                let read = settings.written.document().map(|document| document.path().display().to_string());
                let read = read.unwrap_or_else(|| "no file: the defaults".to_owned());
                findings.push(Finding::ok("configuration", read));
                findings.extend(storage::look(&settings));
                findings.push(supervisor(&settings));
                for (name, backend) in &settings.backend {
                    findings.push(plugin(name.as_str(), backend, &settings));
                    findings.push(limits::of_a_backend(name.as_str(), backend, &settings));
                }
                for (name, backend) in &settings.backend {
                    if let Some(docker) = &backend.grants.docker {
                        findings.push(
                            engine(&format!("engine of {name}"), docker.address().map_err(|error| error.to_string()))
                                .await,
                        );
                    }
                }
                findings.extend(daemon(&settings).await);
            }
            Err(failure) => findings.push(Finding::problem(
                "configuration",
                failure.chain(),
                "correct it; `seawall config check` reads it again",
            )),
        }
        global.show(&findings, |findings| text(findings))?;
        let wrong = findings.iter().any(|finding| finding.level == Level::Problem);
        Ok(if wrong { Code::Other as u8 } else { 0 })
    }
}

fn text(findings: &[Finding]) -> String {
    let mut rows = Vec::new();
    for finding in findings {
        let level = super::sessions::word(&finding.level);
        rows.push(vec![level, finding.about.clone(), finding.found.clone()]);
        if let Some(advice) = &finding.advice {
            rows.push(vec![String::new(), String::new(), format!("-> {advice}")]);
        }
    }
    table(&["LEVEL", "WHAT", "FOUND"], rows)
}

fn supervisor(settings: &Settings) -> Finding {
    let about = "supervisor";
    let Some(path) = settings.supervisor() else {
        return Finding::problem(about, "nobody knows where it is", "name it with --supervisor");
    };
    let shown = path.display();
    match path.metadata() {
        Ok(found) if found.is_file() && storage::runs(&path) => Finding::ok(about, shown.to_string()),
        Ok(_) => Finding::problem(about, format!("{shown} cannot be run"), format!("run `chmod a+x {shown}`")),
        Err(error) => Finding::problem(
            about,
            format!("{shown}: {error}"),
            "put seawall-supervisor beside seawall, or name it with --supervisor; only the backend `process` needs it",
        ),
    }
}

fn plugin(name: &str, backend: &Backend, settings: &Settings) -> Finding {
    let (about, plugin) = (format!("plugin of {name}"), &backend.plugin);
    let Some(found) = embedded::find(plugin, settings.plugins_dir.as_deref()) else {
        let advice = "name a folder that has it with --plugins-dir, or disable the backend";
        return Finding::problem(&about, format!("this binary does not carry {plugin}"), advice);
    };
    match found.read() {
        Ok(bytes) => Finding::ok(&about, format!("{plugin}, {} KiB", bytes.len() / 1024)),
        Err(error) => {
            let advice = match plugin {
                PluginSource::BuiltIn(_) => "see --plugins-dir",
                PluginSource::File(_) => "correct its path in the configuration",
            };
            Finding::problem(&about, format!("{plugin} cannot be read: {error}"), advice)
        }
    }
}

/// Whoever does not answer within this is not there.
const SOON: Duration = Duration::from_secs(3);

/// As much of an Engine's answer to `GET /version` as is shown.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EngineVersion {
    version: String,
    api_version: String,
}

async fn engine(about: &str, address: Result<seawall_runtime::EngineAddress, String>) -> Finding {
    use seawall_runtime::EngineAddress;
    let (client, url, shown) = match address {
        Err(error) => {
            return Finding::problem(about, error, "correct DOCKER_HOST, or `grants.docker.host` of the backend");
        }
        Ok(EngineAddress::Unix(path)) => {
            let shown = path.display().to_string();
            if let Err(error) = std::os::unix::net::UnixStream::connect(&path) {
                return Finding::warning(about, format!("{shown}: {error}"), advice(&error));
            }
            (place::at(&path), "http://engine/version".to_owned(), shown)
        }
        Ok(EngineAddress::Tcp(address)) => (place::plain(), format!("http://{address}/version"), address),
    };
    let asked = async {
        let response = client.build()?.get(url).timeout(SOON).send().await?.error_for_status()?;
        response.json::<EngineVersion>().await
    };
    match asked.await {
        Ok(EngineVersion { version, api_version }) => {
            Finding::ok(about, format!("{shown}: version {version}, API {api_version}"))
        }
        Err(error) => Finding::warning(
            about,
            format!("{shown} does not answer as a Docker Engine: {}", crate::exit::chain(&error.without_url())),
            "see whether dockerd works; the backend waits for it",
        ),
    }
}

fn advice(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => "let this user use it (the group `docker`, or root)",
        _ => "install or start Docker, or set `enabled = false` for the backend; it waits for the Engine until then",
    }
}

async fn daemon(settings: &Settings) -> Vec<Finding> {
    let about = "daemon";
    let asked = async {
        let client = Client::new(Place::Socket(settings.socket.clone()))?;
        let version: serde_json::Value = client.get(&["version"], &[]).await?;
        let overview: Overview = client.get(&["backends"], &[]).await?;
        Result::<_, Failure>::Ok((version, overview))
    };
    let (version, overview) = match tokio::time::timeout(SOON, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(Failure::NoDaemon { socket, .. })) => {
            let found = format!("none answers at {}", socket.display());
            return vec![Finding::warning(about, found, "start it with `seawall serve`")];
        }
        Ok(Err(failure)) => {
            return vec![Finding::problem(about, failure.chain(), "look at its log")];
        }
        Err(_) => {
            let found = format!("{} takes connections and does not answer", settings.socket.display());
            return vec![Finding::problem(about, found, "look at its log")];
        }
    };
    let theirs = version.get("version").and_then(|version| version.as_str()).unwrap_or_default();
    let own = env!("CARGO_PKG_VERSION");
    let mut findings = vec![match theirs == own {
        true => Finding::ok(about, format!("version {own}, {}", overview.summary.phase)),
        false => Finding::warning(about, format!("version {theirs}, and this is {own}"), "restart it with this binary"),
    }];
    for backend in overview.backends {
        let about = format!("backend {}", backend.name);
        let mut said: Vec<String> = backend.report.iter().map(|report| report.version.clone()).collect();
        said.extend(backend.latency.map(|took| format!("answered in {}", latency(took))));
        let attributes = backend.report.iter().flat_map(|report| &report.attributes);
        said.extend(attributes.map(|(key, value)| format!("{key}: {value}")));
        let found = format!("{}: {}", backend.health, said.join("; "));
        let more = format!("`seawall backend inspect {}` says more", backend.name);
        findings.push(match (backend.health, backend.error) {
            (BackendHealth::Healthy, _) => Finding::ok(&about, found),
            (health, Some(error)) => Finding::warning(&about, format!("{health}: {error}"), more),
            (_, None) => Finding::warning(&about, found, more),
        });
    }
    findings
}

/// A file's path for advice.
pub(super) fn shown(path: &std::path::Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
