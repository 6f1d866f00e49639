#![doc = include_str!("../README.md")]

mod pem;
mod units;

pub use pem::read_pem;
pub use units::{Bytes, Time};
