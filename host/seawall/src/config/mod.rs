//! The daemon's configuration: one TOML file, under variables `SEAWALL_*`, under flags. All of it is checked before the
//! daemon listens or touches anything.
//!
//! [`file`] is what may be written, [`load`] reads it, [`layers`] puts general and own tables together, [`error`] says what is
//! wrong and where, [`paths`] has the places used where nothing is said, [`backends`] what is there without any
//! configuration, [`settings`] puts the three layers together, and [`changes`] says in what two of them differ.
//!
//! Deliberately absent: clap (flags arrive as a plain struct) and everything that acts.

mod backends;
mod changes;
mod error;
mod file;
mod layers;
mod load;
mod paths;
mod settings;

pub(crate) use backends::PluginSource;
pub(crate) use error::{ConfigError, nearest, suggest};
pub(crate) use file::{LogFormat, ShutdownMode};
pub(crate) use load::Document;
pub(crate) use paths::default_socket;
pub(crate) use settings::{Backend, Log, Overrides, Settings};
