//! Between nodes: messages of raft, snapshots, and who is who.
//!
//! A node calls every other one it has messages for, over a connection that carries them one
//! way; answers come over the connection that the other node makes. Each call says who calls
//! whom, and a node that is not who it says is not let in, and stops.
//!
//! What lies above knows nothing of streams and connections, what lies below (`lsm_raft`)
//! nothing of networks.

mod caller;
mod directory;
mod door;
#[cfg(test)]
mod exchange_test;
#[cfg(test)]
mod fake;
mod group;
mod handshake;
mod hash;
mod identify;
mod link;
#[cfg(test)]
mod proxy;
mod queue;
mod receiver;
#[cfg(test)]
mod replica_test;
mod snapshot;
mod transport;
mod wire;

pub(crate) use door::server;
pub(crate) use identify::identify;
pub(crate) use transport::PeerTransport;
