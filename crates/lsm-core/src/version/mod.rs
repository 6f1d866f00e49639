//! Which tables make up the database, now and after a crash.

mod catalog;
#[cfg(test)]
pub(crate) mod document_test;
mod edit;
mod fields;
#[cfg(feature = "testkit")]
pub(crate) mod fuzzing;
mod manifest;
mod obsolete;
mod set;
mod stored_options;
mod table_file;
#[allow(clippy::module_inception, reason = "the file is about versions")]
mod version;

pub(crate) use catalog::{Catalog, KeyspaceState, table_salt};
pub(crate) use edit::{Edit, KeyspaceEdit};
pub(crate) use manifest::Manifest;
pub(crate) use set::{SNAPSHOT_PIECE_BYTES, VersionSet};
pub(crate) use table_file::{TableFile, TableMeta};
pub(crate) use version::{LEVELS, Version};
