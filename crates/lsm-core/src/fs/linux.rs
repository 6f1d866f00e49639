//! What only Linux has. `portable.rs` holds the same functions for other systems.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;

use memmap2::{Advice, MmapRaw};
use rustix::fs::{FallocateFlags, fadvise, fallocate, fstatfs};
use rustix::io::{Errno, retry_on_intr};

use super::traits::Access;

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

/// Has the system read a range of the file, without waiting for it.
pub(super) fn will_need(file: &File, range: Range<u64>) {
    if let Some(len) = range.end.checked_sub(range.start).and_then(NonZeroU64::new) {
        let _ = fadvise(file, range.start, Some(len), rustix::fs::Advice::WillNeed);
    }
}
