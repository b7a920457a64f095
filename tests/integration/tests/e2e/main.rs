//! The real daemon, driven from its command line and its API, with real processes and a real Docker Engine.

#[cfg(test)]
mod api;
#[cfg(test)]
mod attached;
#[cfg(test)]
mod bad_plugins;
#[cfg(test)]
mod bulkhead;
#[cfg(test)]
mod cache;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod compiler;
#[cfg(test)]
mod config;
#[cfg(test)]
mod curl;
#[cfg(test)]
mod daemon;
#[cfg(test)]
mod docker;
#[cfg(test)]
mod engine_trouble;
#[cfg(test)]
mod hands;
#[cfg(test)]
mod health;
#[cfg(test)]
mod images;
#[cfg(test)]
mod intruder;
#[cfg(test)]
mod mock;
#[cfg(test)]
mod process;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod spec_table;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod usage;
#[cfg(test)]
mod watch;
