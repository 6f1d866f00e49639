//! What tests of the engine are made of. Not for production use.

pub mod script;
