//! Ports that nothing uses.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::Mutex;

/// Below those that the system gives to outgoing connections: a port that is free now is still
/// free when a node is started again.
const RANGE: Range<u16> = 10_000..32_000;

/// `count` ports in a row that nothing listens at, never given before by this process.
pub(crate) fn free_ports(count: u16) -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap();
    for _ in 0..1000 {
        let first = fastrand::u16(RANGE.start..RANGE.end - count);
        let ports = first..first + count;
        let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if ports.clone().all(|port| !given.contains(&port) && free(port)) {
            given.extend(ports);
            return first;
        }
    }
    panic!("no {count} ports in a row are free");
}
