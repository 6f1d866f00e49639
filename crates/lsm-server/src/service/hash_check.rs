//! Whether all nodes hold the same: each hashes its state at one index of the log.

use std::sync::Arc;
use std::time::Duration;

use lsm_proto::v1::{HashCheckRequest, HashCheckResponse, NodeHash};
use lsm_raft::Outcome;
use lsm_raft::command::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::Status;

use super::context::{Context, Peers};
use super::deadline::RequestDeadline;
use super::leader::{ForwardError, LeaderCall};
use crate::peer::PeerTransport;
use crate::status;

/// The hashes of other nodes come over the way of raft's messages.
#[tonic::async_trait]
impl Peers for PeerTransport {
    async fn state_hash(&self, node: u64, index: u64, time: Duration) -> Result<Vec<u8>, String> {
        self.state_hash(node, index, time).await
    }
}

/// Time of the whole check that is kept for its answer.
const ANSWER_TIME: Duration = Duration::from_millis(200);

impl LeaderCall for HashCheckRequest {
    const IS_MAINTENANCE: bool = true;

    async fn serve(
        &self,
        context: &Context,
        asked: &RequestDeadline,
    ) -> Result<HashCheckResponse, ForwardError> {
        let Ok(place) = Arc::clone(&context.hashing).try_lock_owned() else {
            return Err(status::busy("another hash check is under way; try later").into());
        };
        let index = match context.propose(&Command::Hash).await? {
            Outcome::Hashing { index } => index,
            other => return Err(status::unexpected(&other).into()),
        };
        let time_left = asked.time_left();
        let time = time_left.saturating_sub(ANSWER_TIME).max(time_left / 2);
        let nodes = context.replica.members().nodes.keys().copied().collect();
        let peers = Arc::clone(&context.peers);
        // It goes on if whoever asked has gone, as the nodes do: the next check waits for them.
        let asking = tokio::spawn(async move {
            let hashes = ask(nodes, index, time, peers).await;
            drop(place);
            hashes
        });
        match asking.await {
            Ok(hashes) => Ok(compare(index, hashes)),
            Err(error) => Err(Status::internal(format!("the check broke off: {error}")).into()),
        }
    }
}

/// Asks all nodes for their hash at `index`, in order of their numbers.
async fn ask(
    nodes: Vec<u64>,
    index: u64,
    time: Duration,
    peers: Arc<dyn Peers>,
) -> Vec<(u64, Result<Vec<u8>, String>)> {
    let mut asking = JoinSet::new();
    for node in nodes {
        let peers = Arc::clone(&peers);
        asking.spawn(async move {
            let hash = timeout(time, peers.state_hash(node, index, time)).await;
            (node, hash.unwrap_or_else(|_| Err("it did not answer in time".into())))
        });
    }
    let mut hashes = asking.join_all().await;
    hashes.sort_by_key(|(node, _)| *node);
    hashes
}

fn compare(index: u64, hashes: Vec<(u64, Result<Vec<u8>, String>)>) -> HashCheckResponse {
    let mut known = hashes.iter().filter_map(|(_, hash)| hash.as_ref().ok());
    let first = known.next();
    let equal = known.all(|hash| Some(hash) == first);
    let hashes = hashes.into_iter().map(|(node, hash)| match hash {
        Ok(hash) => NodeHash { node, hash: hash.into(), error: String::new() },
        Err(error) => NodeHash { node, error, ..NodeHash::default() },
    });
    HashCheckResponse { index, equal, hashes: hashes.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_answered_are_compared() {
        let check = |hashes: &[Result<&[u8], &str>]| {
            let hashes = hashes
                .iter()
                .enumerate()
                .map(|(node, hash)| (node as u64, hash.map(<[u8]>::to_vec).map_err(str::to_owned)));
            compare(7, hashes.collect())
        };
        assert!(check(&[Ok(b"a"), Ok(b"a"), Err("down")]).equal);
        assert!(!check(&[Err("down"), Ok(b"a"), Ok(b"a"), Ok(b"b")]).equal);
        let answer = check(&[Ok(b"a"), Err("down")]);
        assert_eq!((answer.index, &*answer.hashes[0].hash), (7, &b"a"[..]));
        assert_eq!(answer.hashes[1].error, "down");
    }
}
