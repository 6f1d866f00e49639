//! What differs between a folder and the index: two sorted lists, merged.
//!
//! The walk yields paths in the order of their bytes, and so does the keyspace `files`. One
//! step looks at the head of each, so nothing has to be remembered, however many files there
//! are.

use std::cmp::Ordering;
use std::fs::FileType;
use std::iter::Peekable;
use std::path::{MAIN_SEPARATOR, Path};
use std::time::UNIX_EPOCH;

use lsm_core::{Range, Snapshot};
use walkdir::{DirEntry, WalkDir};

use crate::Result;
use crate::index::{Record, Stamp, decode_record};

pub(crate) enum Change {
    /// New, or not as the index knows it.
    Read { path: String, old: Option<Record>, bytes: u64 },
    /// In the index, but no longer there.
    Gone { path: String, old: Record },
    /// As the index knows it.
    Same,
    /// Cannot be looked at; says why.
    Unreadable(String),
}

pub(crate) struct Changes {
    walk: Peekable<Box<dyn Iterator<Item = walkdir::Result<DirEntry>> + Send>>,
    known: Peekable<Range>,
}

impl Changes {
    /// Compares the files below `root` with those that `files` knows. Hidden files and folders
    /// do not count, nor do links, nor the index itself.
    pub(crate) fn new(root: &str, files: &Snapshot, index: &Path) -> Self {
        let index = index.to_owned();
        let walk = WalkDir::new(root)
            .min_depth(1)
            .sort_by(in_byte_order)
            .into_iter()
            .filter_entry(move |entry| !is_hidden(entry) && entry.path() != index)
            .filter(|entry| entry.as_ref().map_or(true, |entry| entry.file_type().is_file()));
        let walk: Box<dyn Iterator<Item = _> + Send> = Box::new(walk);
        Self { walk: walk.peekable(), known: files.prefix(below(root)).peekable() }
    }

    fn step(&mut self) -> Result<Option<Change>> {
        let here = match self.walk.peek() {
            Some(Ok(entry)) => match entry.path().to_str() {
                Some(path) => Some(path),
                None => {
                    let why = format!("{}: the name is not UTF-8", entry.path().display());
                    self.walk.next();
                    return Ok(Some(Change::Unreadable(why)));
                }
            },
            Some(Err(error)) => {
                let why = error.to_string();
                self.walk.next();
                return Ok(Some(Change::Unreadable(why)));
            }
            None => None,
        };
        let known = match self.known.peek() {
            Some(Ok((path, _))) => Some(&**path),
            // Taken out below, where it is returned.
            Some(Err(_)) => Some(&[][..]),
            None => None,
        };
        let order = match (here, known) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(here), Some(known)) => here.as_bytes().cmp(known),
        };
        let entry = if order.is_le() { self.walk.next().transpose()? } else { None };
        let known = if order.is_ge() { self.known.next().transpose()? } else { None };
        let old = known.as_ref().map(|(_, value)| decode_record(value)).transpose()?;
        Ok(Some(match (entry, known, old) {
            (None, Some((path, _)), Some(old)) => {
                Change::Gone { path: String::from_utf8(path.into_vec())?, old }
            }
            (Some(entry), _, old) => compare(&entry, old),
            _ => unreachable!("one of the two was taken"),
        }))
    }
}

impl Iterator for Changes {
    type Item = Result<Change>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

fn compare(entry: &DirEntry, old: Option<Record>) -> Change {
    let path = entry.path().display().to_string();
    match entry.metadata() {
        Err(error) => Change::Unreadable(error.to_string()),
        Ok(found) if old.is_some_and(|old| old.stamp == stamp(&found)) => Change::Same,
        Ok(found) => Change::Read { path, old, bytes: found.len() },
    }
}

pub(crate) fn stamp(found: &std::fs::Metadata) -> Stamp {
    let modified = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified = modified.map_or(0, |time| time.as_nanos() as u64);
    Stamp { bytes: found.len(), modified }
}

/// The beginning that all paths below a folder have in common.
pub(crate) fn below(root: &str) -> String {
    format!("{}{MAIN_SEPARATOR}", root.trim_end_matches(MAIN_SEPARATOR))
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".")
}

/// Orders the entries of a folder so that whole paths come in the order of their bytes: what
/// lies below a folder has a separator behind the folder's name.
fn in_byte_order(a: &DirEntry, b: &DirEntry) -> Ordering {
    let tail = |kind: FileType| kind.is_dir().then_some(MAIN_SEPARATOR as u8);
    let (a_name, b_name) = (a.file_name().as_encoded_bytes(), b.file_name().as_encoded_bytes());
    let a_bytes = a_name.iter().copied().chain(tail(a.file_type()));
    let b_bytes = b_name.iter().copied().chain(tail(b.file_type()));
    a_bytes.cmp(b_bytes)
}
