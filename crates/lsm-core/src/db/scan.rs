//! Walking over what a reader may see: hides versions that are too new, replaced or deleted.
//!
//! Going forward, the merged cursor stands on the entry that is shown, and the slices handed
//! out are its own. Going backward, the versions of a key come oldest first, so the newest
//! visible one is known only when the next key appears: it is kept aside as a copy, and the
//! merged cursor stands before it.
//!
//! Over one run of tables at rest every entry is shown, which is known of the tables: nothing is
//! compared or kept aside then.

use std::ops::Bound;
use std::sync::Arc;

use lsm_log::error::{Error, Result};

use super::open_transaction::{ReadTracker, TransactionView};
use super::read::{ReadPoint, unsupported};
use super::read_charge::{Moves, ReadPrice};
use super::read_set::Visit;
use super::tree::SuperVersion;
use crate::iter::{Concat, Cursor as _, Merge, Run};
use crate::key::{KeyRange, Kind, OWN_SEQ_MIN, SEQ_MAX, SeqNo, Tag};
use crate::memtable::MemtableCursor;
use crate::sstable::{OpenTables, TableCursor};
use crate::value::Value;
use crate::version::TableFile;

/// After this many entries of one key the walk seeks past the rest instead of stepping.
const STEPS_MAX: usize = 8;

/// A long scan pays before it has ended.
const STEPS_UNPAID_MAX: u64 = 4096;

/// A position among the keys and values of a keyspace, at one point in the write order.
///
/// A new cursor stands nowhere: seek first. Keys and values are borrowed from where they lie
/// and valid until the cursor moves; no step allocates. The cursor keeps its super-version of the
/// database, and the files it needs, alive until it is dropped or the database is closed.
///
/// ```
/// # fn main() -> lsm_core::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = lsm_core::Db::open(dir.path())?;
/// for name in ["ada", "grace", "hedy"] {
///     db.put(name, "1")?;
/// }
/// let mut cursor = db.cursor();
/// cursor.seek("b")?;
/// assert_eq!(cursor.key(), Some(&b"grace"[..]));
/// cursor.prev()?;
/// assert_eq!(cursor.entry(), Some((&b"ada"[..], &b"1"[..])));
/// # drop(cursor); db.close()
/// # }
/// ```
#[derive(Debug)]
pub struct Cursor {
    merge: Merge<Child>,
    seq: SeqNo,
    /// The last of its transaction's own writes that it sees; zero for none.
    own_max: SeqNo,
    /// Tells its transaction what was read.
    tracker: Option<Box<ReadTracker>>,
    range: KeyRange,
    state: CursorState,
    /// The key of the entry kept aside; while going forward, the key to skip.
    key: Vec<u8>,
    /// The value of the entry kept aside.
    value: Vec<u8>,
    price: ReadPrice,
    /// What is not paid for yet.
    unpaid: Moves,
    /// Every entry is the only version of its key, and visible.
    plain: bool,
    source: CursorSource,
}

/// What a cursor reads; lets a second one see exactly the same.
#[derive(Clone, Debug)]
enum CursorSource {
    SuperVersion {
        view: Arc<SuperVersion>,
        tables: Arc<OpenTables>,
        transaction: Option<TransactionView>,
    },
    /// Why there is nothing to read; told at every move.
    Refused(Error),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CursorState {
    Nowhere,
    /// The merged cursor stands on the entry.
    Here,
    /// The entry is kept aside; the merged cursor stands before it.
    Aside,
}

impl Cursor {
    pub(crate) fn new(point: &ReadPoint<'_>, range: KeyRange) -> Self {
        let view = point.tree.pinned();
        if let Err(error) = point.check() {
            return Self::over(CursorSource::Refused(error), SEQ_MAX, range);
        }
        let transaction = match point.transaction.map(|open| open.view(point.tree)) {
            None => None,
            Some(Ok(transaction)) => Some(transaction),
            Some(Err(error)) => return Self::over(CursorSource::Refused(error), SEQ_MAX, range),
        };
        // After the super-version: see `ReadPoint::get`.
        let seq = point.seq.unwrap_or_else(|| point.engine.published.get());
        let tables = Arc::clone(&point.engine.tables);
        Self::over(CursorSource::SuperVersion { view, tables, transaction }, seq, range)
    }

    fn over(source: CursorSource, seq: SeqNo, range: KeyRange) -> Self {
        let mut own_max = SeqNo::default();
        let mut tracker = None;
        let (children, plain, price) = match &source {
            CursorSource::SuperVersion { view, tables, transaction } => {
                let mut children = children(view, tables, &range);
                if let Some(transaction) = transaction {
                    tracker = Some(Box::new(transaction.tracker()));
                    if let Some((own, last)) = &transaction.own {
                        own_max = *last;
                        children.insert(0, Child::Memtable(own.cursor()));
                    }
                }
                let runs = children.iter().filter(|child| matches!(child, Child::Run(_))).count();
                let plain = runs == children.len()
                    && view.facts.plain_run.is_some_and(|seq_max| seq_max <= seq);
                let filling = view.filling().filter(|memtable| !memtable.is_empty());
                let sizes = filling.map(|memtable| (memtable.bytes(), memtable.entries()));
                let price = ReadPrice::new(sizes, runs);
                (children, plain, price)
            }
            CursorSource::Refused(_) => Default::default(),
        };
        let (key, value) = (Vec::new(), Vec::new());
        Self {
            merge: Merge::new(children),
            seq,
            own_max,
            tracker,
            range,
            state: CursorState::Nowhere,
            key,
            value,
            price,
            unpaid: Moves::default(),
            plain,
            source,
        }
    }

    /// A second cursor that sees exactly what this one sees.
    pub(super) fn twin(&self) -> Self {
        Self::over(self.source.clone(), self.seq, self.range.clone())
    }

    /// To the first key at or behind `key`. Tells whether there is one.
    ///
    /// # Errors
    ///
    /// As for every move: `Corrupt` or `Io` from the tables, `Closed` once the database was
    /// closed. Afterwards the cursor stands nowhere.
    pub fn seek(&mut self, key: impl AsRef<[u8]>) -> Result<bool> {
        let key = key.as_ref();
        if self.range.is_before(key) {
            return self.seek_first();
        }
        let found = self.sought(|cursor| {
            cursor.merge.seek(key, cursor.newest_visible())?;
            cursor.settle_forward(false)
        })?;
        self.track(Visit::From(key), found)
    }

    /// To the last key at or before `key`. Tells whether there is one.
    pub fn seek_back(&mut self, key: impl AsRef<[u8]>) -> Result<bool> {
        let key = key.as_ref();
        if self.range.is_after(key) {
            return self.seek_last();
        }
        let found = self.sought(|cursor| {
            // Tag 0 is behind every version of the key.
            cursor.merge.seek_back(key, Tag(0))?;
            cursor.settle_backward()
        })?;
        self.track(Visit::BackFrom(key), found)
    }

    /// To the first key. Tells whether there is one.
    pub fn seek_first(&mut self) -> Result<bool> {
        let found = self.sought(|cursor| {
            match &cursor.range.start {
                Bound::Unbounded => cursor.merge.seek_first()?,
                Bound::Included(start) => {
                    let tag = cursor.newest_visible();
                    cursor.merge.seek(start, tag)?;
                }
                Bound::Excluded(start) => {
                    // Tag 0 may itself be a stored version: step over it.
                    cursor.merge.seek(start, Tag(0))?;
                    while cursor.merge.is_valid() && cursor.merge.key() == start.as_slice() {
                        cursor.merge.next()?;
                    }
                }
            }
            cursor.settle_forward(false)
        })?;
        self.track(Visit::FromFirst, found)
    }

    /// To the last key. Tells whether there is one.
    pub fn seek_last(&mut self) -> Result<bool> {
        let found = self.sought(|cursor| {
            match &cursor.range.end {
                Bound::Unbounded => cursor.merge.seek_last()?,
                Bound::Included(end) => cursor.merge.seek_back(end, Tag(0))?,
                // The greatest tag is before every version of the key.
                Bound::Excluded(end) => cursor.merge.seek_back(end, Tag(u64::MAX))?,
            }
            cursor.settle_backward()
        })?;
        self.track(Visit::FromLast, found)
    }

    /// To the next key; from nowhere, to the first. Tells whether there is one.
    #[allow(clippy::should_implement_trait, reason = "a cursor lends what an iterator gives away")]
    pub fn next(&mut self) -> Result<bool> {
        let found = match self.state {
            CursorState::Nowhere => return self.seek_first(),
            CursorState::Here => self.moved(|cursor| {
                cursor.count_step();
                if !cursor.plain {
                    cursor.key.clear();
                    cursor.key.extend_from_slice(cursor.merge.key());
                }
                cursor.merge.next()?;
                cursor.settle_forward(true)
            }),
            CursorState::Aside => self.moved(|cursor| {
                let key = std::mem::take(&mut cursor.key);
                cursor.merge.seek(&key, Tag(0))?;
                cursor.key = key;
                cursor.settle_forward(true)
            }),
        }?;
        self.track(Visit::On, found)
    }

    /// To the previous key; from nowhere, to the last. Tells whether there is one.
    pub fn prev(&mut self) -> Result<bool> {
        let found = match self.state {
            CursorState::Nowhere => return self.seek_last(),
            CursorState::Aside => self.moved(|cursor| {
                cursor.count_step();
                cursor.settle_backward()
            }),
            CursorState::Here if self.plain => self.moved(|cursor| {
                cursor.count_step();
                cursor.merge.prev()?;
                cursor.settle_backward()
            }),
            CursorState::Here => self.moved(|cursor| {
                cursor.key.clear();
                cursor.key.extend_from_slice(cursor.merge.key());
                cursor.leave_backward()?;
                cursor.settle_backward()
            }),
        }?;
        self.track(Visit::Back, found)
    }

    /// The key under the cursor; `None` if it stands nowhere.
    #[inline]
    pub fn key(&self) -> Option<&[u8]> {
        match self.state {
            CursorState::Nowhere => None,
            CursorState::Here => Some(self.merge.key()),
            CursorState::Aside => Some(&self.key),
        }
    }

    /// The value under the cursor; `None` if it stands nowhere.
    #[inline]
    pub fn value(&self) -> Option<&[u8]> {
        match self.state {
            CursorState::Nowhere => None,
            CursorState::Here => Some(self.merge.value()),
            CursorState::Aside => Some(&self.value),
        }
    }

    /// Key and value under the cursor; `None` if it stands nowhere.
    #[inline]
    pub fn entry(&self) -> Option<(&[u8], &[u8])> {
        Some((self.key()?, self.value()?))
    }

    /// The value under the cursor, to keep: shares its memory where it can.
    pub(super) fn value_to_keep(&self) -> Option<Value> {
        match self.state {
            CursorState::Nowhere => None,
            CursorState::Here => Some(self.merge.value_to_keep()),
            CursorState::Aside => Some(Value::from(bytes::Bytes::copy_from_slice(&self.value))),
        }
    }

    /// Tells the cursor's transaction, if it has one, what a move has read; passes on whether it found
    /// an entry.
    #[inline]
    fn track(&mut self, visit: Visit<'_>, found: bool) -> Result<bool> {
        match self.tracker {
            None => Ok(found),
            Some(_) => self.tell(visit).map(|()| found),
        }
    }

    fn tell(&mut self, visit: Visit<'_>) -> Result<()> {
        let Some(mut tracker) = self.tracker.take() else { return Ok(()) };
        let told = tracker.tell(visit, self.key(), &self.range);
        self.tracker = Some(tracker);
        if told.is_err() {
            self.state = CursorState::Nowhere;
        }
        told
    }

    /// Whether versions of this number show: those up to the cursor's point in the write order, and its
    /// transaction's own.
    #[inline]
    fn sees(&self, seq: SeqNo) -> bool {
        seq <= self.seq || (seq >= OWN_SEQ_MIN && seq <= self.own_max)
    }

    /// Where to seek a key for the newest version that may show.
    #[inline]
    fn newest_visible(&self) -> Tag {
        Tag::seek(self.seq.max(self.own_max))
    }

    /// Where to seek the key of an entry that is too new, for the next version that may show.
    fn next_visible(&self, hidden: SeqNo) -> Tag {
        let is_own = hidden >= OWN_SEQ_MIN && self.own_max >= OWN_SEQ_MIN;
        Tag::seek(if is_own { self.own_max } else { self.seq })
    }

    /// Runs one move that looks into every memtable and run of tables.
    fn sought(&mut self, go: impl FnOnce(&mut Self) -> Result<CursorState>) -> Result<bool> {
        self.pay();
        self.unpaid.seeks = 1;
        self.moved(go)
    }

    /// Pays for the moves so far, and counts them: a seek and the steps after it at once.
    fn pay(&mut self) {
        let moves = std::mem::take(&mut self.unpaid);
        if let CursorSource::SuperVersion { view, .. } = &self.source {
            view.charge.pay(self.price, moves);
        }
    }

    #[inline]
    fn count_step(&mut self) {
        self.unpaid.steps += 1;
        if self.unpaid.steps == STEPS_UNPAID_MAX {
            self.pay();
        }
    }

    /// Runs one move. The cursor stands nowhere unless the move gets to an entry.
    #[inline]
    fn moved(&mut self, go: impl FnOnce(&mut Self) -> Result<CursorState>) -> Result<bool> {
        self.state = CursorState::Nowhere;
        match &self.source {
            CursorSource::SuperVersion { tables, .. } => tables.check_open()?,
            CursorSource::Refused(error) => return Err(error.clone()),
        }
        self.state = go(self)?;
        Ok(self.state != CursorState::Nowhere)
    }

    /// Goes on to the first entry that shows, from where the merged cursor stands; with
    /// `skipping`, past all versions of `self.key`.
    #[inline]
    fn settle_forward(&mut self, mut skipping: bool) -> Result<CursorState> {
        if self.plain {
            return self.settle_plain(KeyRange::is_after);
        }
        // Whether `self.key` is a key on the way: one to skip, or one with versions too new.
        let mut tracking = skipping;
        let mut steps = 0;
        while self.merge.is_valid() {
            let (key, tag) = (self.merge.key(), self.merge.tag());
            let known = tracking && key == self.key.as_slice();
            if !(known && skipping) {
                if self.range.is_after(key) {
                    break;
                }
                let visible = self.sees(tag.seq());
                match tag.kind() {
                    Some(Kind::Put) if visible => return Ok(CursorState::Here),
                    Some(Kind::Put | Kind::Delete) => {}
                    _ => return Err(unsupported(tag)),
                }
                if !known {
                    self.key.clear();
                    self.key.extend_from_slice(key);
                }
                (tracking, skipping) = (true, visible);
            }
            self.unpaid.hidden += 1;
            steps = if known { steps + 1 } else { 0 };
            if steps <= STEPS_MAX {
                self.merge.next()?;
            } else {
                let tag = if skipping { Tag(0) } else { self.next_visible(tag.seq()) };
                self.merge.seek(&self.key, tag)?;
                steps = 0;
            }
        }
        Ok(CursorState::Nowhere)
    }

    /// Shows the entry that the merged cursor stands on, unless the range ends before it.
    #[inline]
    fn settle_plain(&self, is_over: impl Fn(&KeyRange, &[u8]) -> bool) -> Result<CursorState> {
        if !self.merge.is_valid() || is_over(&self.range, self.merge.key()) {
            return Ok(CursorState::Nowhere);
        }
        match self.merge.tag().kind() {
            Some(Kind::Put) => Ok(CursorState::Here),
            _ => Err(unsupported(self.merge.tag())),
        }
    }

    /// From the entry that shows back over the newer versions of its key, which is `self.key`.
    fn leave_backward(&mut self) -> Result<()> {
        for _ in 0..STEPS_MAX {
            if !(self.merge.is_valid() && self.merge.key() == self.key.as_slice()) {
                return Ok(());
            }
            self.merge.prev()?;
        }
        self.merge.seek_back(&self.key, Tag(u64::MAX))
    }

    /// Goes back to the first entry that shows, from where the merged cursor stands, keeps
    /// it aside and stops before it.
    fn settle_backward(&mut self) -> Result<CursorState> {
        if self.plain {
            return self.settle_plain(KeyRange::is_before);
        }
        let mut found = false;
        let mut steps = 0;
        while self.merge.is_valid() {
            let (key, tag) = (self.merge.key(), self.merge.tag());
            if key != self.key.as_slice() || steps == 0 {
                if found || self.range.is_before(key) {
                    break;
                }
                self.key.clear();
                self.key.extend_from_slice(key);
                steps = 0;
            }
            if self.sees(tag.seq()) {
                found = self.keep_aside()?;
            }
            self.unpaid.hidden += 1;
            steps += 1;
            if steps <= STEPS_MAX {
                self.merge.prev()?;
            } else {
                // The newest visible version, then on to before the newest of all.
                found = self.keep_newest_aside()?;
                self.merge.seek_back(&self.key, Tag(u64::MAX))?;
                steps = 0;
            }
        }
        // One of those that were passed over shows.
        self.unpaid.hidden -= u64::from(found);
        Ok(if found { CursorState::Aside } else { CursorState::Nowhere })
    }

    /// Keeps the newest version of `self.key` that shows, unless none does; tells whether it is a value.
    fn keep_newest_aside(&mut self) -> Result<bool> {
        self.merge.seek(&self.key, self.newest_visible())?;
        loop {
            if !(self.merge.is_valid() && self.merge.key() == self.key.as_slice()) {
                return Ok(false);
            }
            let seq = self.merge.tag().seq();
            if self.sees(seq) {
                return self.keep_aside();
            }
            self.merge.seek(&self.key, self.next_visible(seq))?;
        }
    }

    /// Keeps the value of the version that the merged cursor stands on; tells whether that
    /// version is a value at all.
    fn keep_aside(&mut self) -> Result<bool> {
        match self.merge.tag().kind() {
            Some(Kind::Put) => {
                self.value.clear();
                self.value.extend_from_slice(self.merge.value());
                Ok(true)
            }
            Some(Kind::Delete) => Ok(false),
            _ => Err(unsupported(self.merge.tag())),
        }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.pay();
    }
}

/// Cursors over all of a super-version that may hold keys of `range`, newest first.
fn children(view: &Arc<SuperVersion>, tables: &Arc<OpenTables>, range: &KeyRange) -> Vec<Child> {
    let memtables = view.memtables().filter(|memtable| !memtable.is_empty());
    let mut children: Vec<Child> = memtables.map(|m| Child::Memtable(m.cursor())).collect();
    let mut add = |level: usize, files: std::ops::Range<usize>| {
        let (view, tables) = (Arc::clone(view), Arc::clone(tables));
        children.push(Child::Run(Concat::new(TableRun { view, tables, level, files })));
    };
    for (at, table) in view.version.levels[0].iter().enumerate() {
        if range.overlaps(&table.meta.smallest, &table.meta.largest) {
            add(0, at..at + 1);
        }
    }
    for level in 1..=view.version.deepest() {
        let files = view.version.run_in_range(level, range);
        if !files.is_empty() {
            add(level, files);
        }
    }
    children
}

/// A part of a super-version.
#[derive(Debug)]
enum Child {
    Memtable(MemtableCursor),
    Run(Concat<TableRun>),
}

/// Disjoint tables in key order: neighbours in one level of a super-version, opened through the set
/// of open tables. Shares the super-version, so that making a cursor costs the same however many
/// tables the level has.
#[derive(Debug)]
struct TableRun {
    view: Arc<SuperVersion>,
    tables: Arc<OpenTables>,
    level: usize,
    files: std::ops::Range<usize>,
}

impl TableRun {
    #[inline]
    fn file(&self, i: usize) -> &TableFile {
        &self.view.version.levels[self.level][self.files.start + i]
    }
}

impl Run for TableRun {
    type Cursor = TableCursor;

    fn len(&self) -> usize {
        self.files.len()
    }

    #[inline]
    fn smallest(&self, i: usize) -> &[u8] {
        &self.file(i).meta.smallest
    }

    #[inline]
    fn largest(&self, i: usize) -> &[u8] {
        &self.file(i).meta.largest
    }

    fn open(&self, i: usize) -> Result<TableCursor> {
        Ok(self.tables.reader(&self.file(i).handle)?.cursor())
    }
}

/// Passes a call on to whichever child it is.
macro_rules! each {
    ($self:ident, $child:ident => $call:expr) => {
        match $self {
            Self::Memtable($child) => $call,
            Self::Run($child) => $call,
        }
    };
}

impl crate::iter::Cursor for Child {
    #[inline]
    fn is_valid(&self) -> bool {
        each!(self, child => child.is_valid())
    }
    fn seek(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        each!(self, child => child.seek(key, tag))
    }
    fn seek_back(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        each!(self, child => child.seek_back(key, tag))
    }
    fn seek_first(&mut self) -> Result<()> {
        each!(self, child => child.seek_first())
    }
    fn seek_last(&mut self) -> Result<()> {
        each!(self, child => child.seek_last())
    }
    #[inline]
    fn next(&mut self) -> Result<()> {
        each!(self, child => child.next())
    }
    #[inline]
    fn prev(&mut self) -> Result<()> {
        each!(self, child => child.prev())
    }
    #[inline]
    fn key(&self) -> &[u8] {
        each!(self, child => child.key())
    }
    #[inline]
    fn tag(&self) -> Tag {
        each!(self, child => child.tag())
    }
    #[inline]
    fn value(&self) -> &[u8] {
        each!(self, child => child.value())
    }
    fn value_to_keep(&self) -> Value {
        each!(self, child => child.value_to_keep())
    }
}
