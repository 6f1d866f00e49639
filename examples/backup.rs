//! Backup by checkpoint, restore by opening.
//!
//! `cargo run --release --example backup -- FOLDER`; without a folder, in a temporary one.
//! FOLDER gets two databases: `live`, and its copy `backup-1`; a second run makes `backup-2`.
//!
//! A checkpoint is a whole database of its own. On one file system it shares the live one's
//! table files by hard links, so it costs no time and at first no space; to keep it safe from
//! a broken disk, copy its folder to another machine with any tool: no file in it changes
//! until somebody opens it to write.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;

use lsm_core::{Db, Options};

const ACCOUNTS: u32 = 50_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout();
    let temp = tempfile::tempdir()?;
    let folder = std::env::args().nth(1).map_or(temp.path().to_owned(), PathBuf::from);
    let live = folder.join("live");
    // Each run makes a backup of its own: no name is used twice.
    let mut backups = (1_u32..).map(|number| folder.join(format!("backup-{number}")));
    let backup = backups.find(|folder| !folder.exists()).ok_or("all names are used")?;

    let db = Db::open(&live)?;
    for account in 0..ACCOUNTS {
        db.put(format!("account/{account:08}"), "balance 100")?;
    }
    // One point in the write order, while reads and writes go on. The folder must be new.
    db.checkpoint(&backup)?;
    writeln!(out, "backup of {ACCOUNTS} accounts made")?;

    // Everything that happens now is not in the backup: here, a bad migration.
    for account in 0..ACCOUNTS {
        db.put(format!("account/{account:08}"), "balance NaN")?;
    }
    db.close()?;

    // A backup that was never read is a hope: read all of it, without changing a byte.
    let copy = Options::default().create_if_missing(false).open_read_only(&backup)?;
    let verified = copy.verify()?;
    writeln!(out, "backup verified: {} entries in {} tables", verified.entries, verified.tables)?;
    copy.close()?;

    // To restore is to open the backup, or a copy of its folder, in place of the live one.
    let restored = Options::default().create_if_missing(false).open(&backup)?;
    let good = restored.iter().filter(is_good).count();
    writeln!(out, "restored: {good} accounts with their balance")?;
    restored.put("restored", "yes")?;
    restored.close()?;

    let db = Db::open(&live)?;
    let bad = db.iter().filter(|entry| !is_good(entry)).count();
    writeln!(out, "live is a database of its own: {bad} accounts are broken")?;
    assert!(!db.contains_key("restored")?, "what is written to one is not in the other");
    db.close()?;
    Ok(())
}

fn is_good(entry: &lsm_core::Result<(lsm_core::Key, lsm_core::Value)>) -> bool {
    entry.as_ref().is_ok_and(|(_, value)| *value == "balance 100")
}
