//! A data block, or another part of a table, from any bytes: no checksum in the way.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| lsm_core::fuzzing::block(data));
