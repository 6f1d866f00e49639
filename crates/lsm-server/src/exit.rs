//! What the process exits with. Scripts and supervisors act on it.

/// A node or a local cluster: it could not start, or could not go on. A command: the answer is
/// no.
pub(crate) const FAILED: u8 = 1;
/// A command: there is no answer, or not from all that were asked.
pub(crate) const NO_ANSWER: u8 = 2;
/// A node: it cannot be started like this, and somebody has to change that first. The parser of
/// flags exits with the same.
pub(crate) const SETTINGS: u8 = 2;
/// A node: the cluster does not let it take part, and never will: it was removed, or has another
/// folder than it had. To start it again on this folder helps nothing.
pub(crate) const REFUSED: u8 = 3;
