//! Why a command did not do what it should, and what it exits with.

use std::io;

use crate::exit;

/// Why a command did not do what it should.
#[derive(Debug)]
pub(super) enum Failure {
    /// The answer is no.
    No(&'static str),
    /// The answer has a gap.
    Gap(&'static str),
    /// A file, or an argument, that was given cannot be used.
    Input(String),
    Client(lsm_client::Error),
    /// Of standard output.
    Output(io::Error),
    System(io::Error),
}

impl Failure {
    /// A sentence, and the exit code; none if there is nobody to tell: whoever read the output
    /// has seen enough, and closed it.
    pub(super) fn told(&self) -> Option<(String, u8)> {
        Some(match self {
            Self::No(message) => ((*message).to_owned(), exit::FAILED),
            Self::Gap(message) => ((*message).to_owned(), exit::NO_ANSWER),
            Self::Input(message) => (message.clone(), exit::NO_ANSWER),
            Self::Client(error) => (error.to_string(), exit::NO_ANSWER),
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return None,
            Self::Output(error) => (format!("standard output: {error}"), exit::NO_ANSWER),
            Self::System(error) => (error.to_string(), exit::NO_ANSWER),
        })
    }
}

impl From<lsm_client::Error> for Failure {
    fn from(error: lsm_client::Error) -> Self {
        Self::Client(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
