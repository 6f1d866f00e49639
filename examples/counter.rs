//! Counters that add up: visits per page and in total, counted by several threads.
//!
//! `cargo run --release --example counter -- FOLDER`; without a folder, in a temporary one.
//!
//! Each visit raises two counters in one batch, so no crash and no reader ever sees one
//! without the other. Reports read from a snapshot while the counting goes on.

#![allow(clippy::disallowed_methods, reason = "an example is user code: it may sleep")]

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use lsm_core::{Db, Readable, WriteBatch};

const THREADS: u64 = 4;
const VISITS_PER_THREAD: u64 = 5_000;
const PAGES: [&str; 5] = ["home", "docs", "blog", "about", "download"];

struct Counters {
    db: Db,
    /// A counter is read, raised and written back: one thread at a time. Where not all who write
    /// know of this lock, a transaction is the way (see `bank`).
    raising: Mutex<()>,
}

impl Counters {
    fn visit(&self, page: &str) -> lsm_core::Result<()> {
        let _one_at_a_time = self.raising.lock().expect("no thread panics while it counts");
        let page = format!("page/{page}");
        let mut batch = WriteBatch::new();
        batch.put("total", (count(&self.db, "total")? + 1).to_le_bytes());
        batch.put(&page, (count(&self.db, &page)? + 1).to_le_bytes());
        self.db.write(&batch)?;
        Ok(())
    }

    /// The total, and the sum over all pages, of one moment.
    fn report(&self) -> lsm_core::Result<(u64, u64)> {
        let now = self.db.snapshot();
        let mut sum = 0;
        for entry in now.prefix("page/") {
            sum += number(&entry?.1);
        }
        Ok((count(&now, "total")?, sum))
    }
}

/// A counter's value; one that was never raised is 0. Takes a database or a snapshot of it.
fn count(from: &impl Readable, key: &str) -> lsm_core::Result<u64> {
    Ok(from.get(key)?.map_or(0, |value| number(&value)))
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("a counter has eight bytes"))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout();
    let temp = tempfile::tempdir()?;
    let folder = std::env::args().nth(1).map_or(temp.path().join("counters"), PathBuf::from);
    let counters = Counters { db: Db::open(&folder)?, raising: Mutex::new(()) };
    writeln!(out, "at the start: {} visits", count(&counters.db, "total")?)?;

    thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        for thread in 0..THREADS {
            let counters = &counters;
            scope.spawn(move || {
                for i in 0..VISITS_PER_THREAD {
                    let page = PAGES[((thread + i * i) % PAGES.len() as u64) as usize];
                    counters.visit(page).expect("the visit is counted");
                }
            });
        }
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(5));
            let (total, sum) = counters.report()?;
            writeln!(out, "while counting: {total} visits, {sum} over all pages")?;
            assert_eq!(total, sum, "a snapshot sees whole batches only");
        }
        Ok(())
    })?;

    for page in PAGES {
        writeln!(out, "{:>8} {page}", count(&counters.db, &format!("page/{page}"))?)?;
    }
    let (total, sum) = counters.report()?;
    writeln!(out, "{total:>8} in total, {sum} over all pages")?;
    counters.db.close()?;
    Ok(())
}
