//! The head of a call from another node.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| lsm_fuzz::peer::fuzzing::handshake(data));
