//! Checkpoints of the runner's database: made, opened on the disk as it is and as a loss of power
//! leaves it, and kept for a crash that comes later.

use std::io;
use std::path::Path;
use std::sync::Arc;

use lsm_log::error::{Error, ErrorKind, Result};
use lsm_log::fs::{CrashImage, Fault, Fs, Op};

use super::disk::{Disk, Links};
use super::runner::{Copy, Runner};
use crate::options::Durability;

/// Pieces of background work in front of a slow link.
const STEPS_A_LINK: usize = 3;

impl Runner {
    /// Makes a checkpoint and looks at it.
    pub(super) fn checkpoint(&mut self) -> Result<()> {
        self.remove_stale()?;
        let dir = self.dir.with_file_name(format!("copy{}", self.count));
        let copy = Copy { dir, seq: self.model.last(), trees: self.trees(), whole: false };
        self.copies.push(copy);
        self.slow_down();
        let made = self.db().checkpoint(&self.copies[self.copies.len() - 1].dir);
        if let Some(faults) = &self.faults {
            faults.clear();
        }
        made?;
        let mut copy = self.copies.pop().expect("it was just pushed");
        copy.whole = true;
        if let Disk::Crash { disk, .. } = &self.disk {
            let seed = u64::from(self.count);
            for image in [CrashImage::Lost, CrashImage::Torn { seed }] {
                let read_only = self.count.is_multiple_of(2);
                self.check_copy(&copy, Arc::new(disk.image(image)), read_only)?;
            }
        }
        if self.count.is_multiple_of(2) && self.copies.is_empty() {
            // For a crash to come to.
            self.copies.push(copy);
            return Ok(());
        }
        self.check_copy(&copy, self.seen(), self.count.is_multiple_of(4))?;
        self.stale.push(copy.dir);
        Ok(())
    }

    /// Opens a checkpoint that was made beside writers: it is one point in the write order, from
    /// `least` on. Returns which.
    pub fn check_copy_beside_writers(
        &self,
        dir: &Path,
        fs: Arc<dyn Fs>,
        least: u64,
    ) -> Result<u64> {
        let options = self.options.clone().create_if_missing(false).fs(fs);
        let db = options.open_read_only(dir)?;
        let seq = db.last_sequence().0;
        assert!(seq >= least, "the copy ends with {seq}, but began after {least}");
        assert!(self.model().is_end(seq), "the copy ends with {seq}, inside a batch");
        self.check_all_of(&db, &self.trees())?;
        db.verify()?;
        db.close()?;
        Ok(seq)
    }

    /// Has work done in front of each link, and refuses it if links are refused.
    fn slow_down(&self) {
        let Some(faults) = &self.faults else { return };
        let db = self.db().clone();
        let work = move || {
            // An error comes to light with the checkpoint's own.
            let _ = (0..STEPS_A_LINK).try_for_each(|_| db.step().map(drop));
        };
        faults.inject(Fault::run(Op::HardLink, work).forever());
        if let Links::Refused(kind) = self.links {
            faults.inject(Fault::error(Op::HardLink, kind).forever());
        }
    }

    /// Looks at what a crash left of the checkpoints, without changing it.
    pub(super) fn check_copies(&mut self) -> Result<()> {
        for copy in std::mem::take(&mut self.copies) {
            self.check_copy(&copy, self.seen(), true)?;
            self.stale.push(copy.dir);
        }
        Ok(())
    }

    /// Opens a copy: one that was made is whole, any other is whole or no database.
    fn check_copy(&self, copy: &Copy, fs: Arc<dyn Fs>, read_only: bool) -> Result<()> {
        let has_begun = fs.len(&copy.dir.join("CURRENT")).is_ok();
        let options = self.options.clone().create_if_missing(false).fs(fs);
        let opened = match read_only {
            true => options.open_read_only(&copy.dir),
            false => options.open(&copy.dir),
        };
        let db = match opened {
            Err(error) if !copy.whole && !has_begun && error.kind() != ErrorKind::Io => {
                return Ok(());
            }
            opened => opened?,
        };
        assert_eq!(db.last_sequence().0, copy.seq, "the copy is of its moment");
        self.check_all_of(&db, &copy.trees)?;
        db.verify()?;
        if !read_only {
            db.put_with("only", "in the copy", Durability::Sync)?;
            db.flush()?;
        }
        db.close()
    }

    /// Removes copies that were looked at: what a crash leaves of them does not matter.
    fn remove_stale(&mut self) -> Result<()> {
        let fs = self.seen();
        for dir in std::mem::take(&mut self.stale) {
            let io = |error| Error::io("remove the copy", &dir, error);
            let names = match fs.list(&dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                names => names.map_err(io)?,
            };
            names.iter().try_for_each(|name| fs.remove(&dir.join(name)).map_err(io))?;
        }
        Ok(())
    }
}
