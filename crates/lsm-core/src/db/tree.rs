//! One keyspace's memtables and tables, as readers see them: one super-version, swapped as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Guard};
use lsm_log::error::{Error, Result};
use parking_lot::Mutex;

use super::read_charge::ReadCharge;
use super::stats::Metrics;
use crate::compaction::{self, BusyTables};
use crate::key::{KeyspaceId, SEQ_MAX, SeqNo};
use crate::memtable::{MemoryUse, Memtable};
use crate::options::KeyspaceOptions;
use crate::version::{TableFile, Version};

/// A write buffer is filled as so many memtables, which are flushed as one table: an insert
/// into a quarter of the entries costs half as much, because more of the skip list it walks
/// through is in the caches (64 MiB of 16 + 100 byte entries: a put takes 2.0 µs of processor
/// time against 3.5), while level 0 gets no more tables than before.
pub(crate) const MEMTABLES_A_BUFFER: usize = 4;

/// Everything a read of a keyspace needs, from newest to oldest.
#[derive(Clone, Debug)]
pub(crate) struct SuperVersion {
    pub(crate) active: Arc<Memtable>,
    /// Sealed memtables, newest first.
    pub(crate) sealed: Vec<Arc<Memtable>>,
    /// How many of them, from the newest on, no flush was asked for yet.
    pub(crate) unqueued: usize,
    pub(crate) version: Arc<Version>,
    pub(crate) options: Arc<KeyspaceOptions>,
    pub(crate) facts: VersionFacts,
    pub(crate) charge: Arc<ReadCharge>,
}

/// What the tables of a version come to under the options in force: found by a look at all of
/// them when either changes, for those who ask often and for many keyspaces.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct VersionFacts {
    pub(crate) table_bytes: u64,
    /// See `compaction::debt`.
    pub(crate) debt_bytes: u64,
    /// See `compaction::urgency`, while no compaction runs.
    pub(crate) urgency: f64,
    /// Whether there is anything to compact, once no compaction runs and no snapshot is held.
    pub(crate) is_due: bool,
    /// If the tables are one run of puts, each key in it once: the greatest sequence number.
    pub(crate) plain_run: Option<SeqNo>,
}

impl VersionFacts {
    fn of(version: &Version, options: &KeyspaceOptions) -> Self {
        let idle = BusyTables::default();
        Self {
            table_bytes: version.tables().map(|(_, table)| table.meta.bytes).sum(),
            debt_bytes: compaction::debt(version, options),
            urgency: compaction::urgency(version, &idle, options),
            is_due: compaction::pick(version, &idle, options, SEQ_MAX).is_some(),
            plain_run: plain_run(version),
        }
    }
}

fn plain_run(version: &Version) -> Option<SeqNo> {
    let deeper = version.levels[1..].iter().filter(|tables| !tables.is_empty()).count();
    let is_plain = |(_, table): (usize, &Arc<TableFile>)| {
        table.meta.tombstones == 0 && table.meta.shadowed.entries == 0
    };
    if version.levels[0].len() + deeper != 1 || !version.tables().all(is_plain) {
        return None;
    }
    version.tables().map(|(_, table)| table.meta.seq_max).max()
}

/// A keyspace. Sealing (under the commit lock), installing, being dropped (both under the lock
/// of the version set) and new options change the super-version.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) id: KeyspaceId,
    pub(crate) name: String,
    view: ArcSwap<SuperVersion>,
    /// Where the memory of memtables is counted.
    memory: Arc<MemoryUse>,
    /// Taken to change the super-version.
    pub(super) change: Mutex<()>,
    dropped: AtomicBool,
}

impl Tree {
    pub(crate) fn new(
        id: KeyspaceId,
        name: &str,
        options: KeyspaceOptions,
        version: Arc<Version>,
        memory: &Arc<MemoryUse>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let charge = Arc::new(ReadCharge::new(metrics));
        let view = SuperVersion::new(Arc::new(options), version, memory, charge);
        Self {
            id,
            name: name.to_owned(),
            view: ArcSwap::from_pointee(view),
            memory: Arc::clone(memory),
            change: Mutex::new(()),
            dropped: AtomicBool::new(false),
        }
    }

    /// The super-version as it is now, for a moment: hold a [`pinned`](Self::pinned) one for
    /// longer.
    #[inline]
    pub(crate) fn super_version(&self) -> Guard<Arc<SuperVersion>> {
        self.view.load()
    }

    pub(crate) fn pinned(&self) -> Arc<SuperVersion> {
        self.view.load_full()
    }

    /// Seals the active memtable and puts an empty one in its place.
    pub(crate) fn seal(&self) {
        let active =
            Arc::new(Memtable::new(memtable_bytes(&self.super_version().options), &self.memory));
        self.change(|view| {
            view.sealed.insert(0, std::mem::replace(&mut view.active, active));
            view.unqueued += 1;
        });
    }

    /// The sealed memtables that no flush was asked for yet, newest first: the caller does.
    pub(crate) fn queue(&self) -> Vec<Arc<Memtable>> {
        let view = self.super_version();
        let queued = view.sealed[..view.unqueued].to_vec();
        drop(view);
        queued.iter().for_each(|memtable| memtable.queue());
        self.change(|view| view.unqueued = 0);
        queued
    }

    /// Puts `version` in force; what was `flushed` is in its tables and goes.
    pub(crate) fn install(&self, version: &Arc<Version>, flushed: &[Arc<Memtable>]) {
        // Before the lock, which writers may wait for to seal a memtable.
        let options = Arc::clone(&self.super_version().options);
        let facts = VersionFacts::of(version, &options);
        self.change(|view| {
            view.version = Arc::clone(version);
            view.facts = match Arc::ptr_eq(&options, &view.options) {
                true => facts,
                false => VersionFacts::of(version, &view.options),
            };
            let is_flushed = |m: &Arc<Memtable>| flushed.iter().any(|f| Arc::ptr_eq(f, m));
            view.sealed.retain(|memtable| !is_flushed(memtable));
        });
        flushed.iter().for_each(|memtable| memtable.release());
    }

    /// From now on; a memtable or table in the making keeps the old ones.
    pub(crate) fn set_options(&self, options: KeyspaceOptions) {
        self.change(|view| {
            view.facts = VersionFacts::of(&view.version, &options);
            view.options = Arc::new(options);
        });
    }

    fn change(&self, change: impl FnOnce(&mut SuperVersion)) {
        let _guard = self.change.lock();
        let mut view = SuperVersion::clone(&self.super_version());
        change(&mut view);
        self.view.store(Arc::new(view));
    }

    /// Marks the keyspace as dropped, and only then lets go of all it held: whoever sees it
    /// empty can see why. Cursors go on over super-versions of their own.
    pub(crate) fn mark_dropped(&self) {
        self.dropped.store(true, Ordering::Release);
        self.change(|view| {
            view.memtables().for_each(|memtable| memtable.release());
            let (options, charge) = (Arc::clone(&view.options), Arc::clone(&view.charge));
            *view = SuperVersion::new(options, Arc::default(), &self.memory, charge);
        });
    }

    #[inline]
    pub(crate) fn check_not_dropped(&self) -> Result<()> {
        match self.is_dropped() {
            false => Ok(()),
            true => Err(Error::invalid(format!("keyspace \"{}\" was dropped", self.name))),
        }
    }

    #[inline]
    pub(crate) fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }
}

impl SuperVersion {
    /// The tables of `version` under an empty memtable.
    fn new(
        options: Arc<KeyspaceOptions>,
        version: Arc<Version>,
        memory: &Arc<MemoryUse>,
        charge: Arc<ReadCharge>,
    ) -> Self {
        let active = Arc::new(Memtable::new(memtable_bytes(&options), memory));
        let facts = VersionFacts::of(&version, &options);
        let sealed = Vec::new();
        Self { active, sealed, unqueued: 0, version, options, facts, charge }
    }

    /// Whether the active memtable is to be sealed before the next write.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.active.bytes() >= memtable_bytes(&self.options)
    }

    /// Whether the active memtable may be sealed, or need not be.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        let most = self.options.write_buffers_max * MEMTABLES_A_BUFFER;
        !self.is_full() || self.sealed.len() + 1 < most
    }

    /// The write buffer that is being filled: all memtables that no flush was asked for yet.
    pub(crate) fn filling(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        std::iter::once(&self.active).chain(&self.sealed[..self.unqueued])
    }

    /// Memory of the write buffer that is being filled.
    pub(crate) fn filling_bytes(&self) -> usize {
        self.filling().map(|memtable| memtable.bytes()).sum()
    }

    /// Whether any memtable waits for a flush that was asked for, or is being flushed.
    pub(crate) fn is_flushing(&self) -> bool {
        self.sealed.len() > self.unqueued
    }

    /// All memtables, newest first.
    pub(crate) fn memtables(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        std::iter::once(&self.active).chain(&self.sealed)
    }
}

fn memtable_bytes(options: &KeyspaceOptions) -> usize {
    options.write_buffer_bytes / MEMTABLES_A_BUFFER
}
