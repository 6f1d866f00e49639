//! What tests of the engine are made of. Not for production use.

mod copies;
pub mod disk;
pub mod generate;
pub mod model;
pub mod runner;
pub mod script;
