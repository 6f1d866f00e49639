//! The messages and services of `proto/*.proto`, generated when the crate is built.

#![allow(missing_docs, reason = "generated; the .proto files say what things mean")]
#![allow(unreachable_pub, unused_qualifications, reason = "generated")]
#![allow(clippy::all, clippy::too_many_lines, reason = "generated")]

/// What clients speak: `KVService`, `SessionService`, `StorageService`, `ClusterService`.
pub mod v1 {
    tonic::include_proto!("lsm.v1");
    #[cfg(feature = "server")]
    tonic::include_proto!("servers/lsm.v1");
}

/// What nodes speak among each other.
#[cfg(feature = "server")]
pub mod peer {
    tonic::include_proto!("lsm.peer.v1");
    tonic::include_proto!("servers/lsm.peer.v1");
}

/// All of the above, described for gRPC reflection.
#[cfg(feature = "server")]
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
