//! The index as it lies in the database: four keyspaces, and what keeps them together.
//!
//! ```text
//! files     path                        -> file id, words, size, time of change
//! names     file id                     -> path
//! postings  word, zero byte, file id    -> count, first line
//! contents  file id                     -> the file's words, each with a line break behind
//! ```
//!
//! * All that is known of one file changes in one batch. After any crash a file is in the
//!   index with all its words or not at all.
//! * File ids are big-endian, so the postings of a word lie in the order of the ids, and a
//!   word is one prefix. No word holds a zero byte, so all words with one beginning are one
//!   prefix too.
//! * `contents` says which postings to delete when a file has changed or is gone.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use lsm_core::{Db, Keyspace, Options, Snapshot, WriteBatch};

use crate::Result;
use crate::words::Hit;

pub(crate) struct Index {
    pub(crate) db: Db,
    pub(crate) files: Keyspace,
    pub(crate) names: Keyspace,
    pub(crate) postings: Keyspace,
    pub(crate) contents: Keyspace,
    next_id: AtomicU32,
}

/// What the index knows of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// 0 for a file that is not indexed, because it is no text.
    pub(crate) id: u32,
    /// How many distinct words it has.
    pub(crate) words: u32,
    /// Size and time of the last change: if both are as they were, so is the file.
    pub(crate) stamp: Stamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) bytes: u64,
    /// Nanoseconds since 1970.
    pub(crate) modified: u64,
}

/// What was found to be whole.
pub(crate) struct Checked {
    pub(crate) files: u64,
    pub(crate) postings: u64,
}

impl Index {
    /// Opens the index to change it, and makes it if there is none.
    pub(crate) fn open(folder: &Path) -> lsm_core::Result<Self> {
        Self::over(Db::open(folder)?)
    }

    /// Opens an existing index to be read. It must be whole: indexing has run to the end once.
    pub(crate) fn open_read_only(folder: &Path) -> lsm_core::Result<Self> {
        Self::over(Options::default().create_if_missing(false).open_read_only(folder)?)
    }

    fn over(db: Db) -> lsm_core::Result<Self> {
        let keyspace = |name| db.keyspace(name, None);
        let (files, names) = (keyspace("files")?, keyspace("names")?);
        let (postings, contents) = (keyspace("postings")?, keyspace("contents")?);
        let last = names.iter().next_back().transpose()?;
        let next_id = AtomicU32::new(last.map_or(1, |(key, _)| id_of(&key).saturating_add(1)));
        Ok(Self { db, files, names, postings, contents, next_id })
    }

    /// A number for a new file.
    pub(crate) fn take_id(&self) -> Result<u32> {
        match self.next_id.fetch_add(1, Ordering::Relaxed) {
            0 | u32::MAX => Err("the index is full: delete its folder and index less".into()),
            id => Ok(id),
        }
    }

    /// Puts a file with its words in the place of what the index knew of it.
    pub(crate) fn replace(
        &self,
        path: &str,
        old: Option<Record>,
        new: Record,
        words: &HashMap<Box<str>, Hit>,
    ) -> Result<()> {
        let mut batch = WriteBatch::new();
        self.forget_words(&mut batch, old, words)?;
        let mut sorted: Vec<_> = words.iter().collect();
        sorted.sort_unstable_by_key(|(word, _)| *word);
        let mut contents = String::new();
        for (word, hit) in sorted {
            batch.put_in(&self.postings, posting_key(word, new.id), encode_hit(*hit));
            contents.push_str(word);
            contents.push('\n');
        }
        batch.put_in(&self.names, new.id.to_be_bytes(), path);
        batch.put_in(&self.contents, new.id.to_be_bytes(), contents);
        batch.put_in(&self.files, path, encode_record(new));
        self.db.write(&batch)?;
        Ok(())
    }

    /// Takes a file out of the index. With a stamp, notes that it is there but no text.
    pub(crate) fn remove(
        &self,
        path: &str,
        old: Option<Record>,
        stamp: Option<Stamp>,
    ) -> Result<()> {
        let mut batch = WriteBatch::new();
        self.forget_words(&mut batch, old, &HashMap::new())?;
        if let Some(old) = old.filter(|old| old.id != 0) {
            batch.delete_in(&self.names, old.id.to_be_bytes());
            batch.delete_in(&self.contents, old.id.to_be_bytes());
        }
        match stamp {
            Some(stamp) => {
                batch.put_in(&self.files, path, encode_record(Record { id: 0, words: 0, stamp }))
            }
            None => batch.delete_in(&self.files, path),
        };
        self.db.write(&batch)?;
        Ok(())
    }

    /// Deletes the old postings of a file but for those of `kept` words.
    fn forget_words(
        &self,
        batch: &mut WriteBatch,
        old: Option<Record>,
        kept: &HashMap<Box<str>, Hit>,
    ) -> Result<()> {
        let Some(old) = old.filter(|old| old.id != 0) else { return Ok(()) };
        let contents = self.contents.get(old.id.to_be_bytes())?;
        let contents = contents.ok_or_else(|| broken(old.id, "has no list of words"))?;
        for word in std::str::from_utf8(&contents)?.lines() {
            if !kept.contains_key(word) {
                batch.delete_in(&self.postings, posting_key(word, old.id));
            }
        }
        Ok(())
    }

    /// Reads everything: that every table is undamaged, and that each file has exactly the
    /// postings that it should have.
    pub(crate) fn verify(&self) -> Result<Checked> {
        self.db.verify()?;
        let now = self.db.snapshot();
        let mut missing: HashMap<u32, i64> = HashMap::new();
        let mut names = now.keyspace(&self.names)?.cursor();
        while names.next()? {
            let (id, path) = names.entry().expect("the cursor stands on an entry");
            let record = now.keyspace(&self.files)?.get(path)?;
            let record = record.map(|value| decode_record(&value)).transpose()?;
            let record = record.filter(|record| record.id == id_of(id));
            let record = record.ok_or_else(|| broken(id_of(id), "is not among the files"))?;
            missing.insert(record.id, i64::from(record.words));
        }
        let mut checked = Checked { files: missing.len() as u64, postings: 0 };
        let mut postings = now.keyspace(&self.postings)?.cursor();
        while postings.next()? {
            let id = id_of(postings.key().expect("the cursor stands on an entry"));
            *missing.entry(id).or_default() -= 1;
            checked.postings += 1;
        }
        match missing.iter().find(|(_, count)| **count != 0) {
            Some((id, count)) => Err(broken(*id, &format!("lacks {count} postings"))),
            None => Ok(checked),
        }
    }

    /// How many distinct words the index holds. Leaps from word to word.
    pub(crate) fn count_words(&self) -> Result<u64> {
        let (mut cursor, mut next, mut count) = (self.postings.cursor(), Vec::new(), 0);
        while cursor.seek(&next)? {
            next.clear();
            next.extend_from_slice(word_of(cursor.key().expect("the cursor stands on an entry")));
            next.push(1); // just behind the zero byte
            count += 1;
        }
        Ok(count)
    }
}

/// The path of a file, as `now` has it.
pub(crate) fn path_of(names: &Snapshot, id: u32) -> Result<String> {
    let path = names.get(id.to_be_bytes())?.ok_or_else(|| broken(id, "has no name"))?;
    Ok(String::from_utf8(path.to_vec())?)
}

pub(crate) fn posting_key(word: &str, id: u32) -> Vec<u8> {
    [word.as_bytes(), &[0], &id.to_be_bytes()].concat()
}

/// The word of a posting's key.
pub(crate) fn word_of(key: &[u8]) -> &[u8] {
    &key[..key.len().saturating_sub(5)]
}

/// The file id that a key ends with.
pub(crate) fn id_of(key: &[u8]) -> u32 {
    key.last_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

pub(crate) fn decode_record(bytes: &[u8]) -> Result<Record> {
    let bytes: &[u8; 24] = bytes.try_into().map_err(|_| foreign("a file's record"))?;
    let (id, words) = (number(&bytes[..4]) as u32, number(&bytes[4..8]) as u32);
    let stamp = Stamp { bytes: number(&bytes[8..16]), modified: number(&bytes[16..]) };
    Ok(Record { id, words, stamp })
}

fn encode_record(record: Record) -> Vec<u8> {
    let (Record { id, words, stamp }, mut out) = (record, Vec::with_capacity(24));
    out.extend(id.to_be_bytes());
    out.extend(words.to_be_bytes());
    out.extend(stamp.bytes.to_be_bytes());
    out.extend(stamp.modified.to_be_bytes());
    out
}

pub(crate) fn decode_hit(bytes: &[u8]) -> Result<Hit> {
    let bytes: &[u8; 8] = bytes.try_into().map_err(|_| foreign("a posting"))?;
    Ok(Hit { count: number(&bytes[..4]) as u32, line: number(&bytes[4..]) as u32 })
}

fn encode_hit(hit: Hit) -> [u8; 8] {
    (u64::from(hit.count) << 32 | u64::from(hit.line)).to_be_bytes()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn broken(id: u32, what: &str) -> Box<dyn std::error::Error + Send + Sync> {
    format!("the index contradicts itself (file {id} {what}): delete its folder and run again")
        .into()
}

fn foreign(what: &str) -> String {
    format!("{what} has another length: another program made the index, delete its folder")
}
