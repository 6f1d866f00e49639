//! The connection over which messages go to one node: made, lost, and made again.
//!
//! ```text
//! connect ──> deliver, until it breaks ──> tell raft, wait ──┐
//!    ^───────────────────────────────────────────────────────┘
//! ```
//!
//! A connection that is made is tried anew beside the tries before it, and one that holds is
//! asked for a greeting now and then: if a fresh one is answered and it is not, that one takes
//! its place (`probe`). So messages flow again within a second after a partition has healed.
//!
//! The queue takes messages before the first connection and while there is one. One task runs
//! each link; it sleeps while messages flow, which the connection takes from the queue itself.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::client::{Client, Lost, NextTry, PeerClient};
use super::queue::Queue;
use super::refused::Cause;
use crate::probe::{Probe, Tries};

const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_millis(250);
/// After a refusal that someone must do something about.
const WAIT_REFUSED: Duration = Duration::from_secs(5);
/// A connection that held for so long was a good one.
const STEADY_TIME: Duration = Duration::from_secs(1);
/// How often a connection that holds is asked whether it does, and says what this node has
/// learned of itself.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long a node that is not known any more may be sent messages: it should hear of it.
const UNKNOWN_TIME_MAX: Duration = Duration::from_secs(5);
/// How often the log tells of the same outage.
const TELL_INTERVAL: Duration = Duration::from_secs(30);

/// The task of one link. Ends when the node is removed, or is no member and calls no longer; and
/// when this node stops.
pub(super) async fn run(caller: PeerClient, node: u64, queue: Arc<Queue>) {
    let mut is_member = caller.is_member(node);
    let called = caller.directory.called(node, is_member);
    let mut outage = Outage::default();
    let mut is_told = false;
    let mut fresh = None;
    loop {
        let began = Instant::now();
        let connected = match fresh.take() {
            Some(connected) => Ok(connected),
            None => dial(&caller, node, outage.attempt).await,
        };
        let ended = match connected {
            Err(lost) => Ended::Lost(lost),
            Ok((client, address)) => {
                is_told = false;
                deliver(&caller, node, &queue, client, &address).await
            }
        };
        queue.close();
        if !is_told {
            is_told = true;
            caller.group.unreachable(node);
        }
        let lost = match ended {
            Ended::Lost(lost) => lost,
            Ended::Replaced(connected) => {
                fresh = Some(connected);
                continue;
            }
        };
        if !caller.is_known(node) {
            if is_member {
                tracing::info!(node, "no member any more; its connection ends");
            }
            return;
        }
        if began.elapsed() > STEADY_TIME && lost.next == NextTry::Retry {
            outage.is_over();
        }
        // Anybody can make up a number, and the log is not theirs.
        is_member |= caller.is_member(node);
        if is_member {
            outage.tell(node, &lost);
        }
        if lost.next == NextTry::Stop {
            return;
        }
        let wait = outage.wait(lost.next);
        if timeout(wait, called.notified()).await.is_ok() {
            // It is there: not at once though, in case it called because of us.
            sleep(WAIT_MIN).await;
        }
    }
}

/// How a connection came to its end.
enum Ended {
    Lost(Lost),
    /// It carries nothing any more, and this one does.
    Replaced((Client, String)),
}

type Dialing = Pin<Box<dyn Future<Output = Result<(Client, String), Lost>> + Send>>;

/// Connects to a node; tries it at its addresses in turn.
async fn dial(caller: &PeerClient, node: u64, attempt: u32) -> Result<(Client, String), Lost> {
    Tries::new().next(dialing(caller, node, attempt)).await
}

/// Begins a try to connect to a node, and each time another one.
fn dialing(caller: &PeerClient, node: u64, mut attempt: u32) -> impl FnMut() -> Dialing {
    let caller = caller.clone();
    move || {
        let (caller, now) = (caller.clone(), attempt);
        attempt = attempt.wrapping_add(1);
        Box::pin(async move { caller.dial(node, now).await })
    }
}

async fn deliver(
    caller: &PeerClient,
    node: u64,
    queue: &Arc<Queue>,
    mut client: Client,
    address: &str,
) -> Ended {
    tracing::debug!(node, address, "connected");
    let request = caller.request(node, queue.open());
    let mut greeter = client.clone();
    let mut call = std::pin::pin!(client.deliver(request));
    let mut probe = Probe::default();
    let mut unknown_since = None;
    loop {
        let look = async {
            sleep(LOOK_INTERVAL).await;
            let mut greeted = Ok(());
            // What this node has learned since it called may not be what the other one has.
            let greet = async { greeted = caller.greet(node, &mut greeter, address).await };
            let fresh = probe.renew(greet, dialing(caller, node, 0)).await;
            (fresh, greeted)
        };
        let (fresh, greeted) = tokio::select! {
            biased;
            ended = &mut call => {
                return Ended::Lost(match ended {
                    Ok(_) => Lost::retry("the node ended it"),
                    Err(status) => caller.lost(node, address, &status),
                });
            }
            looked = look => looked,
        };
        if let Some(connected) = fresh {
            tracing::info!(node, address, "nothing comes over the connection; a fresh one is used");
            return Ended::Replaced(connected);
        }
        if let Err(lost) = greeted {
            return Ended::Lost(lost);
        }
        if caller.is_known(node) {
            unknown_since = None;
        } else if unknown_since.get_or_insert_with(Instant::now).elapsed() >= UNKNOWN_TIME_MAX {
            return Ended::Lost(Lost::retry("the node is no member any more"));
        }
    }
}

/// What is known while a node cannot be reached.
#[derive(Default)]
struct Outage {
    attempt: u32,
    told: Option<(Instant, String)>,
    /// Refusals that were told: these are told once.
    refused: BTreeSet<Cause>,
}

impl Outage {
    /// How long to wait before the next attempt; somewhat random, so that nodes that lost each
    /// other do not meet again at the same moment.
    fn wait(&mut self, next: NextTry) -> Duration {
        let longest = (WAIT_MIN * 2_u32.pow(self.attempt.min(8))).min(WAIT_MAX);
        self.attempt = self.attempt.saturating_add(1);
        let longest = if next == NextTry::Retry { longest } else { WAIT_REFUSED };
        longest.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// There was a connection that held.
    fn is_over(&mut self) {
        self.attempt = 0;
        self.refused.clear();
    }

    /// Logs what is new, and, unless someone must do something about it first, now and then what
    /// is not.
    fn tell(&mut self, node: u64, lost: &Lost) {
        if let Some(cause) = lost.cause {
            if self.refused.insert(cause) {
                tracing::warn!(node, reason = lost.reason, "no messages get through: refused");
            }
            return;
        }
        let is_old = self
            .told
            .as_ref()
            .is_some_and(|(told, reason)| *reason == lost.reason && told.elapsed() < TELL_INTERVAL);
        if !is_old {
            tracing::warn!(node, reason = lost.reason, "no messages get through");
            self.told = Some((Instant::now(), lost.reason.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_grow_to_a_quarter_of_a_second_and_are_not_all_alike() {
        let mut outage = Outage::default();
        let waits: Vec<_> = (0..40).map(|_| outage.wait(NextTry::Retry)).collect();
        assert!(waits[0] >= WAIT_MIN / 2 && waits[0] <= WAIT_MIN);
        assert!(waits[10..].iter().all(|wait| *wait >= WAIT_MAX / 2 && *wait <= WAIT_MAX));
        assert!(waits[11..].iter().any(|wait| *wait != waits[10]));
        assert!(outage.wait(NextTry::RetrySlowly) > WAIT_MAX);
    }
}
