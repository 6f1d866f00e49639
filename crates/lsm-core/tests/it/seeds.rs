//! Which seeds the random tests run, and how long: told by the environment.

use std::env;
use std::fmt::Display;
use std::path::PathBuf;

/// Runs `test` with each seed and a number of steps. `LSM_TEST_SEEDS` says how many seeds,
/// `LSM_TEST_STEPS` how many steps, `LSM_TEST_SEED` names the only seed to run.
pub(crate) fn each(name: &str, seeds: u64, steps: usize, test: impl Fn(u64, usize)) {
    let steps = number("LSM_TEST_STEPS").map_or(steps, |steps| steps as usize);
    let run = |seed: u64| {
        println!("{name}: LSM_TEST_SEED={seed} LSM_TEST_STEPS={steps}");
        let _told = Told(format!("LSM_TEST_SEED={seed} LSM_TEST_STEPS={steps}, in {name}"));
        test(seed, steps);
    };
    match number("LSM_TEST_SEED") {
        Some(seed) => run(seed),
        None => (1..=number("LSM_TEST_SEEDS").unwrap_or(seeds)).for_each(run),
    }
}

/// A number from the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Where databases in memory live.
pub(crate) fn dir() -> PathBuf {
    PathBuf::from("/db")
}

/// Says where a test was when it failed.
pub(crate) struct Told(pub(crate) String);

impl Told {
    pub(crate) fn new(place: impl Display) -> Self {
        Self(place.to_string())
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed at: {}", self.0);
        }
    }
}
