//! Which segments hold entries that are still needed. Pure.
//!
//! It follows what is on disk, which may be behind what is in memory: a record that begins at
//! index `i` takes the place of all entries from `i` on, so the segments in which the entries
//! stand are in the order of the entries.

use std::collections::VecDeque;

use lsm_log::file_name::FileNumber;

/// The segments with needed entries.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// The segment, and the least index of which it holds the entry that counts.
    runs: VecDeque<(FileNumber, u64)>,
    last: u64,
}

impl Live {
    /// An empty log behind `truncated`.
    pub(super) fn behind(truncated: u64) -> Self {
        Self { runs: VecDeque::new(), last: truncated }
    }

    /// Index of the last entry on disk.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Entries `first..=last` were written to `segment`, the newest so far.
    pub(super) fn wrote(&mut self, segment: FileNumber, first: u64, last: u64) {
        while self.runs.back().is_some_and(|&(_, begin)| begin >= first) {
            self.runs.pop_back();
        }
        if self.runs.back().is_none_or(|&(newest, _)| newest != segment) {
            self.runs.push_back((segment, first));
        }
        self.last = last;
    }

    /// Entries behind `last` do not count any more.
    pub(super) fn cut(&mut self, last: u64) {
        while self.runs.back().is_some_and(|&(_, begin)| begin > last) {
            self.runs.pop_back();
        }
        self.last = self.last.min(last);
    }

    /// Entries up to `index` are not needed any more.
    pub(super) fn truncate(&mut self, index: u64) {
        while self.runs.get(1).is_some_and(|&(_, begin)| begin <= index + 1) {
            self.runs.pop_front();
        }
        if self.last <= index {
            *self = Self::behind(index);
        }
    }

    /// The oldest segment with a needed entry.
    pub(super) fn oldest(&self) -> Option<FileNumber> {
        self.runs.front().map(|&(segment, _)| segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oldest(live: &Live) -> Option<u64> {
        live.oldest().map(|segment| segment.0)
    }

    #[test]
    fn segments_are_needed_until_all_their_entries_are_truncated_or_replaced() {
        let mut live = Live::behind(0);
        assert_eq!(oldest(&live), None);
        for (segment, first, last) in [(1, 1, 5), (1, 6, 10), (2, 11, 20), (3, 21, 30)] {
            live.wrote(FileNumber(segment), first, last);
        }
        for (truncated, needed) in [(0, 1), (9, 1), (10, 2), (19, 2), (20, 3), (29, 3)] {
            live.truncate(truncated);
            assert_eq!(oldest(&live), Some(needed), "{truncated}");
        }
        live.truncate(30);
        assert_eq!((oldest(&live), live.last()), (None, 30));
    }

    #[test]
    fn a_suffix_that_does_not_count_frees_its_segments() {
        let mut live = Live::behind(0);
        for (segment, first, last) in [(1, 1, 5), (2, 6, 10), (3, 11, 20)] {
            live.wrote(FileNumber(segment), first, last);
        }
        live.cut(30);
        assert_eq!(live.last(), 20);
        live.cut(7);
        live.truncate(5);
        assert_eq!((oldest(&live), live.last()), (Some(2), 7));
        live.cut(5);
        assert_eq!((oldest(&live), live.last()), (None, 5));
    }

    #[test]
    fn a_replaced_suffix_frees_the_segments_that_held_it() {
        let mut live = Live::behind(4);
        for (segment, first, last) in [(1, 5, 9), (2, 10, 14), (3, 15, 19), (4, 12, 13)] {
            live.wrote(FileNumber(segment), first, last);
        }
        assert_eq!(live.last(), 13);
        live.truncate(10);
        assert_eq!(oldest(&live), Some(2));
        live.truncate(11);
        assert_eq!(oldest(&live), Some(4));
        live.wrote(FileNumber(4), 12, 12);
        assert_eq!(oldest(&live), Some(4));
    }
}
