//! How large each level should be, how far it is over, and what its blocks are packed with.
//! Pure.
//!
//! Sizes are derived from the bottom level up: each level may hold a tenth of the next. The
//! *base level* is the one that level 0 is merged into; levels between the two are empty.
//!
//! ```text
//! largest level   < 10 B       base 6
//!                 10 B ..      base 5: a tenth of the largest, at least B
//!                 100 B ..     base 4: a hundredth, …        (B = level_bytes_base)
//! ```
//!
//! So the base level holds from `B` to `10 B`. Fewer levels mean fewer rewrites of each byte,
//! and `B`, which is about what level 0 brings in one compaction, is where another level
//! starts to pay. A level that already holds tables is never skipped: when the bottom shrinks,
//! the base level stays where it is, with a target of at least `B`.

use crate::options::{Compression, KeyspaceOptions};
use crate::version::{LEVELS, TableFile, Version};

/// The deepest level.
pub(super) const BOTTOM: usize = LEVELS - 1;

/// How many times larger a level may be than the one above it.
const FANOUT: u64 = 10;

/// The sizes that the levels of one version should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Targets {
    base: usize,
    /// Bytes that a level may hold; meaningful from the base level down.
    bytes: [u64; LEVELS],
}

impl Targets {
    pub(crate) fn of(version: &Version, options: &KeyspaceOptions) -> Self {
        // The largest level rather than the bottom: while data is still on its way down, the
        // level it lies in is what the sizes of the others must lead up to.
        let largest = (1..LEVELS).map(|level| version.level_bytes(level)).max().unwrap_or(0);
        let mut bytes = [0; LEVELS];
        let mut share = largest;
        for target in bytes[1..].iter_mut().rev() {
            *target = share.max(options.level_bytes_base);
            share /= FANOUT;
        }
        let mut base = BOTTOM;
        let mut share = largest / FANOUT;
        while base > 1 && share >= options.level_bytes_base {
            base -= 1;
            share /= FANOUT;
        }
        let filled = (1..LEVELS).find(|&level| !version.levels[level].is_empty());
        Self { base: base.min(filled.unwrap_or(BOTTOM)), bytes }
    }

    /// The level that level 0 is merged into.
    pub(crate) fn base(&self) -> usize {
        self.base
    }

    /// How full each level is, counting the tables that `counts` lets through: from 1 on it is
    /// due for compaction. The bottom has nowhere to go and no limit.
    pub(crate) fn scores(
        &self,
        version: &Version,
        options: &KeyspaceOptions,
        counts: impl Fn(&TableFile) -> bool,
    ) -> [f64; LEVELS] {
        let mut scores = [0.0; LEVELS];
        for (level, score) in scores.iter_mut().enumerate().take(BOTTOM) {
            let tables = version.levels[level].iter().filter(|table| counts(table));
            let (count, bytes) = tables.fold((0, 0), |(n, sum), t| (n + 1, sum + t.meta.bytes));
            *score = match level {
                // Few but large tables are due as soon as they rival the level they go to.
                0 => ratio(count, options.l0_tables_compact as u64)
                    .max(ratio(bytes, self.bytes[self.base])),
                _ if level < self.base => 0.0,
                _ => ratio(bytes, self.bytes[level]),
            };
        }
        scores
    }
}

/// Bytes that compactions must read, about, before every score is below 1.
pub(crate) fn debt(version: &Version, options: &KeyspaceOptions) -> u64 {
    let targets = Targets::of(version, options);
    let scores = targets.scores(version, options, |_| true);
    let mut debt = 0;
    // What the level above hands down before the level itself is looked at.
    let mut incoming = 0;
    if scores[0] >= 1.0 {
        incoming = version.level_bytes(0);
        debt += incoming + level_zero_overlap(version, targets.base);
    }
    for level in targets.base..BOTTOM {
        let bytes = version.level_bytes(level) + incoming;
        incoming = bytes.saturating_sub(targets.bytes[level]);
        // Each byte handed down is merged with its share of the level below.
        let below = version.level_bytes(level + 1);
        debt += incoming + (ratio(incoming, bytes) * below as f64) as u64;
    }
    debt
}

/// What the blocks of a table in `level` are packed with, under [`Compression::Lz4`] and
/// [`Compression::None`] alike: tables of levels 0 and 1 live too briefly to be worth the work
/// and are never packed, from level 2 on the option holds. Small databases have their base
/// level deep down, so that all they hold beyond level 0 is packed.
pub(crate) fn codec_for(options: &KeyspaceOptions, level: usize) -> Compression {
    match level {
        0 | 1 => Compression::None,
        _ => options.compression,
    }
}

/// Bytes of the base level that a merge of all of level 0 takes in.
fn level_zero_overlap(version: &Version, base: usize) -> u64 {
    let metas = || version.levels[0].iter().map(|table| &table.meta);
    let smallest = metas().map(|meta| &meta.smallest).min();
    let largest = metas().map(|meta| &meta.largest).max();
    let (Some(smallest), Some(largest)) = (smallest, largest) else {
        return 0;
    };
    version.overlapping(base, smallest, largest).map(|table| table.meta.bytes).sum()
}

fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
