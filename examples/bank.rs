//! A bank: money moves between accounts, by several tellers at once, and none is lost or made.
//!
//! `cargo run --release --example bank -- FOLDER`; without a folder, in a temporary one.
//!
//! Each transfer is a transaction: it reads two balances, and takes effect only if nobody has changed
//! them meanwhile; `transact` runs it again otherwise. An auditor adds up all accounts in a transaction
//! that only reads: it sees one point, and keeps nobody waiting.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use lsm_core::{Db, Readable, Transaction};

const ACCOUNTS: u64 = 100;
const OPENING_BALANCE: u64 = 1_000;
const TELLERS: u64 = 4;
const TRANSFERS_PER_TELLER: u64 = 5_000;

fn account(number: u64) -> String {
    format!("account/{number:03}")
}

fn balance(bank: &impl Readable, account: &str) -> lsm_core::Result<u64> {
    let stored = bank.get(account)?;
    Ok(stored.map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().expect("eight bytes"))))
}

fn total(bank: &impl Readable) -> lsm_core::Result<u64> {
    let mut total = 0;
    for entry in bank.prefix("account/") {
        total += u64::from_le_bytes(entry?.1[..].try_into().expect("eight bytes"));
    }
    Ok(total)
}

/// Moves money if there is enough; tells whether it did.
fn transfer(tx: &Transaction, from: u64, to: u64, amount: u64) -> lsm_core::Result<bool> {
    let (from, to) = (account(from), account(to));
    let (has, gets) = (balance(tx, &from)?, balance(tx, &to)?);
    if has < amount {
        return Ok(false);
    }
    tx.put(from, (has - amount).to_le_bytes())?;
    tx.put(to, (gets + amount).to_le_bytes())?;
    Ok(true)
}

fn work(db: &Db, teller: u64, runs: &AtomicU64) -> lsm_core::Result<()> {
    for n in 0..TRANSFERS_PER_TELLER {
        // Different ones for each teller, and some that several use.
        let from = (n * 7 + teller * 13) % ACCOUNTS;
        let to = (from + 1 + n % (ACCOUNTS - 1)) % ACCOUNTS;
        db.transact(|tx| {
            runs.fetch_add(1, Ordering::Relaxed);
            transfer(tx, from, to, 1 + n % 50)
        })?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let folder = std::env::args_os().nth(1).map_or(temporary.path().into(), PathBuf::from);
    let db = Db::open(folder)?;
    for number in 0..ACCOUNTS {
        // On a second run the accounts are as they were left.
        db.put_if_absent(account(number), OPENING_BALANCE.to_le_bytes())?;
    }
    let (before, runs) = (total(&db)?, AtomicU64::new(0));

    thread::scope(|scope| {
        let tellers: Vec<_> = (0..TELLERS)
            .map(|teller| {
                scope.spawn({
                    let (db, runs) = (&db, &runs);
                    move || work(db, teller, runs)
                })
            })
            .collect();
        while tellers.iter().any(|teller| !teller.is_finished()) {
            assert_eq!(total(&db.transaction())?, before, "money was lost or made");
        }
        tellers.into_iter().try_for_each(|teller| teller.join().expect("a teller panicked"))
    })?;

    let (asked, runs) = (TELLERS * TRANSFERS_PER_TELLER, runs.into_inner());
    let mut out = io::stdout();
    writeln!(out, "{asked} transfers by {TELLERS} tellers, {} of them run again", runs - asked)?;
    writeln!(out, "{} on all accounts, as before", total(&db)?)?;
    Ok(db.close()?)
}
