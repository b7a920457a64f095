//! Rust of `proto/backend.proto`. protox compiles it, so that no protoc need be installed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let grpc = std::env::var_os("CARGO_FEATURE_GRPC").is_some();
    let files = protox::compile(["proto/backend.proto"], ["proto"])?;
    println!("cargo:rerun-if-changed=proto");
    tonic_prost_build::configure().build_client(grpc).build_server(grpc).compile_fds(files)?;
    Ok(())
}
