//! What each node says of itself, as one table.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use lsm_client::{Client, Member, Progress, Role, Status};
use tokio::task::JoinSet;

use crate::failure::Failure;

/// What a node said at an address, or why it said nothing.
type Answers = BTreeMap<String, Result<Status, lsm_client::Error>>;

/// Asks every node that is known; one that does not answer is part of the answer.
pub(crate) async fn print_status(
    out: &mut impl Write,
    client: &Client,
    time: Duration,
) -> Result<(), Failure> {
    let client = client.with_timeout(time)?;
    let mut answers = Answers::new();
    ask(&client, client.addresses(), &mut answers).await;
    // A node that was asked may know members that the client has not heard of.
    let members = best(&answers).map_or(Vec::new(), |status| status.members.clone());
    let addresses = members.iter().map(|member| member.client_address.clone());
    ask(&client, addresses.collect(), &mut answers).await;
    for line in table(&members, &answers) {
        writeln!(out, "{line}")?;
    }
    match best(&answers) {
        Some(leader) if leads(leader) => {
            for follower in &leader.followers {
                let lag = leader.last_index.saturating_sub(follower.matched);
                writeln!(out, "node {} {}, {lag} entries behind", follower.id, state(follower))?;
            }
            Ok(())
        }
        Some(status) => {
            writeln!(out, "the members are those that node {} knows; it may be old", status.node)?;
            Err(Failure::No("no node leads"))
        }
        None => Err(Failure::No("no node leads")),
    }
}

/// What the leader knows of a node, in words.
fn state(follower: &Progress) -> &'static str {
    match (follower.active, follower.snapshot) {
        // One that was just added counts as active for a while.
        _ if follower.matched == 0 && !follower.snapshot => "has not answered yet",
        (false, _) => "is silent",
        (true, true) => "is sent a snapshot",
        (true, false) => "follows",
    }
}

/// Asks at all addresses at once where nobody was asked yet.
async fn ask(client: &Client, addresses: Vec<String>, answers: &mut Answers) {
    let mut asking = JoinSet::new();
    for address in addresses {
        // Of a learner that has never started none may be known.
        if address.is_empty() || answers.contains_key(&address) {
            continue;
        }
        match client.node(&address) {
            Ok(node) => drop(asking.spawn(async move { (address, node.status().await) })),
            Err(error) => drop(answers.insert(address, Err(error))),
        }
    }
    answers.extend(asking.join_all().await);
}

fn leads(status: &Status) -> bool {
    status.leader == status.node
}

/// The node that knows most of the group: the leader, of two the one of the later term.
fn best(answers: &Answers) -> Option<&Status> {
    let there = answers.values().flatten();
    there.max_by_key(|status| (leads(status), status.term, status.applied))
}

/// A line for each node, in order of their numbers: for the members, and for others that
/// answered or were asked in vain.
fn table(members: &[Member], answers: &Answers) -> Vec<String> {
    let member = |node: u64| members.iter().find(|member| member.id == node);
    let is_of = |address: &str, member: &Member| member.client_address == address;
    let mut lines = BTreeMap::new();
    for member in members {
        let reason = match answers.get(&member.client_address) {
            Some(Err(error)) => format!(": {error}"),
            _ => String::new(),
        };
        let (id, address) = (member.id, &member.client_address);
        lines.insert((id, ""), format!("{id:<4}  {:<8}  {address}{reason}", "silent"));
    }
    // A node may answer at several addresses. That which the group knows is the one to show, so
    // it comes last.
    let mut all: Vec<_> = answers.iter().collect();
    all.sort_by_key(|(address, _)| members.iter().any(|member| is_of(address, member)));
    for (address, answer) in all {
        match answer {
            Ok(status) => {
                lines.insert((status.node, ""), line(status, member(status.node), address));
            }
            Err(error) if !members.iter().any(|member| is_of(address, member)) => {
                lines.insert((u64::MAX, address), format!("?     {address}: {error}"));
            }
            Err(_) => {}
        }
    }
    let head = "node  role      term   first      last       applied    flushed    address";
    std::iter::once(head.to_owned()).chain(lines.into_values()).collect()
}

fn line(status: &Status, member: Option<&Member>, address: &str) -> String {
    let role = match member.map(Member::role) {
        _ if leads(status) => "leader",
        Some(Role::Voter) => "follower",
        Some(Role::Learner) => "learner",
        None => "outside",
    };
    format!(
        "{:<4}  {role:<8}  {:<5}  {:<9}  {:<9}  {:<9}  {:<9}  {address}",
        status.node,
        status.term,
        status.first_index,
        status.last_index,
        status.applied,
        status.flushed,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, role: Role, client_address: &str) -> Member {
        let client_address = client_address.to_owned();
        Member { id, role: role.into(), client_address, ..Member::default() }
    }

    fn status(node: u64, leader: u64) -> Status {
        Status { node, leader, term: 3, ..Status::default() }
    }

    #[test]
    fn who_never_answered_does_not_follow() {
        let told =
            |matched, active, snapshot| state(&Progress { id: 4, matched, active, snapshot });
        assert_eq!(told(0, true, false), "has not answered yet");
        assert_eq!(told(0, false, false), "has not answered yet");
        assert_eq!(told(0, true, true), "is sent a snapshot");
        assert_eq!(told(7, true, false), "follows");
        assert_eq!(told(7, false, true), "is silent");
    }

    #[test]
    fn a_node_has_one_line_whatever_address_it_was_asked_at() {
        let members = [
            member(1, Role::Voter, "db1:1"),
            member(2, Role::Learner, "db2:1"),
            member(3, Role::Voter, "db3:1"),
        ];
        let answers = Answers::from([
            ("db1:1".to_owned(), Ok(status(1, 1))),
            ("localhost:1".to_owned(), Ok(status(1, 1))),
            ("localhost:2".to_owned(), Ok(status(2, 1))),
            ("localhost:9".to_owned(), Ok(status(9, 0))),
        ]);
        let table = table(&members, &answers).join("\n");
        let starts = |line: &str| table.lines().any(|there| there.starts_with(line));
        assert_eq!(table.lines().count(), 5, "{table}");
        assert!(starts("1     leader    3 ") && table.contains(" db1:1"), "{table}");
        assert!(starts("2     learner   3 ") && table.contains(" localhost:2"), "{table}");
        assert!(starts("3     silent    db3:1"), "{table}");
        assert!(starts("9     outside "), "{table}");
    }
}
