//! An embeddable, durable, ordered key-value store on a log-structured merge tree.

#![warn(missing_docs)]

mod checksum;
mod clock;
mod coding;
mod error;
mod file_name;
pub mod fs;
mod key;
mod metrics;
mod options;
mod sync;
mod value;

pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Error, ErrorKind, Result};
pub use key::SeqNo;
pub use value::Value;
