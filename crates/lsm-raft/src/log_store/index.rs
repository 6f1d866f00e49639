//! The log in memory: terms and places of all entries, and the newest entries themselves. Pure.
//!
//! ```text
//! truncated <= written <= last
//!              every entry behind `written` is in the cache
//! ```
//!
//! Invariants:
//! * An entry that is not written yet is in the cache, however much that holds; of those that
//!   are, the newest stay, up to the cache's limit.
//! * The records in which entries stand are in the order of the entries.
//! * Entries are written in the order in which they were appended. So each carries the number of
//!   its append, and what is written is current if the entry that stands there now has that number.
//!   Index and term alone do not tell: a third leader may bring back what the second one replaced.

use std::collections::VecDeque;

use lsm_log::file_name::FileNumber;
use raft::eraftpb::Entry;

use super::record::{LogId, entry_len};

/// What an entry in the cache is counted with besides its encoded length.
const ENTRY_OVERHEAD: usize = size_of::<Entry>();

/// A record of a segment that holds entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) segment: FileNumber,
    /// Where the record begins in the segment.
    pub(super) offset: u64,
    pub(super) payload_len: usize,
    /// Index of the first entry that is read from it.
    pub(super) first: u64,
}

/// Why an entry is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It was truncated.
    Truncated,
    /// The log does not reach that far.
    Unavailable,
}

/// Entries to read: some from files, the rest is here.
#[derive(Debug)]
pub(super) struct ReadPlan {
    pub(super) from_files: Vec<Piece>,
    pub(super) cached: Vec<Entry>,
}

/// Neighbouring entries in one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) record: Written,
    pub(super) first: u64,
    /// Of each entry: its term, and its offset and length in the payload.
    pub(super) entries: Vec<(u64, usize, usize)>,
}

#[derive(Clone, Copy, Debug)]
struct EntrySlot {
    term: u64,
    /// Encoded length of all entries since the log was opened, up to this one.
    end: u64,
    /// Offset in the payload of its record, once it is written.
    at: u32,
    /// How many entries were appended before it, in its low bits: far fewer wait to be written.
    number: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Index {
    truncated: LogId,
    /// Of the entries behind `truncated`.
    slots: VecDeque<EntrySlot>,
    /// What `EntrySlot::end` counts from.
    start: u64,
    written: u64,
    records: VecDeque<Written>,
    /// The newest entries, without gaps.
    cache: VecDeque<Entry>,
    cache_bytes: usize,
    cache_bytes_max: usize,
    /// How many entries were ever appended, and how many of those had their turn to be written.
    appended: u64,
    passed: u64,
    /// How often the log was emptied here and not yet on disk: until then, what is written belongs
    /// to the log before.
    resets: usize,
}

impl Index {
    /// An empty log behind `truncated`.
    pub(super) fn new(truncated: LogId, cache_bytes_max: usize) -> Self {
        Self {
            truncated,
            slots: VecDeque::new(),
            start: 0,
            written: truncated.index,
            records: VecDeque::new(),
            cache: VecDeque::new(),
            cache_bytes: 0,
            cache_bytes_max,
            appended: 0,
            passed: 0,
            resets: 0,
        }
    }

    pub(super) fn truncated(&self) -> LogId {
        self.truncated
    }

    pub(super) fn first(&self) -> u64 {
        self.truncated.index + 1
    }

    pub(super) fn last(&self) -> u64 {
        self.truncated.index + self.slots.len() as u64
    }

    pub(super) fn term(&self, index: u64) -> Result<u64, Missing> {
        if index == self.truncated.index {
            return Ok(self.truncated.term);
        }
        self.slot(index).map(|slot| slot.term)
    }

    /// Encoded bytes of the entries up to `index`.
    pub(super) fn bytes_through(&self, index: u64) -> u64 {
        match self.slot(index.min(self.last())) {
            Ok(slot) => slot.end - self.start,
            Err(_) => 0,
        }
    }

    fn slot(&self, index: u64) -> Result<&EntrySlot, Missing> {
        let at = index.checked_sub(self.first()).ok_or(Missing::Truncated)?;
        self.slots.get(at as usize).ok_or(Missing::Unavailable)
    }

    fn slot_mut(&mut self, index: u64) -> Option<&mut EntrySlot> {
        let at = index.checked_sub(self.first())?;
        self.slots.get_mut(at as usize)
    }

    /// Puts entries at the end, in place of all that stand there from the first one's index on.
    ///
    /// # Panics
    ///
    /// If they do not follow an entry of the log.
    pub(super) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first().map(|entry| entry.index) else { return };
        let (begin, end) = (self.first(), self.last());
        assert!(
            (begin..=end + 1).contains(&first),
            "entries from {first} on do not fit a log of {begin} to {end}"
        );
        self.cut(first);
        let mut total = self.slots.back().map_or(self.start, |slot| slot.end);
        for (entry, index) in entries.iter().zip(first..) {
            assert_eq!(entry.index, index, "entries are numbered without gaps");
            let len = entry_len(entry);
            total += len as u64;
            let number = self.appended as u32;
            self.slots.push_back(EntrySlot { term: entry.term, end: total, at: 0, number });
            self.appended += 1;
            self.cache_bytes += len + ENTRY_OVERHEAD;
            self.cache.push_back(entry.clone());
        }
        self.evict();
    }

    /// Drops all entries from `first` on, which is not below the first.
    pub(super) fn cut(&mut self, first: u64) {
        if first > self.last() {
            return;
        }
        self.slots.truncate((first - self.first()) as usize);
        while self.cache.back().is_some_and(|entry| entry.index >= first) {
            self.uncache(VecDeque::pop_back);
        }
        self.forget_written(first);
    }

    /// No entry from `first` on stands in a file.
    fn forget_written(&mut self, first: u64) {
        self.written = self.written.min(first - 1);
        while self.records.back().is_some_and(|record| record.first >= first) {
            self.records.pop_back();
        }
    }

    /// `entries` were written to `record`, the first at offset `at` of its payload. Those that
    /// were replaced here meanwhile are passed over.
    pub(super) fn written(&mut self, record: Written, entries: &[Entry], mut at: usize) {
        if self.resets > 0 {
            return;
        }
        let is_current = |(number, entry): &(u64, &Entry)| {
            self.slot(entry.index).is_ok_and(|slot| slot.number == *number as u32)
        };
        let count = (self.passed..).zip(entries).take_while(is_current).count();
        self.passed = self.appended.min(self.passed + entries.len() as u64);
        if count == 0 {
            return;
        }
        self.forget_written(record.first);
        for entry in &entries[..count] {
            if let Some(slot) = self.slot_mut(entry.index) {
                slot.at = at as u32;
            }
            at += entry_len(entry);
            self.written = entry.index;
        }
        self.records.push_back(record);
        self.evict();
    }

    /// Drops the entries up to `index`, which is in the log.
    pub(super) fn truncate(&mut self, index: u64) {
        let Ok(slot) = self.slot(index).copied() else { return };
        self.slots.drain(..=(index - self.first()) as usize);
        self.truncated = LogId { index, term: slot.term };
        self.start = slot.end;
        self.written = self.written.max(index);
        while self.cache.front().is_some_and(|entry| entry.index <= index) {
            self.uncache(VecDeque::pop_front);
        }
        while self.records.get(1).is_some_and(|next| next.first <= index + 1) {
            self.records.pop_front();
        }
        if self.slots.is_empty() {
            self.records.clear();
        }
    }

    /// Lets a log that may begin earlier begin behind `place`; says no if another entry stands there.
    pub(super) fn begin_behind(&mut self, place: LogId) -> bool {
        if place.index == self.truncated.index {
            self.truncated = place;
        }
        self.truncate(place.index);
        self.truncated == place
    }

    /// Empties the log; it goes on behind `truncated`. Nothing counts as written until
    /// [`reset_done`](Self::reset_done).
    pub(super) fn reset(&mut self, truncated: LogId) {
        let resets = self.resets + 1;
        *self = Self { resets, ..Self::new(truncated, self.cache_bytes_max) };
    }

    /// The oldest reset reached the disk.
    pub(super) fn reset_done(&mut self) {
        self.resets = self.resets.saturating_sub(1);
    }

    /// How to get the entries `low..high`, or as many as fit into `bytes_max`, but one at least.
    pub(super) fn plan(&self, low: u64, high: u64, bytes_max: u64) -> Result<ReadPlan, Missing> {
        let mut plan = ReadPlan { from_files: Vec::new(), cached: Vec::new() };
        if low < self.first() {
            return Err(Missing::Truncated);
        }
        if high > self.last() + 1 {
            return Err(Missing::Unavailable);
        }
        if low >= high {
            return Ok(plan);
        }
        let start = if low == self.first() { self.start } else { self.slot(low - 1)?.end };
        let at = (low - self.first()) as usize;
        let slots = self.slots.range(at..(high - self.first()) as usize);
        let fitting = slots.take_while(|slot| slot.end - start <= bytes_max).count();
        let high = low + fitting.max(1) as u64;
        let cached_from = self.last() + 1 - self.cache.len() as u64;
        let mut index = low;
        while index < high.min(cached_from) {
            let piece = self.piece(index, high.min(cached_from))?;
            index += piece.entries.len() as u64;
            plan.from_files.push(piece);
        }
        if index < high {
            let (from, to) = ((index - cached_from) as usize, (high - cached_from) as usize);
            plan.cached.extend(self.cache.range(from..to).cloned());
        }
        Ok(plan)
    }

    /// The entries from `first` on, below `high`, that stand in the record of `first`.
    fn piece(&self, first: u64, high: u64) -> Result<Piece, Missing> {
        let behind = self.records.partition_point(|record| record.first <= first);
        let record = behind.checked_sub(1).and_then(|at| self.records.get(at));
        let record = *record.ok_or(Missing::Unavailable)?;
        let high = self.records.get(behind).map_or(high, |next| next.first.min(high));
        let mut entries = Vec::with_capacity((high - first) as usize);
        let mut start = if first == self.first() { self.start } else { self.slot(first - 1)?.end };
        for index in first..high {
            let slot = self.slot(index)?;
            entries.push((slot.term, slot.at as usize, (slot.end - start) as usize));
            start = slot.end;
        }
        Ok(Piece { record, first, entries })
    }

    fn evict(&mut self) {
        while self.cache_bytes > self.cache_bytes_max
            && self.cache.front().is_some_and(|entry| entry.index <= self.written)
        {
            self.uncache(VecDeque::pop_front);
        }
    }

    fn uncache(&mut self, pop: fn(&mut VecDeque<Entry>) -> Option<Entry>) {
        if let Some(entry) = pop(&mut self.cache) {
            self.cache_bytes -= entry_len(&entry) + ENTRY_OVERHEAD;
        }
    }
}

#[cfg(test)]
#[path = "index_test.rs"]
mod tests;
