//! What tests of logs are made of. Not for production use.

pub mod document;
pub mod hostile;
mod test_fs;

pub use test_fs::{OWNER, TestFs, nonce};
