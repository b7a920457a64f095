//! What a Seawall plugin in Rust depends on.
//!
//! A plugin is a type that implements [`Backend`], and those of [`Logs`], [`Exec`] and the like that it can, and
//! one line: `seawall_sdk::export!(MyBackend)` or `seawall_sdk::export!(MyBackend with logs, exec)`. The contract of each function
//! stands in `wit/backend`; the capabilities a plugin may call are [`clock`], [`docker`], [`process`], [`raw_state`] and
//! the helpers [`config`](fn@config), [`log`](mod@log) and [`state`] around the others. A capability that is not called is not imported,
//! and need not be granted.
//!
//! Every call runs in a fresh instance: nothing in memory survives it. See `plugins/example` for a whole plugin.

mod backend;
#[doc(hidden)]
pub mod bindings;
mod config;
mod error;
pub mod log;
pub mod state;
mod units;

pub use backend::{Adapter, Attach, Backend, Endpoints, Exec, HealthChecks, Images, Input, Logs, Pause, Stats, Watch};
pub use bindings::host::seawall::backend::types::{
    Attachment, HealthCheck, HealthCommand, Info, LogLimits, Mount, MountSource, Network, Port, Protocol, Report,
    Resources, Spec, Ulimit,
};
pub use bindings::host::seawall::host::streams::{ByteSink, ByteStream, Duplex, Execution, Preparation, WakeSource};
pub use bindings::host::seawall::host::types::{
    AttachOptions, CheckResult, Endpoint, Error, ExecOptions, Exit, Found, Health, Key, LogOptions, Measurement, Page,
    Problem, State, Status, TerminalSize, Transfer, Trouble, Usage, Workload,
};
pub use bindings::host::seawall::host::{clock, docker, process, state as raw_state};
pub use config::{config, config_key, no_options, options};
pub use error::Problems;
pub use units::{Millis, Size, UnitError};

/// An instance lives for one call, so there is nobody to give memory back to.
#[cfg(all(feature = "arena", target_arch = "wasm32"))]
#[global_allocator]
static ARENA: mini_alloc::MiniAlloc = mini_alloc::MiniAlloc::INIT;

/// How a call to a backend ends.
pub type Result<T> = core::result::Result<T, Error>;

/// Makes a component of a type that implements [`Backend`].
///
/// `export!(MyBackend)` exports `execution-backend`; `export!(MyBackend with logs, exec, health_checks)` exports these
/// too, and needs [`Logs`], [`Exec`] and [`HealthChecks`]; likewise `attach`, `endpoint` ([`Endpoints`]), `images`, `input`,
/// `pause`, `stats` and `watch`. What a plugin exports is what the host believes it can do.
#[macro_export]
macro_rules! export {
    ($ty:ident) => {
        #[cfg(target_arch = "wasm32")]
        type SeawallPlugin = $crate::Adapter<$ty>;
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::plugin::export_plugin!(SeawallPlugin with_types_in $crate::bindings::plugin);
        // Where its tests run nothing is exported; the plugin is in use all the same.
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() -> $crate::Info = <$ty as $crate::Backend>::describe;
    };
    ($ty:ident with $($interface:ident),+) => {
        $crate::export!($ty);
        $($crate::export!(@$interface $ty);)+
    };
    (@logs $ty:ident) => {
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::logs::export_logs!(SeawallPlugin with_types_in $crate::bindings::logs);
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn($crate::Key, $crate::LogOptions) -> $crate::Result<$crate::ByteStream> = <$ty as $crate::Logs>::open;
    };
    (@exec $ty:ident) => {
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::exec::export_exec!(SeawallPlugin with_types_in $crate::bindings::exec);
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn($crate::Key, $crate::ExecOptions) -> $crate::Result<$crate::Execution> = <$ty as $crate::Exec>::run;
    };
    (@health_checks $ty:ident) => {
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::health_checks::export_health_checks!(
            SeawallPlugin with_types_in $crate::bindings::health_checks
        );
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn($crate::Key) -> $crate::Result<Option<$crate::CheckResult>> = <$ty as $crate::HealthChecks>::last;
    };
    (@attach $ty:ident) => {
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::attach::export_attach!(SeawallPlugin with_types_in $crate::bindings::attach);
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn($crate::Key, $crate::AttachOptions) -> $crate::Result<$crate::Duplex> = <$ty as $crate::Attach>::open;
    };
    (@endpoint $ty:ident) => {
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::endpoint::export_endpoint!(SeawallPlugin with_types_in $crate::bindings::endpoint);
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn($crate::Key) -> $crate::Result<Vec<$crate::Endpoint>> = <$ty as $crate::Endpoints>::list;
    };
    (@images $ty:ident) => {
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::images::export_images!(SeawallPlugin with_types_in $crate::bindings::images);
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(String, bool) -> $crate::Result<$crate::Preparation> = <$ty as $crate::Images>::prepare;
    };
    (@input $ty:ident) => {
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::input::export_input!(SeawallPlugin with_types_in $crate::bindings::input);
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn($crate::Key) -> $crate::Result<$crate::ByteSink> = <$ty as $crate::Input>::open;
    };
    (@pause $ty:ident) => {
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::pause::export_pause!(SeawallPlugin with_types_in $crate::bindings::pause);
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn($crate::Key) -> $crate::Result<()> = <$ty as $crate::Pause>::pause;
    };
    (@stats $ty:ident) => {
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::stats::export_stats!(SeawallPlugin with_types_in $crate::bindings::stats);
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(Vec<$crate::Key>) -> $crate::Result<Vec<$crate::Measurement>> = <$ty as $crate::Stats>::sample;
    };
    (@watch $ty:ident) => {
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::watch::export_watch!(SeawallPlugin with_types_in $crate::bindings::watch);
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() -> $crate::Result<$crate::WakeSource> = <$ty as $crate::Watch>::open;
    };
}
