//! A store as the workloads see it: the least that every engine can do.

use std::thread;
use std::time::{Duration, Instant};

use crate::data::Key;
use crate::process::Usage;

/// A key and its new value; none deletes it.
pub type Change<'a> = (Key, Option<&'a [u8]>);

/// An open, ordered map from bytes to bytes, for any number of threads.
pub trait Store: Sync {
    /// Survives the death of the process, or as near to that as the engine has.
    fn put(&self, key: &[u8], value: &[u8]);

    /// Survives power loss when the call returns.
    fn sync_put(&self, key: &[u8], value: &[u8]);

    /// As durable as [`put`](Self::put).
    fn delete(&self, key: &[u8]);

    /// All of it at once, as durable as [`put`](Self::put).
    fn write(&self, changes: &[Change<'_>]);

    /// The length of the value, whose first and last bytes were read; `None` if there is none.
    fn get(&self, key: &[u8]) -> Option<usize>;

    /// How many of these keys have a value, each read as by [`get`](Self::get). Engines that have no
    /// call for many look them up one by one.
    fn multi_get(&self, keys: &[Key]) -> usize {
        keys.iter().filter(|key| self.get(&key[..]).is_some()).count()
    }

    /// Reads up to `count` entries from `key` on; returns the bytes of their keys and values.
    fn scan(&self, key: &[u8], count: usize) -> usize;

    /// Writes out what is in memory.
    fn flush(&self);

    /// Whether work goes on behind the calls, as far as the engine tells.
    fn is_busy(&self) -> bool {
        false
    }

    /// Merges everything into one run, if the engine has a call for that.
    fn compact(&self) -> bool {
        false
    }
}

/// Touches a value as its user would.
#[inline]
pub fn touch(value: &[u8]) -> usize {
    std::hint::black_box((value.first(), value.last()));
    value.len()
}

/// Flushes, and waits until the engine has been at rest for so long: it says that nothing goes on,
/// and the process neither writes nor uses more than a fiftieth of a processor. Waits two minutes
/// at most.
pub fn settle(store: &dyn Store, rest: Duration) {
    const LOOK_EVERY: Duration = Duration::from_millis(20);
    const WAIT_MAX: Duration = Duration::from_secs(120);
    store.flush();
    let start = Instant::now();
    let (mut since, mut before) = (start, Usage::now());
    while since.elapsed() < rest && start.elapsed() < WAIT_MAX {
        thread::sleep(LOOK_EVERY.min(rest));
        let used = Usage::now().since(before);
        let busy = used.processor > (LOOK_EVERY + since.elapsed()) / 50;
        if busy || used.written_bytes > 0 || store.is_busy() {
            (since, before) = (Instant::now(), Usage::now());
        }
    }
}
