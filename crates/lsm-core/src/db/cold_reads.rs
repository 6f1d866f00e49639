//! Whether lookups of many keys wait for the disk: then the system is told of their blocks before the
//! first is touched. That is a call for each, which data in memory must not pay for.
//!
//! Threads: any; that two of them count together may cost a few calls.

use std::sync::atomic::{AtomicU32, Ordering};

/// So many groups are announced then, before it is tried without.
const ANNOUNCED_GROUPS: u32 = 256;

/// How many groups are still announced to the system.
#[derive(Debug, Default)]
pub(crate) struct ColdReads(AtomicU32);

impl ColdReads {
    /// Whether the blocks of the next group are to be announced.
    pub(super) fn announces(&self) -> bool {
        let left = self.0.load(Ordering::Relaxed);
        if left > 0 {
            self.0.store(left - 1, Ordering::Relaxed);
        }
        left > 0
    }

    /// A group had to wait.
    pub(super) fn waited(&self) {
        self.0.store(ANNOUNCED_GROUPS, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_announced_for_a_while_after_one_that_waited() {
        let cold = ColdReads::default();
        assert!(!cold.announces());
        cold.waited();
        assert!((0..ANNOUNCED_GROUPS).all(|_| cold.announces()));
        assert!(!cold.announces());
    }
}
