//! Whose folder this is: one small file, written once, that tells a data folder from any other.
//!
//! ```text
//! data/
//!   NODE     cluster, group, node, incarnation   (this file)
//!   LOCK     held while a process uses the folder
//!   log/     the replicated log
//!   state/   the state machine, and snapshots on their way
//! ```

use std::io;
use std::path::{Path, PathBuf};

use lsm_log::coding::{Decoder, put_bytes, put_u32, put_u64};
use lsm_log::fs::{Fs, replace_file};

use crate::error::{Error, Result};

/// By this file the engine, too, knows the folder of a node.
pub(crate) const NODE_FILE: &str = "NODE";
const FILE_NEW: &str = "NODE.new";
const MAGIC: &[u8; 8] = b"lsmnode1";
/// Longest file that is read.
const LEN_MAX: u64 = 1024;
/// Longest name of a cluster, in bytes.
pub const CLUSTER_LEN_MAX: usize = 64;

/// Who a data folder belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name of the cluster.
    pub cluster: String,
    /// Number of the group.
    pub group: u64,
    /// Number of the node.
    pub node: u64,
    /// Drawn at random when the folder was made.
    pub incarnation: u64,
}

impl Identity {
    /// Reads the identity of `dir`, or writes `wanted` if the folder has none. True if it was
    /// written now.
    ///
    /// # Errors
    ///
    /// `Folder` if it belongs to another node, group or cluster; `Corrupt` for damage;
    /// `Storage` if it cannot be read or written.
    pub fn open(fs: &dyn Fs, dir: &Path, wanted: &Self) -> Result<(Self, bool)> {
        if wanted.cluster.is_empty() || wanted.cluster.len() > CLUSTER_LEN_MAX {
            return Err(Error::Invalid(format!(
                "the cluster's name has {} bytes; 1 to {CLUSTER_LEN_MAX} are allowed",
                wanted.cluster.len()
            )));
        }
        let path = dir.join(NODE_FILE);
        let Some(bytes) = read(fs, &path)? else {
            wanted.write(fs, dir, &path)?;
            return Ok((wanted.clone(), true));
        };
        let found = Self::decode(&bytes)
            .ok_or_else(|| Error::corrupt(path.display().to_string(), "it does not decode"))?;
        found.must_match(wanted, dir)?;
        Ok((found, false))
    }

    fn must_match(&self, wanted: &Self, dir: &Path) -> Result<()> {
        let other = |what: &str, found: &dyn std::fmt::Display, asked: &dyn std::fmt::Display| {
            let reason = format!(
                "the folder belongs to {what} {found}, not {asked}: start this node with a folder \
                 of its own, or with the settings it was made with"
            );
            Err(Error::Folder { dir: dir.to_owned(), reason })
        };
        if self.cluster != wanted.cluster {
            return other("cluster", &self.cluster, &wanted.cluster);
        }
        if self.group != wanted.group {
            return other("group", &self.group, &wanted.group);
        }
        if self.node != wanted.node {
            return other("node", &self.node, &wanted.node);
        }
        Ok(())
    }

    fn write(&self, fs: &dyn Fs, dir: &Path, path: &Path) -> Result<()> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        replace_file(fs, &dir.join(FILE_NEW), path, &bytes).map_err(|error| {
            let reason = format!("cannot write the identity of the node: {error}");
            Error::Folder { dir: dir.to_owned(), reason }
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(MAGIC);
        put_bytes(out, self.cluster.as_bytes());
        put_u64(out, self.group);
        put_u64(out, self.node);
        put_u64(out, self.incarnation);
        put_u32(out, crc32c::crc32c(out));
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc32c::crc32c(body).to_le_bytes() != sum {
            return None;
        }
        let mut decoder = Decoder::new(body);
        if decoder.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let identity = Self {
            cluster: std::str::from_utf8(decoder.bytes()?).ok()?.to_owned(),
            group: decoder.u64()?,
            node: decoder.u64()?,
            incarnation: decoder.u64()?,
        };
        decoder.is_empty().then_some(identity)
    }
}

fn read(fs: &dyn Fs, path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match fs.open_read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| failed("open", path, &error))?,
    };
    let len = file.len();
    if len > LEN_MAX {
        return Err(Error::corrupt(path.display().to_string(), format!("it has {len} bytes")));
    }
    let mut bytes = vec![0; len as usize];
    file.read_at(0, &mut bytes).map_err(|error| failed("read", path, &error))?;
    Ok(Some(bytes))
}

fn failed(action: &str, path: &Path, error: &io::Error) -> Error {
    let dir = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    Error::Folder { dir, reason: format!("cannot {action} {}: {error}", path.display()) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lsm_log::fs::MemFs;

    use super::*;

    fn wanted() -> Identity {
        Identity { cluster: "test".into(), group: 1, node: 3, incarnation: 77 }
    }

    fn folder() -> Arc<MemFs> {
        let fs = Arc::new(MemFs::default());
        fs.create_dir_all(Path::new("data")).unwrap();
        fs
    }

    #[test]
    fn what_a_crash_left_behind_is_no_hindrance() {
        let (fs, dir) = (folder(), Path::new("data"));
        fs.create(&dir.join(FILE_NEW)).unwrap();
        assert_eq!(Identity::open(&*fs, dir, &wanted()).unwrap(), (wanted(), true));
    }

    #[test]
    fn a_folder_keeps_its_first_identity() {
        let (fs, dir) = (folder(), Path::new("data"));
        assert_eq!(Identity::open(&*fs, dir, &wanted()).unwrap(), (wanted(), true));
        let again = Identity { incarnation: 78, ..wanted() };
        assert_eq!(Identity::open(&*fs, dir, &again).unwrap(), (wanted(), false));
    }

    #[test]
    fn the_folder_of_another_is_refused_with_what_to_do() {
        let (fs, dir) = (folder(), Path::new("data"));
        Identity::open(&*fs, dir, &wanted()).unwrap();
        let others = [
            Identity { node: 4, ..wanted() },
            Identity { cluster: "prod".into(), ..wanted() },
            Identity { group: 2, ..wanted() },
        ];
        for other in others {
            let error = Identity::open(&*fs, dir, &other).unwrap_err().to_string();
            assert!(error.contains("belongs to") && error.contains("folder of its own"), "{error}");
        }
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let mut bytes = Vec::new();
        wanted().encode(&mut bytes);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(Identity::decode(&bad), None, "byte {at}");
            assert_eq!(Identity::decode(&bytes[..at]), None);
        }
        assert_eq!(Identity::decode(&bytes), Some(wanted()));
    }
}
