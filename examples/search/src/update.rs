//! Brings the index up to date with a folder, on all cores, a file at a time.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::{io, path, thread};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::changes::{Change, Changes, stamp};
use crate::index::{Index, Record, Stamp};
use crate::{Result, html, words};

/// Larger files are data rather than text. Bounds the memory of a thread: a file, the words
/// it has, and the batch they make.
const FILE_BYTES_MAX: u64 = 32 << 20;
/// How many unreadable files are named.
const COMPLAINTS_MAX: u64 = 10;
/// Time between two lines of progress, where there is no terminal to draw a bar on.
const PROGRESS_SECONDS: u64 = 5;

/// What one run did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) indexed: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) removed: AtomicU64,
    pub(crate) same: AtomicU64,
    pub(crate) no_text: AtomicU64,
    pub(crate) unreadable: AtomicU64,
}

/// Indexes what is new or changed below `root` and forgets what is gone.
///
/// Every file is one atomic batch, so a run may be killed at any moment; the next one goes on
/// from there.
pub(crate) fn run(index: &Index, root: &str, folder: &path::Path) -> Result<Done> {
    let before = index.db.snapshot().keyspace(&index.files)?;
    let changes = || Changes::new(root, &before, folder);
    let mut total = 0;
    for change in changes() {
        if let Change::Read { bytes, .. } = change? {
            total += bytes;
        }
    }
    let bar = ProgressBar::new(total).with_style(style()?);
    let updater = Updater {
        index,
        changes: Mutex::new(changes()),
        done: Done::default(),
        bar,
        next_line: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    };
    let threads = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| updater.work())).collect();
        let results = workers.into_iter().map(|worker| worker.join().expect("a worker panicked"));
        // Waits for all of them before it tells the first error.
        results.collect::<Vec<_>>().into_iter().collect::<Result<()>>()
    })?;
    updater.bar.finish_and_clear();
    // A batch survives the death of the process as soon as it is written; from here on all
    // of them survive power loss too.
    index.db.sync()?;
    Ok(updater.done)
}

fn style() -> Result<ProgressStyle> {
    let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left  {wide_msg}";
    Ok(ProgressStyle::with_template(template)?)
}

struct Updater<'a> {
    index: &'a Index,
    changes: Mutex<Changes>,
    done: Done,
    bar: ProgressBar,
    /// When the next line of progress is due, in seconds from the start.
    next_line: AtomicU64,
    /// A worker failed: the others need not go on.
    stop: AtomicBool,
}

impl Updater<'_> {
    fn work(&self) -> Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            let change = self.changes.lock().expect("no worker panics with the lock").next();
            let Some(change) = change else { break };
            change.and_then(|change| self.carry_out(change)).inspect_err(|_| {
                self.stop.store(true, Ordering::Relaxed);
            })?;
        }
        Ok(())
    }

    fn carry_out(&self, change: Change) -> Result<()> {
        match change {
            Change::Read { path, old, bytes } => {
                match read(&path) {
                    Ok(found) => self.update(&path, old, found)?,
                    Err(error) => self.complain(&format!("{path}: {error}")),
                }
                self.bar.inc(bytes);
                self.show_progress();
            }
            Change::Gone { path, old } => {
                self.index.remove(&path, Some(old), None)?;
                count(&self.done.removed, 1);
            }
            Change::Same => count(&self.done.same, 1),
            Change::Unreadable(why) => self.complain(&why),
        }
        Ok(())
    }

    fn update(&self, path: &str, old: Option<Record>, found: Found) -> Result<()> {
        let Some(text) = found.text else {
            count(&self.done.no_text, 1);
            return self.index.remove(path, old, Some(found.stamp));
        };
        let is_page = [".html", ".htm", ".xhtml"].iter().any(|end| path.ends_with(end));
        let words = words::distinct(&if is_page { html::text(&text) } else { text });
        let id = match old.map_or(0, |old| old.id) {
            0 => self.index.take_id()?,
            id => id,
        };
        let new = Record { id, words: words.len() as u32, stamp: found.stamp };
        self.index.replace(path, old, new, &words)?;
        count(&self.done.indexed, 1);
        count(&self.done.bytes, found.stamp.bytes);
        Ok(())
    }

    /// A line now and then, unless the bar is to be seen.
    fn show_progress(&self) {
        let (now, due) = (self.bar.elapsed().as_secs(), self.next_line.load(Ordering::Relaxed));
        if !self.bar.is_hidden() || now < due {
            return;
        }
        let next = now + PROGRESS_SECONDS;
        if self.next_line.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            let all = HumanBytes(self.bar.length().unwrap_or_default());
            self.say(&format!("indexing: {} of {all}", HumanBytes(self.bar.position())));
        }
    }

    /// Not eprintln!, which panics where nobody reads it.
    fn say(&self, line: &str) {
        self.bar.suspend(|| _ = writeln!(io::stderr(), "{line}"));
    }

    fn complain(&self, why: &str) {
        if self.done.unreadable.fetch_add(1, Ordering::Relaxed) < COMPLAINTS_MAX {
            self.say(&format!("not indexed: {why}"));
        }
    }
}

fn count(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

struct Found {
    stamp: Stamp,
    /// None if the file is no text, or too large for one.
    text: Option<String>,
}

fn read(path: &str) -> io::Result<Found> {
    let file = File::open(path)?;
    // Before the reading: a file that changes meanwhile differs at the next run.
    let stamp = stamp(&file.metadata()?);
    if stamp.bytes > FILE_BYTES_MAX {
        return Ok(Found { stamp, text: None });
    }
    let mut bytes = Vec::with_capacity(stamp.bytes as usize);
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    Ok(Found { stamp, text })
}
