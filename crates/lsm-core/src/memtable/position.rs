//! A place in a memtable that stays while others insert: an entry of the list, with the table that it
//! is in. It counts on the entry's node, so going on to the next one is to follow a link.

use std::mem;
use std::ops::Bound;
use std::sync::Arc;

use crossbeam_epoch as epoch;
use crossbeam_skiplist::base::RefEntry;
use self_cell::self_cell;

use super::entry::Entry;
use super::table::Memtable;

type Place<'a> = Option<RefEntry<'a, Entry, ()>>;

self_cell! {
    struct Cell {
        owner: Arc<Memtable>,
        #[covariant]
        dependent: Place,
    }
}

/// Of a cursor: on an entry, or on none.
pub(super) struct Position(Cell);

impl Position {
    /// On no entry.
    pub(super) fn new(table: Arc<Memtable>) -> Self {
        Self(Cell::new(table, |_| None))
    }

    pub(super) fn table(&self) -> &Arc<Memtable> {
        self.0.borrow_owner()
    }

    #[inline]
    pub(super) fn entry(&self) -> Option<&Entry> {
        self.0.borrow_dependent().as_ref().map(RefEntry::key)
    }

    /// To the first entry from `from` on.
    pub(super) fn seek(&mut self, from: Bound<&Entry>) {
        self.0.with_dependent_mut(|table, place| {
            let guard = &epoch::pin();
            let found = table.first_from(from, guard);
            let found = found.map(|entry| entry.pin().expect("nothing is removed from the list"));
            replace(place, found, guard);
        });
    }

    #[inline]
    pub(super) fn next(&mut self) {
        self.0.with_dependent_mut(|_, place| {
            let guard = &epoch::pin();
            let next = place.as_ref().and_then(|entry| entry.next(guard));
            replace(place, next, guard);
        });
    }

    /// To no entry.
    pub(super) fn leave(&mut self) {
        self.0.with_dependent_mut(|_, place| {
            if place.is_some() {
                replace(place, None, &epoch::pin());
            }
        });
    }
}

#[inline]
fn replace<'a>(place: &mut Place<'a>, new: Place<'a>, guard: &epoch::Guard) {
    if let Some(old) = mem::replace(place, new) {
        old.release(guard);
    }
}

impl Drop for Position {
    fn drop(&mut self) {
        self.leave();
    }
}
