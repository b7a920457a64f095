//! Which imports the host offers, on what condition, and the linking of them.

use std::fmt;

use seawall_model::BackendName;
use wasmtime::component::{HasSelf, Linker};

use crate::bindings;
use crate::context::Context;
use crate::grants::Grants;

/// The package that the host's own interfaces are in, without its version.
pub const HOST_PACKAGE: &str = "seawall:host";

/// The version of it that is offered.
const HOST_VERSION: &str = "0.1.0";

/// The vocabulary of backends: types only, which every plugin built against it imports and nobody has to provide.
const BACKEND_TYPES: &str = "seawall:backend/types";

/// Every interface of WASI 0.2 that is linked is in one of these packages.
const WASI_PACKAGES: [&str; 6] =
    ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:io", "wasi:random", "wasi:sockets"];

/// On what condition the host offers an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// To every plugin.
    Always,
    /// To a plugin with this grant: `state`, `docker` or `process`.
    Granted(&'static str),
    /// Inert WASI, to every plugin.
    Wasi,
    /// An interface of the host's, in a version that it does not offer.
    OtherVersion,
    /// Not at all.
    Never,
}

/// An import of a component, and whether it will be linked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// As the component names it: `seawall:host/log@0.1.0`.
    pub name: String,
    /// On what condition it is offered.
    pub offer: Offer,
}

impl Import {
    /// Looks a name up.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), offer: offers(name) }
    }

    /// Whether a backend with these grants has it.
    pub fn is_linked(&self, grants: &Grants) -> bool {
        match self.offer {
            Offer::Always | Offer::Wasi => true,
            Offer::Granted(grant) => grants.has(grant),
            Offer::OtherVersion | Offer::Never => false,
        }
    }

    /// What is missing, and what to do about it.
    pub fn remedy(&self, backend: &BackendName) -> String {
        let name = &self.name;
        match self.offer {
            Offer::Always | Offer::Wasi => format!("`{name}` needs no grant"),
            Offer::Granted("state") => {
                format!("`{name}` is not granted: write `grants.state = true` under [backend.{backend}]")
            }
            Offer::Granted(grant) => {
                format!("`{name}` is not granted: add the table [backend.{backend}.grants.{grant}]")
            }
            Offer::OtherVersion => format!(
                "`{name}` is of another version: this host offers {HOST_VERSION}, so build the plugin against that"
            ),
            Offer::Never => {
                format!(
                    "`{name}` is nothing that this host offers: it has the interfaces of {HOST_PACKAGE} and of WASI 0.2 without HTTP"
                )
            }
        }
    }
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// On what condition the import of this name is offered. Versions are compared exactly: the linker would follow the
/// semantic version further than the types allow.
pub fn offers(name: &str) -> Offer {
    let (path, version) = name.split_once('@').unwrap_or((name, ""));
    let Some((package, interface)) = path.split_once('/') else { return Offer::Never };
    if path == BACKEND_TYPES {
        return if version == HOST_VERSION { Offer::Always } else { Offer::OtherVersion };
    }
    if package == HOST_PACKAGE {
        let offer = match interface {
            "log" | "config" | "clock" | "types" | "streams" => Offer::Always,
            "state" => Offer::Granted("state"),
            "docker" => Offer::Granted("docker"),
            "process" => Offer::Granted("process"),
            _ => return if version == HOST_VERSION { Offer::Never } else { Offer::OtherVersion },
        };
        return if version == HOST_VERSION { offer } else { Offer::OtherVersion };
    }
    if WASI_PACKAGES.contains(&package) && version.starts_with("0.2.") { Offer::Wasi } else { Offer::Never }
}

/// Links what these grants allow, and nothing else. `wasi` links inert WASI 0.2 as well.
///
/// # Errors
/// Only when two names collide, which would be a defect of the host.
pub fn add_to_linker<T>(
    linker: &mut Linker<T>,
    grants: &Grants,
    wasi: bool,
    context: fn(&mut T) -> &mut Context,
) -> wasmtime::Result<()>
where
    T: wasmtime_wasi::WasiView + 'static,
{
    type Own = HasSelf<Context>;

    bindings::types::add_to_linker::<T, Own>(linker, context)?;
    bindings::streams::add_to_linker::<T, Own>(linker, context)?;
    bindings::log::add_to_linker::<T, Own>(linker, context)?;
    bindings::config::add_to_linker::<T, Own>(linker, context)?;
    bindings::clock::add_to_linker::<T, Own>(linker, context)?;
    if grants.has("state") {
        bindings::state::add_to_linker::<T, Own>(linker, context)?;
    }
    if grants.has("docker") {
        bindings::docker::add_to_linker::<T, Own>(linker, context)?;
    }
    if grants.has("process") {
        bindings::process::add_to_linker::<T, Own>(linker, context)?;
    }
    if wasi {
        wasmtime_wasi::p2::add_to_linker_async(linker)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_import_has_one_condition() {
        for (name, offer) in [
            ("seawall:host/log@0.1.0", Offer::Always),
            ("seawall:host/types@0.1.0", Offer::Always),
            ("seawall:backend/types@0.1.0", Offer::Always),
            ("seawall:host/state@0.1.0", Offer::Granted("state")),
            ("seawall:host/docker@0.1.0", Offer::Granted("docker")),
            ("seawall:host/docker@0.1.7", Offer::OtherVersion),
            ("seawall:host/gpu@0.2.0", Offer::OtherVersion),
            ("seawall:host/gpu@0.1.0", Offer::Never),
            ("wasi:cli/stdout@0.2.6", Offer::Wasi),
            ("wasi:cli/stdout@0.3.0", Offer::Never),
            ("wasi:http/outgoing-handler@0.2.0", Offer::Never),
            ("env", Offer::Never),
            ("", Offer::Never),
        ] {
            assert_eq!(offers(name), offer, "{name}");
        }
    }

    #[test]
    fn a_missing_grant_names_the_line_that_gives_it() {
        let backend = "box".parse().unwrap();
        let remedy = |name| Import::new(name).remedy(&backend);
        assert!(remedy("seawall:host/docker@0.1.0").contains("[backend.box.grants.docker]"));
        assert!(remedy("seawall:host/state@0.1.0").contains("`grants.state = true` under [backend.box]"));
    }
}
