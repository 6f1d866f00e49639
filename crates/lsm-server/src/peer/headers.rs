//! What each call between nodes says in its metadata of who is at its two ends.
//!
//! A node is told by the name of its cluster, its group, its id, and its *incarnation*: a number
//! drawn when its data folder was made. A node that lost its disk comes back with another one,
//! and with it without the promises that it made; it must not speak under the old id. Which of
//! all clusters of that name it is of is told by the *origin*: the digest of its founders and the
//! id that the group has agreed on.
//!
//! Leaves to others: whether such a node is let in (`handshake`).

use std::fmt::Display;
use std::time::Duration;

use lsm_raft::{ADDRESS_LEN_MAX, Identity, Members, Origin, Timing};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use super::refused::{Cause, Refused};

/// The version of what nodes say to each other. In version 1 they did not say their origin and
/// their times, and did not greet.
const PROTOCOL: u64 = 2;

const CLUSTER: &str = "lsm-cluster";
const GROUP: &str = "lsm-group";
const FROM: &str = "lsm-from";
const TO: &str = "lsm-to";
const INCARNATION: &str = "lsm-incarnation";
const TO_INCARNATION: &str = "lsm-to-incarnation";
const VERSION: &str = "lsm-protocol";
const PEER_ADDRESS: &str = "lsm-peer-address";
const FOUNDERS: &str = "lsm-founders";
const CLUSTER_ID: &str = "lsm-cluster-id";
const TICK: &str = "lsm-tick-micros";
const HEARTBEAT: &str = "lsm-heartbeat-micros";
const ELECTION: &str = "lsm-election-micros";
const LEASES: &str = "lsm-leases";

/// What a call, or the answer to a greeting, says about its two ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PeerHeaders {
    /// Name of the cluster of whoever says this.
    pub(super) cluster: String,
    /// Its group.
    pub(super) group: u64,
    /// Who says it.
    pub(super) from: u64,
    /// Which data folder it lives in.
    pub(super) incarnation: u64,
    /// Who is spoken to.
    pub(super) to: u64,
    /// Which data folder that one lives in, if the group has agreed on it.
    pub(super) to_incarnation: Option<u64>,
    /// Where whoever says this is reached, if it knows.
    pub(super) peer_address: Option<String>,
    /// Which group it is of; nothing is known by one that joins.
    pub(super) origin: Origin,
    /// Its times.
    pub(super) timing: Timing,
}

impl PeerHeaders {
    /// What `identity` says when it speaks to `to`.
    pub(super) fn new(
        identity: &Identity,
        timing: Timing,
        members: &Members,
        to: u64,
        address: Option<String>,
    ) -> Self {
        let own = || members.nodes.get(&identity.node).map(|member| member.peer_address.clone());
        Self {
            cluster: identity.cluster.clone(),
            group: identity.group,
            from: identity.node,
            incarnation: identity.incarnation,
            to,
            to_incarnation: members.nodes.get(&to).and_then(|member| member.incarnation),
            peer_address: address.or_else(own),
            origin: members.origin,
            timing,
        }
    }

    /// Puts this into the metadata of a call or an answer.
    pub(super) fn write(&self, metadata: &mut MetadataMap) {
        let mut put = |key: &'static str, value: String| {
            // Escaped text is always a value.
            if let Ok(value) = MetadataValue::<Ascii>::try_from(value) {
                metadata.insert(key, value);
            }
        };
        put(CLUSTER, escape(&self.cluster));
        put(GROUP, self.group.to_string());
        put(FROM, self.from.to_string());
        put(INCARNATION, self.incarnation.to_string());
        put(TO, self.to.to_string());
        put(VERSION, PROTOCOL.to_string());
        put(TICK, self.timing.tick.as_micros().to_string());
        put(HEARTBEAT, self.timing.heartbeat.as_micros().to_string());
        put(ELECTION, self.timing.election.as_micros().to_string());
        put(LEASES, u64::from(self.timing.leases).to_string());
        if let Some(incarnation) = self.to_incarnation {
            put(TO_INCARNATION, incarnation.to_string());
        }
        if let Some(address) = &self.peer_address {
            put(PEER_ADDRESS, escape(address));
        }
        let Origin { founders, cluster_id } = self.origin;
        for (key, number) in [(FOUNDERS, founders), (CLUSTER_ID, cluster_id)] {
            if let Some(number) = number {
                put(key, hex(number));
            }
        }
    }

    /// Reads the metadata of a call or an answer. The cluster's name stays escaped.
    ///
    /// # Errors
    ///
    /// `Elsewhere` if this is of no node, or of another version.
    pub(super) fn read(metadata: &MetadataMap, own: &Identity) -> Result<Self, Refused> {
        let here = || format!("this port is for nodes of cluster {}", escape(&own.cluster));
        let elsewhere = |sentence| Refused { cause: Cause::Elsewhere, sentence };
        let text = |key: &str| metadata.get(key).and_then(|value| value.to_str().ok());
        let number = |key: &str| text(key).and_then(|text| text.parse::<u64>().ok());
        let need = |key: &str| {
            let value = number(key);
            value.ok_or_else(|| elsewhere(format!("{}: the call has no {key}", here())))
        };
        let protocol = need(VERSION)?;
        if protocol != PROTOCOL {
            return Err(elsewhere(format!(
                "the caller speaks version {protocol} of the protocol between nodes, node {} \
                 speaks {PROTOCOL}: run the same program on all nodes",
                own.node
            )));
        }
        let cluster = text(CLUSTER).filter(|name| !name.is_empty());
        let cluster = cluster.ok_or_else(|| elsewhere(here()))?;
        let address = text(PEER_ADDRESS).filter(|address| address.len() <= ADDRESS_LEN_MAX);
        let origin = |key: &str| match metadata.get(key) {
            None => Ok(None),
            Some(_) => match text(key).and_then(from_hex) {
                Some(number) => Ok(Some(number)),
                None => Err(elsewhere(format!("{}: {key} is no number", here()))),
            },
        };
        let micros = |key: &str| need(key).map(Duration::from_micros);
        Ok(Self {
            cluster: cluster.to_owned(),
            group: need(GROUP)?,
            from: need(FROM)?,
            incarnation: need(INCARNATION)?,
            to: need(TO)?,
            to_incarnation: number(TO_INCARNATION),
            peer_address: address.map(str::to_owned),
            origin: Origin { founders: origin(FOUNDERS)?, cluster_id: origin(CLUSTER_ID)? },
            timing: Timing {
                tick: micros(TICK)?,
                heartbeat: micros(HEARTBEAT)?,
                election: micros(ELECTION)?,
                leases: need(LEASES)? == 1,
            },
        })
    }
}

/// Metadata is visible ASCII; names need not be. No two texts are escaped alike.
pub(super) fn escape(text: &impl Display) -> String {
    text.to_string().escape_default().to_string()
}

/// How digests and ids are spelled.
pub(super) fn hex(number: u128) -> String {
    format!("{number:032x}")
}

fn from_hex(text: &str) -> Option<u128> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(origin: Origin) -> PeerHeaders {
        let timing = lsm_raft::Config::new(1).timing();
        let members = Members { origin, ..Members::default() };
        let identity = Identity { cluster: "t".into(), group: 1, node: 1, incarnation: 7 };
        PeerHeaders::new(&identity, timing, &members, 2, Some("a:1".into()))
    }

    fn own() -> Identity {
        Identity { cluster: "t".into(), group: 1, node: 2, incarnation: 8 }
    }

    #[test]
    fn what_was_said_is_read_back() {
        for (founders, cluster_id) in [(None, None), (Some(0), Some(u128::MAX)), (Some(5), None)] {
            let mut headers = headers(Origin { founders, cluster_id });
            headers.timing.leases = founders.is_some();
            headers.to_incarnation = Some(9);
            let mut metadata = MetadataMap::new();
            headers.write(&mut metadata);
            assert_eq!(PeerHeaders::read(&metadata, &own()), Ok(headers));
        }
    }

    #[test]
    fn calls_without_or_with_garbage_metadata_are_refused() {
        let mut whole = MetadataMap::new();
        headers(Origin { founders: Some(1), cluster_id: Some(2) }).write(&mut whole);
        let refused = |metadata: &MetadataMap| {
            let refused = PeerHeaders::read(metadata, &own()).unwrap_err();
            assert_eq!(refused.cause, Cause::Elsewhere);
        };
        let numbers = [GROUP, FROM, TO, INCARNATION, VERSION, TICK, HEARTBEAT, ELECTION, LEASES];
        for key in numbers.into_iter().chain([CLUSTER]) {
            let mut metadata = whole.clone();
            metadata.remove(key);
            refused(&metadata);
            let garbage = if key == CLUSTER { "" } else { "-1" };
            metadata.insert(key, MetadataValue::from_static(garbage));
            refused(&metadata);
        }
        for key in [FOUNDERS, CLUSTER_ID] {
            let mut metadata = whole.clone();
            for garbage in ["", "1", "+0000000000000000000000000000001", "-1"] {
                metadata.insert(key, MetadataValue::from_static(garbage));
                refused(&metadata);
            }
        }
    }

    #[test]
    fn another_version_is_told_both() {
        let mut metadata = MetadataMap::new();
        headers(Origin::default()).write(&mut metadata);
        for other in ["1", "3"] {
            metadata.insert(VERSION, MetadataValue::from_static(other));
            let refused = PeerHeaders::read(&metadata, &own()).unwrap_err();
            let parts = [&format!("version {other} "), "node 2 speaks 2"];
            assert!(parts.iter().all(|part| refused.sentence.contains(part)), "{refused:?}");
        }
    }
}
