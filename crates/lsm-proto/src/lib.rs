#![doc = include_str!("../README.md")]
//!
//! [`v1`] is what clients use, [`rpc`] how they call it, [`words`] what they find in refusals.

#[cfg(feature = "server")]
mod codec;
mod generated;
pub mod rpc;
pub mod words;

pub use generated::v1;
#[cfg(feature = "server")]
pub use generated::{DESCRIPTORS, peer};
