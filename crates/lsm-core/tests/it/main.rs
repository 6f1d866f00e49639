//! The engine from outside, through its public face: one binary for all integration tests.

mod bad_input;
mod basics;
mod close;
mod crash;
mod damage;
mod drop_keyspace;
mod fault;
mod flushed;
mod folder;
mod golden;
mod held_back;
mod logs;
mod model;
mod refused;
mod rest;
mod retry;
mod scripts;
mod seeds;
mod space;
mod threads;
mod wait;
mod writers;
