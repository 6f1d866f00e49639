//! Runs what was decided: a memtable or a plan in, new tables out. Installs nothing.
//!
//! Outputs are complete and synced when a job returns; once [`sync_names`] has made their names
//! durable, its edit can go to the manifest. A job that fails removes what it wrote, as far as it
//! can; what stays behind is named by no manifest and removed at the next open.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lsm_log::error::{Error, Result};
use lsm_log::file_name::{FileName, FileNumber};
use lsm_log::fs::{Folder, Fs};

use super::drop_policy::{DropPolicy, VersionFate};
use super::plan::{Deeper, Plan};
use super::rate_limit::RateLimit;
use super::{codec_for, output_splitter::OutputSplitter};
use crate::clock::Clock;
use crate::iter::{Concat, Cursor, Merge, Run};
use crate::key::{Kind, SeqNo, Tag};
use crate::memtable::Memtable;
use crate::options::KeyspaceOptions;
use crate::sstable::{OpenTables, TableBuilder, TableHandle, TableOptions, TableScan};
use crate::version::{TableFile, TableMeta, Version, VersionSet, table_salt};

/// Bytes between two looks at the stop flag.
const STOP_CHECK_BYTES: usize = 1 << 20;
/// What an entry counts for at least: merging short ones takes its time, too.
const STOP_CHECK_ENTRY_BYTES: usize = 256;

/// Where a job reads, writes and what it must respect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job<'a> {
    pub(crate) fs: &'a Arc<dyn Fs>,
    pub(crate) dir: &'a Path,
    pub(crate) tables: &'a OpenTables,
    pub(crate) set: &'a VersionSet,
    pub(crate) options: &'a KeyspaceOptions,
    /// Points that readers may stand at, ascending; the last is the newest visible one.
    pub(crate) snapshots: &'a [SeqNo],
    /// The database is being closed: give up.
    pub(crate) stop: &'a AtomicBool,
    /// What merges are held back by, if by anything; and the time.
    pub(crate) limit: Option<(&'a RateLimit, &'a dyn Clock)>,
}

/// Writes sealed memtables as one table for level 0; `None` if nothing in them is needed.
pub(crate) fn flush(job: &Job<'_>, memtables: &[Arc<Memtable>]) -> Result<Option<TableMeta>> {
    let mut cursor = Merge::new(memtables.iter().map(Memtable::cursor).collect());
    // Writers would wait for it.
    let job = &Job { limit: None, ..*job };
    let mut output = Output::new(job, 0, None);
    // Older versions lie in other memtables and in tables: nothing is at the bottom here.
    let written = output.take(&mut cursor, |_| false);
    let mut tables = output.finish(written)?;
    debug_assert!(tables.len() <= 1, "level 0 gets one table a flush");
    Ok(tables.pop())
}

/// Makes the names of new tables durable: once for all that one edit will name.
pub(crate) fn sync_names(folder: &dyn Folder, dir: &Path) -> Result<()> {
    folder.sync().map_err(|source| Error::io("sync the folder", dir, source))
}

/// Merges the tables of a plan; `version` is the one it was picked from, or a later one.
pub(crate) fn merge(job: &Job<'_>, version: &Version, plan: &Plan) -> Result<Vec<TableMeta>> {
    let run = |files: &[Arc<TableFile>]| {
        Concat::new(ScanRun { tables: job.tables, files: files.to_vec() })
    };
    let mut inputs: Vec<Concat<ScanRun<'_>>> = match plan.level {
        0 => plan.inputs.iter().map(|table| run(std::slice::from_ref(table))).collect(),
        _ => vec![run(&plan.inputs)],
    };
    inputs.push(run(&plan.below));
    let mut deeper: Deeper<'_> = plan.deeper(version);
    let mut output = Output::new(job, plan.output_level, Some(plan.cut(job.options)));
    let written = output.take(&mut Merge::new(inputs), |key| !deeper.may_hold(key));
    output.finish(written)
}

/// Input tables in key order, read from front to back past the page cache and block cache.
struct ScanRun<'a> {
    tables: &'a OpenTables,
    files: Vec<Arc<TableFile>>,
}

impl Run for ScanRun<'_> {
    type Cursor = TableScan;

    fn len(&self) -> usize {
        self.files.len()
    }

    fn smallest(&self, i: usize) -> &[u8] {
        &self.files[i].meta.smallest
    }

    fn largest(&self, i: usize) -> &[u8] {
        &self.files[i].meta.largest
    }

    fn open(&self, i: usize) -> Result<TableScan> {
        self.tables.scan(&self.files[i].handle)
    }
}

/// The tables that a job writes, one after the other.
struct Output<'a> {
    job: &'a Job<'a>,
    level: usize,
    cut: Option<OutputSplitter<'a>>,
    retention: DropPolicy,
    /// The table being written.
    open: Option<(FileNumber, PathBuf, TableBuilder)>,
    done: Vec<TableMeta>,
    /// Bytes that the limit knows of.
    charged: u64,
}

impl<'a> Output<'a> {
    fn new(job: &'a Job<'a>, level: usize, cut: Option<OutputSplitter<'a>>) -> Self {
        let retention = DropPolicy::new(job.snapshots);
        Self { job, level, cut, retention, open: None, done: Vec::new(), charged: 0 }
    }

    /// Writes what is needed of all that `input` holds.
    fn take(
        &mut self,
        input: &mut impl Cursor,
        mut key_at_bottom: impl FnMut(&[u8]) -> bool,
    ) -> Result<()> {
        input.seek_first()?;
        let mut last_key = Vec::new();
        let (mut first, mut unchecked_bytes) = (true, 0);
        while input.is_valid() {
            let (key, tag) = (input.key(), input.tag());
            if !matches!(tag.kind(), Some(Kind::Put | Kind::Delete)) {
                let kind = tag.0 & 0xff;
                return Err(Error::unsupported(format!("entry kind {kind} needs a newer program")));
            }
            let key_is_new = first || key != last_key.as_slice();
            if key_is_new {
                last_key.clear();
                last_key.extend_from_slice(key);
            }
            first = false;
            let fate = self.retention.decide(key_is_new, tag, || key_at_bottom(key));
            unchecked_bytes += STOP_CHECK_ENTRY_BYTES + input.value().len();
            if let VersionFate::Keep(tag) = fate {
                self.add(key_is_new, key, tag, input.value())?;
            }
            input.next()?;
            if unchecked_bytes >= STOP_CHECK_BYTES {
                unchecked_bytes = 0;
                self.hold_back();
                if self.job.stop.load(Ordering::Relaxed) {
                    return Err(Error::closed());
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, key_is_new: bool, key: &[u8], tag: Tag, value: &[u8]) -> Result<()> {
        let bytes = self.open.as_ref().map_or(0, |(_, _, builder)| builder.bytes());
        if self.cut.as_mut().is_some_and(|cut| cut.should_cut(bytes, key_is_new, key)) {
            self.close()?;
        }
        if self.open.is_none() {
            self.open = Some(self.create()?);
        }
        let (_, path, builder) = self.open.as_mut().expect("it was just made");
        builder.add(key, tag, value).map_err(|error| error.in_file(path))
    }

    /// Tells the limit what was written: how long to wait for that.
    fn charge(&mut self) -> Duration {
        let Some((limit, clock)) = self.job.limit else { return Duration::ZERO };
        let open = self.open.as_ref().map_or(0, |(_, _, builder)| builder.bytes());
        let written = open + self.done.iter().map(|meta| meta.bytes).sum::<u64>();
        let news = written.saturating_sub(self.charged);
        self.charged += news;
        limit.charge(news, clock.now())
    }

    fn hold_back(&mut self) {
        let time = self.charge();
        if let Some((_, clock)) = self.job.limit {
            RateLimit::wait(time, clock, self.job.stop);
        }
    }

    fn create(&self) -> Result<(FileNumber, PathBuf, TableBuilder)> {
        let number = self.job.set.new_file_number();
        let path = FileName::Table(number).in_dir(self.job.dir);
        let created = self.job.fs.create(&path);
        let file = created.map_err(|source| Error::io("create a table", &path, source))?;
        let options = TableOptions {
            block_bytes: self.job.options.block_bytes,
            filter_bits_per_key: self.job.options.filter_bits_per_key,
            codec: codec_for(self.job.options, self.level).into(),
            salt: table_salt(self.job.set.database_id(), number),
        };
        Ok((number, path.clone(), TableBuilder::new(file, path, options)))
    }

    fn close(&mut self) -> Result<()> {
        let Some((number, path, builder)) = self.open.take() else { return Ok(()) };
        let built = match builder.finish() {
            Ok(built) => built,
            Err(error) => {
                let _ = self.job.fs.remove(&path);
                return Err(error);
            }
        };
        self.done.push(TableMeta {
            number,
            bytes: built.bytes,
            smallest: built.smallest,
            largest: built.largest,
            seq_min: built.seq_min,
            seq_max: built.seq_max,
            entries: built.entries,
            tombstones: built.tombstones,
            raw_bytes: built.raw_bytes,
            shadowed: built.shadowed,
        });
        Ok(())
    }

    /// Ends the job: the tables, or an error and as little left behind as possible.
    fn finish(mut self, written: Result<()>) -> Result<Vec<TableMeta>> {
        let finished = written.and_then(|()| self.close()).and_then(|()| self.check_again());
        // The next job waits for it.
        self.charge();
        match finished {
            Ok(()) => Ok(self.done),
            Err(error) => {
                let open = self.open.take().map(|(number, ..)| number);
                for number in self.done.iter().map(|meta| meta.number).chain(open) {
                    // The first error counts; the next open removes what stays behind.
                    let _ = self.job.fs.remove(&FileName::Table(number).in_dir(self.job.dir));
                }
                Err(error)
            }
        }
    }

    /// With the feature `paranoid`: reads every table back, before anyone relies on it.
    fn check_again(&self) -> Result<()> {
        if cfg!(feature = "paranoid") {
            for meta in &self.done {
                let salt = table_salt(self.job.set.database_id(), meta.number);
                self.job.tables.verify(&TableHandle::new(meta.number, meta.bytes, salt))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "job_test.rs"]
mod tests;
