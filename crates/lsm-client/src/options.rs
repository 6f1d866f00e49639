//! The settings of a client, validated once.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::tls::Tls;

/// How a client behaves. The defaults suit a cluster in one place.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    pub(crate) timeout: Duration,
    pub(crate) try_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) exactly_once: bool,
    pub(crate) answer_bytes_max: usize,
    pub(crate) tls: Option<Tls>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            try_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(1),
            exactly_once: true,
            answer_bytes_max: 32 << 20,
            tls: None,
        }
    }
}

impl ClientOptions {
    /// How long a call may take in all, with every try and every wait in between. It ends sooner
    /// if what is left is too short for another try. At least a millisecond; 10 seconds unless told. [`Client::with_timeout`](crate::Client::with_timeout)
    /// changes it for single calls.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long one node may take to answer before the next is asked. At least a millisecond;
    /// 2 seconds unless told. Shorter than the time that a new leader takes to be elected is
    /// fine; shorter than the answers of a loaded cluster makes it do work twice.
    #[must_use]
    pub fn try_timeout(mut self, timeout: Duration) -> Self {
        self.try_timeout = timeout;
        self
    }

    /// How long a connection may take to be made. At least a millisecond; one second unless
    /// told.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Whether writes go through sessions, so that they can be repeated and yet take effect
    /// once. `true` unless told. Without, a write that may have been sent is never repeated.
    #[must_use]
    pub fn exactly_once(mut self, yes: bool) -> Self {
        self.exactly_once = yes;
        self
    }

    /// The largest answer that is accepted, in bytes: no less than a value can have, plus a
    /// little. At least 64 KiB; 32 MiB unless told.
    #[must_use]
    pub fn answer_bytes_max(mut self, bytes: usize) -> Self {
        self.answer_bytes_max = bytes;
        self
    }

    /// Encrypts all connections. Not unless told. Nodes with certificates speak nothing else,
    /// nodes without do not speak it.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// # Errors
    ///
    /// `Invalid`, with the setting that cannot be used and its limits.
    pub(crate) fn validate(&self) -> Result<()> {
        let times = [
            ("timeout", self.timeout),
            ("try_timeout", self.try_timeout),
            ("connect_timeout", self.connect_timeout),
        ];
        for (name, time) in times {
            validate_time(name, time)?;
        }
        if self.answer_bytes_max < ANSWER_BYTES_MIN {
            let message = format!(
                "answer_bytes_max is {}: at least {ANSWER_BYTES_MIN}",
                self.answer_bytes_max
            );
            return Err(Error::invalid(message));
        }
        Ok(())
    }
}

const ANSWER_BYTES_MIN: usize = 64 << 10;
/// More would overflow the clock, and nobody waits for so long.
const TIME_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// # Errors
///
/// `Invalid` unless the time is between a millisecond and a year.
pub(crate) fn validate_time(name: &str, time: Duration) -> Result<()> {
    if time < Duration::from_millis(1) || time > TIME_MAX {
        let message = format!("{name} is {time:?}: from a millisecond to a year");
        return Err(Error::invalid(message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn settings_have_limits() {
        assert!(ClientOptions::default().validate().is_ok());
        let bad = [
            ClientOptions::default().timeout(Duration::ZERO),
            ClientOptions::default().timeout(Duration::MAX),
            ClientOptions::default().try_timeout(Duration::from_micros(10)),
            ClientOptions::default().connect_timeout(Duration::ZERO),
            ClientOptions::default().answer_bytes_max(1),
        ];
        for options in bad {
            let error = options.validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{options:?}");
        }
    }
}
