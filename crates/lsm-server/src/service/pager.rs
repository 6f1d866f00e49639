//! One scan, cut into pages. Blocks on the disk.

use bytes::Bytes;
use lsm_core::{Cursor, Snapshot};
use lsm_proto::v1::{Entry, ScanRequest};

use super::range::{KeyRange, PageSize, limit};

/// A scan over one point in the write order, as far as it has come.
#[derive(Debug)]
pub(super) struct Pager {
    /// None: the range is empty.
    cursor: Option<Cursor>,
    reverse: bool,
    keys_only: bool,
    size: PageSize,
    /// Entries that are still wanted.
    left: u64,
    /// The cursor stands on an entry that no page holds yet.
    has_next: bool,
    begun: bool,
    /// Bytes and entries of the last page: the next one will have about as many.
    last: (usize, usize),
}

/// Some entries.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Page {
    pub(super) entries: Vec<Entry>,
    /// Where to go on, if there is more: `start`, or `end` if reverse.
    pub(super) resume: Option<Bytes>,
}

impl Pager {
    pub(super) fn new(snapshot: &Snapshot, request: &ScanRequest, size: PageSize) -> Self {
        Self {
            cursor: KeyRange::of(request).map(|range| snapshot.cursor_in::<&[u8]>(range.bounds())),
            reverse: request.reverse,
            keys_only: request.keys_only,
            size,
            left: limit(request),
            has_next: false,
            begun: false,
            last: (0, 0),
        }
    }

    /// Whether the next page may hold anything.
    pub(super) fn goes_on(&self) -> bool {
        self.left > 0 && (self.has_next || !self.begun)
    }

    /// Goes to the first entry, unless it has: then it is known how long that is.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub(super) fn begin(&mut self) -> lsm_core::Result<()> {
        let begins = !std::mem::replace(&mut self.begun, true);
        if let Some(cursor) = self.cursor.as_mut().filter(|_| begins) {
            self.has_next = if self.reverse { cursor.prev()? } else { cursor.next()? };
        }
        Ok(())
    }

    /// The most that the next page takes: it holds an entry that is longer than a page on its own.
    /// Of the first page not even that is known before [`begin`](Self::begin).
    pub(super) fn next_bytes_max(&self) -> usize {
        let entry = self.cursor.as_ref().filter(|_| self.has_next).and_then(Cursor::entry);
        let entry_bytes = entry.map_or(0, |(key, value)| key.len() + value.len());
        self.size.bytes.max(entry_bytes) + self.size.entries as usize * size_of::<Entry>()
    }

    /// The next page. An empty scan has one, without entries.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub(super) fn next_page(&mut self) -> lsm_core::Result<Page> {
        self.begin()?;
        let Some(cursor) = &mut self.cursor else { return Ok(Page::default()) };
        let step = |cursor: &mut Cursor| if self.reverse { cursor.prev() } else { cursor.next() };
        let mut page = Filling::like(self.last);
        while let Some((key, value)) = cursor.entry().filter(|_| self.has_next) {
            let value = if self.keys_only { &[] } else { value };
            let is_full = page.ends.len() as u64 >= self.size.entries.min(self.left)
                || (!page.ends.is_empty()
                    && page.bytes.len() + key.len() + value.len() > self.size.bytes);
            if is_full {
                break;
            }
            page.push(key, value);
            self.has_next = step(cursor)?;
        }
        self.last = (page.bytes.len(), page.ends.len());
        let entries = page.finish();
        self.left -= entries.len() as u64;
        // Backward the range ends before its end: at the last key that was read.
        let resume = match (self.has_next, self.reverse) {
            (false, _) => None,
            (true, false) => cursor.key().map(Bytes::copy_from_slice),
            (true, true) => entries.last().map(|entry: &Entry| entry.key.clone()),
        };
        Ok(Page { entries, resume })
    }
}

/// A page's keys and values in one piece of memory.
#[derive(Debug, Default)]
struct Filling {
    bytes: Vec<u8>,
    /// Where each key ends, and its value.
    ends: Vec<(usize, usize)>,
}

impl Filling {
    fn like((bytes, entries): (usize, usize)) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(entries) }
    }

    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
    }

    fn finish(self) -> Vec<Entry> {
        let bytes = Bytes::from(self.bytes);
        let mut start = 0;
        let mut entry = |(key_end, end)| {
            let entry =
                Entry { key: bytes.slice(start..key_end), value: bytes.slice(key_end..end) };
            start = end;
            entry
        };
        self.ends.into_iter().map(&mut entry).collect()
    }
}

#[cfg(test)]
#[path = "pager_test.rs"]
mod tests;
