//! What a component must and may export, found once at load.
//!
//! Names are compared exactly, version included: a look-up by name would follow the semantic version further than the
//! types allow. What is kept are indices, so that a call looks up the one function that it needs, and by number.

use seawall_backend::{Class, Interface};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower, Resource};
use wasmtime::{Engine, Store};

use seawall_capability::{ByteSink, ByteStream, Duplex, Execution, Prepared, WakeSource};

use crate::bindings::wit;
use crate::call::CallState;
use crate::loader::LoadError;

/// The package that backends implement, without its version.
pub const BACKEND_PACKAGE: &str = "seawall:backend";

/// The version of it that this host speaks.
const BACKEND_VERSION: &str = "0.1.0";

/// An exported function.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    /// For people: `execution-backend.check`.
    pub(crate) name: &'static str,
    /// Which limits and which deadline a call of it has.
    pub(crate) class: Class,
    pub(crate) index: ComponentExportIndex,
}

impl Function {
    /// For metrics: the name that the bulkhead has for it.
    pub(crate) fn short_name(&self) -> &'static str {
        self.name.strip_prefix("execution-backend.").unwrap_or(self.name)
    }
}

/// Every function that the host calls.
#[derive(Clone, Debug)]
pub(crate) struct Exports {
    pub(crate) describe: Function,
    pub(crate) check: Function,
    pub(crate) create: Function,
    pub(crate) start: Function,
    pub(crate) signal: Function,
    pub(crate) remove: Function,
    pub(crate) inspect: Function,
    pub(crate) list: Function,
    pub(crate) logs: Option<Function>,
    pub(crate) exec: Option<Function>,
    pub(crate) last_health_check: Option<Function>,
    pub(crate) attach: Option<Function>,
    pub(crate) input: Option<Function>,
    pub(crate) stats: Option<Function>,
    pub(crate) endpoints: Option<Function>,
    pub(crate) pause: Option<Function>,
    pub(crate) unpause: Option<Function>,
    pub(crate) prepare: Option<Function>,
    pub(crate) watch: Option<Function>,
}

/// What the functions take and give.
pub(crate) mod signature {
    use super::{ByteSink, ByteStream, Duplex, Execution, Prepared, Resource, WakeSource, wit};

    pub(crate) type Answer<T> = (Result<T, wit::Error>,);

    pub(crate) type Info = (wit::Info,);

    pub(crate) type Describe = ((), Info);
    pub(crate) type Check = ((), Answer<wit::Report>);
    pub(crate) type Create = ((wit::Spec,), Answer<wit::Status>);
    pub(crate) type Start = ((wit::Key,), Answer<wit::Status>);
    pub(crate) type Signal = ((wit::Key, u32), Answer<()>);
    pub(crate) type Remove = ((wit::Key, bool), Answer<()>);
    pub(crate) type Inspect = ((Vec<wit::Key>,), Answer<Vec<wit::Found>>);
    pub(crate) type List = ((Option<String>,), Answer<wit::Page>);
    pub(crate) type Logs = ((wit::Key, wit::LogOptions), Answer<Resource<ByteStream>>);
    pub(crate) type Exec = ((wit::Key, wit::ExecOptions), Answer<Resource<Execution>>);
    pub(crate) type LastHealthCheck = ((wit::Key,), Answer<Option<wit::CheckResult>>);
    pub(crate) type Attach = ((wit::Key, wit::AttachOptions), Answer<Resource<Duplex>>);
    pub(crate) type Input = ((wit::Key,), Answer<Resource<ByteSink>>);
    pub(crate) type Stats = ((Vec<wit::Key>,), Answer<Vec<wit::Measurement>>);
    pub(crate) type Endpoints = ((wit::Key,), Answer<Vec<wit::Endpoint>>);
    pub(crate) type Pause = ((wit::Key,), Answer<()>);
    pub(crate) type Prepare = ((String, bool), Answer<Resource<Prepared>>);
    pub(crate) type Watch = ((), Answer<Resource<WakeSource>>);
}

impl Exports {
    /// Finds them.
    pub(crate) fn find(engine: &Engine, component: &Component) -> Result<Self, LoadError> {
        let backend = Found::new(component, "execution-backend").ok_or_else(|| missing_world(engine, component))?;
        let optional = |interface, function, name, class| {
            let found = Found::new(component, interface);
            found.map(|found| found.function(function, name, class)).transpose()
        };
        Ok(Self {
            describe: backend.function("describe", "execution-backend.describe", Class::Check)?,
            check: backend.function("check", "execution-backend.check", Class::Check)?,
            create: backend.function("create", "execution-backend.create", Class::Control)?,
            start: backend.function("start", "execution-backend.start", Class::Control)?,
            signal: backend.function("signal", "execution-backend.signal", Class::Control)?,
            remove: backend.function("remove", "execution-backend.remove", Class::Control)?,
            inspect: backend.function("inspect", "execution-backend.inspect", Class::Observe)?,
            list: backend.function("list", "execution-backend.list", Class::Observe)?,
            logs: optional("logs", "open", "logs.open", Class::Stream)?,
            exec: optional("exec", "run", "exec.run", Class::Stream)?,
            last_health_check: optional("health-checks", "last", "health-checks.last", Class::Observe)?,
            attach: optional("attach", "open", "attach.open", Class::Stream)?,
            input: optional("input", "open", "input.open", Class::Stream)?,
            stats: optional("stats", "sample", "stats.sample", Class::Observe)?,
            endpoints: optional("endpoint", "list", "endpoint.list", Class::Observe)?,
            pause: optional("pause", "pause", "pause.pause", Class::Control)?,
            unpause: optional("pause", "unpause", "pause.unpause", Class::Control)?,
            prepare: optional("images", "prepare", "images.prepare", Class::Stream)?,
            watch: optional("watch", "open", "watch.open", Class::Stream)?,
        })
    }

    /// The optional interfaces among them.
    pub(crate) fn interfaces(&self) -> Vec<Interface> {
        let optional = [
            (&self.logs, Interface::Logs),
            (&self.exec, Interface::Exec),
            (&self.last_health_check, Interface::HealthChecks),
            (&self.attach, Interface::Attach),
            (&self.input, Interface::Input),
            (&self.stats, Interface::Stats),
            (&self.endpoints, Interface::Endpoint),
            (&self.pause, Interface::Pause),
            (&self.prepare, Interface::Images),
            (&self.watch, Interface::Watch),
        ];
        optional.into_iter().filter_map(|(function, interface)| function.as_ref().map(|_| interface)).collect()
    }

    /// Checks the type of each against an instance.
    pub(crate) fn typecheck(&self, store: &mut Store<CallState>, instance: &Instance) -> Result<(), LoadError> {
        typecheck::<signature::Describe, _, _>(&self.describe, store, instance)?;
        typecheck::<signature::Check, _, _>(&self.check, store, instance)?;
        typecheck::<signature::Create, _, _>(&self.create, store, instance)?;
        typecheck::<signature::Start, _, _>(&self.start, store, instance)?;
        typecheck::<signature::Signal, _, _>(&self.signal, store, instance)?;
        typecheck::<signature::Remove, _, _>(&self.remove, store, instance)?;
        typecheck::<signature::Inspect, _, _>(&self.inspect, store, instance)?;
        typecheck::<signature::List, _, _>(&self.list, store, instance)?;
        optional::<signature::Logs, _, _>(&self.logs, store, instance)?;
        optional::<signature::Exec, _, _>(&self.exec, store, instance)?;
        optional::<signature::LastHealthCheck, _, _>(&self.last_health_check, store, instance)?;
        optional::<signature::Attach, _, _>(&self.attach, store, instance)?;
        optional::<signature::Input, _, _>(&self.input, store, instance)?;
        optional::<signature::Stats, _, _>(&self.stats, store, instance)?;
        optional::<signature::Endpoints, _, _>(&self.endpoints, store, instance)?;
        optional::<signature::Pause, _, _>(&self.pause, store, instance)?;
        optional::<signature::Pause, _, _>(&self.unpause, store, instance)?;
        optional::<signature::Prepare, _, _>(&self.prepare, store, instance)?;
        optional::<signature::Watch, _, _>(&self.watch, store, instance)?;
        Ok(())
    }
}

/// A pair of parameters and results, so that a signature is one type.
pub(crate) trait Signature<P, R> {}

impl<P, R> Signature<P, R> for (P, R) {}

fn typecheck<S, P, R>(function: &Function, store: &mut Store<CallState>, instance: &Instance) -> Result<(), LoadError>
where
    S: Signature<P, R>,
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    match instance.get_typed_func::<P, R>(store, function.index) {
        Ok(_) => Ok(()),
        Err(error) => Err(LoadError::WrongType { function: function.name, reason: format!("{error:#}") }),
    }
}

fn optional<S, P, R>(
    function: &Option<Function>,
    store: &mut Store<CallState>,
    instance: &Instance,
) -> Result<(), LoadError>
where
    S: Signature<P, R>,
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    function.as_ref().map_or(Ok(()), |function| typecheck::<S, P, R>(function, store, instance))
}

/// An exported interface.
struct Found<'a> {
    component: &'a Component,
    name: String,
    index: ComponentExportIndex,
}

impl<'a> Found<'a> {
    fn new(component: &'a Component, interface: &str) -> Option<Self> {
        let name = format!("{BACKEND_PACKAGE}/{interface}@{BACKEND_VERSION}");
        let exact = component.component_type().exports(component.engine()).any(|(export, _)| export == name);
        let index = component.get_export_index(None, &name).filter(|_| exact)?;
        Some(Self { component, name, index })
    }

    fn function(&self, function: &str, name: &'static str, class: Class) -> Result<Function, LoadError> {
        match self.component.get_export_index(Some(&self.index), function) {
            Some(index) => Ok(Function { name, class, index }),
            None => Err(LoadError::MissingFunction { interface: self.name.clone(), function: function.to_owned() }),
        }
    }
}

/// Why a component is no backend: of another version, or of another world.
fn missing_world(engine: &Engine, component: &Component) -> LoadError {
    let exports = names(engine, component);
    let backend = format!("{BACKEND_PACKAGE}/execution-backend@");
    match exports.iter().find_map(|name| name.strip_prefix(&backend)) {
        Some(version) => LoadError::WrongVersion { found: version.to_owned(), offered: BACKEND_VERSION },
        None => LoadError::WrongWorld { exports },
    }
}

/// The names of all exports.
pub(crate) fn names(engine: &Engine, component: &Component) -> Vec<String> {
    let ty = component.component_type();
    ty.exports(engine)
        .map(|(name, export)| match export.ty {
            ComponentItem::ComponentInstance(_) => name.to_owned(),
            ComponentItem::ComponentFunc(_) => format!("{name} (a function)"),
            _ => format!("{name} (neither interface nor function)"),
        })
        .collect()
}
