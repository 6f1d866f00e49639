//! The results of a run, as they are kept in a file.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use common::Measured;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;

pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Record {
    pub(crate) machine: Machine,
    /// The commit that was measured, where git tells.
    pub(crate) commit: Option<String>,
    pub(crate) entries: u64,
    pub(crate) row_seconds: f64,
    /// Of each engine.
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) rows: Vec<Row>,
}

/// One row in one round on one engine.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    pub(crate) engine: String,
    pub(crate) round: u64,
    #[serde(flatten)]
    pub(crate) measured: Measured,
}

impl Record {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?)
    }

    pub(crate) fn write(&self, path: &Path) -> Result {
        let text = serde_json::to_string_pretty(self)?;
        Ok(fs::write(path, text + "\n").map_err(|e| format!("{}: {e}", path.display()))?)
    }
}
