//! A manifest from any bytes: its edits added up; and the bytes as a single edit.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use lsm_core::fuzzing;

fuzz_target!(|data: &[u8]| fuzzing::manifest(data));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    lsm_fuzz::mutate(data, size, max_size, seed, fuzzing::mend_manifest)
});
