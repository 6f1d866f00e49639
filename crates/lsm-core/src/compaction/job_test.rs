use lsm_log::error::ErrorKind;
use lsm_log::fs::MemFs;
use lsm_log::wal::Nonces;

use super::*;
use crate::cache::BlockCache;
use crate::memtable::Insert;
use crate::options::{TableAccess, Verification};
use crate::sstable::ReadOptions;
use crate::version::Catalog;

/// A memtable with so many values of this length.
fn memtable(count: u64, len: usize) -> Arc<Memtable> {
    let memtable = Memtable::new(8 << 20, &Arc::default());
    let value = vec![7; len];
    let keys: Vec<[u8; 8]> = (0..count).map(u64::to_be_bytes).collect();
    memtable.insert(keys.iter().enumerate().map(|(i, key)| Insert {
        seq: SeqNo(i as u64 + 1),
        kind: Kind::Put,
        key,
        value: &value,
    }));
    Arc::new(memtable)
}

#[test]
fn a_job_that_is_told_to_stop_stops_within_a_few_megabytes() {
    let fs: Arc<dyn Fs> = Arc::new(MemFs::new());
    let dir = Path::new("/db");
    fs.create_dir_all(dir).unwrap();
    let set = VersionSet::read_only(Arc::clone(&fs), dir, Catalog::default(), Nonces::new(Some(1)));
    set.start_writing().unwrap();
    let read_options = ReadOptions {
        access: TableAccess::Pread,
        verification: Verification::Always,
        cache: Arc::new(BlockCache::new(0)),
    };
    let tables = OpenTables::new(Arc::clone(&fs), dir.to_owned(), 16, read_options);
    let (options, stop) = (KeyspaceOptions::default(), AtomicBool::new(true));
    let (fs, tables, set, options, stop) = (&fs, &tables, &set, &options, &stop);
    let job = Job { fs, dir, tables, set, options, snapshots: &[SeqNo(1 << 40)], stop };
    for (count, len) in [(5, 1 << 20), (5000, 8)] {
        let error = flush(&job, &[memtable(count, len)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed, "{count} values of {len} bytes");
        let left = fs.list(dir).unwrap();
        assert!(!left.iter().any(|name| name.ends_with(".table")), "{left:?}");
    }
    assert!(flush(&job, &[memtable(5, 8)]).unwrap().is_some(), "too short to be stopped");
}
