//! Why a command did not do what it should, and what it exits with.

/// Why a command did not do what it should.
pub(super) enum Failure {
    /// The answer is no.
    No(&'static str),
    /// The answer has a gap.
    Gap(&'static str),
    /// A file that was given cannot be used.
    File(String),
    Client(lsm_client::Error),
    Output(std::io::Error),
}

impl Failure {
    /// A sentence, and the exit code.
    pub(super) fn told(&self) -> (String, u8) {
        match self {
            Self::No(message) => ((*message).to_owned(), 1),
            Self::Gap(message) => ((*message).to_owned(), 2),
            Self::File(message) => (message.clone(), 2),
            Self::Client(error) => (error.to_string(), 2),
            Self::Output(error) => (error.to_string(), 2),
        }
    }
}

impl From<lsm_client::Error> for Failure {
    fn from(error: lsm_client::Error) -> Self {
        Self::Client(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}
