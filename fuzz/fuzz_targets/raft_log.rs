//! The payload of a record of the raft log from any bytes: decoded, and encoded again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| lsm_raft::fuzzing::log_record(data));
