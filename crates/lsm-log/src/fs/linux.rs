//! What only Linux has. `portable.rs` holds the same functions for other systems.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::path::Path;

use memmap2::{Advice, MmapMut, MmapRaw};
use rustix::fs::{FallocateFlags, fadvise, fallocate, fstatfs};
use rustix::io::{Errno, retry_on_intr};

use super::traits::{Access, Space};
use crate::error::{Error, Result};

/// File systems that write a reserved block in place, by the number `statfs` tells: ext4, XFS
/// and tmpfs. One that copies on write (Btrfs, ZFS) needs a new block for each overwrite, so
/// that on a full disk a mapped write is a signal even to a reserved range; of one that stacks
/// on others (overlayfs, FUSE, NFS) it is not known.
const IN_PLACE: [u32; 3] = [0xEF53, 0x5846_5342, 0x0102_1994];

/// Makes the file at least `len` bytes long and reserves their blocks. Whether writing to them
/// through a mapping is safe from a full disk.
pub(super) fn reserve(file: &File, len: u64) -> io::Result<bool> {
    if len == 0 {
        return Ok(false);
    }
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, len)) {
        Ok(()) => Ok(writes_in_place(file)),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            if file.metadata()?.len() < len {
                file.set_len(len)?;
            }
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn writes_in_place(file: &File) -> bool {
    fstatfs(file).is_ok_and(|stat| IN_PLACE.contains(&(stat.f_type as u32)))
}

/// Readies a range of a mapping for writing. What would be a signal during a copy, such as a
/// recycled block that cannot be read back in, is an error here.
pub(super) fn prefault(map: &MmapRaw, range: Range<usize>) -> io::Result<()> {
    match map.advise_range(Advice::PopulateWrite, range.start, range.len()) {
        // Linux before 5.14 does not know the call: the copy itself faults the pages in.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

/// Tells the system how the file will be read.
pub(super) fn advise(file: &File, access: Access) {
    let advice = match access {
        Access::Random => rustix::fs::Advice::Random,
        Access::Sequential => rustix::fs::Advice::Sequential,
        Access::Done => rustix::fs::Advice::DontNeed,
    };
    // A hint: what the system makes of it changes no result.
    let _ = fadvise(file, 0, None, advice);
}

/// The room on the disk that holds this path.
pub(super) fn space(path: &Path) -> io::Result<Space> {
    let told = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(told.f_frsize);
    Ok(Space { total: bytes(told.f_blocks), free: bytes(told.f_bavail) })
}

/// Has the system read a range of the file, without waiting for it.
pub(super) fn will_need(file: &File, range: Range<u64>) {
    if let Some(len) = range.end.checked_sub(range.start).and_then(NonZeroU64::new) {
        let _ = fadvise(file, range.start, Some(len), rustix::fs::Advice::WillNeed);
    }
}

/// Tells the process that made it from those that were forked from it. Costs a load to ask.
#[derive(Debug)]
pub struct ProcessMark {
    /// A page that the system clears in a forked process; none where it cannot.
    page: Option<MmapRaw>,
    process: u32,
}

impl ProcessMark {
    /// That of the process that calls.
    pub fn here() -> Self {
        Self { page: cleared_by_fork().ok(), process: std::process::id() }
    }

    /// Refuses whatever is asked in another process than the one that made the mark.
    #[inline]
    pub fn check(&self) -> Result<()> {
        match self.is_here() {
            true => Ok(()),
            false => Err(Error::forked()),
        }
    }

    /// Whether this is the process that made the mark.
    #[inline]
    #[expect(unsafe_code, reason = "the system changes the byte behind the compiler's back")]
    fn is_here(&self) -> bool {
        let Some(page) = &self.page else { return std::process::id() == self.process };
        // SAFETY: the page is mapped, readable and lives as long as the borrow of it. Nothing
        // writes to it once it is made: a fork clears it in the new process only, before that
        // runs. Volatile, because the compiler knows of no fork.
        unsafe { page.as_ptr().read_volatile() != 0 }
    }
}

/// A page with a byte that is not zero, but is in every process forked from this one.
#[expect(unsafe_code, reason = "advice that changes what memory holds")]
fn cleared_by_fork() -> io::Result<MmapRaw> {
    if cfg!(miri) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let mut page = MmapMut::map_anon(1)?;
    page[0] = 1;
    let page = MmapRaw::from(page);
    // SAFETY: the mapping is private, anonymous and begins with a page; nobody has a reference
    // into it. Nothing changes in this process. Linux before 4.14 refuses, and so this does.
    unsafe {
        let advice = rustix::mm::Advice::LinuxWipeOnFork;
        rustix::mm::madvise(page.as_mut_ptr().cast(), page.len(), advice)?;
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_its_processes_with_and_without_the_systems_help() {
        let (process, here) = (std::process::id(), ProcessMark::here());
        assert!(here.is_here() && here.page.is_some(), "Linux since 4.14 clears pages");
        assert!(ProcessMark { page: None, process }.is_here());
        assert!(!ProcessMark { page: None, process: process + 1 }.is_here());
        // What a forked process sees.
        let page = Some(MmapRaw::from(MmapMut::map_anon(1).unwrap()));
        assert!(!ProcessMark { page, process }.is_here());
    }
}
