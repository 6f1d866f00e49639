//! What a transaction has read: keys, there or not, and ranges with the gaps in them.
//!
//! Of a range only what was walked over counts: who takes the first entry of a queue has read
//! nothing of what lies behind it. Pure.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::Bound;

use lsm_log::error::{Error, Result};

use crate::key::{Key, KeyRange, KeyspaceId};

/// Most bytes that a transaction remembers of what it has read: keys, bounds of ranges, and 64 bytes
/// for each.
pub const TRANSACTION_READS_BYTES_MAX: usize = 64 << 20;
/// What a read takes beside its keys.
const READ_BYTES: usize = 64;

/// What a transaction has read.
#[derive(Debug, Default)]
pub(crate) struct ReadSet {
    keys: HashSet<(KeyspaceId, Key)>,
    ranges: Vec<(KeyspaceId, KeyRange)>,
    bytes: usize,
}

/// A move of a cursor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Visit<'a> {
    /// To the first key of its range, or from this key on.
    FromFirst,
    From(&'a [u8]),
    /// To the last key of its range, or from this key back.
    FromLast,
    BackFrom(&'a [u8]),
    /// To the next or the previous key.
    On,
    Back,
}

impl ReadSet {
    /// A key was looked up.
    ///
    /// # Errors
    ///
    /// `Invalid` if too much was read.
    pub(crate) fn add_key(&mut self, keyspace: KeyspaceId, key: &[u8]) -> Result<()> {
        if self.keys.insert((keyspace, Key::from(key))) {
            self.count(READ_BYTES + key.len())?;
        }
        Ok(())
    }

    /// A cursor over `range` went to `position`, or found none. `open` is which of its reads goes on,
    /// and is changed to the one that does from here.
    ///
    /// # Errors
    ///
    /// `Invalid` if too much was read.
    pub(crate) fn add_visit(
        &mut self,
        keyspace: KeyspaceId,
        visit: Visit<'_>,
        position: Option<&[u8]>,
        range: &KeyRange,
        open: &mut Option<usize>,
    ) -> Result<()> {
        let at = |key: &[u8]| Bound::Included(key.to_vec());
        let up_to = || position.map_or_else(|| range.end.clone(), at);
        let down_to = || position.map_or_else(|| range.start.clone(), at);
        let read = match visit {
            Visit::FromFirst => KeyRange { start: range.start.clone(), end: up_to() },
            Visit::From(key) => KeyRange { start: at(key), end: up_to() },
            Visit::FromLast => KeyRange { start: down_to(), end: range.end.clone() },
            Visit::BackFrom(key) => KeyRange { start: down_to(), end: at(key) },
            Visit::On | Visit::Back => {
                let at = open.expect("a cursor that goes on has stood somewhere");
                let (_, read) = &mut self.ranges[at];
                let (bound, last, order) = match visit {
                    Visit::On => (&mut read.end, &range.end, Ordering::Greater),
                    _ => (&mut read.start, &range.start, Ordering::Less),
                };
                let before = len(bound);
                extend(bound, order, position, last);
                let grown = len(bound).saturating_sub(before);
                return self.count(grown);
            }
        };
        let bytes = READ_BYTES + len(&read.start) + len(&read.end);
        *open = Some(self.ranges.len());
        self.ranges.push((keyspace, read));
        self.count(bytes)
    }

    fn count(&mut self, bytes: usize) -> Result<()> {
        self.bytes += bytes;
        if self.bytes > TRANSACTION_READS_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the transaction has read more than it can remember, {TRANSACTION_READS_BYTES_MAX} \
                 bytes of keys: read long ranges by one cursor, or less at a time"
            )));
        }
        Ok(())
    }

    /// The keys that were looked up.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (KeyspaceId, &[u8])> {
        self.keys.iter().map(|(keyspace, key)| (*keyspace, &**key))
    }

    /// The ranges that cursors walked over.
    pub(crate) fn ranges(&self) -> &[(KeyspaceId, KeyRange)] {
        &self.ranges
    }
}

/// Moves the bound of a read outward to where its cursor stands, or to the end of what that walks
/// over; `order` is that of keys outside to the bound. A cursor that turned stands within what it has
/// read. Keeps the memory of the bound: a long walk moves it at each step.
fn extend(
    bound: &mut Bound<Vec<u8>>,
    order: Ordering,
    position: Option<&[u8]>,
    last: &Bound<Vec<u8>>,
) {
    match (&mut *bound, position) {
        (_, None) => *bound = last.clone(),
        (Bound::Included(key) | Bound::Excluded(key), Some(position)) => {
            if position.cmp(key) == order {
                key.clear();
                key.extend_from_slice(position);
            }
        }
        // Nothing lies outside.
        (Bound::Unbounded, Some(_)) => {}
    }
}

fn len(bound: &Bound<Vec<u8>>) -> usize {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => key.len(),
        Bound::Unbounded => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: KeyspaceId = KeyspaceId::DEFAULT;

    #[test]
    fn a_walk_has_read_as_far_as_it_went() {
        let all = KeyRange::new("b".."x");
        let mut reads = ReadSet::default();
        let mut open = None;
        let mut visit = |visit, position: Option<&str>| {
            let position = position.map(str::as_bytes);
            reads.add_visit(ID, visit, position, &all, &mut open).unwrap();
            reads.ranges().last().unwrap().1.clone()
        };
        assert_eq!(visit(Visit::FromFirst, Some("c")), KeyRange::new("b"..="c"));
        assert_eq!(visit(Visit::On, Some("f")), KeyRange::new("b"..="f"));
        assert_eq!(visit(Visit::On, None), KeyRange::new("b".."x"));
        assert_eq!(visit(Visit::From(b"m"), Some("n")), KeyRange::new("m"..="n"));
        // What it turns back over stays read.
        assert_eq!(visit(Visit::On, Some("p")), KeyRange::new("m"..="p"));
        assert_eq!(visit(Visit::Back, Some("n")), KeyRange::new("m"..="p"));
        assert_eq!(visit(Visit::Back, Some("l")), KeyRange::new("l"..="p"));
        assert_eq!(visit(Visit::On, Some("n")), KeyRange::new("l"..="p"));
        assert_eq!(visit(Visit::From(b"m"), Some("n")), KeyRange::new("m"..="n"));
        assert_eq!(visit(Visit::Back, Some("k")), KeyRange::new("k"..="n"));
        assert_eq!(visit(Visit::On, Some("n")), KeyRange::new("k"..="n"));
        assert_eq!(visit(Visit::BackFrom(b"h"), None), KeyRange::new("b"..="h"));
        assert_eq!(visit(Visit::FromLast, Some("w")), KeyRange::new("w".."x"));
        assert_eq!(reads.ranges().len(), 5);
    }

    #[test]
    fn a_walk_to_longer_keys_counts() {
        let (mut reads, mut open) = (ReadSet::default(), None);
        let all = KeyRange::all();
        let long = [b'c'; 1 << 16];
        let mut walk = |_: &usize| {
            let seek = reads.add_visit(ID, Visit::From(b"a"), Some(b"b"), &all, &mut open);
            seek.and_then(|()| reads.add_visit(ID, Visit::On, Some(&long), &all, &mut open)).is_ok()
        };
        let walks = (0..).take_while(&mut walk).count();
        assert_eq!(walks, TRANSACTION_READS_BYTES_MAX / (READ_BYTES + 1 + long.len()));
    }

    #[test]
    fn a_key_counts_once_and_too_many_are_refused() {
        let mut reads = ReadSet::default();
        let key = [7; 1 << 16];
        let all = TRANSACTION_READS_BYTES_MAX / (READ_BYTES + key.len());
        for i in 0..all as u32 {
            let mut key = key;
            key[..4].copy_from_slice(&i.to_be_bytes());
            reads.add_key(ID, &key).unwrap();
            reads.add_key(ID, &key).unwrap();
        }
        assert!(reads.add_key(ID, &key).unwrap_err().to_string().contains("remember"));
        assert_eq!(reads.keys().count(), all + 1);
    }
}
