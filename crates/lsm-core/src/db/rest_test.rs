use std::path::Path;
use std::time::Duration;

use lsm_log::fs::{Fs, MemFs};

use super::*;
use crate::batch::WriteBatch;
use crate::clock::ManualClock;
use crate::db::keyspace::Snapshot;
use crate::db::open::open;
use crate::db::open_db::OpenDb;
use crate::db::read::ReadPoint;
use crate::db::scan::Cursor;
use crate::key::{KeyRange, KeyspaceId, Kind};
use crate::options::{Durability, KeyspaceOptions, Options};

/// An engine without threads, whose background work is done here, and whose clock stands still.
struct Quiet {
    engine: Arc<Engine>,
    clock: Arc<ManualClock>,
    fs: MemFs,
}

impl Quiet {
    fn new() -> Self {
        Self::open(&MemFs::new())
    }

    fn open(fs: &MemFs) -> Self {
        let clock = Arc::new(ManualClock::default());
        let options = Options::default().fs(Arc::new(fs.clone())).clock(clock.clone());
        let engine = open(options.log_segment_bytes(4 << 20), Path::new("/db")).unwrap();
        Self { engine, clock, fs: fs.clone() }
    }

    fn write(&self, fill: impl FnOnce(&mut WriteBatch)) {
        let mut batch = WriteBatch::new();
        fill(&mut batch);
        self.engine.write(&batch, Durability::Buffered).unwrap();
    }

    /// What threads do that wake up every half second.
    fn pass(&self, time: Duration) {
        let step = Duration::from_millis(500);
        let mut left = time;
        loop {
            while self.engine.flush_one().unwrap()
                || self.engine.compact_one().unwrap()
                || self.engine.rest_one().unwrap()
            {}
            if left.is_zero() {
                return;
            }
            self.clock.advance(step.min(left));
            left = left.saturating_sub(step);
        }
    }

    fn flush(&self) {
        let commit = self.engine.commit.lock();
        self.engine.seal_all(&commit, None);
        drop(commit);
        while self.engine.flush_one().unwrap() {}
    }

    fn tree(&self) -> Arc<Tree> {
        self.engine.default_tree()
    }

    /// Entries of all tables, and those in memory.
    fn entries(&self) -> (u64, u64) {
        let view = self.tree().pinned();
        let in_tables = view.version.tables().map(|(_, table)| table.meta.entries).sum();
        (in_tables, view.memtables().map(|memtable| memtable.entries()).sum())
    }

    fn written(&self) -> u64 {
        let stats = self.engine.stats();
        stats.flush_bytes + stats.compaction_written_bytes
    }
}

const ID: KeyspaceId = KeyspaceId::DEFAULT;
/// Two looks later, and too soon for what nobody has paid for.
const LOOKED: Duration = Duration::from_millis(200);

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

fn key(i: u32) -> [u8; 4] {
    i.to_be_bytes()
}

#[test]
fn what_was_deleted_last_goes_once_nobody_writes() {
    let quiet = Quiet::new();
    quiet.write(|batch| (0..1000).for_each(|i| batch.push(Kind::Put, ID, &key(i), &[7; 100])));
    quiet.flush();
    // All but the last hundred, and one in ten of those anew.
    quiet.write(|batch| (0..900).for_each(|i| batch.push(Kind::Delete, ID, &key(i), b"")));
    quiet.write(|batch| {
        (900..1000).step_by(10).for_each(|i| batch.push(Kind::Put, ID, &key(i), &[8; 100]));
    });
    quiet.pass(Duration::from_millis(500));
    assert_eq!(quiet.entries(), (1000, 910), "they may write on");
    quiet.pass(Duration::from_secs(10));
    assert_eq!(quiet.entries(), (100, 0));
}

#[test]
fn a_small_gain_is_waited_for_longer_and_all_come_to_rest() {
    let quiet = Quiet::new();
    quiet.write(|batch| (0..1000).for_each(|i| batch.push(Kind::Put, ID, &key(i), &[7; 100])));
    quiet.flush();
    quiet.pass(minutes(10));
    assert_eq!(quiet.entries(), (1000, 0), "live data stays as it is");
    let before = quiet.written();
    quiet.write(|batch| batch.push(Kind::Delete, ID, &key(500), b""));
    quiet.pass(minutes(4));
    assert_eq!((quiet.entries(), quiet.written()), ((1000, 1), before), "not for one entry");
    quiet.pass(minutes(2));
    assert_eq!(quiet.entries(), (999, 0));
    let rested = quiet.written();
    quiet.pass(minutes(20));
    assert_eq!(quiet.written(), rested, "nothing is written anew for nothing");
}

#[test]
fn the_little_that_a_snapshot_held_goes_when_nobody_writes() {
    let quiet = Quiet::new();
    quiet.write(|batch| (0..1000).for_each(|i| batch.push(Kind::Put, ID, &key(i), &[7; 100])));
    quiet.flush();
    let pinned = quiet.engine.snapshots.pin(&quiet.engine.published);
    quiet.write(|batch| (0..20).for_each(|i| batch.push(Kind::Delete, ID, &key(i), b"")));
    quiet.write(|batch| (50..80).for_each(|i| batch.push(Kind::Put, ID, &key(i), &[8; 100])));
    quiet.pass(minutes(10));
    assert_eq!(quiet.entries(), (1050, 0), "merged, and kept for the snapshot");
    let _ = quiet.engine.snapshots.unpin(pinned);
    quiet.pass(minutes(1));
    assert_eq!(quiet.entries(), (980, 0));
}

#[test]
fn new_keys_behind_all_others_stay_in_memory() {
    let quiet = Quiet::new();
    quiet.write(|batch| (0..1000).for_each(|i| batch.push(Kind::Put, ID, &key(i), &[7; 100])));
    quiet.flush();
    quiet.write(|batch| (1000..1100).for_each(|i| batch.push(Kind::Put, ID, &key(i), &[7; 100])));
    quiet.pass(minutes(20));
    assert_eq!(quiet.entries(), (1000, 100));
}

/// Writes to one key or another of a keyspace, `seconds` apart: what is written by background work,
/// for each byte that is written.
fn amplification(seconds: u64) -> f64 {
    let quiet = Quiet::new();
    quiet.write(|batch| (0..2000).for_each(|i| batch.push(Kind::Put, ID, &key(i), &[7; 100])));
    quiet.flush();
    quiet.pass(minutes(10));
    let (before, mut rng) = (quiet.written(), fastrand::Rng::with_seed(seconds));
    let count = 1500u32;
    for _ in 0..count {
        let key = key(rng.u32(..2000));
        match rng.bool() {
            true => quiet.write(|batch| batch.push(Kind::Put, ID, &key, &[8; 100])),
            false => quiet.write(|batch| batch.push(Kind::Delete, ID, &key, b"")),
        }
        quiet.pass(Duration::from_secs(seconds));
    }
    (quiet.written() - before) as f64 / f64::from(count * 104)
}

#[test]
fn whoever_writes_every_few_seconds_has_little_written_anew() {
    // At one write every `n` seconds a byte written costs no more than about `n`.
    for seconds in [2, 5, 30] {
        let times = amplification(seconds);
        assert!(times < 2.0 * seconds as f64, "every {seconds} s: {times:.1} times");
    }
}

#[test]
fn what_was_loaded_is_one_run_within_moments() {
    let quiet = Quiet::new();
    for first in 0..3 {
        let keys = (0..1000).map(|i| key(3 * i + first));
        quiet.write(|batch| keys.for_each(|key| batch.push(Kind::Put, ID, &key, &[7; 100])));
        quiet.flush();
    }
    let runs = || quiet.tree().pinned().version.levels[0].len();
    quiet.pass(Duration::from_millis(200));
    assert_eq!(runs(), 3, "they may write on");
    quiet.pass(Duration::from_millis(500));
    assert_eq!((runs(), quiet.entries()), (0, (3000, 0)));
}

/// Each would cost the syncs of a flush and of a merge.
#[test]
fn small_changes_are_not_merged_one_by_one() {
    let quiet = Quiet::new();
    let count = |i: u32| quiet.write(|batch| batch.push(Kind::Put, ID, b"counter", &key(i)));
    count(0);
    quiet.flush();
    for i in 1..20 {
        count(i);
        quiet.pass(Duration::from_millis(900));
    }
    assert_eq!(quiet.entries(), (1, 19));
}

/// Load by load: the merges of each are paid for by what was written since the one before.
#[test]
fn however_often_somebody_pauses_a_byte_is_written_anew_a_few_times() {
    for burst in [100, 300, 1000] {
        let quiet = Quiet::new();
        quiet.write(|batch| (0..2000).for_each(|i| batch.push(Kind::Put, ID, &key(i), &[7; 100])));
        quiet.flush();
        quiet.pass(minutes(10));
        let before = quiet.written();
        for round in 0..20 {
            let keys = (0..burst).map(|i| key((7 * i + round) % 2000));
            quiet.write(|batch| keys.for_each(|key| batch.push(Kind::Put, ID, &key, &[8; 100])));
            quiet.pass(Duration::from_secs(1));
        }
        let times = (quiet.written() - before) as f64 / f64::from(20 * burst * 104);
        assert!(times < 9.5, "{burst}: {times:.1} times, with the flush");
    }
}

#[test]
fn jobs_take_their_share_of_the_time_and_no_more() {
    let mut idle = crate::db::idle::Idle::default();
    let seconds = Duration::from_secs;
    assert!(idle.may_begin(seconds(0)));
    idle.has_run(seconds(10), seconds(12));
    assert!(!idle.may_begin(seconds(25)));
    assert!(idle.may_begin(seconds(26)));
}

#[test]
fn looks_are_close_together_while_readers_lose_time() {
    let mut idle = crate::db::idle::Idle::default();
    let millis = Duration::from_millis;
    idle.has_looked(millis(0), 900_000);
    assert!(!idle.may_look(millis(249)) && idle.may_look(millis(250)));
    assert_eq!(idle.soon(millis(249)), None, "threads need not wake up for that");
    idle.has_looked(millis(250), 1_900_000);
    assert!(!idle.may_look(millis(269)) && idle.may_look(millis(270)), "a millisecond was lost");
    // It was spent.
    idle.has_looked(millis(270), 0);
    assert!(idle.may_look(millis(290)), "they may lose more");
    assert_eq!(idle.soon(millis(1249)), Some(millis(20)));
    assert_eq!(idle.soon(millis(1250)), None);
    idle.has_looked(millis(1250), 900_000);
    assert!(!idle.may_look(millis(1499)), "and did not");
}

#[test]
fn a_keyspace_comes_to_rest_while_another_is_written_to() {
    let quiet = Quiet::new();
    let left = quiet.engine.keyspace("left alone", KeyspaceOptions::default()).unwrap();
    let other = quiet.engine.keyspace("written to", KeyspaceOptions::default()).unwrap();
    let of = |id: KeyspaceId| quiet.engine.tree(id).unwrap().pinned();
    let put = |tree: &Tree, from: u32, count: u32| {
        quiet.write(|batch| {
            (from..from + count).for_each(|i| batch.push(Kind::Put, tree.id, &key(i), b"v"));
        });
    };
    put(&left, 0, 100);
    put(&left, 0, 100);
    for i in 0..20 {
        put(&other, i, 1);
        quiet.pass(Duration::from_millis(500));
    }
    let entries = of(left.id).memtables().map(|m| m.entries()).sum::<u64>();
    let tables = of(left.id).version.tables().map(|(_, t)| t.meta.entries).sum::<u64>();
    assert_eq!((entries, tables), (0, 100));
}

#[test]
fn the_end_of_a_snapshot_is_announced_if_something_waits_for_it() {
    let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
    let engine = open(options, Path::new("/db")).unwrap();
    let shared = Arc::new(OpenDb::start(Arc::clone(&engine)).unwrap());
    let snapshot = || Snapshot::new(Arc::clone(&shared), engine.default_tree());
    let announced = || engine.work.announced();
    let write = || {
        let mut batch = WriteBatch::new();
        (0..100).for_each(|i| batch.push(Kind::Put, ID, &key(i), b"value"));
        engine.write(&batch, Durability::Buffered).unwrap();
        engine.flush_all().unwrap();
        while engine.step().unwrap() {}
    };
    let ends = |snapshot: Snapshot| {
        let before = announced();
        drop(snapshot);
        announced() > before
    };
    write();
    assert!(!ends(snapshot()), "it held nothing");
    let (first, second) = (snapshot(), snapshot());
    write();
    let third = snapshot();
    while engine.step().unwrap() {}
    assert!(!ends(third), "others are older");
    assert!(!ends(first), "another holds the same");
    assert!(ends(second));
}

/// Files of the log, and their bytes.
fn logs(quiet: &Quiet) -> (usize, u64) {
    while quiet.engine.remove_one() {}
    let names = quiet.fs.list(Path::new("/db")).unwrap().into_iter();
    let logs = names.filter(|name| name.ends_with(".log"));
    let bytes = logs.map(|name| quiet.fs.len(&Path::new("/db").join(name)).unwrap());
    bytes.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes))
}

#[test]
fn the_files_of_the_log_go_once_nothing_in_them_is_needed() {
    let quiet = Quiet::new();
    let fill = || {
        for i in 0..1000 {
            quiet.write(|batch| batch.push(Kind::Put, ID, &key(i), &[7; 16 << 10]));
            while quiet.engine.make_segment().unwrap() {}
        }
    };
    fill();
    let before = logs(&quiet);
    quiet.pass(minutes(10));
    assert_eq!(logs(&quiet), before, "what is in no table is kept");
    for round in 0..2 {
        quiet.flush();
        quiet.pass(Duration::from_millis(500));
        assert!(logs(&quiet).1 > 8 << 20, "they may write on: {:?}", logs(&quiet));
        quiet.pass(Duration::from_secs(2));
        assert_eq!(logs(&quiet), (1, 1 << 20), "round {round}");
        fill();
    }
    quiet.flush();
    quiet.pass(minutes(10));
    quiet.write(|batch| batch.push(Kind::Put, ID, b"behind", b"all"));
    quiet.pass(minutes(10));
    assert_eq!(logs(&quiet), (1, 1 << 20), "there is nothing more to give back");
    let (last, fs) = (quiet.engine.published.get(), quiet.fs.clone());
    drop(quiet);
    assert_eq!(Quiet::open(&fs).engine.published.get(), last);
}

/// Seeks a thousand times and writes once, again and again, until `is_done`: how many rounds.
fn rounds_of_seeks(quiet: &Quiet, is_done: impl Fn() -> bool) -> u32 {
    let seek = |cursor: &mut Cursor| (0..1000).for_each(|i| drop(cursor.seek(key(17 * i))));
    rounds_of(quiet, seek, is_done)
}

/// Has a new cursor read and writes once, again and again, until `is_done`: how many rounds.
fn rounds_of(quiet: &Quiet, read: impl Fn(&mut Cursor), is_done: impl Fn() -> bool) -> u32 {
    let tree = quiet.tree();
    for round in 0..1000 {
        let point = ReadPoint { engine: &quiet.engine, tree: &tree, seq: None, transaction: None };
        read(&mut Cursor::new(&point, KeyRange::all()));
        quiet.write(|batch| batch.push(Kind::Put, ID, &key(1_000_000 + round), b""));
        // Nobody is quiet for long enough to be helped without paying.
        quiet.pass(Duration::from_millis(200));
        if is_done() {
            return round;
        }
    }
    panic!("nothing came of it");
}

#[test]
fn seeks_over_a_large_memtable_have_it_flushed_beside_a_writer() {
    let quiet = Quiet::new();
    let fill = |count: u32| {
        quiet.write(|batch| {
            (0..count).for_each(|i| batch.push(Kind::Put, ID, &key(i), &[7; 100]));
        });
    };
    fill(2000);
    let tree = quiet.tree();
    for _ in 0..20 {
        rounds_of_seeks(&quiet, || true);
    }
    assert_eq!(quiet.entries().0, 0, "a small one is as good as none");
    fill(40_000);
    let bytes = tree.pinned().filling_bytes();
    let rounds = rounds_of_seeks(&quiet, || quiet.entries().0 > 0);
    // A seek loses 2.5 us, a byte is written in 6 ns.
    let paid = (6 * bytes / 2500 / 1000) as u32;
    assert!((paid..paid + 3).contains(&rounds), "{rounds} rounds for {bytes} bytes");
    for _ in 0..5 {
        rounds_of_seeks(&quiet, || true);
    }
    assert_eq!(quiet.entries().1, 5, "what was paid is spent");
}

/// Three runs of twenty thousand entries, each of which lies over the whole of the others.
fn three_runs() -> Quiet {
    let quiet = Quiet::new();
    for first in 0..3 {
        let values = (0..20_000).map(|i| key(3 * i + first));
        quiet.write(|batch| values.for_each(|key| batch.push(Kind::Put, ID, &key, &key.repeat(9))));
        quiet.flush();
    }
    quiet
}

#[test]
fn each_step_over_several_runs_is_paid_for_too() {
    for step in [Cursor::next, Cursor::prev] {
        let quiet = three_runs();
        let bytes = quiet.tree().pinned().facts.table_bytes;
        let scan = |cursor: &mut Cursor| while step(cursor).unwrap() {};
        let rounds = rounds_of(&quiet, scan, || quiet.tree().pinned().version.levels[0].is_empty());
        // A step loses 25 ns to each of the two runs too many, a byte is written in 6 ns.
        let paid = (6 * bytes / (2 * 25) / 60_000) as u32;
        assert!((paid..paid + 3).contains(&rounds), "{rounds} rounds for {bytes} bytes");
    }
}

#[test]
fn seeks_over_several_runs_have_them_merged_beside_a_writer() {
    let quiet = three_runs();
    let view = quiet.tree().pinned();
    assert_eq!(view.version.levels[0].len(), 3);
    let bytes = view.facts.table_bytes;
    let is_merged = || quiet.tree().pinned().version.levels[0].is_empty();
    let rounds = rounds_of_seeks(&quiet, is_merged);
    let paid = (6 * bytes / (2 * 700) / 1000) as u32;
    assert!((paid..paid + 3).contains(&rounds), "{rounds} rounds for {bytes} bytes");
    let version = Arc::clone(&quiet.tree().pinned().version);
    for _ in 0..50 {
        rounds_of_seeks(&quiet, || true);
    }
    assert!(Arc::ptr_eq(&version, &quiet.tree().pinned().version), "one run costs nothing");
}

#[test]
fn what_readers_pay_is_looked_at() {
    let quiet = three_runs();
    quiet.pass(LOOKED);
    assert_eq!(quiet.engine.rest_soon(), None);
    // More than a millisecond, and far less than a merge takes.
    rounds_of_seeks(&quiet, || true);
    assert!(quiet.engine.rest_soon().is_some());
}

/// The head of a queue: what was taken from it lies before what is left.
#[test]
fn whoever_reads_past_deleted_keys_has_them_dropped_beside_a_writer() {
    let (deleted, all) = (10_000, 12_000);
    for back in [false, true] {
        let quiet = Quiet::new();
        let key = |i: u32| if back { key(all - i) } else { key(i) };
        quiet.write(|batch| {
            (1..all).for_each(|i| batch.push(Kind::Put, ID, &key(i), &[7; 100]));
        });
        quiet.flush();
        quiet.write(|batch| (1..deleted).for_each(|i| batch.push(Kind::Delete, ID, &key(i), b"")));
        let bytes = quiet.tree().pinned().filling_bytes() as u64;
        assert!(bytes < 2 << 20, "small enough to cost nothing else: {bytes}");
        let read = |cursor: &mut Cursor| {
            let found = if back { cursor.seek_back(key(1)) } else { cursor.seek(key(1)) };
            assert!(found.unwrap());
            assert_eq!(cursor.key(), Some(&key(deleted)[..]));
        };
        let rounds = rounds_of(&quiet, read, || quiet.entries().1 == 0);
        // Of each key the deletion and what it deletes, 70 ns each; the flush as one of 2 MiB.
        let paid = 6 * (2 << 20) / (2 * 70 * (deleted - 1));
        assert!((paid..paid + 3).contains(&rounds), "{rounds} rounds for {paid}, back: {back}");
        assert!(quiet.entries().0 < u64::from(all - deleted + 2 * paid), "what is deleted is gone");
        for _ in 0..50 {
            rounds_of(&quiet, read, || true);
        }
        assert_eq!(quiet.entries().1, 50, "nothing is hidden now");
    }
}

#[test]
fn each_entry_that_another_run_hides_is_paid_for() {
    let quiet = Quiet::new();
    let keys = 20_000;
    for round in 0..2 {
        quiet.write(|batch| {
            (0..keys).for_each(|i| batch.push(Kind::Put, ID, &key(i), &[round; 100]));
        });
        quiet.flush();
    }
    let bytes = quiet.tree().pinned().facts.table_bytes;
    let scan = |cursor: &mut Cursor| while cursor.next().unwrap() {};
    let rounds = rounds_of(&quiet, scan, || quiet.tree().pinned().version.levels[0].is_empty());
    assert_eq!(quiet.entries().1, u64::from(rounds) + 1, "the few in memory hide next to nothing");
    // One that shows, and the one that it hides.
    let paid = (6 * bytes / (2 * 25) / u64::from(keys)) as u32;
    assert!((paid..paid + 3).contains(&rounds), "{rounds} rounds for {paid}");
}

#[test]
fn what_another_compaction_holds_up_stays_paid_for() {
    let quiet = three_runs();
    let (tree, engine) = (quiet.tree(), &quiet.engine);
    let view = tree.pinned();
    let (free, newest) = (BusyTables::default(), engine.published.get());
    let (plan, _) = compaction::rest(&view.version, &free, &view.options, newest).unwrap();
    engine.work.lock().busy(tree.id).start(&plan);
    let price = 6 * view.facts.table_bytes;
    rounds_of_seeks(&quiet, || view.charge.unspent() > 2 * price);
    assert_eq!(tree.pinned().version.levels[0].len(), 3);
    engine.work.lock().finish(tree.id, &plan);
    quiet.pass(LOOKED);
    assert!(tree.pinned().version.levels[0].is_empty());
    assert_eq!(view.charge.unspent(), 0, "it is paid once");
}

#[test]
fn what_is_paid_for_waits_for_no_share_of_the_time() {
    let quiet = Quiet::new();
    quiet.write(|batch| {
        (0..40_000).for_each(|i| batch.push(Kind::Put, ID, &key(i), &[7; 100]));
    });
    quiet.pass(Duration::from_millis(200));
    quiet.engine.idle.lock().has_run(Duration::ZERO, minutes(10));
    rounds_of_seeks(&quiet, || quiet.entries().0 > 0);
    let runs = || quiet.tree().pinned().facts.table_bytes;
    let bytes = runs();
    quiet.write(|batch| batch.push(Kind::Put, ID, b"a", b""));
    quiet.pass(minutes(5));
    assert_eq!((runs(), quiet.entries().1 > 0), (bytes, true), "what is not paid for waits");
}

#[test]
fn what_is_known_of_a_keyspace_goes_with_it() {
    let db = Quiet::new();
    let names = ["a", "b", "c", "d"];
    for name in names {
        db.engine.keyspace(name, KeyspaceOptions::default()).unwrap();
    }
    db.pass(Duration::from_secs(1));
    assert_eq!(db.engine.idle.lock().known(), 5);
    for (name, left) in ["b", "d", "a"].into_iter().zip([4, 3, 2]) {
        db.engine.drop_keyspace(name).unwrap();
        db.pass(Duration::from_secs(1));
        assert_eq!(db.engine.idle.lock().known(), left);
    }
}
