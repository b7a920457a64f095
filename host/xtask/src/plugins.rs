//! Builds the guests: the built-in plugins, the example, and the misbehaving guests of the tests.
//!
//! A guest is compiled to a core module for `wasm32-unknown-unknown`, which imports no WASI, and made into a component
//! here. Work is skipped when nothing that it depends on has changed, so that every other command may call this.
//!
//! A built-in plugin that grew too large, or that imports anything outside `seawall:host`, fails the build.

mod lean;
pub(crate) mod toolchain;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use wit_component::{ComponentEncoder, DecodedWasm};

use crate::{say, workspace};
use toolchain::Toolchain;

/// What goes into the daemon: held to [`check`].
const BUILT_IN: [&str; 3] = ["docker", "mock", "process"];

/// What is built beside these, for the page on writing a plugin.
const EXAMPLE: &str = "example";

/// Guests that misbehave once they run. Each is an example target of `tests/fixtures`.
const FIXTURES: [&str; 16] = [
    "caller",
    "flood",
    "hang",
    "hog",
    "intruder",
    "liar",
    "missing-function",
    "panic",
    "poison",
    "puppet",
    "spin",
    "trap",
    "ungranted",
    "wrong-type",
    "wrong-version",
    "wrong-world",
];

/// A core module that was not made into a component, from this fixture.
const CORE_MODULE: (&str, &str) = ("core-module", "trap");

/// Bytes that are no WebAssembly at all.
const NO_WASM: (&str, &[u8]) = ("no-wasm", b"#!/bin/sh\necho this is no component\n");

/// The most that a built-in plugin may weigh, in bytes.
const MAX_SIZE: usize = 200_000;

/// The only package that a built-in plugin may import functions from.
const HOST: &str = "seawall:host/";

/// An interface that plugins import without a function in it: the vocabulary of the specs.
const TYPES: &str = "seawall:backend/types";

/// Builds all guests unless they are up to date.
///
/// `force_debian` takes Debian's Rust even where rustup has the target.
pub(crate) fn run(force_debian: bool) -> Result<()> {
    let root = workspace::root()?;
    let outputs = Outputs::of(&root);
    let fingerprint = fingerprint(&root, force_debian)?;
    if outputs.up_to_date(&fingerprint) {
        return Ok(());
    }

    say::heading("Guests (WebAssembly components)");
    let toolchain = Toolchain::find(force_debian)?;
    say::note(format_args!("compiled with {toolchain}"));
    let built = toolchain.build(&root)?;

    outputs.begin()?;
    for name in BUILT_IN {
        let component = encode_arena(&built.plugin(name))?;
        let imports = imports(&component)?;
        check(name, component.len(), &imports)?;
        write(&outputs.plugins.join(name).with_extension("wasm"), &component)?;
        let used: Vec<_> = imports.iter().filter_map(|import| short(import)).collect();
        say::holds(format_args!(
            "plugins/dist/{name}.wasm  {}  imports {}",
            kilobytes(component.len()),
            used.join(" ")
        ));
    }
    let component = encode_arena(&built.plugin(EXAMPLE))?;
    write(&outputs.plugins.join(EXAMPLE).with_extension("wasm"), &component)?;
    say::holds(format_args!("plugins/dist/{EXAMPLE}.wasm  {}", kilobytes(component.len())));

    for name in FIXTURES {
        let component = encode(&built.fixture(name))?;
        write(&outputs.fixtures.join(name).with_extension("wasm"), &component)?;
    }
    let (name, fixture) = CORE_MODULE;
    write(&outputs.fixtures.join(name).with_extension("wasm"), &read(&built.fixture(fixture))?)?;
    let (name, bytes) = NO_WASM;
    write(&outputs.fixtures.join(name).with_extension("wasm"), bytes)?;
    say::holds(format_args!("tests/fixtures/dist: {} guests that misbehave", FIXTURES.len() + 2));

    outputs.finish(&fingerprint)
}

/// Where components go.
struct Outputs {
    plugins: PathBuf,
    fixtures: PathBuf,
}

impl Outputs {
    fn of(root: &Path) -> Self {
        Self { plugins: root.join("plugins/dist"), fixtures: root.join("tests/fixtures/dist") }
    }

    fn stamp(&self) -> PathBuf {
        self.plugins.join(".fingerprint")
    }

    fn up_to_date(&self, fingerprint: &str) -> bool {
        let plugins = BUILT_IN.into_iter().chain([EXAMPLE]).map(|name| self.plugins.join(name));
        let fixtures = FIXTURES.into_iter().chain([CORE_MODULE.0, NO_WASM.0]).map(|name| self.fixtures.join(name));
        std::fs::read_to_string(self.stamp()).is_ok_and(|stamp| stamp == fingerprint)
            && plugins.chain(fixtures).all(|path| path.with_extension("wasm").is_file())
    }

    /// From here on the stamp tells nothing, until [`finish`](Self::finish).
    fn begin(&self) -> Result<()> {
        for folder in [&self.plugins, &self.fixtures] {
            std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        match std::fs::remove_file(self.stamp()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("remove the old stamp"),
            _ => Ok(()),
        }
    }

    fn finish(&self, fingerprint: &str) -> Result<()> {
        write(&self.stamp(), fingerprint.as_bytes())
    }
}

/// A number for everything that the components are made of.
fn fingerprint(root: &Path, force_debian: bool) -> Result<String> {
    let mut files = BTreeSet::new();
    for folder in ["plugins", "tests/fixtures", "wit"] {
        inputs(&root.join(folder), &mut files)?;
    }
    let mut hasher = DefaultHasher::new();
    (force_debian, include_str!("plugins.rs"), include_str!("plugins/toolchain.rs")).hash(&mut hasher);
    for file in files {
        file.strip_prefix(root).unwrap_or(&file).hash(&mut hasher);
        read(&file)?.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// Every file below `folder` that is not itself the result of a build.
fn inputs(folder: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    let reading = || format!("read {}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let path = entry.path();
        let name = entry.file_name();
        if name == "target" || name == "dist" {
            continue;
        }
        if entry.file_type().with_context(reading)?.is_dir() {
            inputs(&path, files)?;
        } else {
            files.insert(path);
        }
    }
    Ok(())
}

/// Makes a component of a core module that carries its WIT.
pub(crate) fn encode(module: &Path) -> Result<Vec<u8>> {
    component(&read(module)?).with_context(|| format!("make a component of {}", module.display()))
}

/// The same for a guest whose allocator never frees (the SDK's feature `arena`): what would free its answers is left out,
/// since its instance is dropped after the call anyway.
pub(crate) fn encode_arena(module: &Path) -> Result<Vec<u8>> {
    let made = lean::without_post_return(&read(module)?).and_then(|module| component(&module));
    made.with_context(|| format!("make a component of {}", module.display()))
}

fn component(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default().validate(true).module(module)?.encode()
}

/// The names of the interfaces that a component imports.
fn imports(component: &[u8]) -> Result<Vec<String>> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component)? else {
        bail!("what was just made is no component");
    };
    let world = resolve.worlds.get(world).context("the component's own type")?;
    Ok(world.imports.keys().map(|key| resolve.name_world_key(key)).collect())
}

/// Holds a built-in plugin to what is promised of it.
fn check(name: &str, size: usize, imports: &[String]) -> Result<()> {
    ensure!(
        size <= MAX_SIZE,
        "the plugin {name} weighs {}, more than the {} it may: see what grew with a profiler of Wasm sizes",
        kilobytes(size),
        kilobytes(MAX_SIZE)
    );
    for import in imports {
        ensure!(
            import.starts_with(HOST) || import.split('@').next() == Some(TYPES),
            "the plugin {name} imports {import}: a built-in plugin imports nothing outside {HOST}"
        );
    }
    Ok(())
}

/// `seawall:host/docker@0.1.0` as `docker`; nothing for what only carries types.
fn short(import: &str) -> Option<&str> {
    let name = import.strip_prefix(HOST)?.split('@').next()?;
    (name != "types").then_some(name)
}

fn kilobytes(bytes: usize) -> String {
    format!("{}.{} KB", bytes / 1000, bytes % 1000 / 100)
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}

/// Whole or not at all: the daemon's build may read at the same time.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&temporary, bytes).with_context(|| format!("write {}", temporary.display()))?;
    std::fs::rename(&temporary, path).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_built_in_plugin_that_imports_wasi_fails_the_build() {
        let good = ["seawall:host/types@0.1.0", "seawall:host/docker@0.1.0", "seawall:backend/types@0.1.0"];
        let mut imports = good.map(str::to_owned).to_vec();
        check("docker", 1, &imports).unwrap();
        imports.push("wasi:cli/environment@0.2.0".to_owned());
        assert!(check("docker", 1, &imports).unwrap_err().to_string().contains("wasi:cli/environment"));
        assert!(check("docker", 1, &["seawall:hostile/x".to_owned()]).is_err());
    }

    #[test]
    fn a_built_in_plugin_that_grew_too_large_fails_the_build() {
        check("mock", MAX_SIZE, &[]).unwrap();
        assert!(check("mock", MAX_SIZE + 1, &[]).is_err());
    }

    /// The build checks this too; here it holds for the files that the daemon embeds, whoever wrote them.
    #[test]
    fn the_built_in_plugins_import_nothing_but_the_host() {
        run(false).unwrap();
        let outputs = Outputs::of(&workspace::root().unwrap());
        for name in BUILT_IN {
            let component = read(&outputs.plugins.join(name).with_extension("wasm")).unwrap();
            check(name, component.len(), &imports(&component).unwrap()).unwrap();
        }
    }
}
