//! One node, whatever its role: what it knows of itself, and its engine.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lsm_proto::rpc::Rpc;
use lsm_proto::v1::*;

use crate::attempts::Repeat;
use crate::calls::Shared;
use crate::error::Result;
use crate::into_bytes::IntoBytes;
use crate::node::Node;
use crate::route::To;
use crate::scan::Scan;
use crate::scan_stream::ScanStream;

/// One node, asked for itself; made by [`Client::node`](crate::Client::node). Requests go
/// nowhere else, and are tried until the client's time is over.
///
/// # Errors
///
/// Of every call: `Unavailable` if the node cannot be reached, `Timeout` if it does not answer.
#[derive(Clone, Debug)]
pub struct NodeClient {
    shared: Arc<Shared>,
    node: Arc<Node>,
    time: Duration,
}

impl NodeClient {
    pub(crate) fn new(shared: Arc<Shared>, node: Arc<Node>, time: Duration) -> Self {
        Self { shared, node, time }
    }

    /// Where the node listens.
    pub fn address(&self) -> &str {
        self.node.address()
    }

    /// What the node knows of the group and of its log.
    pub async fn status(&self) -> Result<StatusResponse> {
        self.ask(&StatusRequest {}, Repeat::Freely).await
    }

    /// The value of a key as this node has it, which may be old.
    pub async fn get_stale(&self, key: impl IntoBytes) -> Result<Option<Bytes>> {
        let key = key.into_bytes();
        let request = GetRequest { key, consistency: Consistency::Stale.into() };
        let answer = self.ask(&request, Repeat::Freely).await?;
        Ok(answer.found.then_some(answer.value))
    }

    /// The entries of a scan as this node has them, which may be old.
    pub fn scan_stale(&self, scan: Scan) -> ScanStream {
        let to = To::Only(Arc::clone(&self.node));
        ScanStream::new(Arc::clone(&self.shared), scan.stale(), to, self.time)
    }

    /// Turns what is in the node's memory into tables, and returns when they are durable.
    pub async fn flush(&self) -> Result<()> {
        self.ask(&FlushMemTableRequest {}, Repeat::Patiently).await?;
        Ok(())
    }

    /// Merges the node's tables of a key range down the levels, and returns when that is done.
    /// That may take longer than the client waits unless told:
    /// [`Client::with_timeout`](crate::Client::with_timeout). `compact::<&str>(..)` merges all.
    pub async fn compact<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Result<()> {
        // The bounds need not be exact: what lies beside them is merged along.
        let bytes = |bound: Bound<&K>| match bound {
            Bound::Unbounded => Bytes::new(),
            Bound::Included(key) | Bound::Excluded(key) => Bytes::copy_from_slice(key.as_ref()),
        };
        let (start, mut end) = (bytes(range.start_bound()), bytes(range.end_bound()));
        if matches!(range.end_bound(), Bound::Included(_)) {
            end = [&end[..], &[0]].concat().into();
        }
        self.ask(&TriggerCompactionRequest { start, end }, Repeat::Patiently).await?;
        Ok(())
    }

    /// The node's tables, level by level.
    pub async fn levels(&self) -> Result<Vec<Level>> {
        Ok(self.ask(&GetLevelsRequest {}, Repeat::Freely).await?.levels)
    }

    /// Counters of the node's engine since it started.
    pub async fn stats(&self) -> Result<GetStorageStatsResponse> {
        self.ask(&GetStorageStatsRequest {}, Repeat::Freely).await
    }

    async fn ask<R: Rpc>(&self, request: &R, repeat: Repeat) -> Result<R::Response> {
        let to = To::Only(Arc::clone(&self.node));
        self.shared.ask(request, &to, repeat, self.time).await
    }
}
