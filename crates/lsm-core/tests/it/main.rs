//! The engine from outside, through its public face: one binary for all integration tests.

mod bad_input;
mod basics;
mod close;
mod crash;
mod damage;
mod fault;
mod folder;
mod golden;
mod model;
mod scripts;
mod seeds;
mod threads;
