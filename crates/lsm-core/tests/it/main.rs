//! The engine from outside, through its public face: one binary for all integration tests.

mod bad_input;
mod basics;
mod checkpoint;
mod close;
mod crash;
mod damage;
mod death;
mod drop_keyspace;
mod fault;
mod flushed;
mod folder;
mod golden;
mod held_back;
mod hooked;
mod logs;
mod model;
mod reads;
mod refused;
mod rest;
mod retry;
mod scripts;
mod seeds;
mod space;
mod threads;
mod wait;
mod writers;
