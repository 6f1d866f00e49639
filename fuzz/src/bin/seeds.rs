//! Writes `corpus/<target>/`: what the engine itself writes, for the fuzzer to start from.
//!
//! Small databases with different settings live for a moment in memory, stepped by hand, so
//! that each run writes the same seeds. Small, because a fuzzer is as fast as its inputs are
//! short.

#![allow(clippy::disallowed_methods, reason = "the bans keep files out of the engine")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs};

use lsm_core::fs::{Fs, MemFs};
use lsm_core::{
    Compression, Db, Durability, KeyspaceOptions, Options, Result, WriteBatch, fuzzing,
};

use lsm_raft::command::{Command, Op, Session, collect};

/// Longer files make poor seeds.
const SEED_LEN_MAX: usize = 64 << 10;

/// One way to use a database.
struct Variant {
    name: &'static str,
    options: KeyspaceOptions,
    entries: u32,
    value_len: usize,
    prefix: &'static str,
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    // As cargo tells it at run time: clones may share a folder of build results.
    let own = env::var_os("CARGO_MANIFEST_DIR").ok_or("start this with `cargo run`")?;
    let corpus = Corpus { root: Path::new(&own).join("corpus") };
    let mut count = 0;
    for variant in variants() {
        let fs = Arc::new(MemFs::new());
        live(&variant, &fs)?;
        count += corpus.collect(variant.name, &fs)?;
    }
    count += corpus.replicated()?;
    count += corpus.sent()?;
    println!("{count} seeds in {}", corpus.root.display());
    Ok(())
}

fn variants() -> Vec<Variant> {
    let plain = || KeyspaceOptions::default().compression(Compression::None).block_bytes(256);
    let variant = |name, options, entries, value_len, prefix| Variant {
        name,
        options,
        entries,
        value_len,
        prefix,
    };
    vec![
        variant("one", plain(), 1, 3, ""),
        variant("few", plain(), 12, 0, "key"),
        variant("plain", plain(), 150, 8, "user/profile/"),
        variant("large-blocks", plain().block_bytes(4096), 150, 20, ""),
        variant("packed", plain().compression(Compression::Lz4), 200, 30, "packed/"),
        variant("no-filter", plain().filter_bits_per_key(0), 80, 5, "k"),
        variant("wide-filter", plain().filter_bits_per_key(32), 40, 5, "k"),
        variant("long-values", plain(), 6, 3000, "a prefix that is longer than a word"),
        variant("deep-index", plain().filter_bits_per_key(1), 700, 40, "i"),
    ]
}

/// The life of a database: writes, overwrites, deletes, a snapshot, another keyspace, a flush,
/// a compaction, a reopening, and the same writes once more, which stay in the log.
fn live(variant: &Variant, fs: &Arc<MemFs>) -> Result<()> {
    let shared: Arc<dyn Fs> = fs.clone();
    let options = Options::default()
        .default_keyspace(variant.options.clone())
        .log_segment_bytes(64 << 10)
        .fs(shared)
        .stepped(7);
    let db = options.clone().open(DIR)?;
    let key = |i: u32| format!("{}{:05}", variant.prefix, i * 7919 % 100_000);
    let value = |i: u32| format!("{i:03}").repeat(variant.value_len.div_ceil(3)).into_bytes();
    for i in 0..variant.entries {
        db.put(key(i), &value(i)[..variant.value_len])?;
    }
    db.flush()?;
    db.compact_range::<&str>(..)?;
    let snapshot = db.snapshot();
    overwrite(&db, variant, &key)?;
    db.flush()?;
    drop(snapshot);
    db.close()?;

    let db = options.open(DIR)?;
    for i in 0..variant.entries.min(20) {
        db.put_with(key(i), "late", [Durability::Sync, Durability::Buffered][i as usize % 2])?;
    }
    overwrite(&db, variant, &key)?;
    db.keyspace("made-late", variant.options.clone())?;
    std::mem::forget(db); // As a process dies: the log keeps its last records.
    Ok(())
}

fn overwrite(db: &Db, variant: &Variant, key: &impl Fn(u32) -> String) -> Result<()> {
    let users = db.keyspace("users", variant.options.clone())?;
    for i in 0..variant.entries.min(50) {
        let mut batch = WriteBatch::new();
        batch.put(key(i), "new");
        batch.delete(key(i + 1));
        batch.put_in(&users, key(i), [i as u8; 300].get(..i as usize).unwrap_or_default());
        batch.delete_in(&users, "");
        db.write(&batch)?;
    }
    Ok(())
}

const DIR: &str = "/db";

/// The folder with one folder of seeds for each target.
struct Corpus {
    root: PathBuf,
}

impl Corpus {
    /// Writes every file of a database as a seed, and what lies within it as others.
    fn collect(&self, variant: &str, from: &MemFs) -> std::io::Result<usize> {
        let mut count = 0;
        let mut put = |target: &str, name: &str, bytes: &[u8]| {
            let dir = self.root.join(target);
            fs::create_dir_all(&dir)?;
            count += 1;
            fs::write(dir.join(format!("{variant}-{name}")), bytes)
        };
        for name in from.list(Path::new(DIR))? {
            let file = from.open_read(&Path::new(DIR).join(&name))?;
            let mut bytes = vec![0; file.len() as usize];
            file.read_at(0, &mut bytes)?;
            match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
                "table" if bytes.len() <= SEED_LEN_MAX => {
                    put("sstable", &name, &bytes)?;
                    for (i, block) in first_and_last(fuzzing::blocks_of(&bytes)) {
                        put("block", &format!("{name}-{i}"), &block)?;
                    }
                }
                "log" => {
                    for (i, batch) in first_and_last(fuzzing::payloads_of(&bytes)) {
                        put("batch", &format!("{name}-{i}"), &batch)?;
                    }
                    cut_zeros(&mut bytes);
                    fuzzing::mend_log(&mut bytes);
                    put("log", &name, &bytes)?;
                }
                "manifest" => {
                    for (i, edit) in first_and_last(fuzzing::payloads_of(&bytes)) {
                        put("manifest", &format!("{name}-{i}"), &edit)?;
                    }
                    fuzzing::mend_manifest(&mut bytes);
                    put("manifest", &name, &bytes)?;
                }
                _ => {}
            }
        }
        Ok(count)
    }
}

impl Corpus {
    /// Entries of one command and of all, and log records with them.
    fn replicated(&self) -> std::io::Result<usize> {
        let ops = vec![Op::Put { key: b"user/1", value: b"ada" }, Op::Delete { key: b"user/2" }];
        let session = Some(Session { id: 300, sequence: 7 });
        let (peer_address, client_address) = ("a:7001".to_owned(), "a:7000".to_owned());
        let mut entries = vec![Vec::new()];
        for command in [
            Command::Write { session: None, ops: ops.clone() },
            Command::Write { session, ops },
            Command::OpenSession,
            Command::Identify { node: 3, incarnation: 1 << 60, peer_address, client_address },
            Command::Hash,
            Command::Found { cluster_id: 1 << 100 },
        ] {
            let mut one = Vec::new();
            collect(&command.to_bytes(), &mut one);
            entries[0].extend_from_slice(&one);
            entries.push(one);
        }
        let mut count = 0;
        let mut put = |target: &str, i: usize, bytes: &[u8]| {
            let dir = self.root.join(target);
            fs::create_dir_all(&dir)?;
            count += 1;
            fs::write(dir.join(format!("raft-{i}")), bytes)
        };
        for (i, entry) in entries.iter().enumerate() {
            put("command", i, entry)?;
        }
        for (i, record) in lsm_raft::fuzzing::log_records(&entries).iter().enumerate() {
            put("raft_log", i, record)?;
        }
        Ok(count)
    }
}

impl Corpus {
    /// What nodes and clients send.
    fn sent(&self) -> std::io::Result<usize> {
        let mut count = 0;
        for (target, seeds) in lsm_fuzz::peer::fuzzing::seeds() {
            let dir = self.root.join(target);
            fs::create_dir_all(&dir)?;
            for (i, seed) in seeds.iter().enumerate() {
                count += 1;
                fs::write(dir.join(format!("sent-{i}")), seed)?;
            }
        }
        Ok(count)
    }
}

/// The first two and the last: the others are like them.
fn first_and_last(all: Vec<Vec<u8>>) -> impl Iterator<Item = (usize, Vec<u8>)> {
    let last = all.len().saturating_sub(1);
    all.into_iter().enumerate().filter(move |(i, _)| *i < 2 || *i == last)
}

/// A segment is longer than its records: keeps a few of the zeros behind them.
fn cut_zeros(bytes: &mut Vec<u8>) {
    let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    bytes.truncate((used + 64).next_multiple_of(8).min(bytes.len()));
}
