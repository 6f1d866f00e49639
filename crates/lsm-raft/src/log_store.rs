//! stub
use crate::error::Result;
use lsm_core::fs::Fs;
use parking_lot::Mutex;
use raft::StorageError;
use raft::eraftpb::{Entry, HardState};
use std::{path::Path, sync::Arc};
#[derive(Clone, Debug)]
pub struct LogOptions {
    pub fs: Arc<dyn Fs>,
    pub owner: u64,
    pub segment_bytes: u64,
    pub cache_bytes: usize,
}
#[derive(Debug, Default)]
struct S {
    first: (u64, u64),
    entries: Vec<Entry>,
    hs: HardState,
}
#[derive(Clone, Debug)]
pub struct LogStore(Arc<Mutex<S>>);
#[derive(Debug)]
pub struct LogWriter(LogStore);
impl LogStore {
    pub fn open(_o: LogOptions, _d: &Path) -> Result<(Self, LogWriter)> {
        let s = Self(Arc::default());
        Ok((s.clone(), LogWriter(s)))
    }
    pub fn hard_state(&self) -> HardState {
        self.0.lock().hs.clone()
    }
    pub fn append(&self, e: &[Entry]) {
        let mut s = self.0.lock();
        if let Some(f) = e.first() {
            let keep = (f.index - s.first.0 - 1) as usize;
            s.entries.truncate(keep);
            s.entries.extend_from_slice(e);
        }
    }
    pub fn reset_to(&self, i: u64, t: u64) {
        let mut s = self.0.lock();
        s.first = (i, t);
        s.entries.clear();
    }
    pub fn first_index(&self) -> u64 {
        self.0.lock().first.0 + 1
    }
    pub fn last_index(&self) -> u64 {
        let s = self.0.lock();
        s.first.0 + s.entries.len() as u64
    }
    pub fn term(&self, i: u64) -> raft::Result<u64> {
        let s = self.0.lock();
        if i == s.first.0 {
            return Ok(s.first.1);
        }
        if i < s.first.0 {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        s.entries
            .get((i - s.first.0 - 1) as usize)
            .map(|e| e.term)
            .ok_or(raft::Error::Store(StorageError::Unavailable))
    }
    pub fn entries(&self, l: u64, h: u64, m: Option<u64>) -> raft::Result<Vec<Entry>> {
        let s = self.0.lock();
        if l <= s.first.0 {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        let mut v = Vec::new();
        let mut n = 0;
        for e in &s.entries[(l - s.first.0 - 1) as usize..(h - s.first.0 - 1) as usize] {
            n += e.data.len() as u64 + 64;
            if !v.is_empty() && m.is_some_and(|m| n > m) {
                break;
            }
            v.push(e.clone());
        }
        Ok(v)
    }
    pub fn cut_for(&self, keep: u64) -> u64 {
        let s = self.0.lock();
        let mut n = 0;
        for e in s.entries.iter().rev() {
            n += e.data.len() as u64 + 64;
            if n > keep {
                return e.index;
            }
        }
        s.first.0
    }
    pub fn disk_bytes(&self) -> u64 {
        0
    }
}
impl LogWriter {
    pub fn write(&mut self, hs: Option<&HardState>, _e: &[Entry]) -> Result<()> {
        if let Some(h) = hs {
            self.0.0.lock().hs = h.clone();
        }
        Ok(())
    }
    pub fn sync(&mut self) -> Result<()> {
        Ok(())
    }
    pub fn truncate(&mut self, i: u64) -> Result<()> {
        let mut s = self.0.0.lock();
        if i > s.first.0 {
            let n = (i - s.first.0) as usize;
            let t = s.entries[n - 1].term;
            s.entries.drain(..n);
            s.first = (i, t);
        }
        Ok(())
    }
    pub fn reset(&mut self, i: u64, t: u64) -> Result<()> {
        self.0.reset_to(i, t);
        Ok(())
    }
}
