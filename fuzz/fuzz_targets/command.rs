//! The data of a raft entry from any bytes: commands, each decoded and encoded again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| lsm_raft::fuzzing::command(data));
