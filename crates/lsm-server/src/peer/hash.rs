//! Waits for the hash of the state at an index.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic::Status;

use super::group::Group;

const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The hash at `index`, once it is computed.
///
/// # Errors
///
/// `DeadlineExceeded` if it is not there in time, `Internal` if it cannot be computed.
pub(super) async fn wait(
    group: &dyn Group,
    index: u64,
    time_max: Duration,
) -> Result<[u8; 16], Status> {
    let end = Instant::now() + time_max;
    loop {
        match group.hash(index) {
            Some(Ok(hash)) => return Ok(hash),
            Some(Err(reason)) => return Err(Status::internal(reason)),
            None if Instant::now() >= end => {
                let message = format!("it has no hash of its state at {index} yet");
                return Err(Status::deadline_exceeded(message));
            }
            None => sleep(LOOK_INTERVAL).await,
        }
    }
}
