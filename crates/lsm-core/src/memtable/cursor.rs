//! A cursor over a memtable that others are writing to.
//!
//! Going forward, the cursor counts on the entry that it stands on, and follows the list's links: no
//! search and no copy a step.
//!
//! The list has no links back: each entry before another one is searched for from the top, which costs
//! ten times as much as a link. So a few neighbours at a time are copied (an entry shares its
//! record), fewer at first and more as the cursor goes on. Whoever goes back over a good part of the
//! list has it walked through once from the front, with a mark at every hundredth entry or so. From
//! then on a window is filled forward, from a mark to where the cursor stands.

use std::ops::Bound;
use std::sync::Arc;

use lsm_log::error::Result;

use super::entry::Entry;
use super::position::Position;
use super::table::Memtable;
use crate::iter::Cursor;
use crate::key::Tag;
use crate::value::Value;

const WINDOW_MIN: usize = 8;
const WINDOW_MAX: usize = 128;

/// Marks are made when the cursor has gone back over one in so many entries: the walk for them then
/// costs about as much as the searches so far.
const MARKED_FROM_ONE_IN: u64 = 16;
/// ... and over so many.
const MARKED_FROM: u64 = 2 * WINDOW_MAX as u64;
/// A window from a mark that is longer, by entries that came later, is given up with the marks.
const MARKED_WINDOW_MAX: usize = 4 * WINDOW_MAX;

pub(crate) struct MemtableCursor {
    /// Where the cursor stands while it goes forward.
    ahead: Position,
    /// While it goes back: neighbouring entries, the last one first.
    window: Vec<Entry>,
    at: usize,
    backward: bool,
    limit: usize,
    /// How many entries the cursor went back over by searching for each.
    searched: u64,
    /// Entries of the list that are about a window apart, from the first on; or none.
    marks: Vec<Entry>,
}

impl Memtable {
    pub(crate) fn cursor(self: &Arc<Self>) -> MemtableCursor {
        MemtableCursor {
            ahead: Position::new(Arc::clone(self)),
            window: Vec::new(),
            at: 0,
            backward: false,
            limit: WINDOW_MIN,
            searched: 0,
            marks: Vec::new(),
        }
    }
}

impl MemtableCursor {
    #[inline]
    fn entry(&self) -> &Entry {
        match self.backward {
            false => self.ahead.entry().expect("the cursor stands on an entry"),
            true => &self.window[self.at],
        }
    }

    fn go_ahead(&mut self, from: Bound<&Entry>) {
        self.backward = false;
        self.ahead.seek(from);
    }

    /// Starts a new window, from `to` down.
    fn go_back(&mut self, to: Bound<&Entry>, limit: usize) {
        self.ahead.leave();
        self.window.clear();
        (self.at, self.backward, self.limit) = (0, true, limit);
        self.ahead.table().collect_back(to, limit, &mut self.window);
    }

    /// Starts a new window, to go back from `here`, without a search for each entry; `false` if
    /// that is not worth it or does not lead anywhere.
    fn fill_from_mark(&mut self, here: &Entry) -> bool {
        if self.marks.is_empty() {
            self.searched += self.window.len() as u64;
            let entries = self.ahead.table().entries();
            if self.searched < MARKED_FROM || self.searched < entries / MARKED_FROM_ONE_IN {
                return false;
            }
            self.ahead.table().mark(WINDOW_MAX, &mut self.marks);
        }
        let before = self.marks.partition_point(|mark| mark < here);
        let Some(mark) = before.checked_sub(1).map(|last| &self.marks[last]) else { return false };
        self.window.clear();
        let (table, window) = (self.ahead.table(), &mut self.window);
        if !table.collect_between(mark, here, MARKED_WINDOW_MAX, window) {
            (self.searched, self.marks) = (0, Vec::new());
            return false;
        }
        self.window.reverse();
        (self.at, self.limit) = (0, WINDOW_MAX);
        true
    }
}

impl Cursor for MemtableCursor {
    #[inline]
    fn is_valid(&self) -> bool {
        match self.backward {
            false => self.ahead.entry().is_some(),
            true => self.at < self.window.len(),
        }
    }

    fn seek(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        self.go_ahead(Bound::Included(&Entry::probe(key, tag)));
        Ok(())
    }

    fn seek_back(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        self.go_back(Bound::Included(&Entry::probe(key, tag)), WINDOW_MIN);
        Ok(())
    }

    fn seek_first(&mut self) -> Result<()> {
        self.go_ahead(Bound::Unbounded);
        Ok(())
    }

    fn seek_last(&mut self) -> Result<()> {
        self.go_back(Bound::Unbounded, WINDOW_MIN);
        Ok(())
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        if !self.backward {
            self.ahead.next();
        } else if self.at > 0 {
            self.at -= 1;
        } else {
            let here = self.entry().clone();
            self.go_ahead(Bound::Excluded(&here));
        }
        Ok(())
    }

    #[inline]
    fn prev(&mut self) -> Result<()> {
        if self.backward && self.at + 1 < self.window.len() {
            self.at += 1;
            return Ok(());
        }
        let here = self.entry().clone();
        if !self.backward {
            self.go_back(Bound::Excluded(&here), WINDOW_MIN);
        } else if !self.fill_from_mark(&here) {
            self.go_back(Bound::Excluded(&here), (self.limit * 2).min(WINDOW_MAX));
        }
        Ok(())
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.entry().key()
    }

    #[inline]
    fn tag(&self) -> Tag {
        self.entry().tag()
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.entry().value()
    }

    fn value_to_keep(&self) -> Value {
        Value::from(self.entry().value_bytes())
    }
}

impl std::fmt::Debug for MemtableCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = self.is_valid().then(|| self.key().escape_ascii().to_string());
        f.debug_struct("MemtableCursor").field("key", &key).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Kind, SeqNo};
    use crate::memtable::table::Insert;

    fn table(count: u64) -> Arc<Memtable> {
        let table = Memtable::new(1 << 20, &Arc::default());
        for seq in 1..=count {
            let key = (seq * 2).to_be_bytes();
            let insert = Insert { seq: SeqNo(seq), kind: Kind::Put, key: &key, value: &key };
            table.insert([insert].into_iter());
        }
        Arc::new(table)
    }

    fn at(cursor: &MemtableCursor) -> Option<u64> {
        cursor.is_valid().then(|| u64::from_be_bytes(cursor.key().try_into().unwrap()))
    }

    #[test]
    fn walks_both_ways_over_window_ends() {
        let mut cursor = table(1000).cursor();
        assert_eq!(at(&cursor), None, "a new cursor stands nowhere");
        cursor.seek_first().unwrap();
        for n in 1..=1000 {
            assert_eq!(at(&cursor), Some(2 * n));
            cursor.next().unwrap();
        }
        assert_eq!(at(&cursor), None);
        cursor.seek_last().unwrap();
        for n in (1..=1000).rev() {
            assert_eq!(at(&cursor), Some(2 * n));
            cursor.prev().unwrap();
        }
        assert_eq!(at(&cursor), None);
    }

    /// Before and after the marks are made, and with entries that come between them later: a few,
    /// then more than are taken from one mark.
    #[test]
    fn goes_back_from_mark_to_mark_beside_a_writer() {
        let table = table(10_000);
        let mut cursor = table.cursor();
        cursor.seek_last().unwrap();
        let mut expected: Vec<Vec<u8>> =
            (1..=10_000u64).map(|n| (2 * n).to_be_bytes().to_vec()).collect();
        let late = |from: u64, count: u16| {
            let key = move |i: u16| [&(2 * from).to_be_bytes()[..], &i.to_be_bytes()].concat();
            (0..count).map(key).collect::<Vec<_>>()
        };
        let mut met = Vec::new();
        while cursor.is_valid() {
            met.push(cursor.key().to_vec());
            for (when, keys) in [(2000, late(4000, 50)), (4000, late(2000, 600))] {
                for key in keys.into_iter().filter(|_| met.len() == when) {
                    let insert = Insert { seq: SeqNo(1), kind: Kind::Put, key: &key, value: &key };
                    table.insert([insert].into_iter());
                    expected.push(key);
                }
            }
            cursor.prev().unwrap();
        }
        expected.sort();
        met.reverse();
        assert!(met == expected, "what comes after the marks is met, too, and in order");
    }

    #[test]
    fn a_long_way_back_is_marked_and_a_short_one_is_not() {
        let table = table(10_000);
        let mut cursor = table.cursor();
        cursor.seek_last().unwrap();
        for _ in 0..500 {
            cursor.prev().unwrap();
        }
        assert!(cursor.marks.is_empty());
        for _ in 0..500 {
            cursor.prev().unwrap();
        }
        assert_eq!(cursor.marks.len(), 10_000_usize.div_ceil(WINDOW_MAX));
        cursor.seek(&5000u64.to_be_bytes(), Tag(u64::MAX)).unwrap();
        cursor.prev().unwrap();
        assert_eq!(at(&cursor), Some(4998));
        cursor.next().unwrap();
        assert_eq!(at(&cursor), Some(5000));
    }

    #[test]
    fn turns_anywhere() {
        let mut cursor = table(1000).cursor();
        for start in [1u64, 7, 8, 9, 500, 998] {
            for steps in 0..20 {
                cursor.seek(&(2 * start - 1).to_be_bytes(), Tag(u64::MAX)).unwrap();
                let mut here = start;
                for _ in 0..steps {
                    if here < 1000 {
                        cursor.next().unwrap();
                        here += 1;
                    }
                }
                for _ in 0..steps + 5 {
                    assert_eq!(at(&cursor), Some(2 * here));
                    if here == 1 {
                        break;
                    }
                    cursor.prev().unwrap();
                    here -= 1;
                }
            }
        }
    }

    #[test]
    fn seeks_stop_on_either_side() {
        let mut cursor = table(10).cursor();
        cursor.seek(&7u64.to_be_bytes(), Tag(u64::MAX)).unwrap();
        assert_eq!(at(&cursor), Some(8));
        cursor.seek_back(&7u64.to_be_bytes(), Tag(0)).unwrap();
        assert_eq!(at(&cursor), Some(6));
        cursor.seek(&21u64.to_be_bytes(), Tag(u64::MAX)).unwrap();
        assert_eq!(at(&cursor), None);
        cursor.seek_back(&1u64.to_be_bytes(), Tag(0)).unwrap();
        assert_eq!(at(&cursor), None);
    }
}
