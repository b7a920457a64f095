//! The logic as a plugin of Extism's: bytes in, bytes out, the same messages that cross the socket to the plugin over
//! gRPC, since these are smaller and quicker to read than JSON.
#![no_main]

use extism_pdk::{FnResult, plugin_fn};
use prost::Message as _;

/// The answer to `check`.
#[plugin_fn]
pub fn check(_: Vec<u8>) -> FnResult<Vec<u8>> {
    Ok(peers_proto::report().encode_to_vec())
}

/// The answer to `inspect`.
#[plugin_fn]
pub fn inspect(request: Vec<u8>) -> FnResult<Vec<u8>> {
    let request = peers_proto::InspectRequest::decode(request.as_slice()).map_err(extism_pdk::Error::from)?;
    let answer = peers_proto::inspect(&request);
    if peers_proto::holds(&request) {
        peers_logic::spin();
    }
    Ok(answer.encode_to_vec())
}
