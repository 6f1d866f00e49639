use lsm_log::error::ErrorKind;
use lsm_log::fs::MemFs;
use lsm_log::wal::Nonces;

use super::*;
use crate::cache::BlockCache;
use crate::clock::ManualClock;
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

/// What a job needs, in a folder in memory.
struct Place {
    fs: Arc<dyn Fs>,
    set: VersionSet,
    tables: OpenTables,
    options: KeyspaceOptions,
    stop: AtomicBool,
}

impl Place {
    fn new() -> Self {
        let (fs, dir): (Arc<dyn Fs>, _) = (Arc::new(MemFs::new()), Path::new("/db"));
        fs.create_dir_all(dir).unwrap();
        let nonces = Nonces::new(Some(1));
        let set = VersionSet::read_only(Arc::clone(&fs), dir, Catalog::default(), nonces);
        set.start_writing().unwrap();
        let read_options = ReadOptions {
            access: TableAccess::Pread,
            verification: Verification::Always,
            cache: Arc::new(BlockCache::new(0)),
        };
        let tables = OpenTables::new(Arc::clone(&fs), dir.to_owned(), 16, read_options);
        let (options, stop) = (KeyspaceOptions::default(), AtomicBool::new(false));
        Self { fs, set, tables, options, stop }
    }

    fn job(&self) -> Job<'_> {
        let Self { fs, set, tables, options, stop } = self;
        let (dir, snapshots) = (Path::new("/db"), &[SeqNo(1 << 40)]);
        Job { fs, dir, tables, set, options, snapshots, stop, limit: None }
    }
}

#[test]
fn a_job_that_is_told_to_stop_stops_within_a_few_megabytes() {
    let place = Place::new();
    place.stop.store(true, Ordering::Relaxed);
    let job = place.job();
    for (count, len) in [(5, 1 << 20), (5000, 8)] {
        let error = flush(&job, &[memtable(count, len)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed, "{count} values of {len} bytes");
        let left = place.fs.list(job.dir).unwrap();
        assert!(!left.iter().any(|name| name.ends_with(".table")), "{left:?}");
    }
    assert!(flush(&job, &[memtable(5, 8)]).unwrap().is_some(), "too short to be stopped");
}

#[test]
fn a_flush_does_not_count_for_the_limit_of_compactions() {
    let place = Place::new();
    let (limit, clock) = (RateLimit::new(10 << 20), ManualClock::default());
    let job = Job { limit: Some((&limit, &clock)), ..place.job() };
    flush(&job, &[memtable(3, 1 << 20)]).unwrap();
    assert!(limit.charge(0, clock.now()).is_zero());
}
