//! Through where the log may be cut. Pure.

use raft::Raft;

use super::io::NodeStorage;
use crate::config::Config;

/// The log is cut once this part of what is kept is too much.
const CUT_PART: u64 = 4;
/// So many times as much may be kept for nodes that catch up from a snapshot, however little the
/// disk has to spare.
const CATCHING_UP_KEEP: u64 = 16;

/// Index and term of the last entry that is not needed; none while it is not worth it. What is
/// `flushed` is in tables; `needed` says, given what would be kept for all, what those need who
/// catch up from a snapshot: it is kept for as long as they take, within what the disk has to spare.
pub(super) fn cut<S: NodeStorage>(
    raft: &Raft<S>,
    config: &Config,
    flushed: u64,
    spare_bytes: u64,
    needed: impl FnOnce(u64) -> Option<u64>,
) -> Option<(u64, u64)> {
    let keep = config.log_keep_bytes;
    let (log, store) = (&raft.raft_log, raft.store());
    let near = store.cut_for(keep);
    // Making one, and reading it back, takes as long as the state is large.
    let needed = needed(near).into_iter().chain(store.snapshot_index()).min();
    let first = log.first_index();
    // Now and then much, not each time a little. However little that is in tables: the log
    // must not grow for as long as the tables are behind it.
    if store.cut_for(keep + keep / CUT_PART) < first {
        return None;
    }
    let kept = needed.map_or(near, |needed| {
        let bound = keep.saturating_mul(CATCHING_UP_KEEP).max(spare_bytes);
        near.min(needed.max(store.cut_for(bound)))
    });
    let index = kept.min(flushed).min(log.applied);
    let term = log.term(index).ok()?;
    (index >= first).then_some((index, term))
}
