//! The fields of a message, counted in pieces of any length.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| lsm_fuzz::peer::fuzzing::fields(data));
