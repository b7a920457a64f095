//! `seawall plugin inspect`: what a component file is, without a daemon and without a grant.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use seawall_runtime::{InspectedImport, LoadError, PluginInspection, Runtime, RuntimeConfig};

use super::Global;
use super::format::facts;
use crate::config::PluginSource;
use crate::exit::Failure;
use crate::{compiler, embedded};

/// `plugin`.
#[derive(Debug, Subcommand)]
pub(crate) enum Plugin {
    /// Show what a component exports, imports, and says of itself
    Inspect {
        /// A component file, or builtin:NAME
        #[arg(value_name = "FILE")]
        plugin: PluginSource,
    },
}

impl Plugin {
    /// Looks and shows. A component that is no good backend is shown, and is a failure.
    pub(crate) fn run(self, global: &Global) -> Result<u8, Failure> {
        let Self::Inspect { plugin } = self;
        let folder = std::env::var_os("SEAWALL_PLUGINS").filter(|folder| !folder.is_empty());
        let found = embedded::find(&plugin, folder.as_ref().map(Path::new)).ok_or_else(|| {
            Failure::Usage(format!(
                "{plugin} is not in this binary: build the plugins with `cargo xtask plugins` first"
            ))
        })?;
        let file = PathBuf::from(plugin.to_string());
        let wasm = found.read().map_err(|source| Failure::File { file: file.clone(), source })?;
        let threads = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let threads = threads.context("failed to start the threads")?;
        let inspected = threads.block_on(async {
            // Nothing is kept: an inspection leaves no trace.
            let config = RuntimeConfig { compiler: compiler::child(), ..RuntimeConfig::default() };
            let runtime = Runtime::new(config).map_err(anyhow::Error::new)?;
            let inspected = runtime.inspect(wasm).await;
            runtime.shutdown();
            Ok::<Result<PluginInspection, LoadError>, anyhow::Error>(inspected)
        })?;
        let inspection = inspected.map_err(|error| Failure::Plugin { file: file.clone(), source: error.into() })?;
        global.show(&inspection, |inspection| describe(&file, inspection))?;
        match inspection.problem {
            None => Ok(0),
            Some(problem) => Err(Failure::Plugin { file, source: anyhow::anyhow!(problem) }),
        }
    }
}

fn describe(file: &Path, inspection: &PluginInspection) -> String {
    let info = inspection.info.as_ref();
    let some = |text: String| (!text.is_empty()).then_some(text);
    let interfaces: Vec<&str> = inspection.interfaces.iter().map(|interface| interface.as_str()).collect();
    let mut text = facts(&[
        ("file", Some(file.display().to_string())),
        ("size", Some(format!("{} bytes", inspection.size))),
        ("plugin", info.map(|info| format!("{} {}", info.name, info.version))),
        ("description", info.and_then(|info| some(info.description.clone()))),
        ("optional interfaces", some(interfaces.join(", "))),
    ]);
    let mut list = |title: &str, lines: &mut dyn Iterator<Item = String>| {
        text.push_str(&format!("{title}:\n"));
        let before = text.len();
        for line in lines {
            text.push_str(&format!("  {}\n", super::printable(&line)));
        }
        if text.len() == before {
            text.push_str("  (none)\n");
        }
    };
    list("exports", &mut inspection.exports.iter().cloned());
    list("imports", &mut inspection.imports.iter().map(import));
    for (title, schema) in [
        ("config schema", info.map(|info| info.config_schema.as_str())),
        ("options schema", info.map(|info| info.options_schema.as_str())),
    ] {
        if let Some(schema) = schema.filter(|schema| !schema.is_empty()) {
            let pretty = serde_json::from_str::<serde_json::Value>(schema)
                .and_then(|schema| serde_json::to_string_pretty(&schema))
                .unwrap_or_else(|_| schema.to_owned());
            list(title, &mut pretty.lines().map(str::to_owned));
        }
    }
    text
}

fn import(import: &InspectedImport) -> String {
    match (&import.grant, import.offered) {
        (Some(grant), _) => format!("{} (needs grants.{grant})", import.name),
        (None, true) => import.name.clone(),
        (None, false) => format!("{} (this host does not offer it)", import.name),
    }
}
