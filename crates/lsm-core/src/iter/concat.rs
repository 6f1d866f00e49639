//! One cursor over a sorted run of tables, each opened only when the cursor gets there.

use lsm_log::error::Result;

use super::cursor::Cursor;
use crate::key::Tag;
use crate::value::Value;

/// Disjoint tables in key order, as a cursor needs to know them.
pub(crate) trait Run {
    type Cursor: Cursor;

    fn len(&self) -> usize;

    /// The first user key of table `i`.
    fn smallest(&self, i: usize) -> &[u8];

    /// The last user key of table `i`.
    fn largest(&self, i: usize) -> &[u8];

    fn open(&self, i: usize) -> Result<Self::Cursor>;
}

/// A cursor over a run; no user key may be in two of its tables.
#[derive(Debug)]
pub(crate) struct Concat<R: Run> {
    run: R,
    /// The open table: its place in the run and a cursor over it.
    open: Option<(usize, R::Cursor)>,
}

impl<R: Run> Concat<R> {
    pub(crate) fn new(run: R) -> Self {
        Self { run, open: None }
    }

    /// Stands nowhere in table `i`; nowhere at all if there is no such table.
    fn enter(&mut self, i: Option<usize>) -> Result<()> {
        match i.filter(|&i| i < self.run.len()) {
            None => self.open = None,
            Some(i) if self.open.as_ref().is_some_and(|open| open.0 == i) => {}
            Some(i) => {
                // Not open while the next one is being opened: an error leaves it nowhere.
                self.open = None;
                self.open = Some((i, self.run.open(i)?));
            }
        }
        Ok(())
    }

    fn apply(&mut self, go: impl FnOnce(&mut R::Cursor) -> Result<()>) -> Result<()> {
        self.open.as_mut().map_or(Ok(()), |(_, cursor)| go(cursor))
    }

    /// To the next table's front once the open one is used up.
    fn skip_forward(&mut self) -> Result<()> {
        while let Some((i, cursor)) = &self.open
            && !cursor.is_valid()
        {
            let next = i + 1;
            self.enter(Some(next))?;
            self.apply(R::Cursor::seek_first)?;
        }
        Ok(())
    }

    fn skip_backward(&mut self) -> Result<()> {
        while let Some((i, cursor)) = &self.open
            && !cursor.is_valid()
        {
            let previous = i.checked_sub(1);
            self.enter(previous)?;
            self.apply(R::Cursor::seek_last)?;
        }
        Ok(())
    }

    fn current(&self) -> &R::Cursor {
        &self.open.as_ref().expect("the cursor stands on an entry").1
    }
}

/// The first of `0..len` for which `reached` holds; `len` if none does.
fn first(len: usize, reached: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low.midpoint(high);
        if reached(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

impl<R: Run> Cursor for Concat<R> {
    #[inline]
    fn is_valid(&self) -> bool {
        self.open.as_ref().is_some_and(|(_, cursor)| cursor.is_valid())
    }

    fn seek(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        let at = first(self.run.len(), |i| self.run.largest(i) >= key);
        self.enter(Some(at))?;
        self.apply(|cursor| cursor.seek(key, tag))?;
        self.skip_forward()
    }

    fn seek_back(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        let behind = first(self.run.len(), |i| self.run.smallest(i) > key);
        self.enter(behind.checked_sub(1))?;
        self.apply(|cursor| cursor.seek_back(key, tag))?;
        self.skip_backward()
    }

    fn seek_first(&mut self) -> Result<()> {
        self.enter(Some(0))?;
        self.apply(R::Cursor::seek_first)?;
        self.skip_forward()
    }

    fn seek_last(&mut self) -> Result<()> {
        self.enter(self.run.len().checked_sub(1))?;
        self.apply(R::Cursor::seek_last)?;
        self.skip_backward()
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        self.apply(R::Cursor::next)?;
        self.skip_forward()
    }

    #[inline]
    fn prev(&mut self) -> Result<()> {
        self.apply(R::Cursor::prev)?;
        self.skip_backward()
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.current().key()
    }

    #[inline]
    fn tag(&self) -> Tag {
        self.current().tag()
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.current().value()
    }

    fn value_to_keep(&self) -> Value {
        self.current().value_to_keep()
    }
}
