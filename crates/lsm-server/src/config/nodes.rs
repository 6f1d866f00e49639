//! Addresses, and the list of founding members.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use lsm_raft::{ADDRESS_LEN_MAX, MEMBERS_MAX, Member, Members, Role};
use serde::{Deserialize, Deserializer, Serialize};

/// `host:port`, where the host is a name or an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address(String);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail = |reason: &str| Err(format!("{text:?} is no address: {reason}"));
        if text.len() > ADDRESS_LEN_MAX {
            return fail(&format!("it is longer than {ADDRESS_LEN_MAX} bytes"));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return fail("it has no port; write host:port");
        };
        if !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return fail("the port is a number from 1 to 65535");
        }
        let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let good = match in_brackets {
            Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
            }
        };
        if good {
            Ok(Self(text.to_owned()))
        } else {
            fail("the host is a name, an IPv4 address, or an IPv6 address in [brackets]")
        }
    }
}

impl Address {
    /// Without the port, and without the brackets of an IPv6 address.
    pub(crate) fn host(&self) -> &str {
        let host = self.0.rsplit_once(':').map_or(&*self.0, |(host, _)| host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }
}

/// Where to listen: an IP address and a port. A name may stand for several addresses, and for
/// others tomorrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Listen(pub(crate) SocketAddr);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.trim().parse().map(Self).map_err(|_| {
            format!(
                "{text:?} is no address to listen at; write an IP address and a port: \
                 127.0.0.1:4001, or 0.0.0.0:4001 for all addresses of this machine, or [::1]:4001"
            )
        })
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected an IP address and a port, as in \"127.0.0.1:4001\""
        )]
        enum Written {
            Text(String),
        }
        let Written::Text(text) = Written::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Reads the founding members: `1=PEER/CLIENT`, one for each node.
pub(crate) fn parse_members(list: &[String]) -> Result<Members, String> {
    let mut nodes = BTreeMap::new();
    let mut addresses = BTreeSet::new();
    for text in list {
        let (id, member) = parse_member(text.trim())?;
        for address in [&member.peer_address, &member.client_address] {
            if !addresses.insert(address.clone()) {
                return Err(format!("{address} is given twice; each node needs two of its own"));
            }
        }
        if nodes.insert(id, member).is_some() {
            return Err(format!("node {id} is given twice"));
        }
    }
    if nodes.len() > MEMBERS_MAX {
        return Err(format!("{} nodes are given; at most {MEMBERS_MAX} are possible", nodes.len()));
    }
    Ok(Members { nodes, ..Members::default() })
}

fn parse_member(text: &str) -> Result<(u64, Member), String> {
    let parts = text.split_once('=').and_then(|(id, rest)| {
        let (peer, client) = rest.split_once('/')?;
        Some((id, peer, client))
    });
    let Some((id, peer, client)) = parts else {
        return Err(format!("{text:?} is no member; write ID=PEER-ADDRESS/CLIENT-ADDRESS"));
    };
    let id = id.trim().parse::<u64>().ok().filter(|id| *id > 0);
    let id = id.ok_or_else(|| format!("{text:?}: node ids are numbers from 1 up"))?;
    let member = Member {
        role: Role::Voter,
        peer_address: peer.parse::<Address>()?.0,
        client_address: client.parse::<Address>()?.0,
        incarnation: None,
    };
    Ok((id, member))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_both_kinds_of_ip_are_addresses() {
        for text in ["localhost:1", "node-1.db_x.example:65535", "10.0.0.1:4001", "[::1]:4001"] {
            assert_eq!(text.parse::<Address>().unwrap().0, text);
        }
        for (text, host) in [("db_x.example:1", "db_x.example"), ("[::1]:4001", "::1")] {
            assert_eq!(text.parse::<Address>().unwrap().host(), host);
        }
    }

    #[test]
    fn what_is_no_address_says_why() {
        let long = format!("{}:1", "a".repeat(ADDRESS_LEN_MAX));
        for (text, why) in [
            ("localhost", "no port"),
            ("localhost:", "from 1 to 65535"),
            ("localhost:0", "from 1 to 65535"),
            ("localhost:65536", "from 1 to 65535"),
            (":4001", "the host is"),
            ("::1:4001", "in [brackets]"),
            ("[::1:4001", "in [brackets]"),
            ("[x]:4001", "in [brackets]"),
            ("http://a:1", "the host is"),
            ("a b:1", "the host is"),
            (&long, "longer than"),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn members_read_in_any_order() {
        let list = ["2=b:2/b:1".to_owned(), " 1=a:2/a:1".to_owned()];
        let members = parse_members(&list).unwrap();
        assert_eq!(members.nodes.keys().copied().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(members.nodes[&2].peer_address, "b:2");
        assert_eq!(members.nodes[&2].client_address, "b:1");
        assert!(members.nodes.values().all(|member| member.role == Role::Voter));
    }

    #[test]
    fn bad_members_say_why() {
        for (list, why) in [
            (vec!["a:2/a:1"], "write ID=PEER-ADDRESS/CLIENT-ADDRESS"),
            (vec!["1=a:2"], "write ID=PEER-ADDRESS/CLIENT-ADDRESS"),
            (vec![""], "write ID=PEER-ADDRESS/CLIENT-ADDRESS"),
            (vec!["0=a:2/a:1"], "from 1 up"),
            (vec!["x=a:2/a:1"], "from 1 up"),
            (vec!["1=a/a:1"], "no port"),
            (vec!["1=a:2/a:2"], "a:2 is given twice"),
            (vec!["1=a:2/a:1", "2=a:2/b:1"], "a:2 is given twice"),
            (vec!["1=a:2/a:1", "1=b:2/b:1"], "node 1 is given twice"),
        ] {
            let list: Vec<_> = list.into_iter().map(str::to_owned).collect();
            let error = parse_members(&list).unwrap_err();
            assert!(error.contains(why), "{list:?}: {error}");
        }
        let many: Vec<_> = (1..=MEMBERS_MAX + 1).map(|n| format!("{n}=a:{n}/b:{n}")).collect();
        assert!(parse_members(&many).unwrap_err().contains("at most"));
    }
}
