//! The iterator over entries: two cursors that walk towards each other.

use lsm_log::error::{Error, Result};

use super::read::ReadPoint;
use super::scan::Cursor;
use crate::key::KeyRange;
use crate::value::Value;

/// Keys and values in key order, from either end; each item owns what it holds.
///
/// Sees the state of the moment it was made. After an error the iterator is at its end.
#[derive(Debug)]
pub struct Range {
    front: Cursor,
    /// Made when the first entry is taken from the back.
    back: Option<Cursor>,
    /// What was taken from each end: where the two meet.
    front_key: Option<Vec<u8>>,
    back_key: Option<Vec<u8>>,
    done: bool,
}

impl Range {
    pub(crate) fn new(point: &ReadPoint<'_>, range: KeyRange) -> Self {
        let front = Cursor::new(point, range);
        Self { front, back: None, front_key: None, back_key: None, done: false }
    }

    fn finish<T>(&mut self, error: Option<Error>) -> Option<Result<T>> {
        self.done = true;
        error.map(Err)
    }
}

impl Iterator for Range {
    type Item = Result<(Vec<u8>, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if let Err(error) = self.front.next() {
            return self.finish(Some(error));
        }
        let Some(key) = self.front.key() else { return self.finish(None) };
        if self.back_key.as_deref().is_some_and(|back| key >= back) {
            return self.finish(None);
        }
        let key = key.to_vec();
        let value = self.front.value_to_keep()?;
        if self.back.is_some() {
            self.front_key = Some(key.clone());
        }
        Some(Ok((key, value)))
    }
}

impl DoubleEndedIterator for Range {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.back.is_none() {
            self.front_key = self.front.key().map(<[u8]>::to_vec);
            self.back = Some(self.front.twin());
        }
        let back = self.back.as_mut()?;
        if let Err(error) = back.prev() {
            return self.finish(Some(error));
        }
        let Some(key) = back.key() else { return self.finish(None) };
        if self.front_key.as_deref().is_some_and(|front| key <= front) {
            return self.finish(None);
        }
        let key = key.to_vec();
        let value = back.value_to_keep()?;
        self.back_key = Some(key.clone());
        Some(Ok((key, value)))
    }
}
