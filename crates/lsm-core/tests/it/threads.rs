//! Many threads at once on the real file system: what any of them sees is one point.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lsm_core::fs::MemFs;
use lsm_core::{Clock, Db, Durability, Keyspace, Options, SystemClock, WriteBatch};

use crate::model::{tiny, tiny_logs};
use crate::seeds;

const WRITERS: u64 = 4;
const READERS: u64 = 3;
const SECONDS: u64 = 5;
/// Keys of each writer.
const KEYS: u64 = 40;

/// What the threads share.
struct Shared {
    db: Db,
    twin: Keyspace,
    stop: AtomicBool,
    /// The last round that each writer has seen acknowledged.
    rounds: [AtomicU64; WRITERS as usize],
}

fn key(writer: u64, n: u64) -> String {
    format!("writer{writer}/{n:04}")
}

fn value(round: u64, n: u64) -> Vec<u8> {
    let mut value = round.to_le_bytes().to_vec();
    value.resize(8 + (round * 31 + n * 7) as usize % 300, n as u8);
    value
}

fn round_of(value: &[u8]) -> u64 {
    u64::from_le_bytes(value[..8].try_into().unwrap())
}

impl Shared {
    /// Every round sets each key of the writer, in both keyspaces, to the number of the round;
    /// every seventh deletes them all.
    fn write(&self, writer: u64) {
        let mut round = 0_u64;
        while !self.stop.load(Ordering::Relaxed) {
            round += 1;
            let mut batch = WriteBatch::new();
            for n in 0..KEYS {
                let key = key(writer, n);
                if round.is_multiple_of(7) {
                    batch.delete(&key);
                    batch.delete_in(&self.twin, &key);
                } else {
                    batch.put(&key, value(round, n));
                    batch.put_in(&self.twin, &key, value(round, n));
                }
            }
            // In turns, and each writer in one of its own.
            let durability = match (round / 8 + writer) % 3 {
                0 => Durability::Sync,
                1 => Durability::None,
                _ => Durability::Buffered,
            };
            self.db.write_with(&batch, durability).unwrap();
            self.rounds[writer as usize].store(round, Ordering::Release);
        }
    }

    fn read(&self, reader: u64) {
        let mut seen = [0; WRITERS as usize];
        let mut looks = 0;
        while !self.stop.load(Ordering::Relaxed) {
            looks += 1;
            let writer = (looks + reader) % WRITERS;
            let acknowledged = self.rounds[writer as usize].load(Ordering::Acquire);
            let round = match looks % 3 {
                0 => self.read_snapshot(writer, looks),
                1 => self.read_iterator(writer, looks),
                _ => self.read_cursor(writer),
            };
            let Some(round) = round else { continue };
            assert!(round >= acknowledged, "round {round} after {acknowledged} was acknowledged");
            assert!(round >= seen[writer as usize], "time goes back");
            seen[writer as usize] = round;
        }
    }

    /// Both keyspaces agree at a snapshot, however long it is looked at.
    fn read_snapshot(&self, writer: u64, looks: u64) -> Option<u64> {
        let snapshot = self.db.snapshot();
        let twin = snapshot.keyspace(&self.twin).unwrap();
        let prefix = format!("writer{writer}/");
        let one: Vec<_> = snapshot.prefix(&prefix).map(Result::unwrap).collect();
        if looks.is_multiple_of(5) {
            SystemClock::new().sleep(Duration::from_millis(3));
        }
        let mut other: Vec<_> = twin.prefix(&prefix).rev().map(Result::unwrap).collect();
        other.reverse();
        assert_eq!(one, other, "keyspaces differ at {:?}", snapshot.sequence());
        for n in [0, KEYS - 1] {
            let found = twin.get(key(writer, n)).unwrap();
            assert_eq!(found, snapshot.get(key(writer, n)).unwrap());
            assert_eq!(found.as_deref(), one.get(n as usize).map(|(_, value)| &**value));
        }
        one_round(writer, one.iter().map(|(key, value)| (&**key, &**value)))
    }

    /// An iterator stands at one point, also when it is walked from both ends.
    fn read_iterator(&self, writer: u64, looks: u64) -> Option<u64> {
        let mut range =
            if looks.is_multiple_of(2) { self.db.prefix("") } else { self.twin.prefix("") };
        let (mut front, mut back) = (Vec::new(), Vec::new());
        while let Some(entry) = range.next() {
            front.push(entry.unwrap());
            if looks.is_multiple_of(4)
                && let Some(entry) = range.next_back()
            {
                back.push(entry.unwrap());
            }
        }
        front.extend(back.into_iter().rev());
        assert!(front.is_sorted_by(|a, b| a.0 < b.0));
        let own = |writer| {
            let prefix = format!("writer{writer}/").into_bytes();
            let own = front.iter().filter(move |(key, _)| key.starts_with(&prefix));
            one_round(writer, own.map(|(key, value)| (&**key, &**value)))
        };
        let rounds: Vec<_> = (0..WRITERS).map(own).collect();
        rounds[writer as usize]
    }

    fn read_cursor(&self, writer: u64) -> Option<u64> {
        let mut cursor = self.twin.cursor();
        let (first, last) = (key(writer, 0), key(writer, KEYS - 1));
        let mut entries = Vec::new();
        let mut stands = cursor.seek(&first).unwrap();
        while stands && cursor.key().unwrap() <= last.as_bytes() {
            let (key, value) = cursor.entry().unwrap();
            entries.push((key.to_vec(), value.to_vec()));
            stands = cursor.next().unwrap();
        }
        let mut stands = cursor.seek_back(&last).unwrap();
        for entry in entries.iter().rev() {
            assert!(stands);
            assert_eq!(cursor.entry(), Some((&*entry.0, &*entry.1)));
            stands = cursor.prev().unwrap();
        }
        one_round(writer, entries.iter().map(|(key, value)| (&**key, &**value)))
    }
}

/// A checkpoint made beside the writers is one point: of each writer it holds one round, the same
/// in both keyspaces, and none that was acknowledged before is missing.
fn check_copy(shared: &Shared, dir: &Path) {
    let acknowledged: Vec<u64> =
        shared.rounds.iter().map(|round| round.load(Ordering::Acquire)).collect();
    shared.db.checkpoint(dir).unwrap();
    let copy = options().open(dir).unwrap();
    let twin = copy.keyspace("twin", tiny()).unwrap();
    for (writer, acknowledged) in (0..WRITERS).zip(acknowledged) {
        let prefix = format!("writer{writer}/");
        let one: Vec<_> = copy.prefix(&prefix).map(Result::unwrap).collect();
        let other: Vec<_> = twin.prefix(&prefix).map(Result::unwrap).collect();
        assert_eq!(one, other, "keyspaces differ in a copy");
        let entries = one.iter().map(|(key, value)| (&**key, &**value));
        if let Some(round) = one_round(writer, entries) {
            assert!(round >= acknowledged, "round {round}, {acknowledged} was acknowledged");
        }
    }
    copy.verify().unwrap();
    copy.close().unwrap();
}

/// All keys of a writer, of one round; `None` if that round deleted them.
fn one_round<'a>(writer: u64, entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Option<u64> {
    let mut round = None;
    let mut count = 0;
    for (n, (found, bytes)) in entries.enumerate() {
        assert_eq!(found, key(writer, n as u64).as_bytes());
        let own = round_of(bytes);
        assert_eq!(*round.get_or_insert(own), own, "two rounds at one point");
        assert_eq!(bytes, value(own, n as u64));
        count += 1;
    }
    assert!(count == 0 || count == KEYS, "{count} keys of a batch of {KEYS}");
    round
}

fn options() -> Options {
    Options::default()
        .default_keyspace(tiny())
        .log_segment_bytes(256 << 10)
        .log_bytes_max(1 << 20)
        .compaction_threads(2)
}

#[test]
fn readers_see_one_point_beside_writers() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let db = options().open(dir.path()).unwrap();
    let twin = db.keyspace("twin", tiny()).unwrap();
    let shared = Shared { db, twin, stop: AtomicBool::new(false), rounds: Default::default() };
    let seconds = seeds::number("LSM_TEST_SECONDS").unwrap_or(SECONDS);
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&shared.stop);
        let writers = (0..WRITERS).map(|writer| {
            scope.spawn({
                let shared = &shared;
                move || shared.write(writer)
            })
        });
        let mut all: Vec<_> = writers.collect();
        all.extend((0..READERS).map(|reader| {
            scope.spawn({
                let shared = &shared;
                move || shared.read(reader)
            })
        }));
        let (clock, mut rest) = (SystemClock::new(), 10);
        while clock.now() < Duration::from_secs(seconds) && all.iter().all(|t| !t.is_finished()) {
            clock.sleep(Duration::from_millis(50));
            rest -= 1;
            if rest == 0 {
                shared.db.compact_range::<&str>(..).unwrap();
                shared.db.verify().unwrap();
                check_copy(&shared, &copies.path().join(format!("{:?}", clock.now())));
                rest = 10;
            }
        }
    });
    let rounds = shared.rounds.map(AtomicU64::into_inner);
    println!("rounds {rounds:?}, {:?}", shared.db.stats());
    drop(shared.twin);
    shared.db.close().unwrap();
    let db = options().open(dir.path()).unwrap();
    db.verify().unwrap();
    for (writer, round) in (0..).zip(rounds) {
        let found = db.get(key(writer, 0)).unwrap();
        let expected = (round % 7 > 0).then_some(round);
        assert_eq!(found.map(|value| round_of(&value)), expected);
    }
}

/// Each batch fills memtables, so that every write seals what others may still be writing to.
#[test]
fn what_is_written_while_memtables_are_sealed_is_kept() {
    const ROUNDS: u32 = 20;
    const BATCH: u32 = 2000;
    let options = tiny_logs().fs(Arc::new(MemFs::new())).default_keyspace(tiny());
    let db = options.open("/db").unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4_u8 {
            let db = &db;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let mut batch = WriteBatch::new();
                    // Each goes in front of those before, where a flush has passed by.
                    for n in (0..BATCH).rev() {
                        batch.put(format!("{writer}/{round:03}/{n:04}"), n.to_le_bytes());
                    }
                    db.write(&batch).unwrap();
                }
            });
        }
    });
    db.flush().unwrap();
    assert_eq!(db.iter().count() as u32, 4 * ROUNDS * BATCH);
}

/// Lets the threads end, also if one of them has failed.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
