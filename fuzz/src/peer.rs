//! What nodes say to each other, as in the server's folder of this name.

#![allow(dead_code, reason = "the server uses the rest")]

#[path = "../../crates/lsm-server/src/peer/fuzzing.rs"]
pub mod fuzzing;
#[path = "../../crates/lsm-server/src/peer/handshake.rs"]
mod handshake;
#[path = "../../crates/lsm-server/src/peer/headers.rs"]
mod headers;
#[path = "../../crates/lsm-server/src/peer/refused.rs"]
mod refused;
#[path = "../../crates/lsm-server/src/peer/wire.rs"]
mod wire;
