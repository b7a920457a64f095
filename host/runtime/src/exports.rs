//! What a component must and may export, found once at load.
//!
//! Names are compared exactly, version included: a look-up by name would follow the semantic version further than the
//! types allow. What is kept are indices, so that a call looks up the one function that it needs, and by number.

use seawall_backend::{Class, Interface};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower, Resource};
use wasmtime::{Engine, Store};

use seawall_capability::{ByteStream, Execution};

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
}

/// What the functions take and give.
pub(crate) mod signature {
    use super::{ByteStream, Execution, Resource, wit};

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
        })
    }

    /// The optional interfaces among them.
    pub(crate) fn interfaces(&self) -> Vec<Interface> {
        let optional = [
            (&self.logs, Interface::Logs),
            (&self.exec, Interface::Exec),
            (&self.last_health_check, Interface::HealthChecks),
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
        if let Some(logs) = &self.logs {
            typecheck::<signature::Logs, _, _>(logs, store, instance)?;
        }
        if let Some(exec) = &self.exec {
            typecheck::<signature::Exec, _, _>(exec, store, instance)?;
        }
        if let Some(last) = &self.last_health_check {
            typecheck::<signature::LastHealthCheck, _, _>(last, store, instance)?;
        }
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
