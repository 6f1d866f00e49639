//! The engine from outside, through its public face: one binary for all integration tests.

mod bad_input;
mod basics;
mod damage;
mod folder;
mod crash;
mod fault;
mod model;
mod seeds;
mod threads;
