//! Which operations of a `FaultFs` go wrong, and how.
//!
//! Decides only; `fault.rs` lets it happen. Plain data, behind its owner's lock.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[cfg(doc)]
use super::traits::{Folder, Fs, ReadFile, WriteFile};

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// [`Fs::create_dir_all`]
    CreateDir,
    /// [`Fs::remove_dir`]
    RemoveDir,
    /// [`Fs::list`] and [`Fs::list_dirs`]
    List,
    /// [`Fs::create`]
    Create,
    /// [`Fs::open_write`]
    OpenWrite,
    /// [`Fs::open_read`]
    OpenRead,
    /// [`Fs::len`]
    Len,
    /// [`Fs::rename`]
    Rename,
    /// [`Fs::remove`]
    Remove,
    /// [`Fs::hard_link`]
    HardLink,
    /// [`Fs::open_dir`]
    OpenDir,
    /// [`Folder::sync`]
    SyncDir,
    /// [`Fs::lock`]
    Lock,
    /// [`ReadFile::read_at`]
    Read,
    /// [`ReadFile::map`]
    Map,
    /// A [`ReadFile`] is dropped: it cannot fail, but take long, and run something.
    Close,
    /// [`WriteFile::write_at`]
    Write,
    /// [`WriteFile::copy_at`]
    Copy,
    /// [`WriteFile::allocate`]
    Allocate,
    /// [`WriteFile::sync`]
    Sync,
}

/// What a fault runs in the middle of an operation.
pub(super) type Hook = Arc<dyn Fn() + Send + Sync>;

/// Something to go wrong: which operations it befalls, and how.
#[derive(Clone)]
pub struct Fault {
    op: Op,
    path_suffix: String,
    skip: u64,
    /// `None` for ever.
    times: Option<u64>,
    error: Option<io::ErrorKind>,
    short_bytes: usize,
    delay: Duration,
    hook: Option<Hook>,
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op, path_suffix, skip, times, error, short_bytes, delay, hook } = self;
        f.debug_struct("Fault")
            .field("op", op)
            .field("path_suffix", path_suffix)
            .field("skip", skip)
            .field("times", times)
            .field("error", error)
            .field("short_bytes", short_bytes)
            .field("delay", delay)
            .field("runs_something", &hook.is_some())
            .finish()
    }
}

impl Fault {
    /// The next `op` fails with this error. A full disk is `StorageFull`.
    pub fn error(op: Op, kind: io::ErrorKind) -> Self {
        Self {
            op,
            path_suffix: String::new(),
            skip: 0,
            times: Some(1),
            error: Some(kind),
            short_bytes: 0,
            delay: Duration::ZERO,
            hook: None,
        }
    }

    /// The next `op` takes longer, and then does its work.
    pub fn delay(op: Op, delay: Duration) -> Self {
        Self { error: None, delay, ..Self::error(op, io::ErrorKind::Other) }
    }

    /// The next `op` runs this first, in the thread that asked for it, and then does its work:
    /// what happens beside a slow disk, at one place and in one order. It may use the file
    /// system, and meets the same faults.
    pub fn run(op: Op, hook: impl Fn() + Send + Sync + 'static) -> Self {
        let hook: Option<Hook> = Some(Arc::new(hook));
        Self { error: None, hook, ..Self::error(op, io::ErrorKind::Other) }
    }

    /// Only for paths that end like this; for renames and links, either path.
    #[must_use]
    pub fn on(mut self, path_suffix: &str) -> Self {
        path_suffix.clone_into(&mut self.path_suffix);
        self
    }

    /// Only after this many operations that would have matched.
    #[must_use]
    pub fn after(mut self, matches: u64) -> Self {
        self.skip = matches;
        self
    }

    /// This often instead of once.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Every time, until [`FaultFs::clear`](super::FaultFs::clear).
    #[must_use]
    pub fn forever(mut self) -> Self {
        self.times = None;
        self
    }

    /// A failing write or copy writes this many of its bytes first.
    #[must_use]
    pub fn short(mut self, bytes: usize) -> Self {
        self.short_bytes = bytes;
        self
    }

    fn matches(&self, op: Op, paths: &[&Path]) -> bool {
        let suffix = &self.path_suffix;
        self.op == op && paths.iter().any(|path| path.to_string_lossy().ends_with(suffix.as_str()))
    }

    /// Counts a match; whether the fault strikes this time.
    fn strike(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        match &mut self.times {
            None => true,
            Some(0) => false,
            Some(times) => {
                *times -= 1;
                true
            }
        }
    }
}

/// The faults to come, and a count of what was asked for.
#[derive(Debug, Default)]
pub(super) struct FaultPlan {
    faults: Vec<Fault>,
    counts: HashMap<Op, u64>,
}

impl FaultPlan {
    pub(super) fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.faults.clear();
    }

    pub(super) fn count(&self, op: Op) -> u64 {
        self.counts.get(&op).copied().unwrap_or(0)
    }

    /// Counts an operation and tells what befalls it.
    pub(super) fn strike(&mut self, op: Op, paths: &[&Path]) -> Strike {
        *self.counts.entry(op).or_default() += 1;
        let (mut delay, mut hooks, mut outcome) = (Duration::ZERO, Vec::new(), Ok(()));
        for fault in self.faults.iter_mut().filter(|fault| fault.matches(op, paths)) {
            if fault.strike() {
                delay += fault.delay;
                hooks.extend(fault.hook.clone());
                if let (Ok(()), Some(kind)) = (&outcome, fault.error) {
                    let error = io::Error::new(kind, format!("{op:?} failed on purpose"));
                    outcome = Err((error, fault.short_bytes));
                }
            }
        }
        Strike { delay, hooks, outcome }
    }
}

/// What befalls one operation.
pub(super) struct Strike {
    /// How long it is to take,
    pub(super) delay: Duration,
    /// what is to be run meanwhile,
    pub(super) hooks: Vec<Hook>,
    /// and whether it fails then; with an error comes how many bytes are to be written
    /// despite it.
    pub(super) outcome: Result<(), (io::Error, usize)>,
}
