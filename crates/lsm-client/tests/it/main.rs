//! The client from outside, against a cluster that misbehaves on command: one binary for all
//! integration tests.

mod admin;
mod fake;
mod random;
mod reads;
mod routing;
mod scans;
mod services;
mod writes;
