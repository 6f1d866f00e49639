//! What kinds of calls there are. Pure.

/// How a call is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallKind {
    /// One of ours: as long as settings allow. Its message must come soon.
    Client,
    /// One of another service, which is short. It must come soon, too.
    Unary,
    /// One that is answered for as long as the client likes.
    ServerStreaming,
    /// One that is a question, and an answer, now and then.
    Bidirectional,
}

impl CallKind {
    pub(super) fn of(path: &str) -> Self {
        if path.starts_with("/lsm.v1.") {
            Self::Client
        } else if path == "/grpc.health.v1.Health/Watch" {
            Self::ServerStreaming
        } else if path.starts_with("/grpc.reflection.") {
            Self::Bidirectional
        } else {
            Self::Unary
        }
    }

    /// Whether it has no end of its own.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::ServerStreaming | Self::Bidirectional)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_calls_without_an_end_are_open() {
        for (path, kind) in [
            ("/lsm.v1.KVService/ScanStream", CallKind::Client),
            ("/grpc.health.v1.Health/Check", CallKind::Unary),
            ("/grpc.health.v1.Health/Watch", CallKind::ServerStreaming),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", CallKind::Bidirectional),
            (
                "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                CallKind::Bidirectional,
            ),
            ("/lsm.v1.", CallKind::Client),
            ("/", CallKind::Unary),
        ] {
            assert_eq!(CallKind::of(path), kind, "{path}");
            assert_eq!(
                kind.is_open(),
                matches!(kind, CallKind::ServerStreaming | CallKind::Bidirectional)
            );
        }
    }
}
