//! Connections to the other nodes' client ports.
//!
//! One connection a member (`node_channel`), made when it is first needed; those of nodes that are no longer
//! members, or have moved, are dropped when the next is asked for.
//!
//! Threads: any number. The lock is held for a look, never while waiting.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lsm_raft::Members;
use parking_lot::Mutex;
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use super::node_channel::NodeChannel;
use crate::dialer::{Dialer, Network};
use crate::limits::Limits;
use crate::status;
use crate::tls::{Tls, endpoint};

/// A node that does not answer for so long is taken for unreachable.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);
/// Bytes of answers on their way: on a stream, and on the connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Connections to other members.
#[derive(Debug)]
pub(crate) struct Forward {
    limits: Arc<Limits>,
    tls: Option<Arc<Tls>>,
    dialer: Arc<dyn Dialer>,
    channels: Mutex<NodeChannels>,
}

#[derive(Debug, Default)]
struct NodeChannels {
    /// The members that the channels were last compared with.
    members: Arc<Members>,
    /// By node, with its address. Never more than there are members.
    by_node: HashMap<u64, (String, Arc<NodeChannel>)>,
}

impl Forward {
    pub(super) fn new(limits: Arc<Limits>, tls: Option<Arc<Tls>>) -> Self {
        Self { limits, tls, dialer: Arc::new(Network), channels: Mutex::default() }
    }

    /// Connections that are made otherwise than over the network.
    #[cfg(test)]
    pub(super) fn dialing(limits: Arc<Limits>, dialer: Arc<dyn Dialer>) -> Self {
        Self { limits, tls: None, dialer, channels: Mutex::default() }
    }

    /// The channel to the client port of `node`; none if it is not a member.
    ///
    /// # Errors
    ///
    /// `Unavailable` if its address is none.
    pub(super) fn channel(
        &self,
        members: &Arc<Members>,
        node: u64,
    ) -> Result<Option<Arc<NodeChannel>>, Status> {
        let Some(member) = members.nodes.get(&node) else { return Ok(None) };
        let mut channels = self.channels.lock();
        if !Arc::ptr_eq(&channels.members, members) {
            let is_there = |node: &u64, address: &String| {
                members.nodes.get(node).is_some_and(|member| member.client_address == *address)
            };
            channels.by_node.retain(|node, (address, _)| is_there(node, address));
            channels.members = Arc::clone(members);
        }
        if let Some((_, channel)) = channels.by_node.get(&node) {
            return Ok(Some(Arc::clone(channel)));
        }
        let channel = Arc::new(NodeChannel::new(
            self.endpoint(&member.client_address)?,
            Arc::clone(&self.dialer),
        ));
        channels.by_node.insert(node, (member.client_address.clone(), Arc::clone(&channel)));
        Ok(Some(channel))
    }

    fn endpoint(&self, address: &str) -> Result<Endpoint, Status> {
        let endpoint = endpoint(address, self.tls.as_deref(), CONNECT_TIME_MAX);
        let endpoint = endpoint.map_err(|error| {
            let message = format!("the leader's address {address:?} cannot be used: {error}");
            status::with_word(Code::Unavailable, status::NOT_LEADER, message)
        })?;
        Ok(endpoint
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(self.limits.keepalive_interval)
            .keep_alive_timeout(self.limits.keepalive_timeout))
    }
}

#[cfg(test)]
mod tests {
    use lsm_raft::{Member, Role};

    use super::*;

    fn members(addresses: &[(u64, &str)]) -> Arc<Members> {
        let mut members = Members::default();
        for &(node, address) in addresses {
            let member = Member {
                role: Role::Voter,
                peer_address: "peer:1".into(),
                client_address: address.into(),
                incarnation: None,
            };
            members.nodes.insert(node, member);
        }
        Arc::new(members)
    }

    fn known(forward: &Forward) -> Vec<(u64, String)> {
        let channels = forward.channels.lock();
        let known = channels.by_node.iter().map(|(&node, (address, _))| (node, address.clone()));
        let mut known: Vec<_> = known.collect();
        known.sort();
        known
    }

    #[tokio::test]
    async fn channels_are_those_of_the_members() {
        let forward = Forward::new(Arc::new(Limits::default()), None);
        let first = members(&[(1, "a:1"), (2, "b:1"), (3, "c:1")]);
        for node in [1, 2, 3, 2] {
            assert!(forward.channel(&first, node).unwrap().is_some());
        }
        assert!(forward.channel(&first, 4).unwrap().is_none(), "no member");
        let all = [(1, "a:1".to_owned()), (2, "b:1".to_owned()), (3, "c:1".to_owned())];
        assert_eq!(known(&forward), all);
        // One is removed, one has moved.
        let second = members(&[(1, "a:1"), (2, "b:2")]);
        assert!(forward.channel(&second, 1).unwrap().is_some());
        assert_eq!(known(&forward), [(1, "a:1".to_owned())]);
        assert!(forward.channel(&second, 2).unwrap().is_some());
        assert_eq!(known(&forward)[1], (2, "b:2".to_owned()));
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_told() {
        let forward = Forward::new(Arc::new(Limits::default()), None);
        let status = forward.channel(&members(&[(1, "no address")]), 1).unwrap_err();
        assert!(status::says(&status, status::NOT_LEADER), "nothing was sent: {status:?}");
        assert!(status.message().contains("no address"));
    }
}
