//! What brings a keyspace to rest that nobody writes to: tables that hold exactly what is live.
//! Pure: touches no file, lock or clock.
//!
//! What no level is due for stays as it is while there are writes: it is merged with what comes.
//! If nothing comes, it is given back one plan at a time, the one that gives most for what it costs
//! first. At rest
//!
//! * no table lies over another one, of level 0 or deeper: what one shadows in another cannot be
//!   known without a merge
//! * no table holds a tombstone or a shadowed put that every reader has left behind
//!
//! Why it ends: a plan moves entries down, or writes a table anew that is certain to lose some.

use std::cmp::Reverse;
use std::sync::Arc;

use lsm_log::error::Result;

use super::busy::BusyTables;
use super::effort::{Amount, Effort};
use super::levels::Targets;
use super::picker::Picker;
use super::plan::{Plan, Reason, span};
use crate::iter::{Cursor, Merge};
use crate::key::{Kind, SeqNo};
use crate::memtable::{Memtable, MemtableCursor};
use crate::options::KeyspaceOptions;
use crate::version::{TableFile, Version};

/// The next step to rest, and what it takes; `None` if the tables are there, but for what running
/// compactions hold. `oldest_snapshot` is as for [`pick`](super::pick).
pub(crate) fn rest(
    version: &Version,
    busy: &BusyTables,
    options: &KeyspaceOptions,
    oldest_snapshot: SeqNo,
) -> Option<(Plan, Effort)> {
    let picker = Picker { version, busy, options, oldest_snapshot };
    let mut steps: Vec<(Effort, RestStep<'_>)> = Vec::new();
    if let Some((count, effort)) = level_zero(&picker) {
        steps.push((effort, RestStep::LevelZero { count }));
    }
    for (level, table) in version.tables().filter(|(level, _)| *level > 0) {
        let (effort, output_level) = match picker.is_over_data(level, table) {
            true => (picker.effort_down(level, std::slice::from_ref(table)), level + 1),
            false => {
                let (cost, gain) = (table.meta.bytes, picker.dead_bytes(table));
                (Effort { cost, gain, fresh: 0 }, level)
            }
        };
        if effort.gain > 0 {
            steps.push((effort, RestStep::Table { level, table, output_level }));
        }
    }
    let cheap = options.idle_amplification_max.into();
    steps.sort_by_key(|(effort, _)| (effort.idle_time(cheap), Reverse(effort.gain)));
    steps.into_iter().find_map(|(effort, step)| {
        let plan = match step {
            RestStep::LevelZero { count } => {
                picker.merge_oldest(count, Targets::of(version, options).base(), Reason::Rest)
            }
            RestStep::Table { level, table, output_level } => {
                picker.push(level, vec![Arc::clone(table)], output_level, Reason::Rest)
            }
        };
        Some((plan?, effort))
    })
}

enum RestStep<'a> {
    /// The oldest tables of level 0 go down.
    LevelZero {
        count: usize,
    },
    Table {
        level: usize,
        table: &'a Arc<TableFile>,
        output_level: usize,
    },
}

/// How many of the oldest tables of level 0 must go down, and what it takes: up to the newest that
/// lies over another table or holds what is dead.
fn level_zero(picker: &Picker<'_>) -> Option<(usize, Effort)> {
    let tables = &picker.version.levels[0];
    let tables = &tables[tables.len() - picker.free_in_level_zero()..];
    let over_older = |at: usize| {
        let meta = &tables[at].meta;
        tables[at + 1..].iter().any(|older| older.meta.overlaps(&meta.smallest, &meta.largest))
    };
    let goes = |at: usize| {
        over_older(at) || picker.is_over_data(0, &tables[at]) || picker.dead_bytes(&tables[at]) > 0
    };
    let newest = (0..tables.len()).find(|&at| goes(at))?;
    let going = &tables[newest..];
    let mut effort = picker.effort_down(0, going);
    effort.fresh = Amount::of(going).bytes;
    if (newest..tables.len()).any(over_older) {
        let amount = Amount::of(going);
        effort.gain += amount.shadows_of(&amount);
    }
    Some((going.len(), effort))
}

/// The least sequence number that the oldest snapshot must come to before a table of `version` can
/// lose something that it holds on to now; `None` if nothing is held by a snapshot.
pub(crate) fn held_until(version: &Version, oldest_snapshot: SeqNo) -> Option<SeqNo> {
    let held = version.tables().flat_map(|(_, table)| {
        let meta = &table.meta;
        let shadowed = (meta.shadowed.entries > 0).then_some(meta.shadowed.by);
        let tombstones = (meta.tombstones > 0).then_some(meta.seq_max);
        shadowed.into_iter().chain(tombstones)
    });
    held.filter(|seq| *seq > oldest_snapshot).min()
}

/// What it takes to flush `memtables`, newest first, and merge what that gives with the tables
/// below; `None` if nothing is known that it could give back. Reads the memtables.
pub(crate) fn flush_effort(
    memtables: &[Arc<Memtable>],
    version: &Version,
) -> Result<Option<Effort>> {
    let mut cursor = Merge::new(memtables.iter().map(Memtable::cursor).collect());
    let (amount, shadowed, bounds) = survey(&mut cursor)?;
    let Some((smallest, largest)) = bounds else { return Ok(None) };
    let levels = 0..version.levels.len();
    let below = levels.flat_map(|level| version.overlapping(level, &smallest, &largest));
    let mut effort = amount.merged_with(&Amount::of(below));
    effort.gain += shadowed;
    effort.fresh = amount.bytes;
    Ok((effort.gain > 0).then_some(effort))
}

/// Counts what is in memtables: the entries, the bytes of older versions among them, and the first
/// and last key.
type Survey = (Amount, u64, Option<(Vec<u8>, Vec<u8>)>);

fn survey(cursor: &mut Merge<MemtableCursor>) -> Result<Survey> {
    let (mut amount, mut shadowed) = (Amount::default(), 0);
    let mut bounds: Option<(Vec<u8>, Vec<u8>)> = None;
    cursor.seek_first()?;
    while cursor.is_valid() {
        let key = cursor.key();
        let bytes = (key.len() + cursor.value().len()) as u64;
        let (_, last) = bounds.get_or_insert_with(|| (key.to_vec(), Vec::new()));
        if amount.entries > 0 && last == key {
            shadowed += bytes;
        }
        last.clear();
        last.extend_from_slice(key);
        amount.entries += 1;
        amount.tombstones += u64::from(cursor.tag().kind() == Some(Kind::Delete));
        amount.raw_bytes += bytes;
        cursor.next()?;
    }
    amount.bytes = amount.raw_bytes;
    Ok((amount, shadowed, bounds))
}

impl Picker<'_> {
    /// What pushing tables of `level` down takes until nothing lies below them any more.
    pub(super) fn effort_down(&self, level: usize, tables: &[Arc<TableFile>]) -> Effort {
        let (smallest, largest) = span(tables).expect("there are tables to push down");
        let deeper = level + 1..self.version.levels.len();
        let below = deeper.flat_map(|level| self.version.overlapping(level, smallest, largest));
        let mut effort = Amount::of(tables).merged_with(&Amount::of(below));
        let released = |table: &Arc<TableFile>| self.released_bytes(table);
        effort.gain += tables.iter().map(released).sum::<u64>();
        effort
    }

    /// Bytes that the table is certain to lose when it is written anew over nothing.
    fn dead_bytes(&self, table: &Arc<TableFile>) -> u64 {
        let seen = table.meta.seq_max <= self.oldest_snapshot;
        let tombstones = if seen { Amount::of([table]).tombstone_bytes() } else { 0 };
        // An empty key under a tombstone takes no bytes, but an entry.
        let tombstones = tombstones.max(u64::from(seen && table.meta.tombstones > 0));
        self.released_bytes(table) + tombstones
    }
}
