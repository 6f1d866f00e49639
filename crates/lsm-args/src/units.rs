//! Numbers with units, as people write them: `64MiB`, `250ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const BYTE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A number of bytes: `1048576`, `1MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text);
        let known = |name: &str| BYTE_UNITS.iter().find(|(unit, _)| *unit == name);
        let factor = match unit {
            "" => Some(1),
            unit => known(unit).map(|(_, factor)| *factor),
        };
        let bytes = factor.zip(number.parse::<u64>().ok());
        let bytes = bytes.and_then(|(factor, number)| number.checked_mul(factor));
        bytes.map(Self).ok_or_else(|| {
            format!("{text:?} is no number of bytes; write 65536, 64KiB, 8MiB or 1GiB")
        })
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole =
            |(_, factor): &&(&str, u64)| self.0 >= *factor && self.0.is_multiple_of(*factor);
        let (unit, factor) = BYTE_UNITS.iter().find(whole).unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

/// A span of time: `250ms`, `10s`, `2m`. The unit is never left out: a bare number would be
/// taken for seconds by one reader and for milliseconds by the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

impl Time {
    /// So many milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text);
        let factor = match unit {
            "ms" => Some(1),
            "s" => Some(1000),
            "m" => Some(60_000),
            _ => None,
        };
        let millis = factor.zip(number.parse::<u64>().ok());
        let millis = millis.and_then(|(factor, number)| number.checked_mul(factor));
        millis
            .map(Self::millis)
            .ok_or_else(|| format!("{text:?} is no span of time; write 250ms, 10s or 2m"))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis.is_multiple_of(1000) {
            write!(f, "{}s", millis / 1000)
        } else {
            write!(f, "{millis}ms")
        }
    }
}

/// Digits, and what follows them.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a number of bytes, as in 65536 or \"64KiB\"")]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected a span of time with its unit, as in \"250ms\", \"10s\" or \"2m\""
        )]
        enum Written {
            Text(String),
        }
        let Written::Text(text) = Written::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for (text, bytes) in [
            ("0B", 0),
            ("1B", 1),
            ("1023B", 1023),
            ("1KiB", 1024),
            ("1025B", 1025),
            ("3GiB", 3 << 30),
        ] {
            assert_eq!(text.parse::<Bytes>(), Ok(Bytes(bytes)));
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        assert_eq!("77".parse::<Bytes>(), Ok(Bytes(77)));
        assert_eq!("8 MiB".parse::<Bytes>(), Ok(Bytes(8 << 20)));
        for (text, millis) in [("0s", 0), ("1ms", 1), ("1s", 1000), ("1500ms", 1500)] {
            assert_eq!(text.parse::<Time>(), Ok(Time::millis(millis)));
            assert_eq!(Time::millis(millis).to_string(), text);
        }
        assert_eq!("2m".parse::<Time>(), Ok(Time::millis(120_000)));
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in
            ["", "B", "-1", "1.5MiB", "1MB", "1mib", "99999999999999999999", "17179869184GiB"]
        {
            let error = text.parse::<Bytes>().unwrap_err();
            assert!(error.contains("64KiB"), "{error}");
        }
        for text in ["", "s", "10", "-1s", "1.5s", "1h", "18446744073709551615s"] {
            let error = text.parse::<Time>().unwrap_err();
            assert!(error.contains("250ms"), "{error}");
        }
    }
}
