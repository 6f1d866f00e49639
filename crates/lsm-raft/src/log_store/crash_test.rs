//! Crashes at every change of the file system, and random ones, again and again.

use fastrand::Rng;
use lsm_log::fs::{CrashFs, CrashImage};

use super::test_log::Node;

const IMAGES: [CrashImage; 6] = [
    CrashImage::Lost,
    CrashImage::Kept,
    CrashImage::Torn { seed: 1 },
    CrashImage::Torn { seed: 2 },
    CrashImage::Torn { seed: 3 },
    CrashImage::Torn { seed: 4 },
];

/// Steps until an error, which must be the crash.
fn run(node: &mut Node, rng: &mut Rng, steps: usize) -> bool {
    for _ in 0..steps {
        if let Err(error) = node.step(rng) {
            assert!(node.fs.crashed(), "{error}");
            node.check_refuses();
            return false;
        }
        if node.fs.crashed() {
            return false;
        }
        node.check_memory(rng);
    }
    true
}

/// One history, crashed after `events`; what is left is opened, used, crashed and opened again.
/// Whether the history was over before the crash.
fn crash_once(seed: u64, events: u64, image: CrashImage) -> bool {
    let mut rng = Rng::with_seed(seed);
    let fs = CrashFs::new();
    fs.crash_after(events);
    let (segment_bytes, cache_bytes) = (rng.u64(512..2000), rng.usize(0..4000));
    let Ok(mut node) = Node::new(&fs, segment_bytes, cache_bytes) else {
        // Nothing was promised yet: the log opens, empty.
        let node = Node::new(&fs.image(image), segment_bytes, cache_bytes).unwrap();
        assert_eq!((node.store.first_index(), node.store.last_index()), (1, 0));
        return false;
    };
    let whole = run(&mut node, &mut rng, 40);
    for life in 0..2 {
        let left = node.fs.image(image);
        node = node.reopen(&left, image == CrashImage::Kept).unwrap();
        node.check_all();
        let crash = left.events() + rng.u64(1..60);
        left.crash_after(crash);
        run(&mut node, &mut rng, 30 - 10 * life);
    }
    whole
}

#[test]
fn a_crash_at_any_change_leaves_what_was_synced() {
    for seed in 0..12 {
        for events in 0.. {
            let image = IMAGES[(events % 6) as usize];
            let done = std::panic::catch_unwind(|| crash_once(seed, events, image));
            match done {
                Ok(whole) if whole => break,
                Ok(_) => {}
                Err(_) => panic!("seed {seed}, {events} events, {image:?}"),
            }
        }
    }
}

/// A crash while opening what a crash left behind.
#[test]
fn a_crash_while_opening_changes_nothing() {
    for seed in 0..20 {
        let mut rng = Rng::with_seed(seed);
        let fs = CrashFs::new();
        let mut node = Node::new(&fs, 600, 1000).unwrap();
        for _ in 0..120 {
            node.step(&mut rng).unwrap();
        }
        let (mut fs, mut lives) = (fs.image(CrashImage::Torn { seed }), 0);
        // Each open gets one change further than the one before, on what that one left.
        loop {
            fs.crash_after(lives);
            let opened = super::test_log::open(&fs, 600);
            if opened.is_ok() {
                break;
            }
            assert!(fs.crashed(), "seed {seed}, life {lives}: {:?}", opened.err());
            fs = fs.image(CrashImage::Torn { seed: seed + lives });
            lives += 1;
        }
        let left = fs.image(CrashImage::Kept);
        node.reopen(&left, false).unwrap().check_all();
    }
}

#[test]
fn many_lives_end_in_any_way() {
    for seed in 100..200 {
        let outcome = std::panic::catch_unwind(|| {
            let mut rng = Rng::with_seed(seed);
            let fs = CrashFs::new();
            let mut node = Node::new(&fs, rng.u64(512..5000), rng.usize(0..5000)).unwrap();
            for _ in 0..6 {
                let image = rng.choice(IMAGES).unwrap();
                let image = match image {
                    CrashImage::Torn { .. } => CrashImage::Torn { seed: rng.u64(..) },
                    other => other,
                };
                node.fs.crash_after(node.fs.events() + rng.u64(10..400));
                run(&mut node, &mut rng, 150);
                let left = node.fs.image(image);
                node = node.reopen(&left, image == CrashImage::Kept).unwrap();
                node.check_all();
            }
        });
        assert!(outcome.is_ok(), "seed {seed}");
    }
}
