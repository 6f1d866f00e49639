//! The engine from outside, through its public face: one binary for all integration tests.

mod basics;
mod crash;
mod fault;
mod model;
mod seeds;
mod threads;
