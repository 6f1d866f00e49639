//! Runs seeds: some in an ordinary test run, or those that are asked for.

use std::sync::atomic::{AtomicU64, Ordering};

use super::group;
use super::report::Report;

/// Seeds in an ordinary test run.
const SEEDS: u64 = 20;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn run(seed: u64) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread");
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.block_on(group::run(seed))
    }));
    told.unwrap_or_else(|cause| {
        eprintln!("failed with LSM_SIM_SEED={seed}");
        std::panic::resume_unwind(cause)
    })
}

#[test]
fn whichever_node_is_asked_nothing_is_lost_or_stale_or_done_twice() {
    if let Some(seed) = number("LSM_SIM_SEED") {
        println!("seed {seed}: {:?}", run(seed));
        return;
    }
    let (first, count) =
        (number("LSM_SIM_FIRST").unwrap_or(0), number("LSM_SIM_SEEDS").unwrap_or(SEEDS));
    let next = AtomicU64::new(first);
    let work = || {
        let total = Report::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return total;
            }
            total.add(&run(seed));
        }
    };
    let total = Report::default();
    std::thread::scope(|scope| {
        for half in [scope.spawn(work), scope.spawn(work)] {
            total.add(&half.join().unwrap_or_else(|cause| {
                // Not another minute for what has failed already.
                next.store(u64::MAX / 2, Ordering::Relaxed);
                std::panic::resume_unwind(cause)
            }));
        }
    });
    println!("{count} seeds from {first}: {total:?}");
    if count >= SEEDS {
        total.assert_all_happened();
    }
}
