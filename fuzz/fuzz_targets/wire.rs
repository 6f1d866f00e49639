//! A frame of raft messages from another node.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| lsm_fuzz::peer::fuzzing::wire(data));
