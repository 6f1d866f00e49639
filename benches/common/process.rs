//! What this process has used so far, as the system counts it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Processor time and bytes written since the process began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// User and system time of all threads, those that have ended too.
    pub(crate) processor: Duration,
    /// Bytes of pages that were written to or are on their way there: through calls and through
    /// mappings. 0 where the system does not tell.
    pub(crate) written_bytes: u64,
}

impl Usage {
    pub(crate) fn now() -> Self {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let processor = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
        let written = field("/proc/self/io", "write_bytes:");
        Self { processor, written_bytes: written.unwrap_or(0) }
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            processor: self.processor - before.processor,
            written_bytes: self.written_bytes - before.written_bytes,
        }
    }
}

/// Memory of this process that no file stands behind (`RssAnon`) in bytes; 0 where the system does
/// not tell.
pub fn anon_bytes() -> u64 {
    field("/proc/self/status", "RssAnon:").unwrap_or(0) * 1024
}

/// What the files below a folder take on the disk: sparse files count what is written, those with
/// room ahead count it.
pub(crate) fn disk_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    // Files come and go while the folder is read.
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |path: &Path| match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => disk_bytes(path),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(|entry| size(&entry.path())).sum()
}

/// The number behind a word that a line of a file of the system begins with.
fn field(path: &str, word: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(word))?;
    rest.split_whitespace().next()?.parse().ok()
}
