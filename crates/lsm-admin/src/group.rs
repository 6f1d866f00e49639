//! Who the members are, and whether they hold the same.

use std::io::Write;
use std::time::Duration;

use lsm_client::{Client, ErrorKind, Member, Role};

use crate::failure::Failure;

/// How long a leader is looked for before a node is asked what it knows by itself.
const LEADER_TIME_MAX: Duration = Duration::from_secs(4);

/// Prints the members; those that some node knows of if nobody leads.
pub(crate) async fn print_known_members(
    out: &mut impl Write,
    client: &Client,
    time: Duration,
) -> Result<(), Failure> {
    let error = match client.with_timeout(time.min(LEADER_TIME_MAX))?.members().await {
        Ok(members) => return print_members(out, &members),
        Err(error) => error,
    };
    if !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout { .. }) {
        return Err(error.into());
    }
    // Nobody is there at all: the first answer says so, and of what was asked for.
    let Ok(status) = client.status().await else { return Err(error.into()) };
    print_members(out, &status.members)?;
    let node = status.node;
    let note = format!("as node {node} knows them, which may be old: no leader says ({error})");
    // Not a panic, as eprintln! would: there may be nobody who reads it.
    let _ = writeln!(std::io::stderr(), "lsm-server: {note}");
    Ok(())
}

pub(crate) fn print_members(out: &mut impl Write, members: &[Member]) -> Result<(), Failure> {
    writeln!(out, "node  role     nodes                  clients")?;
    for member in members {
        let role = if member.role() == Role::Voter { "voter" } else { "learner" };
        let (peer, client) = (&member.peer_address, &member.client_address);
        writeln!(out, "{:<4}  {role:<7}  {peer:<21}  {client}", member.id)?;
    }
    Ok(())
}

pub(crate) async fn print_hashes(out: &mut impl Write, client: &Client) -> Result<(), Failure> {
    let check = client.hash_check().await?;
    writeln!(out, "at index {}", check.index)?;
    for hash in &check.hashes {
        let hex: String = hash.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = if hash.error.is_empty() { &hex } else { &hash.error };
        writeln!(out, "node {:<4}  {text}", hash.node)?;
    }
    let compared = check.hashes.iter().filter(|hash| !hash.hash.is_empty()).count();
    writeln!(out, "{compared} of {} compared", check.hashes.len())?;
    match check.equal {
        false => Err(Failure::No("the nodes differ")),
        true if compared < check.hashes.len() => Err(Failure::Gap("not all were compared")),
        true => Ok(()),
    }
}
