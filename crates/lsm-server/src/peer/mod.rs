//! Between nodes: messages of raft, snapshots, and who is who.
//!
//! A node calls every other one it has messages for, over a connection that carries them one
//! way; answers come over the connection that the other node makes. Both ends of each say who they
//! are, before anything else: a node that is not who it says, or belongs elsewhere, is not let
//! in. It stops if most of the others say so, or the leader that it follows; nobody else's word
//! stops a node.
//!
//! What lies above knows nothing of streams and connections, what lies below (`lsm_raft`)
//! nothing of networks.

mod address_book;
mod auth;
mod client;
#[cfg(test)]
mod exchange_test;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod fuzzing;
mod group;
mod handshake;
mod hash;
mod headers;
mod identify;
mod link;
#[cfg(test)]
mod origin_test;
#[cfg(test)]
mod proxy;
mod queue;
mod receiver;
mod refused;
#[cfg(test)]
mod replica_test;
mod snapshot;
#[cfg(test)]
mod stranger_test;
#[cfg(test)]
mod test_cluster;
mod testimony;
mod told;
mod transport;
mod wire;

pub(crate) use auth::server;
pub(crate) use identify::identify;
pub(crate) use transport::PeerTransport;
