//! A job queue: jobs are added at one end and taken from the other, each by exactly one worker.
//!
//! `cargo run --release --example queue -- FOLDER`; without a folder, in a temporary one.
//!
//! A worker takes the first job in a transaction: it reads the first key, moves the job to those that
//! are done, and commits. Two that took the same one conflict, and one of them takes the next. Who adds
//! a job at the other end disturbs nobody: a transaction has read its range only as far as it walked.
//! Killed at any moment, a job is either still in the queue or done.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use lsm_core::Db;

const JOBS: u64 = 10_000;
const WORKERS: u64 = 3;

/// Takes the first job; none if there is none.
fn take(db: &Db, worker: u64) -> lsm_core::Result<Option<String>> {
    db.transact(|tx| {
        let Some(first) = tx.prefix("queue/").next() else { return Ok(None) };
        let (key, job) = first?;
        let job = String::from_utf8_lossy(&job).into_owned();
        tx.delete(&key)?;
        tx.put(format!("done/{job}"), format!("by worker {worker}"))?;
        Ok(Some(job))
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let folder = std::env::args_os().nth(1).map_or(temporary.path().into(), PathBuf::from);
    let db = Db::open(folder)?;
    // On a second run the numbers go on behind the last job, done or not.
    let before = db.prefix("done/").count() as u64 + db.prefix("queue/").count() as u64;
    let added = AtomicBool::new(false);

    thread::scope(|scope| {
        let (db, added) = (&db, &added);
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                scope.spawn(move || {
                    loop {
                        // Before the queue is looked at: what is added later is seen next time.
                        let was_added = added.load(Ordering::Acquire);
                        if take(db, worker)?.is_none() && was_added {
                            return Ok(());
                        }
                    }
                })
            })
            .collect();
        let adding = (before..before + JOBS)
            .try_for_each(|number| db.put(format!("queue/{number:012}"), format!("job {number}")));
        added.store(true, Ordering::Release);
        let ended = workers.into_iter().map(|worker| worker.join().expect("a worker panicked"));
        ended.chain([adding]).collect::<lsm_core::Result<Vec<()>>>()
    })?;

    let mut out = io::stdout();
    let (left, done) = (db.prefix("queue/").count(), db.prefix("done/").count());
    writeln!(out, "{done} jobs done in all, {left} left in the queue")?;
    Ok(db.close()?)
}
