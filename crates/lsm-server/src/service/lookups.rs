//! Where lookups of one key run: on the thread that serves the request, or on one that may wait
//! for the disk.
//!
//! What is in memory takes a few microseconds, far less than another thread would cost. What is
//! not makes the thread wait, and with it all the requests and all the messages of other nodes
//! that are its turn: puts took three times as long beside lookups of cold keys. Nobody can tell
//! beforehand, as tables are mapped. But those before tell: once one had to wait for the disk,
//! the next ones run elsewhere, until enough of them in a row have not.
//!
//! ```text
//! here ── one waited for the disk ──> elsewhere ── AWAY_COUNT in a row did not ──> here
//! ```
//!
//! Threads: any number; there is no lock.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tonic::Status;

/// What takes longer than memory does; whether it was the disk is asked only then.
const SLOW: Duration = Duration::from_micros(50);
/// Lookups in a row that did not wait, until the next run here again.
const AWAY_COUNT: u32 = 256;
/// Lookups that run elsewhere at the same time; disks serve no more at once.
const ELSEWHERE_MAX: usize = 32;

/// Where the next lookups run.
#[derive(Debug)]
pub(super) struct Lookups {
    /// So many run elsewhere.
    away: AtomicU32,
    turns: Arc<Semaphore>,
    /// Whether this thread has waited for the disk since it was last asked.
    has_waited: fn() -> bool,
}

impl Default for Lookups {
    fn default() -> Self {
        Self::new(has_waited)
    }
}

impl Lookups {
    fn new(has_waited: fn() -> bool) -> Self {
        let turns = Arc::new(Semaphore::new(ELSEWHERE_MAX));
        Self { away: AtomicU32::new(0), turns, has_waited }
    }

    /// Whether the next one is for [`elsewhere`](Self::elsewhere) rather than [`here`](Self::here).
    pub(super) fn are_away(&self) -> bool {
        self.away.load(Ordering::Relaxed) > 0
    }

    /// Looks up on this thread.
    pub(super) fn here<T>(&self, look_up: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let found = look_up();
        let waited = begun.elapsed() >= SLOW && (self.has_waited)();
        let away = self.away.load(Ordering::Relaxed);
        // Nothing depends on the number being exact.
        if waited {
            self.away.store(AWAY_COUNT, Ordering::Relaxed);
        } else if away > 0 {
            self.away.store(away - 1, Ordering::Relaxed);
        }
        found
    }

    /// Looks up on a thread that may wait, when there is a turn.
    ///
    /// # Errors
    ///
    /// If that thread broke off.
    pub(super) async fn elsewhere<T: Send + 'static>(
        self: &Arc<Self>,
        look_up: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        let lookups = Arc::clone(self);
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let found = spawn_blocking(move || {
            let found = lookups.here(look_up);
            drop(turn);
            found
        });
        found.await.map_err(|error| Status::internal(format!("the lookup broke off: {error}")))
    }
}

/// Whether this thread has read from the disk since it was last asked, if the system tells;
/// otherwise what is slow counts as that.
fn has_waited() -> bool {
    thread_local! {
        static SEEN: Cell<u64> = const { Cell::new(0) };
    }
    let Ok(text) = std::fs::read_to_string("/proc/thread-self/io") else { return true };
    read_bytes(&text).is_none_or(|bytes| SEEN.replace(bytes) != bytes)
}

/// What a thread has read from disks.
fn read_bytes(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("read_bytes: "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread::{ThreadId, current};

    use super::*;

    #[test]
    fn what_a_thread_has_read_is_told_by_the_system() {
        assert_eq!(read_bytes("rchar: 6976\nread_bytes: 4096\nwrite_bytes: 1\n"), Some(4096));
        assert_eq!(read_bytes("rchar: 6976\n"), None);
        has_waited();
        #[cfg(target_os = "linux")]
        assert!(!has_waited(), "nothing was read since");
    }

    static DISK: AtomicBool = AtomicBool::new(false);

    /// One of a key that is on the disk or not: where it ran. It is always slow.
    async fn look_up(lookups: &Arc<Lookups>, is_on_disk: bool) -> ThreadId {
        DISK.store(is_on_disk, Ordering::Relaxed);
        let slowly = || {
            let begun = Instant::now();
            while begun.elapsed() < 2 * SLOW {}
            current().id()
        };
        match lookups.are_away() {
            true => lookups.elsewhere(slowly).await.unwrap(),
            false => lookups.here(slowly),
        }
    }

    #[tokio::test]
    async fn once_one_waited_for_the_disk_the_next_run_elsewhere_until_enough_did_not() {
        let lookups = Arc::new(Lookups::new(|| DISK.load(Ordering::Relaxed)));
        let here = current().id();
        for _ in 0..3 {
            assert_eq!(look_up(&lookups, false).await, here, "something else was slow");
        }
        assert_eq!(look_up(&lookups, true).await, here, "nobody could tell");
        for _ in 0..AWAY_COUNT - 1 {
            assert_ne!(look_up(&lookups, false).await, here);
        }
        assert_ne!(look_up(&lookups, true).await, here, "it begins anew");
        for _ in 0..AWAY_COUNT {
            assert_ne!(look_up(&lookups, false).await, here);
        }
        assert_eq!(look_up(&lookups, false).await, here);
    }
}
