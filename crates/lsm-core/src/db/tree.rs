//! One keyspace's memtables and tables, as readers see them: one view, swapped as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Guard};

use crate::key::KeyspaceId;
use crate::memtable::Memtable;
use crate::options::KeyspaceOptions;
use crate::sync::Mutex;
use crate::version::Version;

/// Everything a read of a keyspace needs, from newest to oldest.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) active: Arc<Memtable>,
    /// Sealed memtables, newest first.
    pub(crate) sealed: Vec<Arc<Memtable>>,
    pub(crate) version: Arc<Version>,
    pub(crate) options: Arc<KeyspaceOptions>,
}

/// A keyspace. Sealing (under the commit lock), installing (under the lock of the version set)
/// and new options change the view.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) id: KeyspaceId,
    pub(crate) name: String,
    view: ArcSwap<View>,
    /// Taken to change the view.
    change: Mutex<()>,
    dropped: AtomicBool,
}

impl Tree {
    pub(crate) fn new(
        id: KeyspaceId,
        name: &str,
        options: KeyspaceOptions,
        version: Arc<Version>,
    ) -> Self {
        let active = Arc::new(Memtable::new(options.write_buffer_bytes));
        let options = Arc::new(options);
        let view = View { active, sealed: Vec::new(), version, options };
        Self {
            id,
            name: name.to_owned(),
            view: ArcSwap::from_pointee(view),
            change: Mutex::new(()),
            dropped: AtomicBool::new(false),
        }
    }

    /// The view as it is now, for a moment: hold a [`pinned`](Self::pinned) one for longer.
    #[inline]
    pub(crate) fn view(&self) -> Guard<Arc<View>> {
        self.view.load()
    }

    pub(crate) fn pinned(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Seals the active memtable and puts an empty one in its place.
    pub(crate) fn seal(&self) -> Arc<Memtable> {
        let sealed = Arc::clone(&self.view().active);
        let active = Arc::new(Memtable::new(self.view().options.write_buffer_bytes));
        self.change(|view| {
            view.sealed.insert(0, std::mem::replace(&mut view.active, active));
        });
        sealed
    }

    /// Puts `version` in force; `flushed`, if any, is in its tables and goes.
    pub(crate) fn install(&self, version: &Arc<Version>, flushed: Option<&Arc<Memtable>>) {
        self.change(|view| {
            view.version = Arc::clone(version);
            if let Some(flushed) = flushed {
                view.sealed.retain(|memtable| !Arc::ptr_eq(memtable, flushed));
            }
        });
    }

    /// From now on; a memtable or table in the making keeps the old ones.
    pub(crate) fn set_options(&self, options: KeyspaceOptions) {
        self.change(|view| view.options = Arc::new(options));
    }

    fn change(&self, change: impl FnOnce(&mut View)) {
        let _guard = self.change.lock();
        let mut view = View::clone(&self.view());
        change(&mut view);
        self.view.store(Arc::new(view));
    }

    pub(crate) fn mark_dropped(&self) {
        self.dropped.store(true, Ordering::Release);
    }

    #[inline]
    pub(crate) fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }
}

impl View {
    /// Whether the active memtable is to be sealed before the next write.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.active.bytes() >= self.options.write_buffer_bytes
    }

    /// Whether the active memtable may be sealed, or need not be.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        !self.is_full() || self.sealed.len() + 1 < self.options.write_buffers_max
    }

    /// All memtables, newest first.
    pub(crate) fn memtables(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        std::iter::once(&self.active).chain(&self.sealed)
    }
}
