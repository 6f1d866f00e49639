//! Doors for fuzzers: each takes any bytes and must come back, without a panic and without
//! memory or time out of proportion.

use crate::command::{Command, Commands};

/// The data of an entry: every command that decodes comes back as it went out.
pub fn command(bytes: &[u8]) {
    for command in Commands::new(bytes).map_while(Result::ok) {
        let encoded = command.to_bytes();
        let decoded = Command::decode(&encoded).expect("what was encoded decodes");
        assert_eq!(decoded, command);
    }
}

/// Payloads of log records with these data of entries: seeds for [`log_record`].
pub fn log_records(entries: &[Vec<u8>]) -> Vec<Vec<u8>> {
    crate::log_store::fuzzing::records(entries)
}

/// The payload of a record of the raft log: what decodes comes back as it went out.
pub fn log_record(bytes: &[u8]) {
    crate::log_store::fuzzing::check_record(bytes);
}
