#![doc = include_str!("../README.md")]
//!
//! The modules, from the bottom up: [`error`], [`coding`] and [`checksum`], [`fs`] and [`file_name`],
//! [`wal`].

pub mod checksum;
pub mod coding;
pub mod error;
pub mod file_name;
pub mod fs;
#[cfg(feature = "testkit")]
pub mod fuzzing;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod wal;
