//! Leaves out of a core module what an instance that lives for one call has no use for.

use std::convert::Infallible;

use anyhow::Result;
use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{ExportSection, Module};
use wasmparser::{Export, Parser};

/// How the canonical ABI names the function that frees an answer once the host has taken it.
const POST_RETURN: &str = "cabi_post_";

/// The module without its post-return functions: the host looks each one up whenever it makes an instance, and calls the
/// one that belongs to the function it called.
pub(super) fn without_post_return(module: &[u8]) -> Result<Vec<u8>> {
    let mut lean = Module::new();
    Lean.parse_core_module(&mut lean, Parser::new(0), module)?;
    Ok(lean.finish())
}

struct Lean;

impl Reencode for Lean {
    type Error = Infallible;

    fn parse_export(&mut self, exports: &mut ExportSection, export: Export<'_>) -> Result<(), Error<Infallible>> {
        if export.name.starts_with(POST_RETURN) {
            return Ok(());
        }
        utils::parse_export(self, exports, export)
    }
}
