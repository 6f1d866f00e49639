//! The machine that a node runs on: its disk, its clock, and how they fare.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use lsm_core::{Clock, ManualClock};
use lsm_log::fs::{CrashFs, CrashImage, Fault, FaultFs, Fs, Op as FsOp, corrupt};
use lsm_log::wal::HEADER_LEN;
use lsm_raft::Result;

use crate::replica::{DIR, Running, Setup};

/// A node, running or not. Times are in microseconds of the true clock.
pub(crate) struct Host {
    pub(crate) setup: Setup,
    /// What loses power,
    disk: CrashFs,
    /// and what fails and fills up on top of it.
    faults: FaultFs,
    /// Something was wrong with the disk since it last started.
    pub(crate) is_faulty: bool,
    /// Bytes of its disk were changed.
    pub(crate) is_damaged: bool,
    /// Its state was found to be damaged.
    pub(crate) was_found: bool,
    pub(crate) clock: Arc<ManualClock>,
    /// Its clock runs so many thousandths faster than the true one.
    pub(crate) rate: i64,
    clock_set_at: u64,
    /// Counts its starts; events of an earlier life are void.
    pub(crate) life: u64,
    pub(crate) paused_until: u64,
    /// The disk of its log takes no sync to its end before that, and then each longer by this.
    pub(crate) stalled_until: u64,
    pub(crate) sync_time: u64,
    pub(crate) running: Option<Running>,
    /// Turns of its threads that are scheduled already.
    pub(crate) due: [bool; 3],
}

impl Host {
    pub(crate) fn new(setup: Setup, rate: i64, now: u64) -> Self {
        let disk = CrashFs::new();
        Self {
            setup,
            faults: FaultFs::new(Arc::new(disk.clone())),
            disk,
            is_faulty: false,
            is_damaged: false,
            was_found: false,
            clock: Arc::new(ManualClock::default()),
            rate,
            clock_set_at: now,
            life: 0,
            paused_until: 0,
            stalled_until: 0,
            sync_time: 0,
            running: None,
            due: [false; 3],
        }
    }

    pub(crate) fn start(&mut self, nonce: u64) -> Result<()> {
        self.life += 1;
        (self.due, self.paused_until) = ([false; 3], 0);
        let fs = Arc::new(self.faults.clone());
        self.running = Some(Running::start(&self.setup, fs, &self.clock, nonce)?);
        Ok(())
    }

    /// What is left of it is the disk.
    pub(crate) fn crash(&mut self, image: CrashImage) {
        let disk = self.disk.image(image);
        self.running = None;
        let free_bytes = self.faults.free_bytes();
        self.faults = FaultFs::new(Arc::new(disk.clone()));
        self.faults.set_free_bytes(free_bytes);
        self.disk = disk;
        self.is_faulty = free_bytes.is_some();
    }

    /// The power goes in the middle of something.
    pub(crate) fn crash_after(&self, changes: u64) {
        self.disk.crash_after(self.disk.events() + changes);
    }

    pub(crate) fn has_crashed(&self) -> bool {
        self.disk.crashed()
    }

    /// Flips a bit near the end of the node's raft log, whose process just died.
    pub(crate) fn damage_log(&mut self, rng: &mut Rng) {
        self.is_damaged = true;
        let dir = Path::new(DIR).join("log");
        let mut segments: Vec<_> = self.disk.list(&dir).expect("it has a log");
        segments.retain(|name| name.ends_with(".log"));
        segments.sort();
        // The newest may not have been begun.
        for name in segments.into_iter().rev() {
            let path = dir.join(name);
            let file = self.disk.open_read(&path).expect("it is there");
            let mut bytes = vec![0; file.len() as usize];
            file.read_at(0, &mut bytes).expect("it can be read");
            let records = bytes.get(HEADER_LEN..).unwrap_or_default();
            if let Some(last) = records.iter().rposition(|&byte| byte != 0) {
                let offset = rng.usize(last.saturating_sub(600)..=last) + HEADER_LEN;
                corrupt(&self.disk, &path, offset as u64, 1 << rng.u8(..8)).expect("it is there");
                return;
            }
        }
    }

    /// Flips bits in one of the tables of the node's state, whose process just died; false if there
    /// is none.
    pub(crate) fn damage_table(&mut self, rng: &mut Rng) -> bool {
        let state = Path::new(DIR).join("state");
        let folders = self.disk.list_dirs(&state).unwrap_or_default();
        let tables = folders.iter().flat_map(|folder| {
            let folder = state.join(folder);
            let names = self.disk.list(&folder).unwrap_or_default();
            names.into_iter().filter(|name| name.ends_with(".table")).map(move |n| folder.join(n))
        });
        let mut tables: Vec<_> = tables.collect();
        tables.sort();
        let Some(table) = rng.choice(&tables) else { return false };
        let len = self.disk.len(table).expect("it is there");
        for _ in 0..3 {
            corrupt(&self.disk, table, rng.u64(..len), 1 << rng.u8(..8)).expect("it is there");
        }
        self.is_damaged = true;
        true
    }

    /// So much room is left; all of it with none.
    pub(crate) fn set_free_bytes(&mut self, free_bytes: Option<u64>) {
        self.is_faulty |= free_bytes.is_some();
        self.faults.set_free_bytes(free_bytes);
    }

    /// One of the next operations on such files fails.
    pub(crate) fn fail(&mut self, op: FsOp, path_suffix: &str, after: u64) {
        self.is_faulty = true;
        let fault = Fault::error(op, std::io::ErrorKind::Other);
        self.faults.inject(fault.on(path_suffix).after(after));
    }

    pub(crate) fn heal(&mut self) {
        (self.paused_until, self.stalled_until, self.sync_time) = (0, 0, 0);
        self.faults.clear();
        self.faults.set_free_bytes(None);
    }

    pub(crate) fn is_paused(&self, now: u64) -> bool {
        self.paused_until > now
    }

    pub(crate) fn is_up(&self, now: u64) -> bool {
        self.running.is_some() && !self.is_paused(now) && !self.has_crashed()
    }

    pub(crate) fn leads(&self) -> bool {
        self.running.as_ref().is_some_and(Running::leads)
    }

    /// Brings its clock to where it has come by now.
    pub(crate) fn set_clock(&mut self, now: u64) {
        let passed = (now - self.clock_set_at) as i64;
        self.clock_set_at = now;
        let local = passed + passed * self.rate / 1000;
        self.clock.advance(Duration::from_micros(local as u64));
    }

    /// The true time until the next tick.
    pub(crate) fn until_tick(&self) -> u64 {
        let next = self.running.as_ref().map_or(Duration::MAX, Running::next_tick);
        let local = next.saturating_sub(self.clock.now()).as_micros().min(1 << 40) as u64;
        (local * 1000).div_ceil((1000 + self.rate) as u64) + 1
    }
}
