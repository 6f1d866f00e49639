//! File handles: as many connections as the system lets this process have, and no more.
//!
//! A node that runs out of handles cannot make the next segment of its log, and stops. So the limit
//! is raised as far as it is needed and may be, and where that is not enough there are fewer
//! connections: one too many is refused, and nothing else happens. Tables need none, they are mapped.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::{Limits, NODE_CONNECTIONS_MAX};

/// For logs, manifests, snapshots, tables that are being made, calls to other nodes, and what the
/// program itself has.
const OTHERS: usize = 256;
/// Fewer connections of clients than this are of no use.
const CONNECTIONS_MIN: usize = 64;

/// The system does not let the process have enough.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process may have {limit} open files, and a node needs {} or more: raise the limit with \
     `ulimit -n`, or `LimitNOFILE=` in its unit of systemd",
    needed(CONNECTIONS_MIN)
)]
pub(crate) struct TooFew {
    limit: usize,
}

/// Raises the limit of open files, and fits `limits` into it.
///
/// # Errors
///
/// If not even a few connections fit.
pub(crate) fn provide(limits: &mut Limits) -> Result<(), TooFew> {
    let wanted = limits.connections_max;
    let limit = raise(needed(wanted));
    let connections_max = connections(limit, wanted)?;
    if connections_max < wanted {
        tracing::warn!(
            limit,
            connections_max,
            wanted,
            "there may be fewer connections than set: the limit of open files is low, and can be \
             raised with `ulimit -n`, or `LimitNOFILE=` in the unit of systemd"
        );
    }
    limits.connections_max = connections_max;
    Ok(())
}

fn needed(connections: usize) -> usize {
    connections + NODE_CONNECTIONS_MAX + OTHERS
}

/// Raises the soft limit to `needed` if it is lower and may be raised; returns what it is then.
fn raise(needed: usize) -> usize {
    let now = getrlimit(Resource::Nofile);
    // None is no limit.
    let count = |limit: Option<u64>| limit.map_or(usize::MAX, |limit| limit as usize);
    let (soft, wanted) = (count(now.current), needed.min(count(now.maximum)));
    if soft >= wanted {
        return soft;
    }
    let raised = Rlimit { current: Some(wanted as u64), maximum: now.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!(%error, soft, wanted, "the limit of open files cannot be raised");
            soft
        }
    }
}

/// How many connections of clients fit.
fn connections(limit: usize, wanted: usize) -> Result<usize, TooFew> {
    let fit = limit.saturating_sub(needed(0));
    if fit < wanted.min(CONNECTIONS_MIN) { Err(TooFew { limit }) } else { Ok(fit.min(wanted)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_connections_as_fit() {
        assert_eq!(connections(usize::MAX, 4096), Ok(4096));
        assert_eq!(connections(needed(4096), 4096), Ok(4096));
        assert_eq!(connections(needed(4096) - 1, 4096), Ok(4095));
        assert_eq!(connections(1024, 4096), Ok(512));
        assert_eq!(connections(needed(3), 3), Ok(3));
    }

    #[test]
    fn a_limit_that_is_of_no_use_is_named() {
        let error = connections(256, 4096).unwrap_err().to_string();
        assert!(error.contains("may have 256 open files, and a node needs 576 or more"), "{error}");
        assert!(connections(needed(64) - 1, 4096).is_err());
    }

    #[test]
    fn the_limit_is_raised_as_far_as_it_may_be() {
        let limits = getrlimit(Resource::Nofile);
        let hard = limits.maximum.map_or(usize::MAX, |hard| hard as usize);
        // Where nothing is left to raise, as in many containers, there is now.
        let soft = raise(1).min(hard - 1);
        setrlimit(Resource::Nofile, Rlimit { current: Some(soft as u64), ..limits }).unwrap();
        let wanted = soft + 1;
        assert_eq!(raise(wanted), wanted);
        assert_eq!(getrlimit(Resource::Nofile).current, Some(wanted as u64));
        assert_eq!(raise(1), wanted, "it is never lowered");
    }
}
