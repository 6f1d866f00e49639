//! Which tables make up the database, now and after a crash.

mod table_meta;
#[allow(clippy::module_inception)]
mod version;

pub(crate) use table_meta::TableMeta;
pub(crate) use version::{LEVELS, TableFile, Version};
