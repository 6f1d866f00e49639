//! Random operation lists: a seed decides the whole list before anything runs, so that one
//! list can run under many settings and one seed replays one run.
//!
//! Leaves to others: what an operation means while something it names is missing (a keyspace
//! that was dropped, an empty slot): it is skipped, or reads the present instead.

use std::collections::VecDeque;
use std::ops::Bound;

use fastrand::Rng;
use lsm_log::fs::CrashImage;

use super::model::{Blob, Bounds};
use crate::batch::WriteBatch;
use crate::key::SeqNo;
use crate::options::{Durability, KEY_LEN_MAX};

/// Keyspaces an operation may name; number 0 is the default one.
pub const KEYSPACES: usize = 4;
/// Snapshots, iterators and cursors that may be open at once, each.
pub const SLOTS: usize = 4;

/// Batches with a large value that come in a row, and its length: as much as a memtable of the
/// smallest write buffer holds, once more than the buffer has memtables.
const HEAVY: u32 = 5;
const HEAVY_BYTES: usize = 17 << 10;
/// Among so many operations a plan of that kind begins.
const PLAN_ONE_IN: u32 = 80;

/// One operation.
#[derive(Clone, Debug)]
pub enum Op {
    /// A batch; one of a single write may go through the calls for single writes.
    Write {
        /// Its writes, in order.
        writes: Vec<Write>,
        /// What its writer asks for.
        durability: Durability,
    },
    /// A point lookup.
    Get {
        /// The point in the write order.
        at: At,
        /// The keyspace.
        keyspace: usize,
        /// The key.
        key: Vec<u8>,
    },
    /// A new iterator in a slot, which stays open.
    Iterate(usize, At, Span),
    /// Steps of the iterator in a slot.
    Turn(usize, Vec<Turn>),
    /// A new cursor in a slot, which stays open.
    Cursor(usize, At, Span),
    /// Moves of the cursor in a slot.
    Move(usize, Vec<Move>),
    /// Closes the iterator and the cursor of a slot.
    CloseReaders(usize),
    /// Takes a snapshot into a slot.
    Snapshot(usize),
    /// Drops the snapshot of a slot.
    DropSnapshot(usize),
    /// So many pieces of background work.
    Step(usize),
    /// `Db::flush`
    Flush,
    /// `Db::sync`
    Sync,
    /// `Keyspace::compact_range`
    Compact(usize, Bounds),
    /// `Db::checkpoint`, and a look at the copy.
    Checkpoint,
    /// `Db::verify`
    Verify,
    /// Compares everything, at each snapshot too.
    Check,
    /// `Db::keyspace`; one that is there, as the default one always is, gets other settings.
    CreateKeyspace(usize),
    /// `Db::drop_keyspace`
    DropKeyspace(usize),
    /// Close and open.
    Reopen,
    /// Close, open to be read only, close and open.
    ReadOnly,
    /// Crash and open.
    Crash(CrashImage),
}

/// One write of a batch; without a value a delete.
#[derive(Clone, Debug)]
pub struct Write {
    /// The keyspace.
    pub keyspace: usize,
    /// The key.
    pub key: Blob,
    /// The value, if it is a put.
    pub value: Option<Blob>,
}

/// Which state a reader sees.
#[derive(Clone, Copy, Debug)]
pub enum At {
    /// The newest.
    Now,
    /// That of the snapshot in a slot.
    Snapshot(usize),
}

/// What a reader walks over.
#[derive(Clone, Debug)]
pub struct Span {
    /// The keyspace.
    pub keyspace: usize,
    /// The keys.
    pub keys: Keys,
}

/// A set of keys.
#[derive(Clone, Debug)]
pub enum Keys {
    /// Everything.
    All,
    /// A range, reversed and empty ones among them.
    Range(Bounds),
    /// All with a prefix.
    Prefix(Vec<u8>),
}

/// A step of an iterator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// `next`
    Front,
    /// `next_back`
    Back,
}

/// A move of a cursor.
#[derive(Clone, Debug)]
pub enum Move {
    /// `Cursor::seek`
    Seek(Vec<u8>),
    /// `Cursor::seek_back`
    SeekBack(Vec<u8>),
    /// `Cursor::seek_first`
    First,
    /// `Cursor::seek_last`
    Last,
    /// `Cursor::next`
    Next,
    /// `Cursor::prev`
    Prev,
}

/// What kinds of operations a list has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// All of them.
    Everything,
    /// No crashes and no checkpoints; reads are few: for runs that bring a crash or a fault of
    /// their own.
    Writes,
    /// All of them, but every write is [`Durability::None`] and nothing asks for the log: what a
    /// caller does that keeps a log of its own.
    Unlogged,
    /// [`Writes`](Self::Writes) of that caller.
    UnloggedWrites,
}

impl Mix {
    fn is_unlogged(self) -> bool {
        matches!(self, Self::Unlogged | Self::UnloggedWrites)
    }

    fn is_of_writes(self) -> bool {
        matches!(self, Self::Writes | Self::UnloggedWrites)
    }
}

/// The operation list of a seed.
pub fn operations(seed: u64, count: usize, mix: Mix) -> Vec<Op> {
    let mut generator = Generator {
        rng: Rng::with_seed(seed),
        mix,
        durability: Durability::None,
        alike: 0,
        planned: VecDeque::new(),
        calm: 0,
    };
    (0..count).map(|_| generator.op()).collect()
}

struct Generator {
    rng: Rng,
    mix: Mix,
    /// What the next writes ask for, ...
    durability: Durability,
    /// ... and how many of them.
    alike: u32,
    /// What comes first.
    planned: VecDeque<Op>,
    /// So many operations without a crash: some runs are long enough that all that the crash
    /// before them lost is written again, and more.
    calm: u32,
}

impl Generator {
    fn op(&mut self) -> Op {
        if let Some(op) = self.planned.pop_front() {
            return op;
        }
        self.calm = self.calm.saturating_sub(1);
        if self.rng.u32(..PLAN_ONE_IN) == 0 {
            self.plan_half_flushed();
        }
        // Out of a thousand: writes, rare things, and reads for the rest.
        match self.rng.u32(..1000) {
            ..420 => self.write(),
            420..600 => self.rare(),
            600..900 if self.mix.is_of_writes() => self.write(),
            _ => self.read(),
        }
    }

    fn write(&mut self) -> Op {
        let durability = self.durability();
        let count = match self.rng.u32(..10) {
            0..4 => 1,
            4..8 => self.rng.usize(1..7),
            8 => self.rng.usize(1..20),
            _ => self.rng.usize(0..60),
        };
        // Half of the batches reach every keyspace in turn, if they are long enough.
        let spread = self.rng.bool();
        let write = |n: usize| {
            let keyspace = if spread && count > 1 { n % KEYSPACES } else { self.keyspace() };
            self.one_write(keyspace)
        };
        Op::Write { writes: (0..count).map(write).collect(), durability }
    }

    /// The write buffer of one keyspace fills up with the parts of batches whose other parts go
    /// elsewhere, and is flushed alone; then, soon, the power is lost. What follows is long enough
    /// that all that was lost is written again.
    fn plan_half_flushed(&mut self) {
        let durability = match self.mix.is_unlogged() || self.rng.u32(..3) == 0 {
            true => Durability::None,
            false => Durability::Buffered,
        };
        let heavy = self.rng.usize(..KEYSPACES);
        for _ in 0..HEAVY {
            let mut writes: Vec<Write> = (0..KEYSPACES).map(|n| self.one_write(n)).collect();
            let mut value = vec![0; HEAVY_BYTES];
            self.rng.fill(&mut value);
            writes.push(Write {
                keyspace: heavy,
                key: self.key().into(),
                value: Some(value.into()),
            });
            self.planned.push_back(Op::Write { writes, durability });
        }
        self.planned.push_back(Op::Step(self.rng.usize(1..8)));
        for _ in 0..self.rng.usize(..3) {
            let writes = (0..KEYSPACES).map(|n| self.one_write(n)).collect();
            self.planned.push_back(Op::Write { writes, durability });
        }
        // As many that ask for the disk, afterwards: none of these did.
        (self.durability, self.alike) = (Durability::Sync, HEAVY);
        if !self.mix.is_of_writes() && self.calm == 0 {
            let crash = self.crash();
            self.planned.push_back(crash);
            self.calm = 120;
        }
    }

    /// Each of the three as often as the others, in turns of any length: a logged write after
    /// unlogged ones has all of them flushed, and a synced one leaves nothing to lose.
    fn durability(&mut self) -> Durability {
        if self.mix.is_unlogged() {
            return Durability::None;
        }
        if self.alike == 0 {
            let longest = *self.rng.choice(&[1, 8, 60]).expect("there are some");
            self.alike = self.rng.u32(1..=longest);
            let all = [Durability::None, Durability::Buffered, Durability::Sync];
            self.durability = *self.rng.choice(&all).expect("there are some");
        }
        self.alike -= 1;
        self.durability
    }

    fn one_write(&mut self, keyspace: usize) -> Write {
        let key = self.key().into();
        let value = (self.rng.u32(..10) < 7).then(|| self.value());
        Write { keyspace, key, value }
    }

    fn rare(&mut self) -> Op {
        let slot = self.rng.usize(..SLOTS);
        match self.rng.u32(..180) {
            ..70 => Op::Step(self.rng.usize(1..6)),
            70..80 => Op::Flush,
            80..84 if self.mix.is_unlogged() => Op::Step(1),
            80..84 => Op::Sync,
            84..94 => Op::Compact(self.keyspace(), self.bounds()),
            94..98 => Op::Verify,
            98..104 => Op::Check,
            104..120 => Op::Snapshot(slot),
            120..132 => Op::DropSnapshot(slot),
            132..142 => Op::CloseReaders(slot),
            142..152 => Op::CreateKeyspace(self.rng.usize(..KEYSPACES)),
            152..156 => Op::DropKeyspace(self.rng.usize(1..KEYSPACES)),
            156..162 => Op::Reopen,
            _ if self.mix.is_of_writes() => Op::Step(1),
            162..165 => Op::ReadOnly,
            165..169 => Op::Checkpoint,
            _ if self.calm > 0 => Op::Step(1),
            _ => self.crash(),
        }
    }

    fn crash(&mut self) -> Op {
        self.calm = *self.rng.choice(&[0, 30, 100, 300]).expect("there are some");
        Op::Crash(match self.rng.u32(..4) {
            0 => CrashImage::Kept,
            1 => CrashImage::Torn { seed: self.rng.u64(..) },
            _ => CrashImage::Lost,
        })
    }

    fn read(&mut self) -> Op {
        let slot = self.rng.usize(..SLOTS);
        match self.rng.u32(..10) {
            0..3 => Op::Get { at: self.at(), keyspace: self.keyspace(), key: self.key() },
            3 => Op::Iterate(slot, self.at(), self.span()),
            4..6 => Op::Turn(slot, self.turns()),
            6 => Op::Cursor(slot, self.at(), self.span()),
            _ => Op::Move(slot, self.moves()),
        }
    }

    fn keyspace(&mut self) -> usize {
        // The default one gets half.
        self.rng.usize(..2 * KEYSPACES).saturating_sub(KEYSPACES)
    }

    fn at(&mut self) -> At {
        match self.rng.u32(..3) {
            0 => At::Snapshot(self.rng.usize(..SLOTS)),
            _ => At::Now,
        }
    }

    fn span(&mut self) -> Span {
        let keys = match self.rng.u32(..4) {
            0 => Keys::All,
            1 => {
                let mut prefix = self.key();
                prefix.truncate(self.rng.usize(..6));
                Keys::Prefix(prefix)
            }
            _ => Keys::Range(self.bounds()),
        };
        Span { keyspace: self.keyspace(), keys }
    }

    fn bounds(&mut self) -> Bounds {
        let (mut start, mut end) = (self.bound(), self.bound());
        let key = |bound: &Bound<Vec<u8>>| match bound {
            Bound::Included(key) | Bound::Excluded(key) => Some(key.clone()),
            Bound::Unbounded => None,
        };
        // Most ranges hold something; some stay reversed.
        if let (Some(from), Some(to)) = (key(&start), key(&end))
            && from > to
            && self.rng.u32(..8) > 0
        {
            std::mem::swap(&mut start, &mut end);
        }
        (start, end)
    }

    fn bound(&mut self) -> Bound<Vec<u8>> {
        match self.rng.u32(..5) {
            0 => Bound::Unbounded,
            1 | 2 => Bound::Excluded(self.key()),
            _ => Bound::Included(self.key()),
        }
    }

    fn turns(&mut self) -> Vec<Turn> {
        let count = match self.rng.u32(..6) {
            0 => 1000,
            _ => self.rng.usize(1..30),
        };
        let backward = *self.rng.choice(&[0, 0, 4, 10, 10]).expect("there are some");
        let turn = |rng: &mut Rng| match rng.u32(..10) < backward {
            true => Turn::Back,
            false => Turn::Front,
        };
        (0..count).map(|_| turn(&mut self.rng)).collect()
    }

    fn moves(&mut self) -> Vec<Move> {
        let count = self.rng.usize(1..30);
        let backward = *self.rng.choice(&[1, 5, 9]).expect("there are some");
        (0..count).map(|_| self.one_move(backward)).collect()
    }

    fn one_move(&mut self, backward: u32) -> Move {
        match self.rng.u32(..20) {
            0 => Move::First,
            1 => Move::Last,
            2 | 3 => Move::Seek(self.key()),
            4 | 5 => Move::SeekBack(self.key()),
            _ if self.rng.u32(..10) < backward => Move::Prev,
            _ => Move::Next,
        }
    }

    /// A small set of keys, so that most are written more than once; with shared prefixes, the
    /// extremes of the order, and lengths up to the limit.
    fn key(&mut self) -> Vec<u8> {
        let rng = &mut self.rng;
        match rng.u32(..200) {
            ..90 => format!("k{:03}", rng.u32(..150)).into_bytes(),
            // A few keys that get very many versions.
            90..110 => format!("hot{}", rng.u32(..3)).into_bytes(),
            110..150 => format!("user/{:02}/{:02}", rng.u32(..5), rng.u32(..20)).into_bytes(),
            150..160 => vec![*rng.choice(&[0, 1, b'k', 0xfe, 0xff]).expect("some"); rng.usize(..4)],
            160..170 => {
                // Differ from "user/" keys in the last bytes only.
                let mut key = b"user/01/0".to_vec();
                key.push(*rng.choice(b"\x00 5\xff").expect("some"));
                key
            }
            170..196 => {
                let mut key = vec![b'p'; *rng.choice(&[20, 127, 300]).expect("some")];
                key.extend(rng.u16(..20).to_be_bytes());
                key
            }
            196 => {
                let mut key = vec![b'x'; KEY_LEN_MAX - 1];
                key.push(rng.u8(..3));
                key
            }
            _ => Vec::new(),
        }
    }

    fn value(&mut self) -> Blob {
        let rng = &mut self.rng;
        let len = match rng.u32(..400) {
            ..40 => 0,
            40..280 => rng.usize(..60),
            280..370 => rng.usize(..700),
            370..397 => rng.usize(..6000),
            397..399 => rng.usize(..20_000),
            // More than a small log segment or write buffer holds.
            _ => 100 << 10,
        };
        let mut bytes = vec![0; len];
        match rng.bool() {
            true => rng.fill(&mut bytes),
            false => bytes.fill(rng.u8(..)),
        }
        bytes.into()
    }
}

/// The payload of a log record that puts one key into the default keyspace.
pub fn logged_put(sequence: u64, key: &str, value: &str) -> Vec<u8> {
    let mut batch = WriteBatch::new();
    batch.put(key, value);
    let mut out = Vec::new();
    batch.encode(SeqNo(sequence), &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_list() {
        let text = |seed| format!("{:?}", operations(seed, 200, Mix::Everything));
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
    }

    #[test]
    fn the_rare_cases_come_up() {
        let ops = operations(7, 5000, Mix::Everything);
        let keys = ops.iter().filter_map(|op| match op {
            Op::Get { key, .. } => Some(key.len()),
            _ => None,
        });
        let lengths: Vec<usize> = keys.collect();
        assert!(lengths.contains(&0) && lengths.contains(&KEY_LEN_MAX));
        let is_crash = |op: &&Op| matches!(op, Op::Crash(_));
        assert!(ops.iter().filter(is_crash).count() > 10);
        assert!(!operations(7, 5000, Mix::Writes).iter().any(|op| is_crash(&op)));
    }

    fn durabilities(mix: Mix) -> Vec<Durability> {
        let ops = (1..20).flat_map(|seed| operations(seed, 2500, mix));
        let durability = |op| match op {
            Op::Write { durability, .. } => Some(durability),
            _ => None,
        };
        ops.filter_map(durability).collect()
    }

    #[test]
    fn each_durability_comes_as_often_as_the_others() {
        let all = durabilities(Mix::Everything);
        for wanted in [Durability::None, Durability::Buffered, Durability::Sync] {
            let count = all.iter().filter(|own| **own == wanted).count();
            let share = count as f64 / all.len() as f64;
            assert!((0.28..0.39).contains(&share), "{wanted:?}: {share}");
        }
        assert!(durabilities(Mix::Unlogged).iter().all(|own| *own == Durability::None));
    }

    #[test]
    fn batches_reach_several_keyspaces() {
        let ops = operations(7, 2000, Mix::UnloggedWrites);
        let reach = |op: &Op| match op {
            Op::Write { writes, .. } => (0..KEYSPACES)
                .filter(|keyspace| writes.iter().any(|write| write.keyspace == *keyspace))
                .count(),
            _ => 0,
        };
        let several = ops.iter().filter(|op| reach(op) > 1).count();
        assert!(several > 400, "{several} of {}", ops.len());
    }

    #[test]
    fn some_runs_are_long() {
        let ops = operations(7, 5000, Mix::Everything);
        let runs: Vec<usize> = ops
            .split(|op| matches!(op, Op::Crash(_)))
            .map(|run| run.iter().filter(|op| matches!(op, Op::Write { .. })).count())
            .collect();
        assert!(runs.iter().filter(|run| **run > 80).count() > 3, "{runs:?}");
        assert!(runs.iter().filter(|run| **run < 30).count() > 3, "{runs:?}");
    }
}
