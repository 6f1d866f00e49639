//! Why a node is not let in, as it is told to that node. Pure.

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// In the metadata of a refusal: its cause.
const REFUSED: &str = "lsm-refused";

/// What is wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// The caller, or the address it called, belongs elsewhere, or speaks another version.
    Elsewhere,
    /// The two were told different founders.
    Founders,
    /// The two are of different clusters that have the same name.
    ClusterId,
    /// The caller is no member, and does not know the cluster either.
    Stranger,
    /// The caller lives in another data folder than the node whose id it uses.
    Identity,
    /// The caller was removed from the group.
    Removed,
    /// The caller says so of the node that it called.
    Receiver,
}

impl Cause {
    const ALL: [Self; 7] = [
        Self::Elsewhere,
        Self::Founders,
        Self::ClusterId,
        Self::Stranger,
        Self::Identity,
        Self::Removed,
        Self::Receiver,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Elsewhere => "cluster",
            Self::Founders => "founders",
            Self::ClusterId => "cluster-id",
            Self::Stranger => "stranger",
            Self::Identity => "identity",
            Self::Removed => "removed",
            Self::Receiver => "receiver",
        }
    }

    /// Whether a node of which this is true must stop.
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::Identity | Self::Removed)
    }
}

/// Why a call is not let in, with a sentence for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) cause: Cause,
    pub(super) sentence: String,
}

impl Refused {
    /// The refusal that an answer holds, if it is one.
    pub(super) fn read(status: &Status) -> Option<Self> {
        if status.code() != Code::FailedPrecondition {
            return None;
        }
        let name = status.metadata().get(REFUSED)?.to_str().ok()?;
        let cause = Cause::ALL.into_iter().find(|cause| cause.name() == name)?;
        Some(Self { cause, sentence: status.message().to_owned() })
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let mut status = Self::failed_precondition(refused.sentence);
        let name = MetadataValue::from_static(refused.cause.name());
        status.metadata_mut().insert(REFUSED, name);
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_back_from_its_status() {
        for cause in Cause::ALL {
            let refused = Refused { cause, sentence: format!("a ü {cause:?}") };
            assert_eq!(Refused::read(&refused.clone().into()), Some(refused));
        }
        assert_eq!(Refused::read(&Status::failed_precondition("other")), None);
        assert_eq!(Refused::read(&Status::unavailable("other")), None);
    }

    /// A cluster speaks of its own nodes, and of no others.
    #[test]
    fn only_members_and_those_that_were_are_refused_for_ever() {
        let last = Cause::ALL.into_iter().filter(|cause| cause.is_final());
        assert_eq!(last.collect::<Vec<_>>(), [Cause::Identity, Cause::Removed]);
    }
}
