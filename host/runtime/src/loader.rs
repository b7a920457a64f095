//! From bytes to a backend that was tried: checked, compiled or taken from the cache, linked with what is granted and
//! nothing else, its exports typed by a trial instance, and asked once who it is.

use std::borrow::Cow;
use std::sync::Arc;

use seawall_backend::{Deadlines, Fault, Info, within};
use seawall_capability::{GrantError, Granted, Grants, Import, Offer, Phase, Services, add_to_linker};
use seawall_model::BackendName;
use serde_json::{Map, Value};
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::answer;
use crate::backend::WasmBackend;
use crate::call::{CallState, Loaded, Stage};
use crate::code::Code;
use crate::compiler::{CompileError, plain};
use crate::engine::{Runtime, Shared};
use crate::exports::{Exports, signature};
use crate::fault;
use crate::limits::{ClassOverrides, InvalidLimits};

/// The largest file that is taken for a plugin.
const LARGEST: usize = 64 << 20;
/// As many of a component's names, and as much of each, as a message shows.
const MOST_NAMES: usize = 20;
const LONGEST_NAME: usize = 400;

/// What is needed to load a plugin as a backend: the table `[backend.NAME]`.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// The backend's configured name.
    pub backend: BackendName,
    /// The component.
    pub wasm: Cow<'static, [u8]>,
    /// Its configuration, which the plugin reads through `seawall:host/config`. Whether it fits the plugin's schema is
    /// for whoever loads to check, with the schema in [`Info`].
    pub config: Map<String, Value>,
    /// What it may use.
    pub grants: Grants,
    /// Bounds on its calls, where they differ from the runtime's.
    pub limits: ClassOverrides,
    /// How long its calls may take. `None`: as the runtime says.
    pub deadlines: Option<Deadlines>,
}

impl Plugin {
    /// A plugin with no configuration and no grant.
    pub fn new(backend: BackendName, wasm: impl Into<Cow<'static, [u8]>>) -> Self {
        Self {
            backend,
            wasm: wasm.into(),
            config: Map::new(),
            grants: Grants::default(),
            limits: ClassOverrides::default(),
            deadlines: None,
        }
    }
}

/// Why a plugin was not loaded. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Larger than 64 MiB.
    #[error("it has more than {LARGEST} bytes, which is the most that a plugin may have")]
    TooLarge,
    /// It does not begin as Wasm does.
    #[error("it is no WebAssembly: it begins with {begins}, where a component begins with \"\\0asm\"")]
    NotWasm {
        /// The first bytes, printable.
        begins: String,
    },
    /// A core module.
    #[error(
        "it is a core WebAssembly module, not a component: make one of it, for example with `wasm-tools component new`"
    )]
    CoreModule,
    /// Wasm of a version or kind that there is not.
    #[error("it is WebAssembly of an unknown kind: neither a component nor a core module")]
    UnknownKind,
    /// It does not compile, or not within the bounds.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// A component that is no backend.
    #[error("it is a component, but no backend: it does not export `seawall:backend/execution-backend`; {}", list("it exports", .exports))]
    WrongWorld {
        /// What it exports.
        exports: Vec<String>,
    },
    /// A backend of another version.
    #[error("it was built for seawall:backend@{found}, and this host speaks {offered}: build it against that version")]
    WrongVersion {
        /// What it exports.
        found: String,
        /// What would be right.
        offered: &'static str,
    },
    /// An interface without one of its functions.
    #[error("its export `{interface}` has no function `{function}`: build it against the current wit/backend")]
    MissingFunction {
        /// The interface.
        interface: String,
        /// The function.
        function: String,
    },
    /// A function of another type.
    #[error("its export `{function}` has another type than in wit/backend: {reason}")]
    WrongType {
        /// The function.
        function: &'static str,
        /// wasmtime's words.
        reason: String,
    },
    /// It imports what it may not have.
    #[error("{}", some(.remedies, "; "))]
    NotGranted {
        /// For each import, what it is and which line of the configuration would give it.
        remedies: Vec<String>,
    },
    /// It imports a function that is not as it believes.
    #[error("it imports something of another type than in wit/host: {0}")]
    WrongImport(String),
    /// It could not be instantiated, or `describe` faulted.
    #[error(transparent)]
    Trial(#[from] Fault),
    /// A grant cannot be carried out.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The limits make no sense.
    #[error(transparent)]
    Limits(#[from] InvalidLimits),
    /// A panic, where there must be none.
    #[error("loading it failed, which is a defect of Seawall: {0}")]
    Internal(String),
}

impl LoadError {
    /// The key of the backend's configuration at fault, if the configuration is: `limits.check.fuel`,
    /// `grants.process.user`.
    pub fn key(&self) -> Option<String> {
        match self {
            Self::Limits(limits) => Some(limits.key()),
            Self::Grant(grant) => grant.key(),
            _ => None,
        }
    }

    /// What says no more than which key it is and what is wrong with it, where there is such a [`key`](Self::key).
    pub fn innermost(&self) -> &(dyn std::error::Error + 'static) {
        match self {
            Self::Limits(limits) => limits,
            Self::Grant(GrantError::Process { source, .. }) => source,
            _ => self,
        }
    }
}

fn list(what: &str, names: &[String]) -> String {
    match names {
        [] => format!("{what} nothing"),
        names => format!("{what} {}", some(names, ", ")),
    }
}

/// Names that a component chose: it may have a million of them, and each may be as long as the component.
fn some(names: &[String], between: &str) -> String {
    let shown: Vec<_> = names.iter().take(MOST_NAMES).map(|name| name.chars().take(LONGEST_NAME).collect()).collect();
    let shown = <[String]>::join(&shown, between);
    match names.len().checked_sub(MOST_NAMES) {
        None | Some(0) => shown,
        Some(more) => format!("{shown}{between}and {more} more"),
    }
}

impl Runtime {
    /// Loads a plugin with the capabilities that it is granted. Nothing is asked of an engine: it may come later.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn load(&self, mut plugin: Plugin, services: &Services) -> Result<WasmBackend, LoadError> {
        let component = self.compile(std::mem::take(&mut plugin.wasm)).await?;
        let Linked { pre, exports } = self.link(&component, &plugin.backend, &plugin.grants)?;
        let granted = Granted::new(plugin.backend.clone(), &plugin.config, &plugin.grants, services).await?;
        self.try_out(plugin, pre, exports, granted).await
    }

    /// Loads a plugin that is granted nothing: `log`, `clock` and `config` are all it has.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn load_ungranted(&self, plugin: Plugin) -> Result<WasmBackend, LoadError> {
        let plugin = Plugin { grants: Grants::default(), ..plugin };
        let component = self.compile(plugin.wasm.clone()).await?;
        let Linked { pre, exports } = self.link(&component, &plugin.backend, &plugin.grants)?;
        let granted = Granted::inert(plugin.backend.clone(), &plugin.config);
        self.try_out(plugin, pre, exports, granted).await
    }

    /// Links; every check that needs no instance.
    pub(crate) fn link(
        &self,
        component: &Component,
        backend: &BackendName,
        grants: &Grants,
    ) -> Result<Linked, LoadError> {
        let engine = &self.shared.engine;
        let exports = Exports::find(engine, component)?;
        let imports = imports(engine, component);
        let missing: Vec<_> = imports.iter().filter(|import| !import.is_linked(grants)).collect();
        if !missing.is_empty() {
            let remedies = missing.into_iter().map(|import| import.remedy(backend)).collect();
            return Err(LoadError::NotGranted { remedies });
        }
        let wasi = imports.iter().any(|import| import.offer == Offer::Wasi);
        let mut linker = Linker::<CallState>::new(engine);
        add_to_linker(&mut linker, grants, wasi, |state| &mut state.context)
            .map_err(|error| LoadError::Internal(format!("{error:#}")))?;
        let pre = linker.instantiate_pre(component).map_err(|error| LoadError::WrongImport(format!("{error:#}")))?;
        Ok(Linked { pre, exports })
    }

    /// Compiles, or takes what was compiled from the cache. What takes time is done where it disturbs nobody.
    pub(crate) async fn compile(&self, wasm: Cow<'static, [u8]>) -> Result<Component, LoadError> {
        check_header(&wasm)?;
        let wasm = Arc::new(wasm);
        let cached = self.aside(&wasm, |shared, wasm| shared.cached(wasm)).await?;
        if let Some(component) = cached {
            return Ok(component);
        }
        let code = self.shared.compiling.compile(&self.shared.engine, wasm.clone()).await?;
        self.aside(&wasm, move |shared, wasm| shared.compiled(wasm, &code)).await?.map_err(LoadError::from)
    }

    /// Runs something that blocks on a thread of its own.
    async fn aside<T: Send + 'static>(
        &self,
        wasm: &Arc<Cow<'static, [u8]>>,
        work: impl FnOnce(&Shared, &[u8]) -> T + Send + 'static,
    ) -> Result<T, LoadError> {
        let (shared, wasm) = (self.shared.clone(), wasm.clone());
        let working = tokio::task::spawn_blocking(move || work(&shared, &wasm));
        working.await.map_err(|panic| LoadError::Internal(panic.to_string()))
    }

    /// The trial: an instance to check types against, and `describe`.
    async fn try_out(
        &self,
        plugin: Plugin,
        pre: InstancePre<CallState>,
        exports: Exports,
        granted: Granted,
    ) -> Result<WasmBackend, LoadError> {
        let limits = self.shared.limits.with(&plugin.limits);
        limits.validate(self.shared.pool.memory)?;
        let loaded = Loaded {
            pre,
            exports,
            granted: Arc::new(granted),
            limits,
            deadlines: plugin.deadlines.unwrap_or(self.shared.deadlines),
            share: self.shared.cpu.share(),
            runtime: self.shared.clone(),
        };
        typecheck(&loaded).await?;
        let info = describe(&loaded).await?;
        Ok(WasmBackend::new(loaded, info))
    }

    /// For an inspection: what `describe` says, without a grant.
    pub(crate) async fn describe_only(&self, backend: BackendName, linked: Linked) -> Result<Info, LoadError> {
        let plugin = Plugin::new(backend.clone(), Cow::Borrowed(&[][..]));
        let granted = Granted::inert(backend, &plugin.config);
        let backend = self.try_out(plugin, linked.pre, linked.exports, granted).await?;
        Ok(seawall_backend::ExecutionBackend::info(&backend).clone())
    }
}

/// A component with its imports resolved and its exports found.
pub(crate) struct Linked {
    pub(crate) pre: InstancePre<CallState>,
    pub(crate) exports: Exports,
}

/// Every import, by name.
pub(crate) fn imports(engine: &Engine, component: &Component) -> Vec<Import> {
    component.component_type().imports(engine).map(|(name, _)| Import::new(name)).collect()
}

/// The first eight bytes say what a file is.
fn check_header(wasm: &[u8]) -> Result<(), LoadError> {
    if wasm.len() > LARGEST {
        return Err(LoadError::TooLarge);
    }
    match wasm {
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(LoadError::CoreModule),
        [0, b'a', b's', b'm', ..] => Err(LoadError::UnknownKind),
        _ => {
            let begins = match wasm.get(..8).unwrap_or(wasm) {
                [] => "nothing: the file is empty".to_owned(),
                bytes => format!("\"{}\"", bytes.escape_ascii()),
            };
            Err(LoadError::NotWasm { begins })
        }
    }
}

impl Shared {
    /// What was compiled before.
    fn cached(&self, wasm: &[u8]) -> Option<Component> {
        match self.cache.as_ref()?.get(wasm)?.load(&self.engine) {
            Ok(component) => Some(component),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "a file of the cache does not load; it will be replaced");
                None
            }
        }
    }

    /// Loads what was compiled now, and keeps it.
    fn compiled(&self, wasm: &[u8], code: &Code) -> Result<Component, CompileError> {
        let loaded = code.load(&self.engine);
        let component = loaded.map_err(|error| CompileError::Invalid(plain(&format!("{error:#}"))))?;
        if let Some(cache) = &self.cache {
            cache.put(wasm, code);
        }
        Ok(component)
    }
}

async fn typecheck(loaded: &Loaded) -> Result<(), LoadError> {
    let describe = &loaded.exports.describe;
    let mut store = loaded.store(describe, Phase::Describe, None)?;
    let trial = loaded.in_turns(describe, async {
        let instance = loaded.pre.instantiate_async(&mut store).await;
        instance.map_err(|error| fault::classify(describe.name, Stage::Instantiate, &error, &store))
    });
    let instance = within(describe.name, loaded.deadlines.of(describe.class), trial).await?;
    loaded.exports.typecheck(&mut store, &instance)
}

async fn describe(loaded: &Loaded) -> Result<Info, LoadError> {
    let function = &loaded.exports.describe;
    let call = loaded.call(function, None, Phase::Describe, None, (), |(info,): signature::Info, _| info);
    let info = within(function.name, loaded.deadlines.of(function.class), call).await?;
    let info = answer::info(info, loaded.exports.interfaces());
    Ok(info.map_err(|refusal| fault::bad_answer(function.name, refusal))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_wrong_file_has_its_own_message() {
        let message = |bytes: &[u8]| check_header(bytes).unwrap_err().to_string();
        assert!(message(b"").contains("the file is empty"));
        assert!(message(b"#!/bin/sh\n").contains("\"#!/bin/s\""));
        assert!(message(b"\x7fELF").contains("\\x7fELF"));
        assert!(message(b"\0asm\x01\0\0\0").contains("core WebAssembly module"));
        assert!(message(b"\0asm\x0a\0\x01\0").contains("unknown kind"));
        assert!(check_header(b"\0asm\x0d\0\x01\0").is_ok());
    }
}
