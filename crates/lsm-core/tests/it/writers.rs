//! A crash beside many writers: what each of them was told, and what came back.
//!
//! Real threads with each durability write beside flushes, compactions and checkpoints, on a
//! disk that can lose power. In the middle of operations of the disk, chosen by the seed, images
//! of it are taken. When the threads are done, the numbers that their writes were given put all
//! of them in one order, for the model; then each image is opened and must hold an exact prefix
//! of that order, with all that was acknowledged before it was taken. The next round goes on from
//! one of the images, so that the numbers of what it lost are given out again.
//!
//! What the threads do is a function of the seed, when they do it is not: a seed does not replay
//! a run, so a failure names the image by what was going on.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use lsm_core::fs::{CrashFs, CrashImage, Fault, FaultFs, Fs, Op as FsOp};
use lsm_core::testkit::disk::Disk;
use lsm_core::testkit::model::{Blob, Change, Death, TreeId};
use lsm_core::testkit::runner::Runner;
use lsm_core::{Db, Durability, Keyspace, WriteBatch};

use crate::model::{tiny, tiny_logs};
use crate::seeds::{self, Told};

const WRITERS: u64 = 4;
const ROUNDS: u64 = 4;
/// Batches of each writer in a round.
const BATCHES: usize = 100;
/// Images that are asked for in a round; some operations do not come that often.
const IMAGES: usize = 6;
/// Operations of the disk in whose middle images are taken, and about how many of them a round
/// has.
const MOMENTS: [(FsOp, u64); 8] = [
    (FsOp::Copy, 200),
    (FsOp::Copy, 200),
    (FsOp::Write, 200),
    (FsOp::Sync, 100),
    (FsOp::Sync, 100),
    (FsOp::SyncDir, 20),
    (FsOp::Create, 20),
    (FsOp::Remove, 20),
];

/// What the writers of one round ask for.
#[derive(Clone, Copy, Debug)]
enum Asked {
    /// Each writer one of the three, and the last all of them.
    EachItsOwn,
    /// All writers all of them.
    Anything,
    /// Only what goes to the log.
    Logged,
    /// What goes to the log and is synced by nobody but flushes.
    Buffered,
    /// Nothing goes to the log.
    Unlogged,
}

impl Asked {
    fn durability(self, writer: u64, rng: &mut Rng) -> Durability {
        let all = [Durability::None, Durability::Buffered, Durability::Sync];
        let asked = match self {
            Self::EachItsOwn => all.get(writer as usize..=writer as usize).unwrap_or(&all),
            Self::Anything => &all,
            Self::Logged => &all[1..],
            Self::Buffered => &all[1..2],
            Self::Unlogged => &all[..1],
        };
        *rng.choice(asked).expect("there are some")
    }
}

/// A batch, and the number of its last write.
struct Written {
    last: u64,
    changes: Vec<Change>,
}

/// What was promised so far.
#[derive(Debug, Default)]
struct Promises {
    synced: AtomicU64,
    buffered: AtomicU64,
}

/// The disk at one moment, and what was promised before.
struct Image {
    told: String,
    disk: CrashFs,
    choice: CrashImage,
    synced: u64,
    buffered: u64,
    flushed: u64,
}

impl Image {
    fn death(&self) -> Death {
        match self.choice {
            CrashImage::Kept => Death::Process,
            CrashImage::Lost | CrashImage::Torn { .. } => Death::Machine,
        }
    }
}

/// A checkpoint, what was written before it began, and the disk after it.
struct Copy {
    dir: PathBuf,
    least: u64,
    left: Vec<CrashFs>,
}

/// One run of the database.
struct Round {
    db: Db,
    trees: [(TreeId, Keyspace); 2],
    disk: CrashFs,
    promises: Promises,
    images: Mutex<Vec<Image>>,
    asked: Asked,
    done: AtomicBool,
}

impl Round {
    fn take_image(&self, told: &str, choice: CrashImage) {
        // What was promised comes first: what is promised meanwhile may be on the disk or not.
        let synced = self.promises.synced.load(Ordering::Acquire);
        let buffered = self.promises.buffered.load(Ordering::Acquire);
        let flushed = self.db.flushed_sequence().get();
        let disk = self.disk.image(choice);
        let told = format!("{choice:?}, {told}");
        let image = Image { told, disk, choice, synced, buffered, flushed };
        self.images.lock().unwrap().push(image);
    }

    fn write(&self, writer: u64, seed: u64) -> Vec<Written> {
        let mut rng = Rng::with_seed(seed * 31 + writer);
        let batches = (0..BATCHES).map(|n| {
            let changes = self.changes(writer, n, &mut rng);
            let mut batch = WriteBatch::new();
            for Change { tree, key, value } in &changes {
                let keyspace = &self.trees.iter().find(|(own, _)| own == tree).unwrap().1;
                match value {
                    Some(value) => batch.put_in(keyspace, key, value),
                    None => batch.delete_in(keyspace, key),
                };
            }
            let durability = self.asked.durability(writer, &mut rng);
            let last = self.db.write_with(&batch, durability).unwrap().get();
            let promise = match durability {
                Durability::None => None,
                Durability::Buffered => Some(&self.promises.buffered),
                Durability::Sync => Some(&self.promises.synced),
            };
            promise.map(|promise| promise.fetch_max(last, Ordering::AcqRel));
            Written { last, changes }
        });
        batches.collect()
    }

    /// The same count to both keyspaces, and some keys of the writer's own and of all.
    fn changes(&self, writer: u64, n: usize, rng: &mut Rng) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut change = |at: usize, key: String, value: Option<Blob>| {
            changes.push(Change { tree: self.trees[at].0, key: key.into_bytes().into(), value });
        };
        for at in 0..2 {
            change(at, format!("count{writer}"), Some(n.to_le_bytes().to_vec().into()));
        }
        for _ in 0..rng.usize(..4) {
            let key = match rng.bool() {
                true => format!("own{writer}/{:02}", rng.u32(..40)),
                false => format!("shared/{:02}", rng.u32(..40)),
            };
            // Now and then as much as a memtable holds: its keyspace is flushed alone.
            let len = if rng.u32(..12) == 0 { 17 << 10 } else { rng.usize(..600) };
            let value = (rng.u32(..5) > 0).then(|| vec![writer as u8; len].into());
            change(rng.usize(..2), key, value);
        }
        changes
    }

    /// Flushes, compactions and checkpoints, until the writers are done.
    fn maintain(&self, seed: u64) -> Vec<Copy> {
        let mut rng = Rng::with_seed(seed);
        let mut copies = Vec::new();
        while !self.done.load(Ordering::Acquire) {
            match rng.u32(..4) {
                0 => self.db.flush().unwrap(),
                1 => self.trees[rng.usize(..2)].1.compact_range::<&str>(..).unwrap(),
                _ if copies.len() < 4 => {
                    let dir = format!("/copy{seed}-{}", copies.len());
                    copies.push(self.copy(dir.into(), &mut rng));
                }
                _ => drop(self.db.verify().unwrap()),
            }
        }
        copies
    }

    fn copy(&self, dir: PathBuf, rng: &mut Rng) -> Copy {
        let least = self.db.last_sequence().get();
        self.db.checkpoint(&dir).unwrap();
        let images = [CrashImage::Lost, CrashImage::Torn { seed: rng.u64(..) }];
        let left = images.into_iter().map(|image| self.disk.image(image)).collect();
        Copy { dir, least, left }
    }
}

/// Has an image taken in the middle of some operation to come.
fn ask_for_image(round: &Arc<Round>, faults: &FaultFs, rng: &mut Rng) {
    let (op, count) = *rng.choice(&MOMENTS).expect("there are some");
    let place = rng.u64(..count);
    let choice = match rng.u32(..4) {
        0 => CrashImage::Kept,
        1 => CrashImage::Torn { seed: rng.u64(..) },
        _ => CrashImage::Lost,
    };
    let told = format!("before {op:?} number {place} of the round");
    let round = Arc::clone(round);
    faults.inject(Fault::run(op, move || round.take_image(&told, choice)).after(place));
}

/// Runs the threads of one round; returns what they wrote, in order, the images and the copies.
fn run_round(
    runner: &Runner,
    tree: TreeId,
    (disk, faults): (&CrashFs, &FaultFs),
    seed: u64,
) -> (Vec<Written>, Vec<Image>, Vec<Copy>) {
    let db = runner.db().clone();
    let [default, one] = ["default", "one"].map(|name| db.keyspace(name, None).unwrap());
    let mut rng = Rng::with_seed(seed);
    let all = [Asked::EachItsOwn, Asked::Anything, Asked::Logged, Asked::Buffered, Asked::Unlogged];
    let asked = *rng.choice(&all).expect("there are some");
    println!("round of {asked:?}, seed {seed}");
    let round = Arc::new(Round {
        db,
        trees: [(TreeId::DEFAULT, default), (tree, one)],
        disk: disk.clone(),
        promises: Promises::default(),
        images: Mutex::default(),
        asked,
        done: AtomicBool::new(false),
    });
    (0..IMAGES).for_each(|_| ask_for_image(&round, faults, &mut rng));
    let (mut written, copies) = std::thread::scope(|scope| {
        let round = &*round;
        let maintenance = scope.spawn(move || round.maintain(seed));
        let writers = (0..WRITERS).map(|writer| scope.spawn(move || round.write(writer, seed)));
        let writers: Vec<_> = writers.collect();
        let written = writers.into_iter().map(std::thread::ScopedJoinHandle::join);
        let written: Vec<_> = written.collect();
        // Also when a writer has failed.
        round.done.store(true, Ordering::Release);
        let written: Vec<Vec<Written>> = written.into_iter().map(Result::unwrap).collect();
        let in_order = |own: &Vec<Written>| own.is_sorted_by(|a, b| a.last < b.last);
        assert!(written.iter().all(in_order), "a writer's writes are in its order");
        (written.into_iter().flatten().collect::<Vec<_>>(), maintenance.join().unwrap())
    });
    round.take_image("at the end of the round", CrashImage::Lost);
    faults.clear();
    written.sort_by_key(|written| written.last);
    let images = std::mem::take(&mut *round.images.lock().unwrap());
    (written, images, copies)
}

/// Opens an image: it holds a prefix of what was written, with all that was promised.
fn check_image(runner: &Runner, image: &Image) -> Runner {
    let _told = Told::new(&image.told);
    let mut recovered = runner.over(Disk::crash(image.disk.clone()));
    let model = recovered.model_mut();
    model.flushed(image.flushed);
    model.acknowledge_through(image.buffered, Durability::Buffered);
    model.acknowledge_through(image.synced, Durability::Sync);
    recovered.recover(image.death()).unwrap();
    recovered.db().verify().unwrap();
    recovered
}

fn check_copies(runner: &Runner, copies: &[Copy]) {
    for copy in copies {
        for (disk, image) in copy.left.iter().zip(["lost", "torn"]) {
            let _told = Told::new(format_args!("{:?}, {image}", copy.dir));
            let fs: Arc<dyn Fs> = Arc::new(disk.clone());
            runner.check_copy_beside_writers(&copy.dir, fs, copy.least).unwrap();
        }
    }
}

fn crash_beside_writers(seed: u64, rounds: u64) {
    let mut disk = CrashFs::new();
    let mut runner = Runner::new(tiny_logs(), tiny(), Disk::crash(disk.clone()), Path::new("/db"));
    let tree = runner.model_mut().create("one");
    let options = tiny_logs().default_keyspace(tiny()).fs(Arc::new(disk.clone()));
    let db = options.open("/db").unwrap();
    db.keyspace("one", tiny()).unwrap();
    db.close().unwrap();
    for round in 0..rounds {
        let _told = Told::new(format_args!("round {round}"));
        let faults = FaultFs::new(Arc::new(disk.clone()));
        let seen = Disk::Crash { disk: disk.clone(), seen: Arc::new(faults.clone()) };
        runner = runner.over(seen);
        runner.recover(Death::Machine).unwrap();
        let seed = seed * 1000 + round;
        let (written, images, copies) = run_round(&runner, tree, (&disk, &faults), seed);
        for Written { last, changes } in written {
            assert_eq!(runner.model_mut().write(changes), last, "the numbers have no gap");
        }
        runner.check().unwrap();
        check_copies(&runner, &copies);
        runner.abandon();
        let recovered: Vec<_> = images.iter().map(|image| check_image(&runner, image)).collect();
        let next = Rng::with_seed(seed).usize(..images.len());
        for (at, mut image) in recovered.into_iter().enumerate() {
            image.abandon();
            if at == next {
                disk = images[at].disk.image(CrashImage::Kept);
                runner = image;
            }
        }
    }
}

#[test]
fn a_crash_beside_writers() {
    seeds::each("a_crash_beside_writers", 8, ROUNDS as usize, |seed, rounds| {
        crash_beside_writers(seed, rounds as u64);
    });
}
