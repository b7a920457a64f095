//! The daemon's configuration: one TOML file, under variables `SEAWALL_*`, under flags. All of it is checked before the
//! daemon listens or touches anything.
//!
//! [`file`] is what may be written, [`load`] reads it, [`variables`] says the same in the environment, and [`written`] is both of
//! them, each key with its place. [`layers`] puts general and own tables together, [`error`] says what is wrong and where,
//! [`paths`] has the places used where nothing is said, [`api`] where the API listens beside its socket, [`backends`] what is there without any configuration, and [`settings`]
//! puts all layers together. [`effective`] shows the outcome, [`example`] all that there is, and [`changes`] says in what two
//! settings differ.
//!
//! Deliberately absent: clap (flags arrive as a plain struct) and everything that acts.

mod api;
mod backends;
mod changes;
mod effective;
mod error;
mod example;
mod file;
mod layers;
mod load;
mod paths;
mod settings;
mod telemetry;
mod tree;
mod variables;
mod written;

pub(crate) use api::{Tcp, TlsFiles};
pub(crate) use backends::PluginSource;
pub(crate) use effective::Effective;
pub(crate) use error::{ConfigError, Place, nearest, suggest};
pub(crate) use example::example;
pub(crate) use file::{LogFormat, ShutdownMode};
pub(crate) use load::{Document, place_of};
pub(crate) use paths::default_socket;
pub(crate) use settings::{Backend, Log, Overrides, Settings};
pub(crate) use telemetry::Otlp;
pub(crate) use variables::{FLAGS, of_environment};
pub(crate) use written::{Written, unknown_variables};
