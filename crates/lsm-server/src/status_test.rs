use super::*;

fn word(status: &Status) -> &str {
    status.metadata().get(ERROR_KEY).map_or("", |value| value.to_str().unwrap())
}

#[test]
fn every_refusal_has_its_code_and_word() {
    let cases = [
        (Refusal::NotLeader { leader: None }, Code::Unavailable, "not-leader"),
        (Refusal::NotLeader { leader: Some(3) }, Code::Unavailable, "not-leader"),
        (Refusal::Busy { what: "so much".into() }, Code::ResourceExhausted, "busy"),
        (Refusal::NoRoom("only reads"), Code::ResourceExhausted, "no-room"),
        (Refusal::Invalid("no".into()), Code::InvalidArgument, "invalid"),
        (Refusal::Unknown, Code::Unavailable, "unknown-outcome"),
        (Refusal::Stopped("disk".into()), Code::Unavailable, "stopped"),
    ];
    for (refusal, code, said) in cases {
        let status = refused(&refusal);
        assert_eq!((status.code(), word(&status)), (code, said), "{refusal:?}");
        assert_eq!(status.message(), refusal.to_string());
        assert!(says(&status, said) && !says(&status, "other"));
    }
}

#[test]
fn outcomes_of_writes_are_told_apart() {
    assert_eq!(written(Outcome::Written { index: 9 }).unwrap(), 9);
    let status = written(Outcome::SessionUnknown).unwrap_err();
    assert_eq!((status.code(), word(&status)), (Code::FailedPrecondition, "session-unknown"));
    let status = written(Outcome::SessionPassed { last: 5 }).unwrap_err();
    assert_eq!((status.code(), word(&status)), (Code::Aborted, "session-passed"));
    assert!(status.message().contains("number 5"));
    assert_eq!(written(Outcome::Identified).unwrap_err().code(), Code::Internal);
}

#[test]
fn who_leads_is_told_in_the_metadata() {
    let status = not_leader(Some(3), "c:1");
    assert_eq!(word(&status), "not-leader");
    assert_eq!(status.metadata().get(LEADER_KEY).unwrap(), "c:1");
    assert!(status.message().contains("node 3"));
    let status = not_leader(None, "");
    assert!(status.metadata().get(LEADER_KEY).is_none());
    assert!(status.message().contains("no leader is known"));
    // An address that cannot be said is left out.
    assert!(not_leader(Some(3), "\n").metadata().get(LEADER_KEY).is_none());
}

#[test]
fn only_changes_may_take_effect_late() {
    let status = too_late(true);
    assert_eq!((status.code(), word(&status)), (Code::DeadlineExceeded, "unknown-outcome"));
    assert!(status.message().contains("may still take effect"));
    let status = too_late(false);
    assert_eq!((status.code(), word(&status)), (Code::DeadlineExceeded, ""));
}

#[test]
fn what_another_node_said_is_passed_on_without_its_transport() {
    let mut said = not_leader(Some(3), "c:1");
    said.metadata_mut().insert("date", "today".parse().unwrap());
    let status = passed_on(&said);
    assert_eq!((status.code(), status.message()), (said.code(), said.message()));
    assert_eq!(word(&status), "not-leader");
    assert_eq!(status.metadata().get(LEADER_KEY).unwrap(), "c:1");
    assert!(status.metadata().get("date").is_none());
}

#[test]
fn only_a_missing_connection_proves_that_nothing_was_sent() {
    assert!(never_sent(&Status::from_error(Box::new(ConnectError("refused".into())))));
    assert!(!never_sent(&Status::from_error(Box::new(std::io::Error::other("reset")))));
    assert!(!never_sent(&Status::unavailable("said so")));
}

/// What `kv.proto` tells clients of each word: the codes that it comes with, and whether it
/// proves that nothing happened.
#[test]
fn every_word_is_described_with_its_codes() {
    let proto = include_str!("../../lsm-proto/proto/kv.proto");
    let (certain, open) = proto.split_once("leave open whether").unwrap();
    let proofs = [
        not_leader(None, ""),
        busy(""),
        refused(&Refusal::NoRoom("")),
        written(Outcome::SessionUnknown).unwrap_err(),
        invalid(""),
        with_word(Code::FailedPrecondition, INVALID, ""),
    ];
    let others = [
        written(Outcome::SessionPassed { last: 1 }).unwrap_err(),
        unknown_outcome(""),
        too_late(true),
        stopped(""),
    ];
    for (part, statuses) in [(certain, &proofs[..]), (open, &others[..])] {
        for status in statuses {
            let word = word(status);
            let mut lines = part.lines().skip_while(|line| !line.contains(&format!("   {word} ")));
            let mut about = lines.next().expect(word).to_owned();
            about.extend(lines.take_while(|line| line.starts_with("//      ")));
            let code = format!("{:?}", status.code()).to_uppercase();
            assert!(about.replace('_', "").contains(&code), "{word}: {code}");
        }
    }
}
