//! Ports that nothing uses.

use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::ops::Range;
use std::sync::Mutex;

/// Blocks of ports below those that the system gives to outgoing connections: a port that is
/// free now is still free when a node is started again.
const BLOCKS: Range<u16> = 10_000 / BLOCK_LEN..32_000 / BLOCK_LEN;
/// Most ports that are given at once.
pub(super) const BLOCK_LEN: u16 = 32;

/// The first of `count` ports in a row that nothing listens at. They stay with this process,
/// also among others that run such tests.
pub(crate) fn free_ports(count: u16) -> u16 {
    free_ports_and(count, 0)
}

/// The same, where the `count` ports that are `above` higher are free, too.
pub(crate) fn free_ports_and(count: u16, above: u16) -> u16 {
    // A block is ours while we hold its first port for UDP, which nothing here speaks.
    static HELD: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    assert!(count + above % BLOCK_LEN <= BLOCK_LEN);
    assert!(above == 0 || above >= BLOCK_LEN);
    // Not tried by listening: a process that is being started at this moment by another thread
    // would hold the port a little longer than we do.
    let is_free = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err();
    for _ in 0..1000 {
        let first = fastrand::u16(BLOCKS.start..BLOCKS.end - above / BLOCK_LEN) * BLOCK_LEN;
        let starts = if above == 0 { vec![first] } else { vec![first, first + above] };
        let hold =
            |start: &u16| UdpSocket::bind((Ipv4Addr::LOCALHOST, start / BLOCK_LEN * BLOCK_LEN));
        let Ok(guards) = starts.iter().map(hold).collect::<Result<Vec<_>, _>>() else { continue };
        if starts.iter().all(|start| (*start..start + count).all(is_free)) {
            HELD.lock().unwrap().extend(guards);
            return first;
        }
    }
    panic!("no {count} ports in a row are free");
}
