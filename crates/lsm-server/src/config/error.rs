//! Why settings cannot be used, in words for the person who gave them.

use std::path::PathBuf;

/// What is wrong with the settings.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The file cannot be read, or is not what it should be.
    #[error("{}: {reason}", path.display())]
    File {
        /// From `--config`.
        path: PathBuf,
        /// With line and column, if it is about the content.
        reason: String,
    },
    /// One setting.
    #[error(
        "{setting}: {reason} (--{setting}, LSM_{}, or `{setting}` in the file)",
        variable(setting)
    )]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Settings that are fine by themselves, but not together.
    #[error("--{first} and --{second} contradict each other: {reason}")]
    Contradiction {
        /// One of them.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// Whether it is about what stands in the files of certificates: these are renewed, and become
    /// valid or cease to be.
    pub(crate) fn is_of_certificates(&self) -> bool {
        let files = ["tls-cert", "tls-key", "tls-ca"];
        matches!(self, Self::Setting { setting, .. } if files.contains(setting))
    }

    pub(super) fn setting(setting: &'static str, reason: impl Into<String>) -> Self {
        Self::Setting { setting, reason: reason.into() }
    }

    pub(super) fn contradiction(
        first: &'static str,
        second: &'static str,
        reason: impl Into<String>,
    ) -> Self {
        Self::Contradiction { first, second, reason: reason.into() }
    }
}

/// The setting's name as an environment variable, without `LSM_`.
fn variable(setting: &str) -> String {
    setting.replace('-', "_").to_uppercase()
}
