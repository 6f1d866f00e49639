//! Many point lookups at once: what each of them waits for is waited for together.
//!
//! A lookup is a chain of loads, of which each needs the one before: a line of a filter, lines of an
//! index, the front of a block. One after the other each waits for memory, or for the disk. Here
//! a group of lookups goes through a run of tables side by side, one link of the chain at a time: the
//! processor overlaps the loads of a group, as none of them depends on another.
//!
//! For data that lies on the disk the system is told of all blocks of a group before the first is
//! touched. That is a call for each, which data in memory must not pay for: only after a group had to
//! wait are the next ones announced, for a while.

use std::sync::Arc;
use std::time::Duration;

use lsm_log::error::Result;

use super::read::{ReadPoint, value_of};
use super::tree::SuperVersion;
use crate::key::{KeyHash, SeqNo};
use crate::sstable::{FoundBlock, OpenTable, ReadStats};
use crate::value::Value;
use crate::version::TableFile;

/// Lookups that go side by side: as many as a processor has loads under way, about.
const GROUP: usize = 8;
/// A group that took longer has waited for the disk, or lost its processor: in memory it takes a
/// twentieth of that.
const SLOW_GROUP: Duration = Duration::from_micros(200);

/// One key that is looked for.
struct Lookup<'a> {
    key: &'a [u8],
    hash: KeyHash,
    /// Where in the answer it belongs.
    at: usize,
}

impl ReadPoint<'_> {
    /// The values of `keys`, in their order, all at one point.
    pub(crate) fn get_many(&self, keys: &[impl AsRef<[u8]>]) -> Result<Vec<Option<Value>>> {
        let mut values: Vec<Option<Value>> = Vec::with_capacity(keys.len());
        values.resize_with(keys.len(), || None);
        let view = self.tree.super_version();
        self.check()?;
        // After the super-version, as for a single lookup.
        let seq = self.seq.unwrap_or_else(|| self.engine.published.get());
        let mut touched = ReadStats::default();
        let mut group = Vec::with_capacity(GROUP);
        for (at, key) in keys.iter().enumerate() {
            let key = key.as_ref();
            let own = self.transaction.map(|transaction| transaction.find_own(self.tree, key));
            match own.transpose()?.flatten() {
                Some(own) => values[at] = own,
                None => group.push(Lookup { key, hash: KeyHash::of(key), at }),
            }
            if group.len() == GROUP {
                self.look_up_group(&view, &mut group, seq, &mut touched, &mut values)?;
            }
        }
        self.look_up_group(&view, &mut group, seq, &mut touched, &mut values)?;
        let found = values.iter().filter(|value| value.is_some()).count();
        self.engine.metrics.count_gets(&touched, keys.len() as u64, found as u64);
        Ok(values)
    }

    /// Looks up a group, and leaves it empty.
    fn look_up_group(
        &self,
        view: &SuperVersion,
        group: &mut Vec<Lookup<'_>>,
        seq: SeqNo,
        touched: &mut ReadStats,
        values: &mut [Option<Value>],
    ) -> Result<()> {
        let mut failed = Ok(());
        group.retain(|lookup| {
            let mut found = view.memtables().map(|m| m.get(lookup.key, lookup.hash, seq));
            let Some((tag, bytes)) = found.find_map(|found| found) else { return true };
            match value_of(tag, || Value::from(bytes)) {
                Ok(value) => values[lookup.at] = value,
                Err(error) => failed = Err(error),
            }
            false
        });
        failed?;
        if group.is_empty() {
            return Ok(());
        }
        let clock = &self.engine.options.clock;
        let begun = clock.now();
        let announced = self.engine.cold_reads.announces();
        let version = &view.version;
        for table in &version.levels[0] {
            let holds = |key: &[u8]| table.meta.overlaps(key, key).then_some(table);
            self.look_in_run(holds, group, seq, announced, touched, values)?;
        }
        for level in 1..=version.deepest() {
            let holds = |key: &[u8]| version.find(level, key);
            self.look_in_run(holds, group, seq, announced, touched, values)?;
        }
        group.clear();
        if clock.now().saturating_sub(begun) > SLOW_GROUP {
            self.engine.cold_reads.waited();
        }
        Ok(())
    }

    /// Looks up what is left of a group in one run of tables, and takes out what it finds.
    fn look_in_run<'v>(
        &self,
        holds: impl Fn(&[u8]) -> Option<&'v Arc<TableFile>>,
        group: &mut Vec<Lookup<'_>>,
        seq: SeqNo,
        announced: bool,
        touched: &mut ReadStats,
        values: &mut [Option<Value>],
    ) -> Result<()> {
        let mut tables: [Option<OpenTable>; GROUP] = Default::default();
        let mut lines = [None; GROUP];
        let mut blocks: [Option<FoundBlock>; GROUP] = [None; GROUP];
        // The readers first: taking one is an atomic instruction, which would wait for the loads
        // before it.
        for (table, lookup) in tables.iter_mut().zip(&*group) {
            if let Some(file) = holds(lookup.key) {
                *table = Some(self.engine.tables.reader(&file.handle)?);
            }
        }
        let asked = || tables.iter().zip(&*group).enumerate();
        for (at, (table, lookup)) in asked() {
            lines[at] = table.as_ref().and_then(|table| table.filter_line(lookup.hash));
        }
        for (at, (table, lookup)) in asked() {
            let Some(table) = table else { continue };
            if table.admits(lookup.hash, lines[at].as_ref(), touched) {
                blocks[at] = Some(table.find_block(lookup.key));
            }
        }
        for (at, (table, _)) in asked() {
            let (Some(table), Some(block)) = (table, &blocks[at]) else { continue };
            match announced {
                true => table.announce(block),
                false => table.touch(block),
            }
        }
        let mut place = 0;
        let mut failed = Ok(());
        group.retain(|lookup| {
            let at = place;
            place += 1;
            let (Some(table), Some(block), Ok(())) = (&tables[at], &blocks[at], &failed) else {
                return true;
            };
            let filtered = lines[at].is_some();
            match table.get_from(block, lookup.key, seq, filtered, touched) {
                Ok(Some((tag, value))) => match value_of(tag, || value) {
                    Ok(value) => values[lookup.at] = value,
                    Err(error) => failed = Err(error),
                },
                Ok(None) => return true,
                Err(error) => failed = Err(error),
            }
            false
        });
        failed
    }
}

#[cfg(test)]
mod tests {
    use lsm_log::fs::MemFs;

    use super::*;
    use crate::db::stats::Stats;
    use crate::options::{KeyspaceOptions, Options, TableAccess};

    #[test]
    fn many_keys_are_found_wherever_they_are() {
        for access in [TableAccess::Mapped, TableAccess::Pread] {
            for bits in [0, 10] {
                let keyspace = KeyspaceOptions::default().filter_bits_per_key(bits);
                let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
                let options = options.default_keyspace(keyspace).table_access(access);
                let db = options.open("/db").unwrap();
                let key = |i: u32| format!("{:05}", i * 7919 % 10_000);
                // Two runs of tables, and a memtable; every seventh key is deleted above.
                for i in 0..3000 {
                    db.put(key(i), format!("old {i}")).unwrap();
                }
                db.compact_range::<&str>(..).unwrap();
                (2000..4000).for_each(|i| db.put(key(i), format!("new {i}")).unwrap());
                (0..4000).step_by(7).for_each(|i| db.delete(key(i)).unwrap());
                db.flush().unwrap();
                (3900..4100).for_each(|i| db.put(key(i), format!("last {i}")).unwrap());
                let ages = ["last", "new", "old"];
                let age = |i| usize::from(i < 3900) + usize::from(i < 2000);
                let wanted = |i: u32| {
                    let is_there = i < 4100 && (i >= 3900 || !i.is_multiple_of(7));
                    is_there.then(|| format!("{} {i}", ages[age(i)]))
                };
                for announced in [false, true] {
                    if announced {
                        db.default_keyspace().shared().engine.cold_reads.waited();
                    }
                    let asked: Vec<u32> = (0..9000).map(|n| n * 31 % 4500).collect();
                    let before = db.stats();
                    let values = db.multi_get(asked.iter().map(|i| key(*i))).unwrap();
                    let between = db.stats();
                    asked.iter().for_each(|i| drop(db.get(key(*i)).unwrap()));
                    let costs = |from: &Stats, to: &Stats| {
                        let cost = |stats: &Stats| {
                            let Stats { gets, gets_found, tables_touched, filter_hits, .. } =
                                *stats;
                            let Stats { filter_misses, false_positives, blocks, .. } = *stats;
                            let filters = [filter_hits, filter_misses, false_positives];
                            [[gets, gets_found, tables_touched], filters, [blocks, 0, 0]]
                        };
                        let (from, to) = (cost(from), cost(to));
                        [0, 1, 2].map(|i| [0, 1, 2].map(|n| to[i][n] - from[i][n]))
                    };
                    let one_by_one = costs(&between, &db.stats());
                    assert_eq!(costs(&before, &between), one_by_one, "what each costs");
                    for (i, value) in asked.iter().zip(values) {
                        let value = value.map(|v| String::from_utf8(v.to_vec()).unwrap());
                        assert_eq!(value, wanted(*i), "{i}");
                    }
                }
                assert!(db.multi_get([""; 0]).unwrap().is_empty());
            }
        }
    }
}
