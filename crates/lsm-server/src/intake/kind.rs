//! What kinds of calls there are. Pure.

/// How a call is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One of ours: as long as settings allow. Its message must come soon.
    Request,
    /// One of another service, which is short. It must come soon, too.
    Question,
    /// One that is answered for as long as the client likes.
    Watch,
    /// One that is a question, and an answer, now and then.
    Talk,
}

impl Kind {
    pub(super) fn of(path: &str) -> Self {
        if path.starts_with("/lsm.v1.") {
            Self::Request
        } else if path == "/grpc.health.v1.Health/Watch" {
            Self::Watch
        } else if path.starts_with("/grpc.reflection.") {
            Self::Talk
        } else {
            Self::Question
        }
    }

    /// Whether it has no end of its own.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Watch | Self::Talk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_calls_without_an_end_are_open() {
        for (path, kind) in [
            ("/lsm.v1.KVService/ScanStream", Kind::Request),
            ("/grpc.health.v1.Health/Check", Kind::Question),
            ("/grpc.health.v1.Health/Watch", Kind::Watch),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Kind::Talk),
            ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Kind::Talk),
            ("/lsm.v1.", Kind::Request),
            ("/", Kind::Question),
        ] {
            assert_eq!(Kind::of(path), kind, "{path}");
            assert_eq!(kind.is_open(), matches!(kind, Kind::Watch | Kind::Talk));
        }
    }
}
