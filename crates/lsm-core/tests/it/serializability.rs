//! Random transactions: interleaved ones against a model, and histories of many threads.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Mutex;

use fastrand::Rng;
use lsm_core::fs::MemFs;
use lsm_core::{Db, ErrorKind, Keyspace, KeyspaceOptions, Options, Transaction, WriteBatch};

use crate::model::tiny;
use crate::seeds;

/// What is stored: keyspace and key to value.
type Stored = BTreeMap<(usize, Vec<u8>), Vec<u8>>;

/// What a transaction asked for and was told.
#[derive(Clone, Debug)]
enum Read {
    Key(Vec<u8>),
    /// So many entries from this end of a range.
    Range {
        start: Bound<Vec<u8>>,
        end: Bound<Vec<u8>>,
        back: bool,
        most: usize,
    },
    /// By a cursor that turns: forward where it says true.
    Walk {
        from: Vec<u8>,
        steps: Vec<bool>,
    },
}

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

impl Read {
    fn random(rng: &mut Rng) -> Self {
        if rng.bool() {
            return Self::Key(random_key(rng));
        }
        if rng.bool() {
            let from = random_key(rng);
            return Self::Walk { from, steps: (0..rng.usize(..6)).map(|_| rng.bool()).collect() };
        }
        let mut bound = || match rng.u8(..4) {
            0 => Bound::Unbounded,
            1 => Bound::Excluded(random_key(rng)),
            _ => Bound::Included(random_key(rng)),
        };
        let (start, end) = (bound(), bound());
        Self::Range { start, end, back: rng.bool(), most: rng.usize(1..5) }
    }

    fn run(&self, tx: &Transaction) -> Entries {
        match self {
            Self::Key(key) => {
                let value = tx.get(key).unwrap();
                value.into_iter().map(|value| (key.clone(), value.to_vec())).collect()
            }
            Self::Walk { from, steps } => {
                let mut cursor = tx.cursor();
                let mut met = Entries::new();
                let mut is_there = cursor.seek(from).unwrap();
                for forward in steps.iter().map(Some).chain([None]) {
                    let Some((key, value)) = cursor.entry().filter(|_| is_there) else { break };
                    met.push((key.to_vec(), value.to_vec()));
                    is_there = match forward {
                        Some(true) => cursor.next().unwrap(),
                        Some(false) => cursor.prev().unwrap(),
                        None => break,
                    };
                }
                met
            }
            Self::Range { start, end, back, most } => {
                let range = tx.range((start.clone(), end.clone()));
                let owned = |entry: lsm_core::Result<(lsm_core::Key, lsm_core::Value)>| {
                    let (key, value) = entry.unwrap();
                    (key.into_vec(), value.to_vec())
                };
                match back {
                    false => range.take(*most).map(owned).collect(),
                    true => range.rev().take(*most).map(owned).collect(),
                }
            }
        }
    }

    fn of(&self, stored: &Stored, space: usize) -> Entries {
        let entries = stored.iter().filter(|((at, key), _)| *at == space && self.may_see(key));
        let entries = entries.map(|((_, key), value)| (key.clone(), value.clone()));
        match self {
            Self::Range { back: true, most, .. } => entries.rev().take(*most).collect(),
            Self::Range { most, .. } => entries.take(*most).collect(),
            Self::Key(_) => entries.collect(),
            Self::Walk { from, steps } => {
                let all: Entries = entries.collect();
                let mut at = Some(all.partition_point(|(key, _)| key < from));
                let mut met = Entries::new();
                for forward in steps.iter().map(Some).chain([None]) {
                    let Some(entry) = at.and_then(|at| all.get(at)) else { break };
                    met.push(entry.clone());
                    at = match forward {
                        Some(true) => at.map(|at| at + 1),
                        _ => at.and_then(|at| at.checked_sub(1)),
                    };
                }
                met
            }
        }
    }

    fn may_see(&self, key: &[u8]) -> bool {
        match self {
            Self::Key(own) => own == key,
            Self::Walk { .. } => true,
            Self::Range { start, end, .. } => {
                let begun = match start {
                    Bound::Included(start) => key >= start.as_slice(),
                    Bound::Excluded(start) => key > start.as_slice(),
                    Bound::Unbounded => true,
                };
                let over = match end {
                    Bound::Included(end) => key > end.as_slice(),
                    Bound::Excluded(end) => key >= end.as_slice(),
                    Bound::Unbounded => false,
                };
                begun && !over
            }
        }
    }

    /// Whether a change of `key` is a change of what was read, given what that came to.
    fn covers(&self, key: &[u8], came_to: &Entries) -> bool {
        if let Self::Walk { from, steps } = self {
            let keys = || came_to.iter().map(|(key, _)| key.as_slice());
            let mut lowest = keys().chain([from.as_slice()]).min();
            let mut highest = keys().max();
            // It fell off where the last step went; the seek went forward.
            if came_to.len() <= steps.len() {
                match came_to.len().checked_sub(1).is_none_or(|at| steps[at]) {
                    true => highest = None,
                    false => lowest = None,
                }
            }
            return lowest.is_none_or(|low| key >= low) && highest.is_none_or(|high| key <= high);
        }
        let Self::Range { back, most, .. } = self else { return self.may_see(key) };
        let last = came_to.last().filter(|_| came_to.len() == *most);
        let reached = last.is_none_or(|(last, _)| match back {
            true => key >= last.as_slice(),
            false => key <= last.as_slice(),
        });
        self.may_see(key) && reached
    }
}

fn random_key(rng: &mut Rng) -> Vec<u8> {
    format!("k{:02}", rng.u8(..24)).into_bytes()
}

/// A transaction, with what the model knows of it.
struct Open {
    tx: [Transaction; 2],
    /// What is stored when it began, with its own writes.
    sees: Stored,
    begun: Stored,
    reads: Vec<(usize, Read, Entries)>,
    written: Vec<(usize, Vec<u8>)>,
    /// Keys that others have changed since.
    changed: Vec<(usize, Vec<u8>)>,
}

/// Transactions in turns, over a tree in motion: each sees what the model says, commits if nobody
/// touched what it read and wrote, and does not if that would come out differently now.
#[test]
fn interleaved_transactions_agree_with_a_model() {
    seeds::each("interleaved_transactions", 20, 3000, |seed, steps| {
        let mut rng = Rng::with_seed(seed);
        let options = Options::default().default_keyspace(tiny()).stepped(seed);
        let db = options.fs(std::sync::Arc::new(MemFs::new())).open(seeds::dir()).unwrap();
        let twin = db.keyspace("twin", tiny()).unwrap();
        let mut stored = Stored::new();
        let mut open: Vec<Open> = Vec::new();
        let (mut committed, mut conflicts) = (0, 0);
        for step in 0..steps {
            match rng.u8(..20) {
                0..3 if open.len() < 6 => {
                    let tx = db.transaction();
                    let tx = [tx.keyspace(&twin).unwrap(), tx];
                    let [in_twin, tx] = tx;
                    open.push(Open {
                        tx: [tx, in_twin],
                        sees: stored.clone(),
                        begun: stored.clone(),
                        reads: Vec::new(),
                        written: Vec::new(),
                        changed: Vec::new(),
                    });
                }
                3..6 => {
                    let (space, key, value) = random_write(&mut rng, step);
                    write_plainly(&db, &twin, (space, &key, value.as_deref()));
                    change(&mut stored, &mut open, space, &key, value);
                }
                6..8 => drop(db.step().unwrap()),
                8 => db.flush().unwrap(),
                9..14 if !open.is_empty() => {
                    let at = rng.usize(..open.len());
                    let one = &mut open[at];
                    let (space, read) = (rng.usize(..2), Read::random(&mut rng));
                    let found = read.run(&one.tx[space]);
                    assert_eq!(found, read.of(&one.sees, space), "step {step}: {read:?}");
                    one.reads.push((space, read, found));
                }
                14..17 if !open.is_empty() => {
                    let at = rng.usize(..open.len());
                    let one = &mut open[at];
                    let (space, key, value) = random_write(&mut rng, step);
                    match &value {
                        Some(value) => one.tx[space].put(&key, value).unwrap(),
                        None => one.tx[space].delete(&key).unwrap(),
                    }
                    set(&mut one.sees, space, &key, value);
                    one.written.push((space, key));
                }
                17.. if !open.is_empty() => {
                    let one = open.swap_remove(rng.usize(..open.len()));
                    match commit(&one, &mut stored, &mut open) {
                        true => committed += 1,
                        false => conflicts += 1,
                    }
                }
                _ => {}
            }
        }
        assert!(committed > steps / 50 && conflicts > steps / 100, "{committed} {conflicts}");
        drop(open);
        let all = Read::Range {
            start: Bound::Unbounded,
            end: Bound::Unbounded,
            back: false,
            most: usize::MAX,
        };
        assert_eq!(all.run(&db.transaction()), all.of(&stored, 0));
    });
}

/// Whether it took effect.
fn commit(one: &Open, stored: &mut Stored, open: &mut [Open]) -> bool {
    let result = one.tx[0].commit();
    if one.written.is_empty() {
        result.unwrap();
        return true;
    }
    let is_read = |(space, key): &(usize, Vec<u8>)| {
        let covers =
            |(of, read, found): &(usize, Read, Entries)| of == space && read.covers(key, found);
        one.reads.iter().any(covers)
    };
    let is_touched = |change: &(usize, Vec<u8>)| one.written.contains(change) || is_read(change);
    let touched = one.changed.iter().any(is_touched);
    let differs = |change: &(usize, Vec<u8>)| stored.get(change) != one.begun.get(change);
    let differs = one.changed.iter().any(|change| is_touched(change) && differs(change));
    match result {
        Ok(_) => assert!(!differs, "it has read what is not there any more"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
            assert!(touched, "nobody touched what it read or wrote: {error}");
            return false;
        }
    }
    for (space, key) in &one.written {
        let value = one.sees.get(&(*space, key.clone())).cloned();
        change(stored, open, *space, key, value);
    }
    true
}

fn random_write(rng: &mut Rng, step: usize) -> (usize, Vec<u8>, Option<Vec<u8>>) {
    let value = rng.u8(..3) > 0;
    let value = value.then(|| {
        let mut value = step.to_string().into_bytes();
        value.resize(value.len() + rng.usize(..2000), b'.');
        value
    });
    (rng.usize(..2), random_key(rng), value)
}

fn write_plainly(db: &Db, twin: &Keyspace, (space, key, value): (usize, &[u8], Option<&[u8]>)) {
    let mut batch = WriteBatch::new();
    match (space, value) {
        (0, Some(value)) => batch.put(key, value),
        (0, None) => batch.delete(key),
        (_, Some(value)) => batch.put_in(twin, key, value),
        (_, None) => batch.delete_in(twin, key),
    };
    db.write(&batch).unwrap();
}

fn change(
    stored: &mut Stored,
    open: &mut [Open],
    space: usize,
    key: &[u8],
    value: Option<Vec<u8>>,
) {
    set(stored, space, key, value);
    open.iter_mut().for_each(|one| one.changed.push((space, key.to_vec())));
}

fn set(stored: &mut Stored, space: usize, key: &[u8], value: Option<Vec<u8>>) {
    match value {
        Some(value) => drop(stored.insert((space, key.to_vec()), value)),
        None => drop(stored.remove(&(space, key.to_vec()))),
    }
}

/// What one thread did: where it took effect, what it read, what it wrote.
struct Done {
    sequence: u64,
    reads: Vec<(Read, Entries)>,
    writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Whatever threads do at once, running their transactions one after the other, in the order of
/// their commits, comes to the same. That order is given by the sequence numbers, so that no search
/// for one is needed, as by a cycle checker over the dependencies (Adya, 1999): every dependency has
/// to point forward in it.
#[test]
fn histories_of_many_threads_are_serial_in_the_order_of_the_commits() {
    seeds::each("transactions_of_threads", 6, 400, |seed, steps| {
        let options = Options::default()
            .default_keyspace(KeyspaceOptions::default().write_buffer_bytes(64 << 10));
        let db = options.fs(std::sync::Arc::new(MemFs::new())).open(seeds::dir()).unwrap();
        let history = Mutex::new(Vec::new());
        let conflicts = Mutex::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (db, history, conflicts) = (&db, &history, &conflicts);
                scope.spawn(move || {
                    let mut rng = Rng::with_seed(seed * 100 + thread);
                    for step in 0..steps {
                        let run = random_transaction(db, &mut rng, step * 10 + thread as usize);
                        match run {
                            Some(done) => history.lock().unwrap().push(done),
                            None => *conflicts.lock().unwrap() += 1,
                        }
                    }
                });
            }
        });
        let mut history = history.into_inner().unwrap();
        // Readers behind whoever wrote under the number that they read at.
        history.sort_by_key(|done| (done.sequence, done.writes.is_empty()));
        let mut stored = Stored::new();
        for done in &history {
            for (read, found) in &done.reads {
                assert_eq!(*found, read.of(&stored, 0), "at {}: {read:?}", done.sequence);
            }
            for (key, value) in &done.writes {
                set(&mut stored, 0, key, value.clone());
            }
        }
        assert!(history.len() > 2 * steps, "{} conflicts", conflicts.into_inner().unwrap());
    });
}

fn random_transaction(db: &Db, rng: &mut Rng, id: usize) -> Option<Done> {
    let tx = db.transaction();
    let mut reads = Vec::new();
    for _ in 0..rng.usize(..4) {
        let read = Read::random(rng);
        let found = read.run(&tx);
        reads.push((read, found));
        if rng.u8(..4) == 0 {
            std::thread::yield_now();
        }
    }
    let mut writes = Vec::new();
    for n in 0..rng.usize(..3) {
        let (key, value) = (random_key(rng), rng.u8(..3) > 0);
        let value = value.then(|| {
            let mut value = format!("{id}.{n}.").into_bytes();
            value.resize(value.len() + rng.usize(..500), b'.');
            value
        });
        match &value {
            Some(value) => tx.put(&key, value).unwrap(),
            None => tx.delete(&key).unwrap(),
        }
        writes.push((key, value));
    }
    match tx.commit() {
        Ok(sequence) => Some(Done { sequence: sequence.get(), reads, writes }),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
            None
        }
    }
}
