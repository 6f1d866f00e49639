//! How long a request may take, and how long it goes on looking for a leader.

use std::time::Duration;

use lsm_raft::NodeStatus;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tonic::metadata::MetadataMap;

use crate::status::FORWARDED_KEY;

/// How long a leader that did not serve is left alone the first time, unless another is known
/// before; then twice as long each time, up to the greatest.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(200);
/// What is kept of a request's time for its answer, as a part and at most: the answer must be
/// there before the transport gives up, which could not say what it means.
const ANSWER_PART: u32 = 10;
const ANSWER_TIME_MAX: Duration = Duration::from_millis(20);

/// When an answer must be there, and what may be done to get it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestDeadline {
    pub(super) until: Instant,
    /// Another node passed it on.
    pub(super) forwarded: bool,
}

impl RequestDeadline {
    pub(super) fn new(metadata: &MetadataMap, time_max: Duration) -> Self {
        let time = timeout_of(metadata).map_or(time_max, |time| time.min(time_max));
        let time = time - (time / ANSWER_PART).min(ANSWER_TIME_MAX);
        let forwarded = metadata.contains_key(FORWARDED_KEY);
        Self { until: Instant::now() + time, forwarded }
    }

    pub(super) fn time_left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// How long one request goes on looking for a leader. Costs nothing until the first wait.
#[derive(Debug)]
pub(super) struct Backoff {
    time_max: Duration,
    end: Option<Instant>,
    pause: Duration,
}

impl Backoff {
    pub(super) fn new(time_max: Duration) -> Self {
        Self { time_max, end: None, pause: RETRY_PAUSE }
    }

    /// After `tried` did not serve: waits for another leader, or a moment if there is one that
    /// may serve yet. False if the wait has been long enough.
    pub(super) async fn wait(
        &mut self,
        status: &watch::Receiver<NodeStatus>,
        tried: Option<u64>,
    ) -> bool {
        let now = Instant::now();
        let end = *self.end.get_or_insert(now + self.time_max);
        if now >= end {
            return false;
        }
        let until = match tried {
            Some(_) => end.min(now + self.pause),
            None => end,
        };
        self.pause = RETRY_PAUSE_MAX.min(self.pause * 2);
        let mut status = status.clone();
        let another = status.wait_for(|status| status.leader.is_some() && status.leader != tried);
        // The replica keeps the other end: the wait does not fail.
        timeout_at(until, another).await.is_ok() || tried.is_some()
    }
}

/// The time that gRPC's `grpc-timeout` leaves; none without one, or if it makes no sense.
pub(super) fn timeout_of(metadata: &MetadataMap) -> Option<Duration> {
    let value = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a request with this timeout gets so many milliseconds, of ten seconds at most.
    fn gets(timeout: Option<&'static str>, millis: u64) -> bool {
        let mut metadata = MetadataMap::new();
        if let Some(timeout) = timeout {
            metadata.insert("grpc-timeout", timeout.parse().unwrap());
        }
        let (before, time) = (Instant::now(), Duration::from_millis(millis));
        let until = RequestDeadline::new(&metadata, Duration::from_secs(10)).until;
        (before + time..=Instant::now() + time).contains(&until)
    }

    #[test]
    fn a_request_ends_a_little_before_its_caller_gives_up() {
        assert!(gets(Some("2S"), 1980));
        assert!(gets(Some("50m"), 45));
        assert!(gets(None, 9980));
        assert!(gets(Some("1H"), 9980), "nobody gets more");
        assert!(gets(Some("soon"), 9980));
    }

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        let read = |text: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            timeout_of(&metadata)
        };
        assert_eq!(timeout_of(&MetadataMap::new()), None);
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(read("3M"), Some(Duration::from_secs(180)));
        assert_eq!(read("4S"), Some(Duration::from_secs(4)));
        assert_eq!(read("05m"), Some(Duration::from_millis(5)));
        assert_eq!(read("6u"), Some(Duration::from_micros(6)));
        assert_eq!(read("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for senseless in ["", "S", "5", "5s", "-1S", "+1S", "1.5S", "999999999S", "5 S"] {
            assert_eq!(read(senseless), None, "{senseless:?}");
        }
    }
}
