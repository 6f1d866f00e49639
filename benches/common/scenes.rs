//! The rows of the record, and in which scene each is measured. A scene begins with an empty
//! folder.

use std::path::Path;

use crate::data::Data;
use crate::measured::Measured;
use crate::rows::{deletes, reads, writes, ycsb};
use crate::stage::{Sizes, Stage};
use crate::store::Store;

/// What rows are about; the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    Writes,
    /// What the disk gives, without an engine.
    Disk,
    Reads,
    Compacted,
    Ycsb,
    Together,
    Large,
    Deletes,
    Queue,
    Lz4,
    Rest,
}

/// One after the other on one store.
#[derive(Debug)]
pub struct Scene {
    pub name: &'static str,
    /// Whether tables are compressed with LZ4, which not every engine has.
    pub lz4: bool,
    value_len: usize,
    /// One part in so many of the entries asked for.
    part: u64,
    steps: &'static [Step],
}

type Run = fn(&Stage<'_>) -> Measured;

#[derive(Debug)]
enum Step {
    Prepare(fn(&Stage<'_>)),
    /// What comes after it needs what it changes.
    Write(Section, &'static str, Run),
    Read(Section, &'static str, Run),
}

use Section::{Compacted, Deletes, Disk, Large, Lz4, Queue, Reads, Rest, Together, Writes, Ycsb};
use Step::{Prepare, Read, Write};

const PLAIN: Scene = Scene { name: "", lz4: false, value_len: 100, part: 1, steps: &[] };

pub const SCENES: &[Scene] = &[
    Scene {
        name: "random",
        steps: &[
            Write(Writes, "put, 1 thread", writes::put_all),
            Write(Rest, "random", settle),
            Read(Reads, "get, 1 thread", |s| reads::get(s, 1)),
            Read(Reads, "get again, 1 thread", |s| reads::get(s, 1)),
            Read(Reads, "get, 2 threads", |s| reads::get(s, 2)),
            Read(Reads, "get, 4 threads", |s| reads::get(s, 4)),
            Read(Reads, "get, 16 threads", |s| reads::get(s, 16)),
            Read(Reads, "get, 100 at once", reads::multi_get),
            Read(Reads, "get hot", reads::get_hot),
            Read(Reads, "get missing", reads::get_missing),
            Read(Reads, "seek + 1", |s| reads::seek(s, 1)),
            Read(Reads, "seek + 50", |s| reads::seek(s, 50)),
            Read(Reads, "full scan", reads::scan),
            Prepare(|s| _ = s.store.compact()),
            Write(Rest, "random, compacted", settle),
            Read(Compacted, "get, compacted", |s| reads::get(s, 1)),
            Read(Compacted, "seek + 1, compacted", |s| reads::seek(s, 1)),
            Read(Compacted, "seek + 50, compacted", |s| reads::seek(s, 50)),
            Read(Compacted, "full scan, compacted", reads::scan),
        ],
        ..PLAIN
    },
    Scene {
        name: "2 threads",
        steps: &[Read(Writes, "put, 2 threads", |s| writes::put(s, 2))],
        ..PLAIN
    },
    Scene {
        name: "4 threads",
        steps: &[Read(Writes, "put, 4 threads", |s| writes::put(s, 4))],
        ..PLAIN
    },
    Scene {
        name: "16 threads",
        steps: &[Read(Writes, "put, 16 threads", |s| writes::put(s, 16))],
        ..PLAIN
    },
    Scene {
        name: "order",
        steps: &[
            Write(Writes, "put in order", writes::put_in_order),
            Read(Rest, "in order", settle),
        ],
        ..PLAIN
    },
    Scene {
        name: "batches",
        steps: &[Read(Writes, "put in batches of 100", writes::put_batches)],
        ..PLAIN
    },
    Scene {
        name: "sync",
        steps: &[
            Read(Writes, "synced put, 1 thread", |s| writes::put_synced(s, 1)),
            Read(Writes, "synced put, 16 threads", |s| writes::put_synced(s, 16)),
            Read(Disk, "pwrite + fdatasync, no engine", writes::bare_syncs),
        ],
        ..PLAIN
    },
    Scene {
        name: "1 KiB",
        value_len: 1024,
        part: 8,
        steps: &[
            Write(Writes, "1 KiB: put", writes::put_all),
            Write(Writes, "1 KiB: put over", writes::put_over),
            Write(Rest, "1 KiB", settle),
            Read(Large, "1 KiB: get", |s| reads::get(s, 1)),
            Read(Large, "1 KiB: seek + 50", |s| reads::seek(s, 50)),
            Read(Large, "1 KiB: full scan", reads::scan),
        ],
        ..PLAIN
    },
    Scene {
        name: "YCSB",
        steps: &[
            Prepare(writes::fill),
            Prepare(|s| _ = s.settle()),
            Write(Ycsb, "YCSB A: 50 % update", |s| ycsb::run(s, ycsb::A)),
            Write(Ycsb, "YCSB B: 5 % update", |s| ycsb::run(s, ycsb::B)),
            Write(Ycsb, "YCSB C: read only", |s| ycsb::run(s, ycsb::C)),
            Write(Ycsb, "YCSB D: read latest", |s| ycsb::run(s, ycsb::D)),
            Write(Ycsb, "YCSB E: short scans", |s| ycsb::run(s, ycsb::E)),
            Write(Ycsb, "YCSB F: read, modify, write", |s| ycsb::run(s, ycsb::F)),
        ],
        ..PLAIN
    },
    Scene {
        name: "together",
        steps: &[
            Prepare(writes::fill),
            Prepare(|s| _ = s.settle()),
            Read(Together, "get, by two readers", |s| reads::get(s, 2)),
            Read(Together, "get beside a writer", reads::get_beside_writer),
        ],
        ..PLAIN
    },
    Scene {
        name: "deletes",
        steps: &[
            Prepare(writes::fill),
            Prepare(|s| _ = s.settle()),
            Write(Deletes, "delete a third", deletes::delete_third),
            Write(Rest, "a third deleted", settle),
            Read(Deletes, "seek + 1 over the rest", |s| reads::seek(s, 1)),
            Read(Deletes, "full scan of the rest", reads::scan),
        ],
        ..PLAIN
    },
    Scene {
        name: "queue",
        steps: &[
            Prepare(deletes::fill_queue),
            Read(Queue, "first of a queue, 10 deleted", |s| deletes::first_of_queue(s, 10)),
            Read(Queue, "first of a queue, 100,000 deleted", |s| {
                deletes::first_of_queue(s, s.sizes.queue)
            }),
        ],
        ..PLAIN
    },
    Scene {
        name: "LZ4",
        lz4: true,
        steps: &[
            Write(Lz4, "LZ4: put", writes::put_all),
            Write(Rest, "random, LZ4", settle),
            Read(Lz4, "LZ4: get", |s| reads::get(s, 1)),
            Read(Lz4, "LZ4: seek + 50", |s| reads::seek(s, 50)),
        ],
        ..PLAIN
    },
];

fn settle(stage: &Stage<'_>) -> Measured {
    stage.settle()
}

/// The names of all rows, in the order in which they are shown.
pub fn rows() -> Vec<(Section, &'static str)> {
    let mut rows: Vec<_> = SCENES.iter().flat_map(Scene::rows).collect();
    rows.sort_by_key(|(section, _)| *section);
    rows
}

impl Scene {
    pub fn rows(&self) -> impl Iterator<Item = (Section, &'static str)> {
        self.steps.iter().filter_map(Step::row)
    }

    /// Measures the rows that are `wanted` on a store in an empty folder. Tells `done` each result
    /// as it comes.
    pub fn run(
        &self,
        store: &dyn Store,
        folder: &Path,
        (entries, sizes): (u64, Sizes),
        wanted: &dyn Fn(&str) -> bool,
        done: &mut dyn FnMut(Measured),
    ) {
        let is_wanted = |step: &Step| step.row().is_some_and(|(_, name)| wanted(name));
        let Some(last) = self.steps.iter().rposition(is_wanted) else { return };
        let data = Data::new(entries.div_ceil(self.part), self.value_len);
        let stage = Stage::new(store, folder, data, sizes);
        for step in &self.steps[..=last] {
            match step {
                Prepare(run) => run(&stage),
                Read(..) if !is_wanted(step) => {}
                Write(_, name, run) | Read(_, name, run) => {
                    let measured = Measured { name: (*name).to_owned(), ..run(&stage) };
                    if is_wanted(step) {
                        done(measured);
                    }
                }
            }
        }
    }
}

impl Step {
    fn row(&self) -> Option<(Section, &'static str)> {
        match self {
            Prepare(_) => None,
            Write(section, name, _) | Read(section, name, _) => Some((*section, name)),
        }
    }
}
