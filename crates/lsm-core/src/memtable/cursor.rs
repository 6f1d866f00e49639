//! A cursor over a memtable that others are writing to.
//!
//! The list's own entries borrow from the list, and a cursor that users keep must own what it
//! reads. So it copies handles of a few neighbouring entries at a time (an entry shares its
//! record), fewer at first and more as it goes on in one direction: a step costs a copy, and a
//! search only every hundredth step of a long scan.

use std::ops::Bound;
use std::sync::Arc;

use super::entry::Entry;
use super::table::Memtable;
use crate::error::Result;
use crate::iter::Cursor;
use crate::key::Tag;
use crate::value::Value;

const WINDOW_MIN: usize = 8;
const WINDOW_MAX: usize = 128;

#[derive(Debug)]
pub(crate) struct MemtableCursor {
    table: Arc<Memtable>,
    /// Neighbouring entries; reversed while the cursor runs backward.
    window: Vec<Entry>,
    at: usize,
    backward: bool,
    limit: usize,
}

impl Memtable {
    pub(crate) fn cursor(self: &Arc<Self>) -> MemtableCursor {
        let table = Arc::clone(self);
        MemtableCursor { table, window: Vec::new(), at: 0, backward: false, limit: WINDOW_MIN }
    }
}

impl MemtableCursor {
    fn entry(&self) -> &Entry {
        &self.window[self.at]
    }

    /// Starts a new window at `bound`.
    fn fill(&mut self, bound: Bound<&Entry>, backward: bool, limit: usize) {
        self.window.clear();
        (self.at, self.backward, self.limit) = (0, backward, limit);
        if backward {
            self.table.collect_back(bound, limit, &mut self.window);
        } else {
            self.table.collect(bound, limit, &mut self.window);
        }
    }

    fn step(&mut self, backward: bool) {
        if backward == self.backward {
            if self.at + 1 < self.window.len() {
                self.at += 1;
                return;
            }
        } else if self.at > 0 {
            self.at -= 1;
            return;
        }
        let limit = match backward == self.backward {
            true => (self.limit * 2).min(WINDOW_MAX),
            false => WINDOW_MIN,
        };
        let here = self.entry().clone();
        self.fill(Bound::Excluded(&here), backward, limit);
    }
}

impl Cursor for MemtableCursor {
    #[inline]
    fn is_valid(&self) -> bool {
        self.at < self.window.len()
    }

    fn seek(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        self.fill(Bound::Included(&Entry::probe(key, tag)), false, WINDOW_MIN);
        Ok(())
    }

    fn seek_back(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        self.fill(Bound::Included(&Entry::probe(key, tag)), true, WINDOW_MIN);
        Ok(())
    }

    fn seek_first(&mut self) -> Result<()> {
        self.fill(Bound::Unbounded, false, WINDOW_MIN);
        Ok(())
    }

    fn seek_last(&mut self) -> Result<()> {
        self.fill(Bound::Unbounded, true, WINDOW_MIN);
        Ok(())
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        self.step(false);
        Ok(())
    }

    #[inline]
    fn prev(&mut self) -> Result<()> {
        self.step(true);
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
