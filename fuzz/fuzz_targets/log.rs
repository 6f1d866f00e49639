//! A log segment from any bytes: replayed, and searched for proof of what is lost.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use lsm_core::fuzzing;

fuzz_target!(|data: &[u8]| fuzzing::log(data));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    lsm_fuzz::mutate(data, size, max_size, seed, fuzzing::mend_log)
});
