//! What a cursor that walks from block to block will need next. Pure: touches no file.
//!
//! Tables are opened for reads anywhere, so the system reads nothing ahead on its own. A short
//! scan should cost no more than its blocks, since asking costs even if all is in memory; a long
//! one should not wait for each of them. So the eighth block in a row asks for a little more, and
//! each time half of that is used up for twice as much.

use std::ops::Range;

/// Blocks in a row before anything is asked for.
const ROW_MIN: u32 = 8;
/// How much is asked for at first, in bytes.
const AHEAD_BYTES_MIN: u32 = 16 << 10;
/// How much is asked for at once at most.
const AHEAD_BYTES_MAX: u32 = 256 << 10;

/// How far a cursor has asked ahead. Small: a cursor has one for each run that it merges.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    /// The block that would go on the row; 0 for none.
    next: usize,
    /// How many blocks in a row the last one ends.
    row: u32,
    /// How much was asked for last; 0 for nothing yet.
    step: u32,
    /// Where that ends.
    end: u64,
}

impl ReadAhead {
    /// The cursor is in block `at`, which ends at `block_end`. Returns the bytes to ask for.
    pub(super) fn visit(&mut self, at: usize, block_end: u64) -> Option<Range<u64>> {
        if at == 0 || at != self.next {
            *self = Self::default();
        }
        self.next = at + 1;
        self.row = self.row.saturating_add(1);
        if self.row < ROW_MIN || self.end > block_end + u64::from(self.step / 2) {
            return None;
        }
        self.step = (2 * self.step).clamp(AHEAD_BYTES_MIN, AHEAD_BYTES_MAX);
        let start = self.end.max(block_end);
        self.end = start + u64::from(self.step);
        Some(start..self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = 4 << 10;

    #[test]
    fn a_walk_asks_for_all_that_follows_and_in_time() {
        let mut ahead = ReadAhead::default();
        for at in 2..9 {
            assert_eq!(ahead.visit(at, (at as u64 + 1) * BLOCK), None, "this may be all");
        }
        let (mut asked, mut calls) = (10 * BLOCK, 0);
        for at in 9..1000 {
            let block_end = (at as u64 + 1) * BLOCK;
            assert!(asked >= block_end, "block {at} was not asked for");
            if let Some(range) = ahead.visit(at, block_end) {
                assert_eq!(range.start, asked);
                assert!(range.end - range.start <= u64::from(AHEAD_BYTES_MAX));
                (asked, calls) = (range.end, calls + 1);
            }
            let on_its_way = asked - block_end;
            assert!(on_its_way > u64::from(AHEAD_BYTES_MIN / 2), "{on_its_way} behind block {at}");
        }
        assert!(calls < 25, "{calls} calls");
    }

    #[test]
    fn jumps_ask_for_nothing_and_begin_anew() {
        let (mut ahead, first) = (ReadAhead::default(), u64::from(AHEAD_BYTES_MIN));
        let mut visit = |at: usize| ahead.visit(at, (at as u64 + 1) * BLOCK);
        for at in [5, 9, 10, 8, 8, 0, 1].into_iter().chain(3..10) {
            assert_eq!(visit(at), None, "{at}");
        }
        assert_eq!(visit(10), Some(11 * BLOCK..11 * BLOCK + first));
        for at in 900..907 {
            assert_eq!(visit(at), None, "{at}");
        }
        assert_eq!(visit(907), Some(908 * BLOCK..908 * BLOCK + first));
    }
}
