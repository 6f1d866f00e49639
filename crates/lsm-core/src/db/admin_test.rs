//! Keyspaces that are dropped while something is being done with them.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::db::open::open;
use crate::fs::MemFs;
use crate::options::Options;

fn engine() -> Arc<Engine> {
    let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
    open(options, Path::new("/db")).unwrap()
}

#[test]
fn the_catalog_and_the_tree_agree_on_what_is_dropped() {
    let engine = engine();
    let done = AtomicBool::new(false);
    let tree = engine.keyspace("a", KeyspaceOptions::default()).unwrap();
    let latest = crate::sync::Mutex::new(tree);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let tree = Arc::clone(&latest.lock());
                engine.set.with(|catalog| {
                    assert_eq!(!catalog.keyspaces.contains_key(&tree.id), tree.is_dropped());
                });
            }
        });
        for _ in 0..2000 {
            engine.drop_keyspace("a").unwrap();
            *latest.lock() = engine.keyspace("a", KeyspaceOptions::default()).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}
