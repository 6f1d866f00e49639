//! What it costs to give back what no reader sees, and how much it may give. Pure: estimates from
//! what is known of tables, without a look into them.

use std::sync::Arc;
use std::time::Duration;

use crate::version::TableFile;

/// What a tombstone takes, about: a key, and the numbers in front of it.
const TOMBSTONE_BYTES: u64 = 32;

/// What is cheap for what was written is done when nobody has written for so long ...
pub(crate) const IDLE_TIME_CHEAP: Duration = Duration::from_millis(250);
/// ... other things are not before nobody has for so long ...
pub(crate) const IDLE_TIME_MIN: Duration = Duration::from_secs(1);
/// ... and all is, that gives anything back, when nobody has for so long.
pub(crate) const IDLE_TIME_MAX: Duration = Duration::from_secs(5 * 60);

/// What a job takes beside its bytes, in bytes: it syncs a table, the folder and the manifest, which on
/// an ordinary disk takes as long as to write this much. Else whoever changes one small key a second
/// would have a flush and a merge for each change.
const JOB_BYTES: u64 = 1 << 20;

/// The price of giving something back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effort {
    /// Bytes to be written anew, on the whole way down.
    pub(crate) cost: u64,
    /// Bytes that are given back.
    pub(crate) gain: u64,
    /// Bytes, of those written anew, that no merge has written so far.
    pub(crate) fresh: u64,
}

impl Effort {
    /// How long nobody may have written before it is worth it: a second for each byte that is
    /// written for one that is given back. So whoever writes again after a shorter pause has not
    /// had it done, and its writes are never amplified by more than the seconds between them. Where
    /// at most `cheap` bytes are written for each fresh one, the job's own counted, there is no need to
    /// wait: a byte is fresh only once, so its writes are never amplified by more than that either.
    pub(crate) fn idle_time(self, cheap: u64) -> Duration {
        if self.cost.saturating_add(JOB_BYTES) <= self.fresh.saturating_mul(cheap) {
            return IDLE_TIME_CHEAP;
        }
        let times = self.cost / self.gain.max(1);
        let time = IDLE_TIME_MIN.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX));
        time.clamp(IDLE_TIME_MIN, IDLE_TIME_MAX)
    }

    /// Whether it is worth it at once, at so many bytes written for one given back.
    pub(super) fn is_worth(self, times: u64) -> bool {
        self.cost <= self.gain.saturating_mul(times)
    }
}

/// Some entries, counted: of tables, or of memtables that are to become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    /// As written: what it costs to write them anew.
    pub(crate) bytes: u64,
    /// Length of keys and values.
    pub(crate) raw_bytes: u64,
    pub(crate) entries: u64,
    pub(crate) tombstones: u64,
}

impl Amount {
    pub(super) fn of<'a>(tables: impl IntoIterator<Item = &'a Arc<TableFile>>) -> Self {
        tables.into_iter().fold(Self::default(), |sum, table| Self {
            bytes: sum.bytes + table.meta.bytes,
            raw_bytes: sum.raw_bytes + table.meta.raw_bytes,
            entries: sum.entries + table.meta.entries,
            tombstones: sum.tombstones + table.meta.tombstones,
        })
    }

    /// What the tombstones themselves take.
    pub(super) fn tombstone_bytes(&self) -> u64 {
        (self.tombstones * TOMBSTONE_BYTES).min(self.raw_bytes)
    }

    /// How many bytes these entries may shadow of those below them, about: a tombstone was most
    /// likely written for something that is there, of puts every other one is new.
    pub(super) fn shadows_of(&self, below: &Self) -> u64 {
        let puts = self.entries - self.tombstones;
        let shadowed = (self.tombstones + puts.div_ceil(2)).min(below.entries);
        let mean = below.raw_bytes as f64 / below.entries.max(1) as f64;
        (shadowed as f64 * mean) as u64
    }

    /// The effort of merging these entries with all `below` them.
    pub(super) fn merged_with(&self, below: &Self) -> Effort {
        Effort {
            cost: self.bytes + below.bytes,
            gain: self.tombstone_bytes() + self.shadows_of(below),
            fresh: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_it_gives_the_longer_it_waits() {
        let seconds = |cost, gain| Effort { cost, gain, fresh: 0 }.idle_time(8).as_secs();
        assert_eq!(seconds(0, 0), 1);
        assert_eq!(seconds(1000, 900), 1);
        assert_eq!(seconds(1000, 100), 10);
        assert_eq!(seconds(1 << 40, 1), 300);
        assert_eq!(seconds(u64::MAX, 0), 300);
    }

    #[test]
    fn what_is_cheap_for_what_was_written_does_not_wait() {
        let cost = 7 * JOB_BYTES;
        let time = |fresh, cheap| Effort { cost, gain: 1, fresh }.idle_time(cheap);
        assert_eq!(time(JOB_BYTES, 8), IDLE_TIME_CHEAP);
        assert_eq!(time(JOB_BYTES - 1, 8), IDLE_TIME_MAX);
        assert_eq!(time(cost, 0), IDLE_TIME_MAX);
        // The syncs of a job for a few bytes are not.
        let few = Effort { cost: 200, gain: 100, fresh: 100 };
        assert!(few.idle_time(8) > IDLE_TIME_CHEAP);
    }

    #[test]
    fn shadows_are_no_more_than_there_is() {
        let below = Amount { bytes: 500, raw_bytes: 1000, entries: 10, tombstones: 0 };
        let over = |entries, tombstones| Amount { entries, tombstones, ..Amount::default() };
        assert_eq!(over(3, 3).shadows_of(&below), 300);
        assert_eq!(over(3, 0).shadows_of(&below), 200);
        assert_eq!(over(1, 0).shadows_of(&below), 100, "one put may shadow something");
        assert_eq!(over(90, 90).shadows_of(&below), 1000);
        assert_eq!(over(90, 90).shadows_of(&Amount::default()), 0);
    }
}
