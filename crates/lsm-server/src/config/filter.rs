//! What is logged: a level for everything, and others for parts of the program.
//!
//! `tracing` takes any word that is no level for the name of a part, and is silent about all
//! that has no level. A node whose log is off by a typing error says nothing when it fails, so
//! here a word alone must be a level, and what is left out stays at the default.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The level of what no directive names.
const DEFAULT: &str = "info";

/// Reads a level, or directives with commas between: `info,lsm_raft=debug`. Returns what
/// `tracing` reads as the same.
///
/// # Errors
///
/// The first word that is neither, with those that would be.
pub(super) fn parse(text: &str) -> Result<String, String> {
    let mut all = None;
    let mut parts = Vec::new();
    for directive in text.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        let fail = || {
            format!(
                "{directive:?} is no level; write error, warn, info, debug, trace or off, for \
                 parts of the program as in info,lsm_raft=debug"
            )
        };
        match directive.rsplit_once('=') {
            None => all = Some(level(directive).ok_or_else(fail)?),
            Some((part, of_part)) => {
                let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-');
                let of_part = level(of_part.trim()).ok_or_else(fail)?;
                if part.trim().is_empty() || !part.trim().chars().all(is_part) {
                    return Err(fail());
                }
                parts.push(format!("{}={of_part}", part.trim()));
            }
        }
    }
    parts.insert(0, all.unwrap_or(DEFAULT).to_owned());
    let filter = parts.join(",");
    let known = EnvFilter::builder().parse(&filter);
    known.map_err(|error| format!("{text:?}: {error}"))?;
    Ok(filter)
}

/// The level that a word means, by its own name or one that other programs have for it.
fn level(word: &str) -> Option<&'static str> {
    let word = word.to_ascii_lowercase();
    Some(match &*word {
        "warning" => "warn",
        "err" | "fatal" | "critical" => "error",
        "none" => "off",
        _ => {
            let level = (!word.is_empty()).then(|| word.parse::<LevelFilter>().ok())??;
            ["off", "error", "warn", "info", "debug", "trace"]
                .into_iter()
                .find(|name| name.parse().ok() == Some(level))?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_the_names_that_people_know() {
        for (text, filter) in [
            ("info", "info"),
            ("WARN", "warn"),
            ("warning", "warn"),
            ("Warning", "warn"),
            ("err", "error"),
            ("off", "off"),
            ("none", "off"),
            ("3", "info"),
            ("warning, lsm_raft=Debug", "warn,lsm_raft=debug"),
            ("lsm_raft::node=trace,error", "error,lsm_raft::node=trace"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(filter), "{text}");
        }
    }

    #[test]
    fn what_is_not_named_is_logged_all_the_same() {
        for (text, filter) in
            [("lsm_raft=debug", "info,lsm_raft=debug"), ("", "info"), (" ,", "info")]
        {
            assert_eq!(parse(text).as_deref(), Ok(filter), "{text:?}");
        }
    }

    #[test]
    fn a_word_that_is_no_level_is_refused_with_those_that_are() {
        for text in
            ["loud", "infos", "info,lsm_raft", "lsm_raft=loud", "=info", "a=", "a[b{c=1}]=info"]
        {
            let error = parse(text).unwrap_err();
            assert!(error.contains("error, warn, info, debug, trace or off"), "{text}: {error}");
        }
    }
}
