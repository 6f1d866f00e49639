use std::time::Duration;

use lsm_log::error::ErrorKind;
use lsm_log::fs::MemFs;

use super::*;
use crate::memtable::Insert;
use crate::options::Options;

/// Between its number and its place in the memtable a write is seen by nobody.
#[test]
fn a_write_that_is_under_way_is_waited_for() {
    let db = Options::default().fs(Arc::new(MemFs::new())).open("/db").unwrap();
    let engine = &db.default_keyspace().shared().engine;
    let transaction = db.transaction();
    assert_eq!(transaction.get("k").unwrap(), None);
    transaction.put("seen", "nothing").unwrap();
    let seq = {
        let mut commit = engine.commit.lock();
        commit.last_seq = SeqNo(commit.last_seq.0 + 1);
        commit.last_seq
    };
    let committed = std::thread::scope(|scope| {
        let committing = scope.spawn(|| transaction.commit());
        // The second validation has begun, or was left out.
        while !engine.commit.is_locked() && !committing.is_finished() {
            std::thread::yield_now();
        }
        engine.options.clock.sleep(Duration::from_millis(50));
        let insert = Insert { seq, kind: Kind::Put, key: b"k", value: b"v" };
        engine.default_tree().super_version().active.insert(std::iter::once(insert));
        engine.published.publish(seq, seq);
        committing.join().unwrap()
    });
    assert_eq!(committed.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(db.get("seen").unwrap(), None);
}
