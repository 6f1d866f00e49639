//! A store as the workloads see it: the least that every engine can do.

/// An open, ordered map from bytes to bytes, for any number of threads.
pub trait Store: Sync {
    /// Survives the death of the process, or as near to that as the engine has.
    fn put(&self, key: &[u8], value: &[u8]);

    /// Survives power loss when the call returns.
    fn sync_put(&self, key: &[u8], value: &[u8]);

    /// The length of the value, whose first and last bytes were read; `None` if there is none.
    fn get(&self, key: &[u8]) -> Option<usize>;

    /// Reads up to `count` entries from `key` on; returns the bytes of their keys and values.
    fn scan(&self, key: &[u8], count: usize) -> usize;

    /// Returns once everything is written out and background work has come to rest.
    fn settle(&self);

    /// Bytes of log that the next open has to read, if the engine tells.
    fn log_bytes(&self) -> Option<u64> {
        None
    }
}

/// Touches a value as its user would.
#[inline]
pub fn touch(value: &[u8]) -> usize {
    std::hint::black_box((value.first(), value.last()));
    value.len()
}
