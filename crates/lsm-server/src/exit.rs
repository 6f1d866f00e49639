//! What nodes exit with; commands have `lsm_admin::Failure::exit_code`. Scripts and supervisors act
//! on it.

/// A node or a local cluster: it could not start, or could not go on.
pub(crate) const FAILED: u8 = 1;
/// A node: it cannot be started like this, and somebody has to change that first. The parser of
/// flags exits with the same.
pub(crate) const SETTINGS: u8 = 2;
/// A node: the cluster does not let it take part, and never will: it was removed, or has another
/// folder than it had. To start it again on this folder helps nothing.
pub(crate) const REFUSED: u8 = 3;
