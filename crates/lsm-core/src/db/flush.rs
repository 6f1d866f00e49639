//! Sealed memtables become tables of level 0.
//!
//! All of one group, in one edit of the manifest: what they hold is then in tables, and a log
//! that holds nothing else is given up. Each memtable, and each keyspace, has a table of its own.
//!
//! Until the edit nothing has changed: see `work` for what a failure means.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, scope};

use super::retry::{Ended, Failure};
use super::state::{Engine, FlushGroup, FlushPart};
use crate::compaction;
use crate::event::BackgroundJob;
use crate::key::SeqNo;
use crate::options::Background;
use crate::version::{Catalog, Edit, KeyspaceEdit, TableMeta};
use lsm_log::error::Result;
use lsm_log::file_name::{FileName, FileNumber};
use lsm_log::wal::Lsn;
use parking_lot::Mutex;

/// Memtables of up to so many bytes become tables beside one another: nearly all of their time
/// goes into the sync, and a file system makes many files durable in about the time of one.
const SMALL_BYTES: usize = 1 << 20;
/// How many small tables are made at a time.
const SMALL_AT_A_TIME: usize = 16;

impl Engine {
    /// Turns the oldest group of sealed memtables into tables of level 0.
    pub(crate) fn flush_one(&self) -> Result<bool> {
        let _one_at_a_time = self.flushing.lock();
        if !self.may_start(BackgroundJob::Flush) {
            return Ok(false);
        }
        let Some(group) = self.jobs.lock().flushes.front().cloned() else { return Ok(false) };
        match self.flush(&group) {
            Ok(()) => self.job_done(BackgroundJob::Flush),
            Err(failure) => return self.ended(BackgroundJob::Flush, failure),
        }
        self.jobs.lock().flushes.pop_front();
        self.update_pressure();
        self.announce();
        Ok(true)
    }

    fn flush(&self, group: &FlushGroup) -> Ended {
        let tables = self.build_tables(&group.parts).map_err(Failure::Harmless)?;
        if tables.iter().any(Option::is_some) {
            compaction::sync_names(&*self.options.fs, &self.dir).map_err(Failure::Fatal)?;
        }
        if let Some(end) = group.log_end
            && self.trees.len() > 1
        {
            self.syncer().sync_through(end).map_err(Failure::Fatal)?;
        }
        self.install_flush(group, &tables).map_err(|error| {
            let built: Vec<_> = tables.into_iter().flatten().collect();
            self.edit_refused(error, &built)
        })
    }

    /// Makes the table of each part that needs one; all of them or none.
    fn build_tables(&self, parts: &[FlushPart]) -> Result<Vec<Option<TableMeta>>> {
        let snapshots = self.snapshots.list(&self.published);
        let is_small = |part: &FlushPart| {
            part.memtables.iter().map(|memtable| memtable.bytes()).sum::<usize>() <= SMALL_BYTES
        };
        let (small, large): (Vec<_>, Vec<_>) =
            parts.iter().enumerate().partition(|(_, part)| is_small(part));
        // Who steps by hand gets the same order in each run.
        let at_a_time = match self.options.background {
            Background::Stepped => 1,
            _ => SMALL_AT_A_TIME.min(small.len()),
        };
        let failed = AtomicBool::new(false);
        let build = |(i, part): (usize, &FlushPart)| {
            let built = self.build_table(part, &snapshots);
            failed.fetch_or(built.is_err(), Ordering::Relaxed);
            (i, built)
        };
        let small = Mutex::new(small.into_iter());
        let next_small = || small.lock().next().filter(|_| !failed.load(Ordering::Relaxed));
        let build_small = || std::iter::from_fn(next_small).map(build).collect::<Vec<_>>();
        let mut built = scope(|threads| {
            let start = |_| {
                let name = "lsm-flush-small".to_owned();
                // Those that cannot be had are done without.
                Builder::new().name(name).spawn_scoped(threads, build_small).ok()
            };
            let others: Vec<_> = (1..at_a_time).map_while(start).collect();
            let mut built: Vec<_> = large
                .into_iter()
                .take_while(|_| !failed.load(Ordering::Relaxed))
                .map(build)
                .collect();
            built.extend(build_small());
            for other in others {
                built.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            built
        });
        built.sort_by_key(|(i, _)| *i);
        let (done, errors): (Vec<_>, Vec<_>) =
            built.into_iter().map(|(_, built)| built).partition(Result::is_ok);
        let done = done.into_iter().flatten();
        match errors.into_iter().find_map(Result::err) {
            None => Ok(done.collect()),
            Some(error) => {
                // The next attempt makes all of them anew.
                self.remove_unnamed(&done.flatten().collect::<Vec<_>>());
                Err(error)
            }
        }
    }

    fn build_table(&self, part: &FlushPart, snapshots: &[SeqNo]) -> Result<Option<TableMeta>> {
        if part.tree.is_dropped() {
            return Ok(None);
        }
        let view = part.tree.pinned();
        compaction::flush(&self.job(&view.options, snapshots), &part.memtables)
    }

    pub(super) fn install_flush(
        &self,
        group: &FlushGroup,
        tables: &[Option<TableMeta>],
    ) -> Result<()> {
        let bytes: u64 = tables.iter().flatten().map(|meta| meta.bytes).sum();
        let flushed = self.flushed_through(group);
        let (drop_logs, log_start) = self.useless_logs(flushed);
        let given_up = drop_logs.clone();
        let mut unnamed = Vec::new();
        let edit = |catalog: &Catalog| {
            let parts = group.parts.iter().zip(tables);
            let (named, dropped): (Vec<_>, Vec<_>) =
                parts.partition(|(part, _)| catalog.keyspaces.contains_key(&part.tree.id));
            unnamed.extend(dropped.iter().filter_map(|(_, meta)| meta.as_ref()).cloned());
            let keyspace = |(part, meta): (&FlushPart, &Option<TableMeta>)| KeyspaceEdit {
                id: part.tree.id,
                flushed_seq: Some(group.sealed_at),
                removed: Vec::new(),
                added: meta.iter().map(|meta| (0, meta.clone())).collect(),
            };
            let keyspaces = named.into_iter().map(keyspace).collect();
            Edit { flushed_seq: Some(flushed), drop_logs, log_start, keyspaces, ..Edit::default() }
        };
        self.set.apply_with(edit, |catalog| {
            for part in &group.parts {
                self.install(catalog, &part.tree, &part.memtables);
            }
            if let Some(capture) = &group.capture {
                *capture.lock() = Some(catalog.clone());
            }
        })?;
        self.flushed.store(flushed.0, Ordering::Release);
        self.metrics.flushes.add(1);
        self.metrics.flush_bytes.add(bytes);
        self.give_up_logs(&given_up);
        self.remove_unnamed(&unnamed);
        Ok(())
    }

    /// Full logs that hold nothing but flushed operations, and where the log begins without
    /// them.
    fn useless_logs(&self, flushed: SeqNo) -> (Vec<FileNumber>, Option<Lsn>) {
        let commit = self.commit.lock();
        let Some(log) = &commit.log else { return (Vec::new(), None) };
        let useless = log.full().take_while(|segment| segment.last <= flushed.0);
        let useless: Vec<FileNumber> = useless.map(|segment| segment.number).collect();
        let next = log.full().nth(useless.len()).map_or(log.base(), |segment| segment.base);
        (useless, Some(next))
    }

    /// Keeps logs that the manifest no longer names to be used again, or has them removed.
    fn give_up_logs(&self, numbers: &[FileNumber]) {
        let Some(last) = numbers.last() else { return };
        let mut commit = self.commit.lock();
        let Some(log) = &mut commit.log else { return };
        for segment in log.give_up_below(FileNumber(last.0 + 1)) {
            match log.needs_spare(segment.bytes) {
                true => log.keep_spare(segment.number),
                false => self.set.obsolete_files().push(FileName::Log(segment.number)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;
    use crate::batch::WriteBatch;
    use crate::clock::{Clock, SystemClock};
    use crate::db::open::open;
    use crate::key::Kind;
    use crate::options::{Durability, KeyspaceOptions, Options};
    use lsm_log::fs::{Fault, FaultFs, MemFs, Op};

    #[test]
    fn small_tables_are_made_durable_beside_one_another() {
        let faults = FaultFs::new(Arc::new(MemFs::new()));
        let options = Options::default().fs(Arc::new(faults.clone()));
        let engine = open(options, Path::new("/db")).unwrap();
        let mut batch = WriteBatch::new();
        let new = |i: usize| engine.keyspace(&i.to_string(), KeyspaceOptions::default()).unwrap();
        let trees: Vec<_> = (0..2 * SMALL_AT_A_TIME).map(new).collect();
        for tree in &trees {
            batch.push(Kind::Put, tree.id, tree.name.as_bytes(), b"value");
        }
        engine.write(&mut batch, Durability::Buffered).unwrap();
        engine.seal_all(&engine.commit.lock(), None);
        // None of them goes on before there are as many, or a while has passed.
        let arrived = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&arrived);
        let meet = move || {
            seen.fetch_add(1, Ordering::Relaxed);
            let clock = SystemClock::new();
            while seen.load(Ordering::Relaxed) < SMALL_AT_A_TIME && clock.now().as_secs() < 5 {
                clock.sleep(Duration::from_millis(1));
            }
        };
        faults.inject(Fault::run(Op::Sync, meet).on(".table").times(SMALL_AT_A_TIME as u64));
        let clock = SystemClock::new();
        assert!(engine.flush_one().unwrap());
        assert!(clock.now().as_secs() < 5, "they waited for one another");
        assert_eq!(arrived.load(Ordering::Relaxed), SMALL_AT_A_TIME);
        for tree in &trees {
            let view = tree.view();
            let keys = view.version.levels[0].iter().map(|table| &table.meta.smallest[..]);
            assert_eq!(keys.collect::<Vec<_>>(), [tree.name.as_bytes()], "each got its own");
        }
    }
}
