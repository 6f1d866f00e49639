#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`Client`] is the way in; [`ClientOptions`] are its settings. [`Scan`] says what to read, a
//! [`Batch`] what to write at once. What a failed call means is in [`ErrorKind`]. [`NodeClient`]
//! asks one node alone, for operators. [`lsm_proto`] has the messages as they go over the wire, for
//! those who speak gRPC themselves.
//!
//! # Writes
//!
//! A write carries the number of a *session*, which the cluster remembers with the last number
//! it applied: so the same write can be sent again, to another node too, and takes effect once.
//! Sessions are opened as needed, up to 1024; more writes at a time wait for one. If a write
//! ends in an error, [`Error::is_safe_to_retry`] says whether it certainly did nothing; if not,
//! only a read can tell. [`ClientOptions::exactly_once`] turns sessions off: then a write that
//! may have been sent is never sent again.
//!
//! # Time
//!
//! A call takes no longer than [`ClientOptions::timeout`], with all its tries; nodes are told
//! how much of it is left, so that they stop too. Between tries the client waits, longer each
//! time. Dropping the future of a call gives it up; a write may take effect all the same.

mod address_book;
mod attempts;
mod backoff;
mod batch;
mod calls;
mod client;
mod error;
mod failure;
mod into_bytes;
mod node;
mod node_client;
mod options;
mod route;
mod scan;
mod scan_stream;
mod sessions;
mod tls;

pub use batch::Batch;
pub use client::Client;
pub use error::{Error, ErrorKind, Result};
pub use into_bytes::IntoBytes;
pub use lsm_proto::v1::{
    Entry, GetStorageStatsResponse as StorageStats, HashCheckResponse as HashCheck, Level, Member,
    NodeHash, Progress, Role, SsTable as Table, StatusResponse as Status,
};
pub use node_client::NodeClient;
pub use options::ClientOptions;
pub use scan::{Page, Scan};
pub use scan_stream::ScanStream;
pub use tls::Tls;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_go_from_task_to_task() {
        fn shared<T: Clone + Send + Sync + 'static>() {}
        fn sent<T: Send>(_: T) {}
        shared::<Client>();
        shared::<NodeClient>();
        shared::<Error>();
        #[expect(dead_code, reason = "it compiles")]
        fn futures(client: &Client, batch: &Batch, mut scan: ScanStream) {
            sent(client.get("k"));
            sent(client.put("k", "v"));
            sent(client.write(batch));
            sent(client.hash_check());
            sent(scan.next());
            sent(scan);
        }
    }
}
