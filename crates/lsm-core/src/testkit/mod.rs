//! What tests of the engine are made of. Not for production use.

pub mod generate;
pub mod model;
pub mod runner;
pub mod script;
