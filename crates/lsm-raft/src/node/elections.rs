//! When a node that hears of no leader campaigns.

use raft::{Raft, Storage};
use xxhash_rust::xxh3::xxh3_64;

use crate::config::Config;

/// Sets after how many ticks without a leader this node does so, in its term.
///
/// raft would draw them from randomness of the thread, with which no run could be repeated. They
/// are drawn from the node's nonce and the term instead: nodes that had the same number in one term
/// most likely have not in the next.
pub(super) fn draw_timeout<S: Storage>(raft: &mut Raft<S>, config: &Config, nonce: u64) {
    raft.set_randomized_election_timeout(timeout_ticks(config, nonce, raft.term));
}

fn timeout_ticks(config: &Config, nonce: u64, term: u64) -> usize {
    let (from, to) = (config.election_ticks_min, config.election_ticks_max);
    let seed = [nonce, term].map(u64::to_le_bytes);
    from + (xxh3_64(seed.as_flattened()) % (to - from) as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_numbers_of_the_range_are_drawn_by_nonce_and_term() {
        let config = Config::new(1);
        let all: BTreeSet<_> = (config.election_ticks_min..config.election_ticks_max).collect();
        let by_term: BTreeSet<_> = (0..200).map(|term| timeout_ticks(&config, 7, term)).collect();
        let by_nonce: BTreeSet<_> =
            (0..200).map(|nonce| timeout_ticks(&config, nonce, 7)).collect();
        assert_eq!((&by_term, &by_nonce), (&all, &all));
        assert_eq!(timeout_ticks(&config, 3, 4), timeout_ticks(&config, 3, 4));
    }
}
