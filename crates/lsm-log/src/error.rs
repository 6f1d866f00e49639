//! The one error type of the log and the engine.
//!
//! Few kinds, each naming the caller's next move; everything that helps to find the cause
//! (file, offset, what was expected and found, the system's own error) travels along.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The result of every fallible call of the crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The database was closed: open it again.
    Closed,
    /// What a transaction has read or written was changed by others since it began: run it again.
    Conflict,
    /// Stored bytes are damaged, missing or foreign: restore the named file from a copy.
    Corrupt,
    /// An earlier failure made the state of the disk unknown: reopen the database.
    Failed,
    /// An argument or option is outside its limits: change the call.
    Invalid,
    /// The file system refused: see the source, then retry or make room.
    Io,
    /// Another process or handle has the folder open: close that first.
    Locked,
    /// The data was written by a newer program, or asks for what this one does not do.
    Unsupported,
}

/// An error of the engine: a [kind](ErrorKind) for programs, a message for people.
///
/// Cloning is cheap; the same failure may be reported to many callers.
#[derive(Clone, thiserror::Error)]
pub struct Error {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    file: Option<PathBuf>,
    offset: Option<u64>,
    source: Option<Arc<io::Error>>,
}

/// How the text of every refusal after a failure begins.
const REFUSED: &str = "writes are refused until reopen, because of: ";

impl Error {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The file that the error is about, if it is about one.
    pub fn file(&self) -> Option<&Path> {
        self.inner.file.as_deref()
    }

    /// The byte offset within [`file`](Self::file), if one is known.
    pub fn offset(&self) -> Option<u64> {
        self.inner.offset
    }

    /// The operating system's own error, if it caused this one.
    pub fn io_error(&self) -> Option<&io::Error> {
        self.inner.source.as_deref()
    }

    /// Whether the system had no room: nothing else is wrong.
    pub fn found_no_room(&self) -> bool {
        let kind = self.io_error().map(io::Error::kind);
        matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let inner = Inner { kind, message: message.into(), file: None, offset: None, source: None };
        Self { inner: Arc::new(inner) }
    }

    /// The call came after the close.
    pub fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the database is closed")
    }

    /// Others were faster than a transaction.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// Damage of stored bytes.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// Damage described by a number that should have been another.
    pub fn mismatch(what: &str, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        Self::corrupt(format!("{what}: expected {expected}, found {found}"))
    }

    /// An argument or option that the caller has to change.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Somebody else has the folder.
    pub fn locked(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Locked, message)
    }

    /// Data of a newer program.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// Wraps a file system error; `action` completes the sentence "could not …".
    pub fn io(action: &str, file: &Path, source: io::Error) -> Self {
        Self::new(ErrorKind::Io, format!("could not {action}")).in_file(file).because(source)
    }

    /// A thread has ended by a bug of ours, in the middle of something.
    pub fn panicked(thread: &str) -> Self {
        Self::new(ErrorKind::Failed, format!("thread {thread} panicked: this is a bug"))
    }

    /// A process uses a database that another one opened before it was forked from that.
    pub fn forked() -> Self {
        Self::invalid(
            "the database was opened before this process was forked from the one that opened it: \
             only there can it be used",
        )
    }

    /// What later writers are told after `first` made the disk's state unknown.
    pub fn failed(first: &Error) -> Self {
        if first.inner.message.starts_with(REFUSED) {
            return first.clone();
        }
        let mut inner = (*first.inner).clone();
        // The source is told behind it, as of every error.
        let message = format!("{REFUSED}{}", WithoutSource(&inner));
        (inner.kind, inner.message) = (ErrorKind::Failed, message);
        (inner.file, inner.offset) = (None, None);
        Self { inner: Arc::new(inner) }
    }

    /// What writers are told that would have to wait for `job`, which fails and is tried again.
    pub fn put_off(job: impl fmt::Display, last: &Self) -> Self {
        let why = &last.inner.message;
        let message = format!("writes wait for {job}, which fails and is tried again: {why}");
        Self { inner: Arc::new(Inner { message, ..(*last.inner).clone() }) }
    }

    /// Names the file, unless a deeper layer already did.
    #[must_use]
    pub fn in_file(self, file: &Path) -> Self {
        self.with(|inner| {
            inner.file.get_or_insert_with(|| file.to_owned());
        })
    }

    /// Says which write of a batch it is about.
    pub fn in_write(self, index: usize) -> Self {
        self.with(|inner| {
            inner.message =
                format!("write {index} of the batch, counted from 0: {}", inner.message);
        })
    }

    /// Adds what the caller may do instead.
    pub fn or_else(self, advice: &str) -> Self {
        self.with(|inner| inner.message = format!("{} ({advice})", inner.message))
    }

    /// Sets the offset, unless a deeper layer already did.
    #[must_use]
    pub fn at(self, offset: u64) -> Self {
        self.with(|inner| {
            inner.offset.get_or_insert(offset);
        })
    }

    /// Shifts the offset from "within a section" to "within the file".
    pub fn within(self, base: u64) -> Self {
        self.with(|inner| inner.offset = Some(base + inner.offset.unwrap_or(0)))
    }

    fn because(self, source: io::Error) -> Self {
        self.with(|inner| inner.source = Some(Arc::new(source)))
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.inner));
        self
    }
}

/// All that is known; so `source` of the trait returns nothing that would be told twice. The
/// system's own error is [`io_error`](Error::io_error).
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        WithoutSource(&self.inner).fmt(f)?;
        match &self.inner.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

/// The text of an error up to what the system said.
struct WithoutSource<'a>(&'a Inner);

impl fmt::Display for WithoutSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { message, file, offset, .. } = self.0;
        f.write_str(message)?;
        let Some(file) = file else { return Ok(()) };
        write!(f, " [file {}", file.display())?;
        if let Some(offset) = offset {
            write!(f, ", offset {offset}")?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.inner.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_file_offset_and_numbers() {
        let error =
            Error::mismatch("block checksum", 7, 9).at(4).within(4096).in_file(Path::new("x"));
        assert_eq!(error.to_string(), "block checksum: expected 7, found 9 [file x, offset 4100]");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn the_deepest_file_wins() {
        let error = Error::corrupt("bad").in_file(Path::new("a")).in_file(Path::new("b"));
        assert_eq!(error.file(), Some(Path::new("a")));
    }

    #[test]
    fn failed_keeps_the_cause() {
        let first = Error::io("sync the log", Path::new("l"), io::Error::other("disk on fire"));
        let later = Error::failed(&first);
        assert_eq!(later.kind(), ErrorKind::Failed);
        assert_eq!(
            later.to_string(),
            "writes are refused until reopen, because of: could not sync the log [file l]: disk on fire"
        );
        assert!(later.io_error().is_some());
        assert_eq!(Error::failed(&later).to_string(), later.to_string(), "said once");
    }

    #[test]
    fn a_chain_of_causes_says_nothing_twice() {
        let error = Error::io("write", Path::new("l"), io::Error::other("disk on fire"));
        assert!(std::error::Error::source(&error).is_none(), "it is in the text: {error}");
    }

    #[test]
    fn is_one_word() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
