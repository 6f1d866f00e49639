//! Who calls whom: what each call says in its metadata, and whether it is let in.
//!
//! A node is told by the name of its cluster, its group, its id, and its *incarnation*: a number
//! drawn when its data folder was made. A node that lost its disk comes back with another one,
//! and with it without the promises that it made; it must not speak under the old id.

use std::fmt::Display;

use lsm_raft::{ADDRESS_LEN_MAX, Identity, Members};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Code, Status};

/// The version of what nodes say to each other.
const PROTOCOL: u64 = 1;

const CLUSTER: &str = "lsm-cluster";
const GROUP: &str = "lsm-group";
const FROM: &str = "lsm-from";
const TO: &str = "lsm-to";
const INCARNATION: &str = "lsm-incarnation";
const TO_INCARNATION: &str = "lsm-to-incarnation";
const VERSION: &str = "lsm-protocol";
const PEER_ADDRESS: &str = "lsm-peer-address";

/// In the metadata of a refusal: what about the caller is wrong.
const REFUSED: &str = "lsm-refused";

/// What a call says about its two ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// Name of the caller's cluster.
    pub(super) cluster: String,
    /// Its group.
    pub(super) group: u64,
    /// Who calls.
    pub(super) from: u64,
    /// Which data folder the caller lives in.
    pub(super) incarnation: u64,
    /// Who is called.
    pub(super) to: u64,
    /// Which data folder the called one lives in, if the group has agreed on it.
    pub(super) to_incarnation: Option<u64>,
    /// Where the caller is reached, if it knows.
    pub(super) peer_address: Option<String>,
}

/// Why a call is not let in; each with a sentence for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The caller, or the address it called, belongs elsewhere: someone should look at the
    /// settings.
    Elsewhere(String),
    /// The caller lives in another data folder than the node whose id it uses: it must stop.
    Identity(String),
    /// The caller was removed from the group: it must stop.
    Removed(String),
    /// The called node is the one that must stop.
    Receiver(String),
}

impl Hello {
    /// What `identity` says when it calls `to`.
    pub(super) fn new(
        identity: &Identity,
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
        }
    }

    /// Puts this into the metadata of a call.
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
        if let Some(incarnation) = self.to_incarnation {
            put(TO_INCARNATION, incarnation.to_string());
        }
        if let Some(address) = &self.peer_address {
            put(PEER_ADDRESS, escape(address));
        }
    }

    /// Reads the metadata of a call. The cluster's name stays escaped.
    ///
    /// # Errors
    ///
    /// `Elsewhere` if this is no call of a node, or of another version.
    pub(super) fn read(metadata: &MetadataMap, own: &Identity) -> Result<Self, Refused> {
        let here = || format!("this port is for nodes of cluster {}", escape(&own.cluster));
        let text = |key: &str| metadata.get(key).and_then(|value| value.to_str().ok());
        let number = |key: &str| text(key).and_then(|text| text.parse::<u64>().ok());
        let need = |key: &str| {
            let value = number(key);
            value.ok_or_else(|| Refused::Elsewhere(format!("{}: the call has no {key}", here())))
        };
        let protocol = need(VERSION)?;
        if protocol != PROTOCOL {
            return Err(Refused::Elsewhere(format!(
                "the caller speaks version {protocol} of the protocol between nodes, node {} \
                 speaks {PROTOCOL}",
                own.node
            )));
        }
        let cluster = text(CLUSTER).filter(|name| !name.is_empty());
        let cluster = cluster.ok_or_else(|| Refused::Elsewhere(here()))?;
        let address = text(PEER_ADDRESS).filter(|address| address.len() <= ADDRESS_LEN_MAX);
        Ok(Self {
            cluster: cluster.to_owned(),
            group: need(GROUP)?,
            from: need(FROM)?,
            incarnation: need(INCARNATION)?,
            to: need(TO)?,
            to_incarnation: number(TO_INCARNATION),
            peer_address: address.map(str::to_owned),
        })
    }

    /// Whether a call that was [`read`](Self::read) is let in by node `own`, which knows
    /// `members`.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(super) fn check(&self, own: &Identity, members: &Members) -> Result<(), Refused> {
        self.check_place(own)?;
        if self.to_incarnation.is_some_and(|incarnation| incarnation != own.incarnation) {
            return Err(Refused::Receiver(lost_disk(own.node)));
        }
        let from = self.from;
        if members.removed.contains(&from) {
            return Err(Refused::Removed(format!(
                "node {from} was removed from cluster {}; its folder can be deleted",
                self.cluster
            )));
        }
        let known = members.nodes.get(&from).and_then(|member| member.incarnation);
        if known.is_some_and(|incarnation| incarnation != self.incarnation) {
            return Err(Refused::Identity(lost_disk(from)));
        }
        Ok(())
    }

    /// The two ends are nodes of one group, and the called one is who was meant.
    fn check_place(&self, own: &Identity) -> Result<(), Refused> {
        let (from, node) = (self.from, own.node);
        let refuse = |reason: String| Err(Refused::Elsewhere(reason));
        if self.cluster != escape(&own.cluster) {
            return refuse(format!(
                "node {from} belongs to cluster {}, but called node {node} of cluster {}: look at \
                 the addresses of both",
                self.cluster,
                escape(&own.cluster)
            ));
        }
        if self.group != own.group {
            return refuse(format!(
                "node {from} belongs to group {}, but called node {node} of group {}",
                self.group, own.group
            ));
        }
        if self.to != node {
            return refuse(format!(
                "node {from} called node {}, but reached node {node}: look at the address of node \
                 {}",
                self.to, self.to
            ));
        }
        if from == node || from == 0 {
            return refuse(format!(
                "a node that says it is node {from} called node {node}: each node needs an id of \
                 its own"
            ));
        }
        Ok(())
    }
}

/// What to tell an operator about a node whose folder is not the one that is known.
pub(super) fn lost_disk(node: u64) -> String {
    format!(
        "node {node} is known with another data folder. A node that lost its disk must come back \
         under a new id: add a learner, then remove node {node} from the cluster. If two processes \
         run as node {node}, stop the one that was started last"
    )
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let (kind, sentence) = match refused {
            Refused::Elsewhere(sentence) => ("cluster", sentence),
            Refused::Identity(sentence) => ("identity", sentence),
            Refused::Removed(sentence) => ("removed", sentence),
            Refused::Receiver(sentence) => ("receiver", sentence),
        };
        let mut status = Self::failed_precondition(sentence);
        status.metadata_mut().insert(REFUSED, MetadataValue::from_static(kind));
        status
    }
}

impl Refused {
    /// The refusal that an answer holds, if it is one.
    pub(super) fn read(status: &Status) -> Option<Self> {
        if status.code() != Code::FailedPrecondition {
            return None;
        }
        let kind = status.metadata().get(REFUSED)?.to_str().ok()?;
        let sentence = status.message().to_owned();
        Some(match kind {
            "cluster" => Self::Elsewhere(sentence),
            "identity" => Self::Identity(sentence),
            "removed" => Self::Removed(sentence),
            "receiver" => Self::Receiver(sentence),
            _ => return None,
        })
    }
}

/// Metadata is visible ASCII; names need not be. No two texts are escaped alike.
fn escape(text: &impl Display) -> String {
    text.to_string().escape_default().to_string()
}

#[cfg(test)]
mod tests {
    use lsm_raft::{Member, Role};

    use super::*;

    fn identity(node: u64) -> Identity {
        Identity { cluster: "prüfung 1".into(), group: 1, node, incarnation: 1000 + node }
    }

    fn members() -> Members {
        let member = |node: u64| Member {
            role: Role::Voter,
            peer_address: format!("host{node}:1"),
            client_address: format!("host{node}:2"),
            incarnation: (node != 3).then_some(1000 + node),
        };
        Members { nodes: (1..4).map(|node| (node, member(node))).collect(), removed: [9].into() }
    }

    fn call(from: u64, to: u64) -> Hello {
        let hello = Hello::new(&identity(from), &members(), to, None);
        let mut metadata = MetadataMap::new();
        hello.write(&mut metadata);
        let read = Hello::read(&metadata, &identity(to)).unwrap();
        assert_eq!(Hello { cluster: hello.cluster.clone(), ..read.clone() }, hello);
        read
    }

    #[test]
    fn members_let_each_other_in_and_one_that_joins() {
        for (from, to) in [(1, 2), (2, 1), (1, 3), (3, 1), (7, 1)] {
            assert_eq!(call(from, to).check(&identity(to), &members()), Ok(()), "{from} to {to}");
        }
        // One that joins knows nobody yet.
        assert_eq!(call(1, 7).check(&identity(7), &Members::default()), Ok(()));
    }

    #[test]
    fn a_call_says_where_the_caller_is_reached() {
        assert_eq!(call(2, 1).peer_address.as_deref(), Some("host2:1"));
        let told = Hello::new(&identity(2), &members(), 1, Some("new:1".into()));
        assert_eq!(told.peer_address.as_deref(), Some("new:1"));
        assert_eq!(call(7, 1).peer_address, None);
    }

    #[test]
    fn calls_from_elsewhere_are_refused_with_both_sides_named() {
        let hello = call(1, 2);
        let other = Hello { cluster: "prod".into(), ..hello.clone() };
        let wrong = [
            (other, ["cluster prod", "node 2 of cluster pr\\u{fc}fung 1"]),
            (Hello { group: 4, ..hello.clone() }, ["group 4", "node 2 of group 1"]),
            (Hello { to: 3, ..hello.clone() }, ["called node 3", "reached node 2"]),
            (Hello { from: 2, ..hello.clone() }, ["node 2 called", "an id of its own"]),
            (Hello { from: 0, ..hello }, ["node 0 called", "node 2"]),
        ];
        for (hello, parts) in wrong {
            let Err(Refused::Elsewhere(sentence)) = hello.check(&identity(2), &members()) else {
                panic!("{hello:?} was let in");
            };
            assert!(parts.iter().all(|part| sentence.contains(part)), "{sentence}");
        }
    }

    #[test]
    fn another_folder_and_a_removed_node_are_refused_with_what_to_do() {
        let hello = Hello { incarnation: 5, ..call(1, 2) };
        let refused = hello.check(&identity(2), &members()).unwrap_err();
        assert!(matches!(&refused, Refused::Identity(text) if text.contains("add a learner")));
        // Nobody has said yet which folder node 3 lives in.
        let hello = Hello { incarnation: 5, ..call(3, 2) };
        assert_eq!(hello.check(&identity(2), &members()), Ok(()));
        let refused = call(9, 2).check(&identity(2), &members()).unwrap_err();
        assert!(matches!(&refused, Refused::Removed(text) if text.contains("node 9 was removed")));
        let hello = Hello { to_incarnation: Some(5), ..call(1, 2) };
        let refused = hello.check(&identity(2), &members()).unwrap_err();
        assert!(matches!(&refused, Refused::Receiver(text) if text.contains("node 2 is known")));
    }

    #[test]
    fn a_refusal_is_read_back_from_its_status() {
        let all = [
            Refused::Elsewhere("a ü".into()),
            Refused::Identity("b".into()),
            Refused::Removed("c".into()),
            Refused::Receiver("d".into()),
        ];
        for refused in all {
            assert_eq!(Refused::read(&refused.clone().into()), Some(refused));
        }
        assert_eq!(Refused::read(&Status::failed_precondition("other")), None);
        assert_eq!(Refused::read(&Status::unavailable("other")), None);
    }

    #[test]
    fn calls_without_or_with_garbage_metadata_are_refused() {
        let mut whole = MetadataMap::new();
        Hello::new(&identity(1), &members(), 2, None).write(&mut whole);
        for key in [CLUSTER, GROUP, FROM, TO, INCARNATION, VERSION] {
            let mut metadata = whole.clone();
            metadata.remove(key);
            assert!(matches!(Hello::read(&metadata, &identity(2)), Err(Refused::Elsewhere(_))));
            let garbage = if key == CLUSTER { "" } else { "-1" };
            metadata.insert(key, MetadataValue::from_static(garbage));
            assert!(matches!(Hello::read(&metadata, &identity(2)), Err(Refused::Elsewhere(_))));
        }
        let mut metadata = whole.clone();
        metadata.insert(VERSION, MetadataValue::from_static("2"));
        let Err(Refused::Elsewhere(sentence)) = Hello::read(&metadata, &identity(2)) else {
            panic!("it was let in");
        };
        assert!(sentence.contains("version 2") && sentence.contains("speaks 1"), "{sentence}");
    }
}
