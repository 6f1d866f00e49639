//! Holds writers back by the pressure of all keyspaces together (RocksDB: write controller).
//!
//! Leaves to others: what pressure is (`stall`, pure), and the waiting.
//!
//! Threads: any. The lock is a leaf, and is held over a look at the keyspaces' super-versions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::stall::{LevelShape, Pacer, Pressure, StallReason};
use super::tree::{MEMTABLES_A_BUFFER, SuperVersion, Tree};
use crate::key::KeyspaceId;
use crate::memtable::MemoryUse;

/// The pressure is computed anew after so many bytes, as the active memtable fills up.
const PRESSURE_EVERY: usize = 256 << 10;

/// How much writers are held back.
#[derive(Debug, Default)]
pub(crate) struct Pacing {
    inner: Mutex<Inner>,
    /// Whether anything waits to be flushed or holds writers back: if not, writers need not
    /// look at the rest.
    pressed: AtomicBool,
    /// Whether writers wait until background work has caught up.
    stopped: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    pressure: Pressure,
    pacer: Pacer,
    /// Bytes written since the pressure was computed: filling a memtable raises it.
    written: usize,
    /// The keyspaces that may hold writers back: those that did when they were looked at last,
    /// and those that have changed since.
    watched: BTreeMap<KeyspaceId, Arc<Tree>>,
}

/// What a write has to do before it goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge {
    pub(crate) reason: StallReason,
    /// To be waited first.
    pub(crate) pause: Duration,
}

impl Pacing {
    #[inline]
    pub(crate) fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::Relaxed)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// The tree has changed: it is looked at when the pressure is computed next.
    pub(crate) fn watch(&self, tree: &Arc<Tree>) {
        self.inner.lock().watched.insert(tree.id, Arc::clone(tree));
    }

    /// Counts bytes that are about to be written; true if the pressure is to be computed first.
    pub(crate) fn count(&self, bytes: usize) -> bool {
        let mut inner = self.inner.lock();
        inner.written += bytes;
        inner.written >= PRESSURE_EVERY
    }

    /// What these bytes cost at this time.
    pub(crate) fn charge(&self, bytes: usize, now: Duration) -> Charge {
        let mut inner = self.inner.lock();
        let pressure = inner.pressure;
        let pause = inner.pacer.charge(&pressure, bytes, now);
        Charge { reason: pressure.reason, pause }
    }

    /// Computes anew how much writers are held back, by those keyspaces that may: the others are
    /// not looked at, as there may be thousands. True if writers were stopped, and are no more.
    ///
    /// Under the lock from the first look on: whoever stores last has looked last. Otherwise a
    /// stop, seen before the last job took its cause away, could be stored after it, for ever.
    /// For the same reason a tree is watched from each of its changes on until it was looked at.
    ///
    /// Why none is missed: nothing but a change makes an idle keyspace hold writers back. As its
    /// active memtable fills it comes no further than to the soft limit.
    pub(crate) fn update(&self, memory: &MemoryUse, memory_max: usize) -> bool {
        let mut inner = self.inner.lock();
        let mut worst = Pressure::of_memory(memory.bytes(), memory.filling(), memory_max);
        let mut any_flushing = false;
        inner.watched.retain(|_, tree| {
            let view = tree.super_version();
            let pressure = pressure_of(&view);
            worst = worst.worse(pressure);
            any_flushing |= view.is_flushing();
            view.is_flushing() || !pressure.is_none()
        });
        self.pressed.store(any_flushing || !worst.is_none(), Ordering::Relaxed);
        let was_stopped = self.stopped.swap(worst.stop, Ordering::Relaxed);
        (inner.pressure, inner.written) = (worst, 0);
        was_stopped && !worst.stop
    }

    #[cfg(test)]
    pub(crate) fn pressure(&self) -> Pressure {
        self.inner.lock().pressure
    }

    #[cfg(test)]
    pub(crate) fn watched(&self) -> usize {
        self.inner.lock().watched.len()
    }

    /// Keeps everybody from computing the pressure.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> impl Drop + '_ {
        self.inner.lock()
    }
}

/// How much one keyspace holds writers back.
pub(super) fn pressure_of(view: &SuperVersion) -> Pressure {
    Pressure::of(&LevelShape {
        sealed_memtables: (view.sealed.len() - view.unqueued).div_ceil(MEMTABLES_A_BUFFER),
        active_bytes: view.filling_bytes() as u64,
        write_buffer_bytes: view.options.write_buffer_bytes as u64,
        write_buffers_max: view.options.write_buffers_max,
        l0_tables: view.version.levels[0].len(),
        l0_tables_compact: view.options.l0_tables_compact,
        debt_bytes: view.facts.debt_bytes,
        level_bytes_base: view.options.level_bytes_base,
        total_bytes: view.facts.table_bytes,
    })
}
