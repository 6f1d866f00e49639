//! The face of the skip list: insert, get, size.
//!
//! Records (key and value) are copied into chunks of the table's own, so that its memory is
//! known to the byte and a put allocates nothing but its node. Nodes are never removed: a
//! memtable only grows, until it is dropped as a whole.
//!
//! Measured with 2 M random keys of 16 bytes: a search costs mostly its cache misses, one or
//! two a visited node, so the node carries the key's head and nothing that can be computed.
//!
//! Threads: any number of writers and readers. A reader at a published sequence number sees a
//! fixed set of versions, because every insert up to it happened before it was published.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use crossbeam_epoch::{self as epoch, Guard};
use crossbeam_skiplist::SkipList;
use crossbeam_skiplist::base::Entry as ListEntry;
use parking_lot::Mutex;

use super::entry::Entry;
use super::filter::Filter;
use super::memory::{Charge, MemoryUse};
use crate::key::{KeyHash, Kind, SeqNo, Tag};

/// Records are packed into chunks, each a quarter of what the table holds by then, so that a
/// table that holds little takes little; but no larger than this, and smaller in small tables ...
const CHUNK_BYTES_MAX: usize = 64 << 10;
const LARGEST_CHUNK_BYTES_MIN: usize = 4 << 10;
/// ... and no smaller than this.
const CHUNK_BYTES_MIN: usize = 1 << 10;
/// A node: the entry, the list's own word, a tower of two links on average, and what the
/// allocator adds.
const NODE_BYTES: usize = size_of::<Entry>() + 8 + 2 * 8 + 8;

/// One write on its way into the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Insert<'a> {
    pub(crate) seq: SeqNo,
    pub(crate) kind: Kind,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// A sorted table of versions that only grows.
pub(crate) struct Memtable {
    list: SkipList<Entry, ()>,
    filter: Filter,
    chunk: Mutex<BytesMut>,
    largest_chunk_bytes: usize,
    /// Also the gate of the filter: see there.
    bytes: AtomicUsize,
    /// When the table takes so much, its memory is counted anew or its filter grows.
    tend_at: AtomicUsize,
    /// Held, but never waited for by inserts, while that is done.
    charge: Mutex<Charge>,
    entries: AtomicU64,
    first_seq: AtomicU64,
}

impl Memtable {
    /// An empty table that will be sealed at about `bytes_max`; its memory is counted in `memory`.
    pub(crate) fn new(bytes_max: usize, memory: &Arc<MemoryUse>) -> Self {
        Self {
            list: SkipList::new(epoch::default_collector().clone()),
            filter: Filter::new(bytes_max),
            chunk: Mutex::new(BytesMut::new()),
            largest_chunk_bytes: (bytes_max / 64).clamp(LARGEST_CHUNK_BYTES_MIN, CHUNK_BYTES_MAX),
            bytes: AtomicUsize::new(0),
            tend_at: AtomicUsize::new(0),
            charge: Mutex::new(Charge::new(Arc::clone(memory))),
            entries: AtomicU64::new(0),
            first_seq: AtomicU64::new(u64::MAX),
        }
    }

    /// Adds versions. No two of a table may share key and sequence number.
    pub(crate) fn insert<'a>(&self, inserts: impl Iterator<Item = Insert<'a>> + Clone) {
        let (mut bytes, mut count, mut first) = (0, 0, u64::MAX);
        for insert in inserts.clone() {
            bytes += insert.key.len() + insert.value.len();
            count += 1;
            first = first.min(insert.seq.0);
        }
        if count == 0 {
            return;
        }
        let mut records = self.reserve(bytes);
        let taking = self.filter.taking();
        let guard = &epoch::pin();
        for insert in inserts.clone() {
            records.extend_from_slice(insert.key);
            records.extend_from_slice(insert.value);
            let record = records.split().freeze();
            taking.add(insert.key);
            let entry = Entry::new(record, insert.key.len(), Tag::new(insert.seq, insert.kind));
            self.list.insert(entry, (), guard).release(guard);
        }
        let nodes = count * NODE_BYTES;
        let bytes = self.bytes.fetch_add(nodes, Ordering::AcqRel) + nodes;
        if let Some(begun) = self.filter.begun_since(&taking) {
            inserts.for_each(|insert| begun.add(insert.key));
        }
        self.entries.fetch_add(count as u64, Ordering::Relaxed);
        self.first_seq.fetch_min(first, Ordering::Relaxed);
        if bytes >= self.tend_at.load(Ordering::Relaxed) {
            self.tend();
        }
    }

    /// Counts the memory anew, and lets the filter grow if that is due.
    #[cold]
    fn tend(&self) {
        // Whoever holds it does what is to be done.
        let Some(mut charge) = self.charge.try_lock() else { return };
        while self.filter.grows_at().is_some_and(|at| self.bytes() >= at) {
            self.grow_filter();
        }
        let next = charge.grow(self.bytes());
        let next = self.filter.grows_at().map_or(next, |at| next.min(at));
        self.tend_at.store(next, Ordering::Relaxed);
    }

    fn grow_filter(&self) {
        let (generation, bytes) = self.filter.begin();
        // From here on every insert finds the new generation, or was seen by the walk.
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let begun = self.filter.generations(generation..generation + 1);
        let guard = &epoch::pin();
        let mut next = self.list.front(guard);
        while let Some(entry) = next {
            begun.add(entry.key().key());
            next = entry.next();
        }
        self.filter.complete(generation);
    }

    /// A flush was asked for: nothing is inserted any more.
    pub(crate) fn queue(&self) {
        let mut charge = self.charge.lock();
        charge.grow(self.bytes());
        charge.queue();
    }

    /// The table is flushed, or its keyspace dropped: from here on its memory is that of readers.
    pub(crate) fn release(&self) {
        self.charge.lock().release();
    }

    /// Room for `bytes` of records, off the shared chunk unless they would waste much of it.
    fn reserve(&self, bytes: usize) -> BytesMut {
        if bytes > self.largest_chunk_bytes / 4 {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            return BytesMut::with_capacity(bytes);
        }
        let mut chunk = self.chunk.lock();
        if chunk.capacity() < bytes {
            let usual = (self.bytes() / 4).clamp(CHUNK_BYTES_MIN, self.largest_chunk_bytes);
            *chunk = BytesMut::with_capacity(usual.max(bytes));
            self.bytes.fetch_add(chunk.capacity(), Ordering::Relaxed);
        }
        // An empty prefix of capacity `bytes`: what is left stays with the chunk.
        let rest = chunk.split_off(bytes);
        std::mem::replace(&mut *chunk, rest)
    }

    /// The newest version of `key` that a reader at `seq` may see. `hash` is the key's.
    #[inline(always)]
    pub(crate) fn get(&self, key: &[u8], hash: KeyHash, seq: SeqNo) -> Option<(Tag, Bytes)> {
        if !self.may_hold(hash) {
            return None;
        }
        let guard = &epoch::pin();
        let probe = Entry::probe(key, Tag::seek(seq));
        let found = self.list.lower_bound(Bound::Included(&probe), guard)?;
        let entry = found.key();
        entry.has_key(key).then(|| (entry.tag(), entry.value_bytes()))
    }

    #[inline]
    fn may_hold(&self, hash: KeyHash) -> bool {
        self.filter.may_contain(hash).unwrap_or_else(|| !self.is_empty())
    }

    /// Memory in use: chunks as allocated, nodes by their mean size, the filter.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries() == 0
    }

    /// The least sequence number inserted so far; `None` while empty.
    pub(crate) fn first_seq(&self) -> Option<SeqNo> {
        let first = self.first_seq.load(Ordering::Relaxed);
        (first != u64::MAX).then_some(SeqNo(first))
    }

    /// The first entry from `from` on.
    #[inline]
    pub(super) fn first_from<'a: 'g, 'g>(
        &'a self,
        from: Bound<&Entry>,
        guard: &'g Guard,
    ) -> Option<ListEntry<'a, 'g, Entry, ()>> {
        match from {
            Bound::Unbounded => self.list.front(guard),
            bound => self.list.lower_bound(bound, guard),
        }
    }

    /// Copies the entries from `from` on and before `to`, in order, into `out`; `false` if there
    /// are more than `limit`, or none.
    pub(super) fn collect_between(
        &self,
        from: &Entry,
        to: &Entry,
        limit: usize,
        out: &mut Vec<Entry>,
    ) -> bool {
        let guard = &epoch::pin();
        let mut next = self.list.lower_bound(Bound::Included(from), guard);
        while let Some(entry) = next.filter(|entry| entry.key() < to) {
            if out.len() == limit {
                return false;
            }
            out.push(entry.key().clone());
            next = entry.next();
        }
        !out.is_empty()
    }

    /// Copies the first entry and every one that is `apart` from the last copied, in order, into
    /// `out`: walks through all of the table.
    pub(super) fn mark(&self, apart: usize, out: &mut Vec<Entry>) {
        let guard = &epoch::pin();
        let mut next = self.list.front(guard);
        let mut at = 0usize;
        while let Some(entry) = next {
            if at.is_multiple_of(apart) {
                out.push(entry.key().clone());
            }
            at += 1;
            next = entry.next();
        }
    }

    /// Copies up to `limit` entries from `to` down, in reverse order, into `out`.
    pub(super) fn collect_back(&self, to: Bound<&Entry>, limit: usize, out: &mut Vec<Entry>) {
        let guard = &epoch::pin();
        let mut next = match to {
            Bound::Unbounded => self.list.back(guard),
            bound => self.list.upper_bound(bound, guard),
        };
        while let Some(entry) = next.filter(|_| out.len() < limit) {
            out.push(entry.key().clone());
            next = entry.prev();
        }
    }
}

impl std::fmt::Debug for Memtable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memtable")
            .field("bytes", &self.bytes())
            .field("entries", &self.entries())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(table: &Memtable, seq: u64, kind: Kind, key: &[u8], value: &[u8]) {
        table.insert([Insert { seq: SeqNo(seq), kind, key, value }].into_iter());
    }

    #[test]
    fn a_reader_sees_its_own_point_in_the_write_order() {
        let table = Memtable::new(1 << 20, &Arc::default());
        assert_eq!(table.first_seq(), None);
        insert(&table, 3, Kind::Put, b"k", b"three");
        insert(&table, 5, Kind::Delete, b"k", b"");
        insert(&table, 7, Kind::Put, b"k", b"seven");
        let at = |seq| {
            table
                .get(b"k", KeyHash::of(b"k"), SeqNo(seq))
                .map(|(tag, value)| (tag.seq().0, value.to_vec()))
        };
        assert_eq!(at(2), None);
        assert_eq!(at(4), Some((3, b"three".to_vec())));
        assert_eq!(at(6), Some((5, vec![])));
        assert_eq!(at(9), Some((7, b"seven".to_vec())));
        assert_eq!(table.get(b"j", KeyHash::of(b"j"), SeqNo(9)), None);
        assert_eq!(table.get(b"kk", KeyHash::of(b"kk"), SeqNo(9)), None);
        assert_eq!(table.first_seq(), Some(SeqNo(3)));
    }

    /// Replay inserts in the order of the keys.
    #[test]
    fn the_least_number_is_that_of_all_inserts() {
        let table = Memtable::new(1 << 20, &Arc::default());
        let one = |seq: u64| Insert { seq: SeqNo(seq), kind: Kind::Put, key: b"k", value: b"v" };
        table.insert([5, 3, 7].map(one).into_iter());
        assert_eq!(table.first_seq(), Some(SeqNo(3)));
        table.insert([4, 6].map(one).into_iter());
        assert_eq!(table.first_seq(), Some(SeqNo(3)));
    }

    /// It has been seen which filters there are, and nothing was inserted yet.
    #[test]
    fn a_filter_that_grows_beside_an_insert_knows_its_keys() {
        let table = Memtable::new(1 << 20, &Arc::default());
        let passes = std::cell::Cell::new(0);
        let inserts = std::iter::once(SeqNo(1)).map(|seq| {
            passes.set(passes.get() + 1);
            if passes.get() == 2 {
                table.grow_filter();
            }
            Insert { seq, kind: Kind::Put, key: b"key", value: b"value" }
        });
        table.insert(inserts);
        let found = table.get(b"key", KeyHash::of(b"key"), SeqNo(1));
        assert_eq!(found.unwrap().1, b"value"[..]);
    }

    #[test]
    fn memory_is_accounted_for() {
        let table = Memtable::new(1 << 20, &Arc::default());
        assert_eq!(table.bytes(), 0, "a memtable that holds nothing takes nothing");
        let (key, value) = ([1; 16], [2; 100]);
        let count = 1000;
        for seq in 1..=count {
            insert(&table, seq, Kind::Put, &key, &value);
        }
        let records = count as usize * (116 + NODE_BYTES);
        let filter = (1 << 20) / 100;
        let most = records + filter + 2 * table.largest_chunk_bytes;
        assert!((records + filter - 8..most).contains(&table.bytes()), "{}", table.bytes());
        insert(&table, count + 1, Kind::Put, b"large", &vec![0; 1 << 20]);
        assert!(table.bytes() >= records + (1 << 20));
    }

    /// Of thousands of keyspaces, most hold little.
    #[test]
    fn a_table_takes_memory_in_proportion_to_what_it_holds() {
        let memory = Arc::default();
        let table = Memtable::new(16 << 20, &memory);
        let mut written = 0;
        for seq in 1..=60_000u64 {
            insert(&table, seq, Kind::Put, &seq.to_be_bytes(), &[2; 100]);
            written += 108 + NODE_BYTES;
            let (bytes, counted) = (table.bytes(), memory.bytes());
            assert!(bytes >= written && bytes <= 2 * written + 1024, "{bytes} for {written}");
            assert!(counted <= bytes && counted + bytes / 8 + 1024 >= bytes, "{counted} {bytes}");
        }
        table.queue();
        assert_eq!((memory.bytes(), memory.filling()), (table.bytes(), 0));
        table.release();
        assert_eq!(memory.bytes(), 0);
    }

    /// Growing a filter must not lose a key that is inserted meanwhile.
    #[test]
    fn a_filter_that_grows_beside_inserts_denies_no_key() {
        for _ in 0..20 {
            let table = Memtable::new(1 << 20, &Arc::default());
            std::thread::scope(|scope| {
                for thread in 0..4u64 {
                    let table = &table;
                    scope.spawn(move || {
                        for i in 0..400u64 {
                            let seq = 1 + 4 * i + thread;
                            let key = seq.to_be_bytes();
                            insert(table, seq, Kind::Put, &key, &[0; 20]);
                            let found = table.get(&key, KeyHash::of(&key), SeqNo(seq));
                            assert!(found.is_some(), "{seq} is denied");
                        }
                    });
                }
            });
            assert!(table.filter.may_contain(KeyHash::of(b"")).is_some(), "it has grown");
            for seq in 1..=1600u64 {
                let key = seq.to_be_bytes();
                assert!(table.get(&key, KeyHash::of(&key), SeqNo(seq)).is_some(), "{seq}");
            }
        }
    }

    /// The walk that fills the new generation comes too early to find the key.
    #[test]
    fn a_key_on_its_way_while_the_filter_grows_is_not_denied() {
        let table = Memtable::new(1 << 20, &Arc::default());
        let passes = std::cell::Cell::new(0);
        let grow = |_: &Insert<'_>| {
            passes.set(passes.get() + 1);
            // In the second pass the versions go into the list.
            for seq in (2..300u64).filter(|_| passes.get() == 2) {
                insert(&table, seq, Kind::Put, &seq.to_be_bytes(), &[0; 100]);
            }
        };
        let slow = Insert { seq: SeqNo(1), kind: Kind::Put, key: b"slow", value: b"" };
        assert_eq!(table.filter.may_contain(KeyHash::of(b"slow")), None);
        table.insert([slow].into_iter().inspect(grow));
        assert_eq!(table.filter.may_contain(KeyHash::of(b"slow")), Some(true));
        assert!(table.get(b"slow", KeyHash::of(b"slow"), SeqNo(1)).is_some());
    }

    #[test]
    fn a_large_batch_lands_whole() {
        let table = Memtable::new(1 << 20, &Arc::default());
        let keys: Vec<_> = (0..5000u32).map(u32::to_be_bytes).collect();
        table.insert(keys.iter().zip(1..).map(|(key, seq)| Insert {
            seq: SeqNo(seq),
            kind: Kind::Put,
            key,
            value: key,
        }));
        for key in &keys {
            assert_eq!(table.get(key, KeyHash::of(key), SeqNo(9999)).unwrap().1, key.as_slice());
        }
    }
}
