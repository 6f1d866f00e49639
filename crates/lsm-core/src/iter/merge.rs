//! One cursor over many: always stands on the least (or, going back, the greatest) entry of
//! its children, by a binary heap of their positions.
//!
//! Stepping costs two comparisons while one child stays ahead of the others, which is the
//! common case: the heap's root is replaced in place instead of popped and pushed.

use std::cmp::Ordering;

use lsm_log::error::Result;

use super::cursor::Cursor;
use crate::key::{Tag, compare};
use crate::value::Value;

/// Merges cursors; no two of them may hold the same version of a key.
#[derive(Debug)]
pub(crate) struct Merge<C> {
    children: Vec<C>,
    /// Indices of the children that stand on an entry, the foremost at the root.
    heap: Vec<usize>,
    backward: bool,
}

impl<C: Cursor> Merge<C> {
    pub(crate) fn new(children: Vec<C>) -> Self {
        let heap = Vec::with_capacity(children.len());
        Self { children, heap, backward: false }
    }

    fn current(&self) -> &C {
        &self.children[self.heap[0]]
    }

    /// Moves every child with `go`, then stands on the foremost.
    fn restart(&mut self, backward: bool, mut go: impl FnMut(&mut C) -> Result<()>) -> Result<()> {
        self.heap.clear();
        self.backward = backward;
        for (i, child) in self.children.iter_mut().enumerate() {
            if let Err(error) = go(child) {
                self.heap.clear();
                return Err(error);
            }
            if child.is_valid() {
                self.heap.push(i);
            }
        }
        for at in (0..self.heap.len() / 2).rev() {
            self.sift_down(at);
        }
        Ok(())
    }

    /// Turns around on the current entry: afterwards it is the root of the other direction.
    fn turn(&mut self, backward: bool) -> Result<()> {
        let (key, tag) = (self.current().key().to_vec(), self.current().tag());
        self.restart(backward, |child| match backward {
            true => child.seek_back(&key, tag),
            false => child.seek(&key, tag),
        })
    }

    #[inline]
    fn step(&mut self, backward: bool) -> Result<()> {
        if self.backward != backward {
            self.turn(backward)?;
        }
        let child = &mut self.children[self.heap[0]];
        let stepped = if backward { child.prev() } else { child.next() };
        if let Err(error) = stepped {
            self.heap.clear();
            return Err(error);
        }
        if !child.is_valid() {
            self.heap.swap_remove(0);
        }
        self.sift_down(0);
        Ok(())
    }

    #[inline]
    fn sift_down(&mut self, mut at: usize) {
        let len = self.heap.len();
        loop {
            let mut first = 2 * at + 1;
            if first >= len {
                return;
            }
            if first + 1 < len && self.is_before(self.heap[first + 1], self.heap[first]) {
                first += 1;
            }
            if !self.is_before(self.heap[first], self.heap[at]) {
                return;
            }
            self.heap.swap(first, at);
            at = first;
        }
    }

    #[inline]
    fn is_before(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.children[a], &self.children[b]);
        let order = compare((a.key(), a.tag()), (b.key(), b.tag()));
        order == if self.backward { Ordering::Greater } else { Ordering::Less }
    }
}

impl<C: Cursor> Cursor for Merge<C> {
    #[inline]
    fn is_valid(&self) -> bool {
        !self.heap.is_empty()
    }

    fn seek(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        self.restart(false, |child| child.seek(key, tag))
    }

    fn seek_back(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        self.restart(true, |child| child.seek_back(key, tag))
    }

    fn seek_first(&mut self) -> Result<()> {
        self.restart(false, C::seek_first)
    }

    fn seek_last(&mut self) -> Result<()> {
        self.restart(true, C::seek_last)
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        self.step(false)
    }

    #[inline]
    fn prev(&mut self) -> Result<()> {
        self.step(true)
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

#[cfg(test)]
#[path = "merge_test.rs"]
mod tests;
