//! A log with a model beside it, for tests: what was written must be what is read, live and
//! after crashes.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use fastrand::Rng;
use lsm_log::fs::{CrashFs, Fs};
use lsm_log::wal::SegmentJob;
use raft::eraftpb::{Entry, HardState};

use super::{LogOptions, LogStore, LogWriter};
use crate::error::Result;

pub(super) const OWNER: u64 = 0x0102_0304_0506_0708;

pub(super) fn dir() -> &'static Path {
    Path::new("/raft")
}

pub(super) fn options(fs: &CrashFs, segment_bytes: u64, cache_bytes: usize) -> LogOptions {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    LogOptions { fs, segment_bytes, cache_bytes, ..LogOptions::new(OWNER) }
}

pub(super) fn open(fs: &CrashFs, segment_bytes: u64) -> Result<(LogStore, LogWriter)> {
    LogStore::open(options(fs, segment_bytes, 1 << 20), dir())
}

/// An entry of `len` bytes; the same term and index give the same bytes.
pub(super) fn entry(index: u64, term: u64, len: usize) -> Entry {
    let mut rng = Rng::with_seed(index << 20 ^ term);
    let mut bytes = |len| std::iter::repeat_with(|| rng.u8(..)).take(len).collect::<Vec<u8>>();
    let (data, context) = (bytes(len).into(), bytes(len % 3).into());
    let mut entry = Entry { index, term, data, context, ..Entry::default() };
    entry.set_entry_type(match index % 5 {
        0 => raft::eraftpb::EntryType::EntryConfChangeV2,
        1 => raft::eraftpb::EntryType::EntryConfChange,
        _ => raft::eraftpb::EntryType::EntryNormal,
    });
    entry
}

pub(super) fn entries(indexes: std::ops::RangeInclusive<u64>, term: u64, len: usize) -> Vec<Entry> {
    indexes.map(|index| entry(index, term, len)).collect()
}

pub(super) fn hard(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term, vote, commit, ..HardState::default() }
}

pub(super) fn all(store: &LogStore) -> Vec<Entry> {
    store.entries(store.first_index(), store.last_index() + 1, None).unwrap()
}

/// A log without truncation: what was at some moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    hard: (u64, u64, u64),
    /// The log begins behind this index and term.
    base: (u64, u64),
    entries: Vec<Entry>,
}

impl Content {
    fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }

    fn term(&self, index: u64) -> u64 {
        match index.checked_sub(self.base.0 + 1) {
            Some(at) => self.entries[at as usize].term,
            None => self.base.1,
        }
    }

    fn append(&mut self, entries: &[Entry]) {
        self.entries.truncate((entries[0].index - self.base.0 - 1) as usize);
        self.entries.extend_from_slice(entries);
    }

    fn behind(&self, index: u64) -> &[Entry] {
        &self.entries[(index - self.base.0) as usize..]
    }
}

/// What the log thread is told to do.
#[derive(Debug)]
enum Task {
    Write(Option<HardState>, Vec<Entry>),
    Reset(u64, u64),
    Truncate(u64, u64),
}

/// A node's use of its log, with a model.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) fs: CrashFs,
    pub(super) store: LogStore,
    writer: LogWriter,
    tasks: VecDeque<Task>,
    memory: Content,
    /// What is on disk after each write since the last sync, that one included.
    written: Vec<Content>,
    /// The last of them was cut short by an error, and may not be there.
    cut_short: bool,
    /// Logs of leaders that were replaced: they may come back.
    branches: Vec<Vec<Entry>>,
    term: u64,
    /// Never replaced: on disk and synced, here and on a quorum.
    committed: u64,
    truncated: u64,
    segment_bytes: u64,
    cache_bytes: usize,
}

impl Node {
    pub(super) fn new(fs: &CrashFs, segment_bytes: u64, cache_bytes: usize) -> Result<Self> {
        let (store, writer) = LogStore::open(options(fs, segment_bytes, cache_bytes), dir())?;
        Ok(Self {
            fs: fs.clone(),
            store,
            writer,
            tasks: VecDeque::new(),
            memory: Content::default(),
            written: vec![Content::default()],
            cut_short: false,
            branches: Vec::new(),
            term: 1,
            committed: 0,
            truncated: 0,
            segment_bytes,
            cache_bytes,
        })
    }

    /// One random step.
    pub(super) fn step(&mut self, rng: &mut Rng) -> Result<()> {
        match rng.u32(0..100) {
            0..25 => self.append(rng),
            25..30 => self.replace(rng),
            30..35 => self.bring_back(rng),
            35..40 => self.tasks.push_back(Task::Write(Some(self.hard(rng)), Vec::new())),
            40..42 if self.tasks.len() < 4 => self.reset_to(rng),
            40..75 => self.work()?,
            75..90 => self.sync()?,
            _ => self.truncate(rng),
        }
        Ok(())
    }

    fn hard(&self, rng: &mut Rng) -> HardState {
        hard(self.term, rng.u64(0..4), self.committed)
    }

    fn persist(&mut self, entries: Vec<Entry>, rng: &mut Rng) {
        self.store.append(&entries);
        self.memory.append(&entries);
        let hard = rng.bool().then(|| self.hard(rng));
        self.tasks.push_back(Task::Write(hard, entries));
    }

    fn fresh(&self, first: u64, rng: &mut Rng) -> Vec<Entry> {
        let longest = if rng.u32(0..20) == 0 { 3 * self.segment_bytes as usize } else { 150 };
        (first..=first + rng.u64(0..5))
            .map(|i| entry(i, self.term, rng.usize(0..longest)))
            .collect()
    }

    fn append(&mut self, rng: &mut Rng) {
        let entries = self.fresh(self.memory.last() + 1, rng);
        self.persist(entries, rng);
    }

    /// A new leader's entries take the place of some.
    fn replace(&mut self, rng: &mut Rng) {
        self.term += 1;
        self.branches.push(self.memory.entries.clone());
        let entries = self.fresh(rng.u64(self.committed + 1..=self.memory.last() + 1), rng);
        self.persist(entries, rng);
    }

    /// A later leader has what an earlier one wrote, from somewhere on.
    fn bring_back(&mut self, rng: &mut Rng) {
        let Some(branch) = rng.choice(&self.branches) else { return };
        let here = &self.memory.entries;
        let same = branch.iter().zip(here).take_while(|(a, b)| a.term == b.term).count();
        let skipped = self.memory.base.0 + same as u64;
        let back = branch[same..].to_vec();
        if skipped < self.committed || back.is_empty() {
            return;
        }
        self.term += 1;
        let count = rng.usize(1..=back.len());
        self.persist(back[..count].to_vec(), rng);
    }

    fn reset_to(&mut self, rng: &mut Rng) {
        self.term += 1;
        let (index, term) = (self.memory.last() + rng.u64(1..20), self.term);
        self.store.reset_to(index, term);
        self.memory = Content { hard: (0, 0, 0), base: (index, term), entries: Vec::new() };
        self.branches.clear();
        self.tasks.push_back(Task::Reset(index, term));
        // A snapshot holds what is committed.
        (self.committed, self.truncated) = (index, index);
    }

    /// The log thread does one thing.
    fn work(&mut self) -> Result<()> {
        let Some(task) = self.tasks.pop_front() else { return Ok(()) };
        if let Task::Truncate(index, term) = task {
            return self.writer.truncate(index, term);
        }
        let mut next = self.written[self.written.len() - 1].clone();
        match &task {
            Task::Write(hard, entries) => {
                if !entries.is_empty() {
                    next.append(entries);
                }
                if let Some(hard) = hard {
                    next.hard = (hard.term, hard.vote, hard.commit.min(next.last()));
                }
            }
            Task::Reset(index, term) => {
                let commit = next.hard.2.max(*index);
                next.base = (*index, *term);
                next.hard.2 = commit;
                next.entries.clear();
            }
            Task::Truncate(..) => unreachable!("it changes nothing that is needed"),
        }
        // It may reach the disk and fail all the same.
        self.written.push(next.clone());
        self.cut_short = true;
        match task {
            Task::Write(hard, entries) => {
                let hard = hard.map(|h| HardState { commit: next.hard.2, ..h });
                self.writer.write(hard.as_ref(), &entries)?;
            }
            Task::Reset(index, term) => {
                self.writer.reset(index, term)?;
                self.written = vec![next];
            }
            Task::Truncate(..) => unreachable!("it was done above"),
        }
        self.cut_short = false;
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.writer.sync()?;
        self.writer.make_ahead(SegmentJob::at_once);
        self.written.drain(..self.written.len() - 1);
        // A quorum has what this node has and the leader, too.
        let disk = &self.written[0];
        if disk.base == self.memory.base {
            let same = disk.entries.iter().zip(&self.memory.entries);
            let same = same.take_while(|(a, b)| a.term == b.term).count() as u64;
            // What is yet to be written again does not count as written.
            let again = self.tasks.iter().filter_map(|task| match task {
                Task::Write(_, entries) => entries.first().map(|entry| entry.index - 1),
                Task::Reset(..) => Some(0),
                Task::Truncate(..) => None,
            });
            let settled = (disk.base.0 + same / 2).min(again.min().unwrap_or(u64::MAX));
            self.committed = self.committed.max(settled);
        }
        Ok(())
    }

    fn truncate(&mut self, rng: &mut Rng) {
        let index = rng.u64(self.truncated..=self.committed);
        self.truncated = index;
        self.tasks.push_back(Task::Truncate(index, self.store.term(index).unwrap()));
        self.store.truncate(index);
    }

    /// What is in memory is what was appended, whatever is read from files.
    pub(super) fn check_memory(&self, rng: &mut Rng) {
        let (store, memory) = (&self.store, &self.memory);
        assert_eq!((store.first_index(), store.last_index()), (self.truncated + 1, memory.last()));
        for index in self.truncated..=memory.last() {
            assert_eq!(store.term(index).unwrap(), memory.term(index));
        }
        let low = rng.u64(self.truncated..=memory.last());
        let high = rng.u64(low..=memory.last());
        let found = store.entries(low + 1, high + 1, None).unwrap();
        assert_eq!(found, memory.behind(low)[..(high - low) as usize]);
    }

    pub(super) fn check_all(&self) {
        assert_eq!(all(&self.store), self.memory.behind(self.truncated));
    }

    /// After an error nothing is written any more.
    pub(super) fn check_refuses(&mut self) {
        let events = self.fs.events();
        assert!(self.writer.write(Some(&hard(9, 9, 0)), &[]).is_err());
        assert!(self.writer.sync().is_err());
        assert!(self.writer.reset(1 << 40, 9).is_err());
        assert_eq!(self.fs.events(), events);
    }

    /// Opens what a crash left behind, and checks it against the model. `kept`: nothing is lost.
    pub(super) fn reopen(self, fs: &CrashFs, kept: bool) -> Result<Self> {
        let options = options(fs, self.segment_bytes, self.cache_bytes);
        drop((self.store, self.writer));
        let (store, writer) = LogStore::open(options, dir())?;
        let found = store.hard_state();
        let (first, last) = (store.first_index(), store.last_index());
        let base = (first - 1, store.term(first - 1).unwrap());
        let entries = all(&store);
        let last_done = self.written.len() - 1 - usize::from(self.cut_short);
        let oldest = if kept { last_done } else { 0 };
        let is_it = |content: &&Content| {
            let (term, vote, commit) = content.hard;
            let same_hard = (found.term, found.vote) == (term, vote)
                && found.commit == commit.max(base.0)
                && content.last() == last;
            same_hard
                && content.base.0 <= base.0
                && content.term(base.0) == base.1
                && content.behind(base.0) == entries
        };
        let Some(content) = self.written[oldest..].iter().rev().find(is_it) else {
            panic!(
                "found {base:?}..{last} {found:?}, which is none of {:?}",
                self.written[oldest..]
                    .iter()
                    .map(|content| (content.hard, content.base, content.last()))
                    .collect::<Vec<_>>()
            );
        };
        let committed = self.committed.min(self.written[0].last().max(content.last()));
        assert!(base.0 <= self.truncated.max(content.base.0), "nothing is truncated on its own");
        let mut content = content.clone();
        content.hard.2 = content.hard.2.max(base.0);
        Ok(Self {
            fs: fs.clone(),
            store,
            writer,
            tasks: VecDeque::new(),
            memory: content.clone(),
            committed: committed.clamp(base.0, content.last()),
            written: vec![content],
            cut_short: false,
            branches: Vec::new(),
            term: self.term + 1,
            truncated: base.0,
            segment_bytes: self.segment_bytes,
            cache_bytes: self.cache_bytes,
        })
    }
}
