//! Figures as text, with as many digits as a measurement is good for.

use std::time::Duration;

/// A number with three digits that count, or all of those before the point.
pub fn digits(number: f64) -> String {
    let decimals = match number.abs() {
        n if n >= 99.95 => 0,
        n if n >= 9.995 => 1,
        _ => 2,
    };
    format!("{number:.decimals$}")
}

/// A number of operations a second, short.
pub fn rate(per_second: f64) -> String {
    match per_second {
        r if r >= 999_500.0 => format!("{} M", digits(r / 1e6)),
        r if r >= 999.5 => format!("{} k", digits(r / 1e3)),
        r => digits(r),
    }
}

/// A time in its own unit.
pub fn time(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s >= 0.9995 => format!("{} s", digits(s)),
        s if s >= 999.5e-6 => format!("{} ms", digits(s * 1e3)),
        s if s >= 999.5e-9 => format!("{} us", digits(s * 1e6)),
        s => format!("{:.0} ns", s * 1e9),
    }
}

/// "1 round", "3 rounds".
pub fn rounds(count: u64) -> String {
    format!("{count} round{}", if count == 1 { "" } else { "s" })
}
