//! The messages of a body, followed in pieces of any length.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| lsm_fuzz::peer::fuzzing::framing(data));
