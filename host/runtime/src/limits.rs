//! Every bound on a call, in one type, set on a store by one function.
//!
//! There is a set for each class of call. Configuration overrides single values: of all backends, then of one.

use std::fmt;
use std::time::Duration;

use seawall_backend::Class;
use seawall_capability::Budget;
use seawall_model::Size;
use serde::{Deserialize, Serialize};
use wasmtime::{Store, UpdateDeadline};

use crate::call::CallState;
use crate::cpu::turn_has_lasted;

/// How much fuel is burned between two yields of a guest whose turn may last so long: five units for each nanosecond. The
/// tightest loop burns some 15 a nanosecond, ordinary code 2; what burns fewer is ended by a tick, if anybody waits.
fn yield_interval(quantum: Duration) -> u64 {
    u64::try_from(quantum.as_nanos()).unwrap_or(u64::MAX).saturating_mul(5).max(1)
}

/// What the pool has of linear memories for one call.
pub(crate) const MOST_MEMORIES: u32 = 4;

/// What one table of the pool can grow to.
pub(crate) const MOST_TABLE_ELEMENTS: usize = 100_000;

/// The bounds of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Units of fuel: about one an instruction.
    pub fuel: u64,
    /// Bytes of all linear memories together.
    pub memory: Size,
    /// Elements of all tables together; one table has at most 100,000.
    pub table_elements: u64,
    /// Core instances.
    pub instances: usize,
    /// Linear memories; at most 4.
    pub memories: usize,
    /// Tables.
    pub tables: usize,
    /// Handles of resources that the guest holds.
    pub handles: usize,
    /// Host resources, such as streams, that exist for it.
    pub resources: usize,
    /// Bytes that one host call may copy out of the guest.
    pub crossing: Size,
    /// Calls of host functions.
    pub calls: u64,
    /// Bytes that all host calls together may move.
    pub bytes: Size,
    /// Bytes of log; what exceeds them is dropped and counted.
    pub log: Size,
}

impl Limits {
    /// The defaults of a class. An interpreter compiled to Wasm burns some hundred million units to answer; a native
    /// guest some thousand.
    pub fn of(class: Class) -> Self {
        let plain = Self {
            fuel: 2_000_000_000,
            memory: Size(64 << 20),
            table_elements: MOST_TABLE_ELEMENTS as u64,
            instances: 64,
            memories: MOST_MEMORIES as usize,
            tables: 64,
            handles: 1_000,
            resources: 1_000,
            crossing: Size(16 << 20),
            calls: 10_000,
            bytes: Size(64 << 20),
            log: Size(64 << 10),
        };
        match class {
            Class::Check => Self { fuel: 500_000_000, ..plain },
            Class::Observe => Self { fuel: 5_000_000_000, ..plain },
            Class::Control | Class::Long | Class::Stream => plain,
        }
    }

    /// Sets all of them on a store. There is no other place where a bound is set.
    ///
    /// The guest yields when it has burned a quantum's worth of fuel, and at a tick of the epoch if its turn has lasted
    /// for half a quantum: there are ticks while another call waits for the core, two in a quantum. `fuel`: whether
    /// guests burn any.
    pub(crate) fn apply(&self, store: &mut Store<CallState>, quantum: Duration, fuel: bool) -> wasmtime::Result<()> {
        store.limiter(|state| &mut state.growth);
        if fuel {
            store.set_fuel(self.fuel)?;
            store.fuel_async_yield_interval(Some(yield_interval(quantum)))?;
        }
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            let over = turn_has_lasted(quantum / 2);
            Ok(if over { UpdateDeadline::Yield(1) } else { UpdateDeadline::Continue(1) })
        });
        store.set_hostcall_fuel(bounded(self.crossing));
        store.set_max_component_handles(self.handles);
        Ok(())
    }

    /// What the capabilities count.
    pub(crate) fn budget(&self) -> Budget {
        Budget { calls: self.calls, bytes: self.bytes.0, log_bytes: self.log.0, resources: self.resources }
    }

    /// What the limiter counts.
    pub(crate) fn growth(&self) -> Growth {
        Growth { limits: *self, memory: 0, table_elements: 0, pending: None, refused: None }
    }

    fn check(&self, class: Class, pool_memory: Size) -> Result<(), InvalidLimits> {
        let invalid = |field, message| Err(InvalidLimits { class, field, message });
        if self.memory > pool_memory {
            let message = format!("{} is more than {pool_memory}, which runtime.pool.memory has for one", self.memory);
            return invalid("memory", message);
        }
        if self.memories > MOST_MEMORIES as usize {
            return invalid(
                "memories",
                format!("{} is more than {MOST_MEMORIES}, which the pool has for one call", self.memories),
            );
        }
        for (field, value) in [
            ("fuel", self.fuel),
            ("memory", self.memory.0),
            ("instances", self.instances as u64),
            ("memories", self.memories as u64),
            ("crossing", self.crossing.0),
            ("calls", self.calls),
            ("bytes", self.bytes.0),
        ] {
            if value == 0 {
                return invalid(field, "0 would let no call through".to_owned());
            }
        }
        Ok(())
    }
}

fn bounded(size: Size) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

/// Limits that no call could run with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limits.{}.{field}: {message}", class.as_str())]
pub struct InvalidLimits {
    class: Class,
    field: &'static str,
    message: String,
}

impl InvalidLimits {
    /// Of the value at fault.
    pub(crate) fn key(&self) -> String {
        format!("limits.{}.{}", self.class.as_str(), self.field)
    }
}

/// A set for each class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitsByClass {
    check: Limits,
    observe: Limits,
    control: Limits,
    long: Limits,
    stream: Limits,
}

impl Default for LimitsByClass {
    fn default() -> Self {
        Self {
            check: Limits::of(Class::Check),
            observe: Limits::of(Class::Observe),
            control: Limits::of(Class::Control),
            long: Limits::of(Class::Long),
            stream: Limits::of(Class::Stream),
        }
    }
}

impl LimitsByClass {
    /// The same as a file would have it: every value of every class, and nothing for all.
    pub fn written(&self) -> ClassOverrides {
        ClassOverrides {
            all: Overrides::default(),
            check: self.check.into(),
            observe: self.observe.into(),
            control: self.control.into(),
            long: self.long.into(),
            stream: self.stream.into(),
        }
    }

    /// The set for this class.
    pub fn of(&self, class: Class) -> &Limits {
        match class {
            Class::Check => &self.check,
            Class::Observe => &self.observe,
            Class::Control => &self.control,
            Class::Long => &self.long,
            Class::Stream => &self.stream,
        }
    }

    /// The same with some values replaced.
    #[must_use]
    pub fn with(mut self, overrides: &ClassOverrides) -> Self {
        overrides.all.replace(&mut self.check);
        overrides.all.replace(&mut self.observe);
        overrides.all.replace(&mut self.control);
        overrides.all.replace(&mut self.long);
        overrides.all.replace(&mut self.stream);
        overrides.check.replace(&mut self.check);
        overrides.observe.replace(&mut self.observe);
        overrides.control.replace(&mut self.control);
        overrides.long.replace(&mut self.long);
        overrides.stream.replace(&mut self.stream);
        self
    }

    pub(crate) fn validate(&self, pool_memory: Size) -> Result<(), InvalidLimits> {
        Class::ALL.into_iter().try_for_each(|class| self.of(class).check(class, pool_memory))
    }
}

/// Values of [`Limits`] that configuration replaces: `[runtime.limits.all]`, `[backend.NAME.limits.observe]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClassOverrides {
    /// For every class.
    #[serde(skip_serializing_if = "Overrides::replaces_nothing")]
    pub all: Overrides,
    /// For `describe` and `check`, after those of `all`.
    #[serde(skip_serializing_if = "Overrides::replaces_nothing")]
    pub check: Overrides,
    /// For `inspect` and `list`.
    #[serde(skip_serializing_if = "Overrides::replaces_nothing")]
    pub observe: Overrides,
    /// For `create`, `start`, `signal` and `remove`.
    #[serde(skip_serializing_if = "Overrides::replaces_nothing")]
    pub control: Overrides,
    /// For what may take minutes.
    #[serde(skip_serializing_if = "Overrides::replaces_nothing")]
    pub long: Overrides,
    /// For opening a stream.
    #[serde(skip_serializing_if = "Overrides::replaces_nothing")]
    pub stream: Overrides,
}

/// Values of [`Limits`] that are replaced; see there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Overrides {
    /// Units of fuel: about one an instruction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Bytes of all linear memories together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Elements of all tables together; one table has at most 100,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_elements: Option<u64>,
    /// Core instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<usize>,
    /// Linear memories; at most 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memories: Option<usize>,
    /// Tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<usize>,
    /// Handles of resources that the guest holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handles: Option<usize>,
    /// Host resources, such as streams, that exist for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<usize>,
    /// Bytes that one host call may copy out of the guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crossing: Option<Size>,
    /// Calls of host functions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// Bytes that all host calls together may move.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Size>,
    /// Bytes of log; what exceeds them is dropped and counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Size>,
}

impl From<Limits> for Overrides {
    fn from(limits: Limits) -> Self {
        Self {
            fuel: Some(limits.fuel),
            memory: Some(limits.memory),
            table_elements: Some(limits.table_elements),
            instances: Some(limits.instances),
            memories: Some(limits.memories),
            tables: Some(limits.tables),
            handles: Some(limits.handles),
            resources: Some(limits.resources),
            crossing: Some(limits.crossing),
            calls: Some(limits.calls),
            bytes: Some(limits.bytes),
            log: Some(limits.log),
        }
    }
}

impl Overrides {
    fn replaces_nothing(&self) -> bool {
        *self == Self::default()
    }

    fn replace(&self, limits: &mut Limits) {
        *limits = Limits {
            fuel: self.fuel.unwrap_or(limits.fuel),
            memory: self.memory.unwrap_or(limits.memory),
            table_elements: self.table_elements.unwrap_or(limits.table_elements),
            instances: self.instances.unwrap_or(limits.instances),
            memories: self.memories.unwrap_or(limits.memories),
            tables: self.tables.unwrap_or(limits.tables),
            handles: self.handles.unwrap_or(limits.handles),
            resources: self.resources.unwrap_or(limits.resources),
            crossing: self.crossing.unwrap_or(limits.crossing),
            calls: self.calls.unwrap_or(limits.calls),
            bytes: self.bytes.unwrap_or(limits.bytes),
            log: self.log.unwrap_or(limits.log),
        };
    }
}

/// Counts what the instances of one store take, over all of it, and remembers what was refused: the guest only sees -1
/// and may go on to trap for it.
pub(crate) struct Growth {
    limits: Limits,
    memory: u64,
    table_elements: u64,
    /// Allowed, but not yet known to have happened.
    pending: Option<Pending>,
    refused: Option<Refused>,
}

#[derive(Clone, Copy)]
enum Pending {
    Memory(u64),
    Table(u64),
}

/// What was refused first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Linear memory: so many bytes in all were asked for.
    Memory {
        /// In all.
        wanted: u64,
        /// Allowed.
        limit: u64,
    },
    /// Table elements: so many in all were asked for.
    Table {
        /// In all.
        wanted: u64,
        /// Allowed.
        limit: u64,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { wanted, limit } => {
                write!(f, "asked for {wanted} bytes of memory, where {} are allowed", Size(*limit))
            }
            Self::Table { wanted, limit } => {
                write!(f, "asked for {wanted} table elements, where {limit} are allowed")
            }
        }
    }
}

impl Growth {
    pub(crate) fn refused(&self) -> Option<Refused> {
        self.refused
    }

    /// Bytes of all linear memories together.
    pub(crate) fn memory(&self) -> u64 {
        self.memory
    }
}

impl wasmtime::ResourceLimiter for Growth {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grown = desired.saturating_sub(current) as u64;
        let wanted = self.memory.saturating_add(grown);
        let limit = self.limits.memory.0;
        // What the guest declared itself to be the most is its own affair, and no refusal of ours.
        let declared = maximum.is_some_and(|maximum| desired > maximum);
        if wanted > limit {
            self.refused.get_or_insert(Refused::Memory { wanted, limit });
            return Ok(false);
        }
        if declared {
            return Ok(false);
        }
        self.memory = wanted;
        self.pending = Some(Pending::Memory(grown));
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        if let Some(Pending::Memory(grown)) = self.pending.take() {
            self.refused.get_or_insert(Refused::Memory { wanted: self.memory, limit: self.limits.memory.0 });
            self.memory = self.memory.saturating_sub(grown);
        }
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grown = desired.saturating_sub(current) as u64;
        let wanted = self.table_elements.saturating_add(grown);
        let limit = self.limits.table_elements;
        if wanted > limit {
            self.refused.get_or_insert(Refused::Table { wanted, limit });
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.table_elements = wanted;
        self.pending = Some(Pending::Table(grown));
        Ok(true)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        if let Some(Pending::Table(grown)) = self.pending.take() {
            let limit = self.limits.table_elements.min(MOST_TABLE_ELEMENTS as u64);
            self.refused.get_or_insert(Refused::Table { wanted: self.table_elements, limit });
            self.table_elements = self.table_elements.saturating_sub(grown);
        }
        Ok(())
    }

    fn instances(&self) -> usize {
        self.limits.instances
    }

    fn tables(&self) -> usize {
        self.limits.tables
    }

    fn memories(&self) -> usize {
        self.limits.memories
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::ResourceLimiter as _;

    fn growth(memory: u64) -> Growth {
        Limits { memory: Size(memory), ..Limits::of(Class::Check) }.growth()
    }

    #[test]
    fn memory_is_bounded_over_the_whole_store() {
        let mut growth = growth(300);
        assert!(growth.memory_growing(0, 100, None).unwrap());
        assert!(growth.memory_growing(0, 200, None).unwrap());
        assert!(!growth.memory_growing(200, 201, None).unwrap());
        assert_eq!(growth.refused(), Some(Refused::Memory { wanted: 301, limit: 300 }));
    }

    #[test]
    fn growth_that_failed_later_is_given_back() {
        let mut growth = growth(300);
        assert!(growth.memory_growing(0, 300, None).unwrap());
        growth.memory_grow_failed(wasmtime::Error::msg("no memory")).unwrap();
        assert!(growth.memory_growing(0, 300, None).unwrap());
    }

    #[test]
    fn the_guests_own_maximum_is_no_refusal() {
        let mut growth = growth(300);
        assert!(!growth.memory_growing(0, 200, Some(100)).unwrap());
        assert_eq!(growth.refused(), None);
    }

    #[test]
    fn an_override_replaces_one_value_of_one_class() {
        let overrides: ClassOverrides =
            serde_json::from_value(serde_json::json!({"all": {"calls": 7}, "check": {"fuel": 5}})).unwrap();
        let limits = LimitsByClass::default().with(&overrides);
        assert_eq!((limits.of(Class::Check).fuel, limits.of(Class::Check).calls), (5, 7));
        assert_eq!(limits.of(Class::Observe).fuel, Limits::of(Class::Observe).fuel);
        assert!(serde_json::from_value::<ClassOverrides>(serde_json::json!({"check": {"feul": 5}})).is_err());
    }

    #[test]
    fn limits_that_let_nothing_through_are_refused_by_name() {
        let overrides =
            ClassOverrides { check: Overrides { fuel: Some(0), ..Overrides::default() }, ..Default::default() };
        let error = LimitsByClass::default().with(&overrides).validate(Size(1 << 30)).unwrap_err();
        assert!(error.to_string().starts_with("limits.check.fuel: "), "{error}");
        assert!(LimitsByClass::default().validate(Size(1 << 20)).is_err());
    }
}
