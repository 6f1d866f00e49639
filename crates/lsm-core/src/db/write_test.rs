use std::path::Path;

use super::*;
use crate::db::open::open;
use crate::fs::MemFs;
use crate::options::Options;

/// The background made a segment ahead, and right then a long batch used it up.
#[test]
fn a_segment_that_a_long_batch_used_up_is_made_again() {
    let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
    let engine = open(options, Path::new("/db")).unwrap();
    assert!(engine.make_segment().unwrap());
    assert!(!engine.make_segment().unwrap(), "one is ahead already");
    engine.rotate_to_own(&mut engine.commit.lock(), 1 << 20).unwrap();
    assert!(engine.next_segment.lock().is_none());
    assert!(engine.make_segment().unwrap(), "the next rotation must not wait for its segment");
}
