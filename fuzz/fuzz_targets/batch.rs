//! An encoded batch from any bytes, as it lies in a log record.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| lsm_core::fuzzing::batch(data));
