use std::path::Path;
use std::time::Duration;

use super::*;
use crate::db::open::open;
use crate::fs::MemFs;

/// A writer is about to compute the pressure, and is held up; meanwhile a job takes the cause of
/// the stop away. The writer must not store what it saw before.
#[test]
fn a_stop_ends_with_its_cause() {
    let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
    let engine = open(options, Path::new("/db")).unwrap();
    let tree = engine.default_tree();
    let most = tree.view().options.write_buffers_max * MEMTABLES_A_BUFFER;
    (0..most).for_each(|_| tree.seal());
    let sealed = tree.queue();
    engine.update_pressure();
    assert!(engine.stopped.load(Ordering::Relaxed));
    std::thread::scope(|scope| {
        let held = engine.pacing.lock();
        let writer = scope.spawn(|| engine.update_pressure());
        engine.options.clock.sleep(Duration::from_millis(100));
        tree.install(&Arc::default(), &sealed);
        drop(held);
        writer.join().unwrap();
    });
    assert!(!engine.stopped.load(Ordering::Relaxed));
}
