//! Why a command did not do what it should, and what it exits with.

use std::io;

/// The answer is no.
const NO: u8 = 1;
/// There is no answer, or not from all that were asked.
const NO_ANSWER: u8 = 2;

/// Why a command did not do what it should. The message is a sentence for people.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The answer is no: there is no such key, the hashes differ.
    #[error("{0}")]
    No(&'static str),
    /// The answer has a gap.
    #[error("{0}")]
    Gap(&'static str),
    /// A file, or an argument, that was given cannot be used.
    #[error("{0}")]
    Input(String),
    /// The cluster, or one node, did not answer, or refused.
    #[error(transparent)]
    Client(#[from] lsm_client::Error),
    /// The answer cannot be printed.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
    /// The operating system's.
    #[error(transparent)]
    System(io::Error),
}

impl Failure {
    /// What the process is to exit with: 1 if the answer is no, 2 if there is no answer, or not
    /// from all that were asked.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::No(_) => NO,
            Self::Gap(_) | Self::Input(_) | Self::Client(_) | Self::Output(_) | Self::System(_) => {
                NO_ANSWER
            }
        }
    }

    /// Whether there is nobody to tell: whoever read the output has seen enough, and closed it.
    pub(crate) fn is_unheard(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
