//! The names of files in a database folder, written and parsed in one place.

use std::fmt;
use std::path::{Path, PathBuf};

/// A number that names one file of a database for ever: numbers are never used twice, but
/// for the logs, where a recycled segment gets a new number by being renamed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileNumber(pub u64);

impl fmt::Display for FileNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}", self.0)
    }
}

/// What a file in the folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileName {
    /// `CURRENT`: names the manifest in force.
    Current,
    /// `CURRENT.new`: a `CURRENT` on its way.
    CurrentNew,
    /// `LOCK`: held by whoever has the folder open.
    Lock,
    /// `000007.manifest`
    Manifest(FileNumber),
    /// `000007.log`
    Log(FileNumber),
    /// `000007.table`
    Table(FileNumber),
}

impl FileName {
    /// `None` if it is the name of no file of ours.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "CURRENT" => return Some(Self::Current),
            "CURRENT.new" => return Some(Self::CurrentNew),
            "LOCK" => return Some(Self::Lock),
            _ => {}
        }
        let (stem, extension) = name.split_once('.')?;
        let number = FileNumber(stem.parse().ok()?);
        let parsed = match extension {
            "manifest" => Self::Manifest(number),
            "log" => Self::Log(number),
            "table" => Self::Table(number),
            _ => return None,
        };
        // One spelling a number: "7.log" or "+00007.log" is not ours.
        (parsed.to_string() == name).then_some(parsed)
    }

    /// The path of this file in folder `dir`.
    pub fn in_dir(self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => f.write_str("CURRENT"),
            Self::CurrentNew => f.write_str("CURRENT.new"),
            Self::Lock => f.write_str("LOCK"),
            Self::Manifest(number) => write!(f, "{number}.manifest"),
            Self::Log(number) => write!(f, "{number}.log"),
            Self::Table(number) => write!(f, "{number}.table"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for number in [0, 7, 999_999, 1_000_000, u64::MAX].map(FileNumber) {
            for name in [FileName::Manifest(number), FileName::Log(number), FileName::Table(number)]
            {
                assert_eq!(FileName::parse(&name.to_string()), Some(name));
            }
        }
        for name in [FileName::Current, FileName::CurrentNew, FileName::Lock] {
            assert_eq!(FileName::parse(&name.to_string()), Some(name));
        }
    }

    #[test]
    fn strangers_are_not_ours() {
        for name in
            ["", "7.log", "+00007.log", "000007.logs", "000007", "000007.log.bak", "notes.txt"]
        {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }
}
