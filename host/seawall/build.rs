//! Looks whether the built-in plugins are there to be embedded. It builds none: `cargo xtask plugins` does.

use std::fmt::Write as _;
use std::path::Path;

const NAMES: [&str; 3] = ["docker", "mock", "process"];

fn main() {
    let manifest = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let dist = Path::new(&manifest).join("../../plugins/dist");
    let mut text = String::from("pub(crate) static EMBEDDED: &[(&str, &[u8])] = &[\n");
    for name in NAMES {
        let path = dist.join(format!("{name}.wasm"));
        println!("cargo::rerun-if-changed={}", path.display());
        if let Ok(path) = path.canonicalize() {
            let _ = writeln!(text, "    ({name:?}, include_bytes!({path:?})),");
        }
    }
    text.push_str("];\n");
    let out = std::env::var("OUT_DIR").unwrap_or_default();
    if let Err(error) = std::fs::write(Path::new(&out).join("embedded.rs"), text) {
        println!("cargo::error=failed to write embedded.rs: {error}");
    }
}
