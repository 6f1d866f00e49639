//! Iterators and recovery as text: what a reader sees, step by step, in `tests/scripts`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lsm_core::fs::{CrashFs, CrashImage};
use lsm_core::testkit::script::{self, Block};
use lsm_core::{Cursor, Db, Durability, Key, Options, Result, Snapshot, Value, WriteBatch};

#[test]
fn iterators() {
    run("iterators.txt");
}

#[test]
fn recovery() {
    run("recovery.txt");
}

fn run(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(name);
    let mut world = World::new();
    script::run(path, |block| world.answer(block));
}

/// A database in memory that crashes on command, its snapshots and one cursor.
struct World {
    fs: CrashFs,
    db: Option<Db>,
    snapshots: BTreeMap<String, Snapshot>,
    cursor: Option<Cursor>,
}

impl World {
    fn new() -> Self {
        let mut world =
            Self { fs: CrashFs::new(), db: None, snapshots: BTreeMap::new(), cursor: None };
        world.open();
        world
    }

    fn open(&mut self) {
        let options = Options::default().log_segment_bytes(64 << 10).log_bytes_max(1 << 20);
        let options = options.fs(Arc::new(self.fs.clone())).stepped(1);
        self.db = Some(options.open("/db").expect("the database opens"));
    }

    fn db(&self) -> &Db {
        self.db.as_ref().expect("the database is open")
    }

    fn answer(&mut self, block: &Block) -> String {
        let words: Vec<&str> = block.args.iter().map(String::as_str).collect();
        let done = match (block.command.as_str(), words.as_slice()) {
            ("new", _) => {
                (self.cursor, self.db) = (None, None);
                self.snapshots.clear();
                *self = Self::new();
                Ok(String::new())
            }
            ("write", how) => self.write(block, how),
            ("flush", _) => self.db().flush().map(|()| String::new()),
            ("compact", _) => self.db().compact_range::<&str>(..).map(|()| String::new()),
            ("snapshot", [name]) => {
                self.snapshots.insert((*name).to_owned(), self.db().snapshot());
                Ok(String::new())
            }
            ("scan", range) => self.scan(range),
            ("cursor", moves) => self.walk(moves),
            ("crash", [image]) => {
                self.crash(image);
                Ok(String::new())
            }
            (other, words) => panic!("unknown command {other} {words:?}"),
        };
        match done {
            Ok(text) if text.is_empty() => "ok".to_owned(),
            Ok(text) => text,
            Err(error) => format!("{:?}", error.kind()),
        }
    }

    /// One batch a line: `a=1 b=2 -c`.
    fn write(&self, block: &Block, how: &[&str]) -> Result<String> {
        let durability = match how {
            ["sync"] => Durability::Sync,
            ["none"] => Durability::None,
            _ => Durability::Buffered,
        };
        for line in &block.input {
            let mut batch = WriteBatch::new();
            for word in line.split_whitespace() {
                match (word.split_once('='), word.strip_prefix('-')) {
                    (Some((key, value)), _) => batch.put(key, value),
                    (None, Some(key)) => batch.delete(key),
                    (None, None) => panic!("neither key=value nor -key: {word}"),
                };
            }
            self.db().write_with(&batch, durability)?;
        }
        Ok(String::new())
    }

    /// `scan [back] [from..to] [at=SNAPSHOT]`
    fn scan(&self, words: &[&str]) -> Result<String> {
        let range = words.iter().find_map(|word| word.split_once("..")).unwrap_or(("", "~"));
        let at = words.iter().find_map(|word| word.strip_prefix("at="));
        let entries = match at {
            Some(name) => self.snapshots[name].range(range.0..range.1),
            None => self.db().range(range.0..range.1),
        };
        let entries: Result<Vec<(Key, Value)>> = match words.contains(&"back") {
            true => entries.rev().collect(),
            false => entries.collect(),
        };
        let text =
            |(key, value): (Key, Value)| format!("{}={}", key.escape_ascii(), value.escape_ascii());
        let line = entries?.into_iter().map(text).collect::<Vec<_>>().join(" ");
        Ok(if line.is_empty() { "nothing".to_owned() } else { line })
    }

    /// Moves of one cursor, which is kept from block to block; `new` makes another.
    fn walk(&mut self, moves: &[&str]) -> Result<String> {
        let mut places = Vec::new();
        for word in moves {
            if *word == "new" {
                self.cursor = Some(self.db().cursor());
                continue;
            }
            let cursor = self.cursor.as_mut().expect("a cursor was made");
            match word.split_once(':') {
                Some(("seek", key)) => cursor.seek(key)?,
                Some(("seek_back", key)) => cursor.seek_back(key)?,
                _ if *word == "first" => cursor.seek_first()?,
                _ if *word == "last" => cursor.seek_last()?,
                _ if *word == "next" => cursor.next()?,
                _ if *word == "prev" => cursor.prev()?,
                _ => panic!("unknown move {word}"),
            };
            let place = cursor.key().map_or("-".to_owned(), |key| key.escape_ascii().to_string());
            places.push(place);
        }
        Ok(places.join(" "))
    }

    fn crash(&mut self, image: &str) {
        let image = match image {
            "lost" => CrashImage::Lost,
            "kept" => CrashImage::Kept,
            seed => CrashImage::Torn { seed: seed.parse().expect("lost, kept or a seed") },
        };
        let crashed = self.fs.image(image);
        (self.cursor, self.db) = (None, None);
        self.snapshots.clear();
        self.fs = crashed;
        self.open();
    }
}
