use super::*;

fn limits() -> Limits {
    Limits { key_bytes_max: 4, value_bytes_max: 8, batch_bytes_max: 10, ..Limits::default() }
}

fn put_of(key: &'static str, value: &'static str) -> v1::Write {
    let op = v1::PutOp { key: key.into(), value: value.into() };
    v1::Write { op: Some(v1::write::Op::Put(op)) }
}

fn delete_of(key: &'static str) -> v1::Write {
    let op = v1::DeleteOp { key: key.into() };
    v1::Write { op: Some(v1::write::Op::Delete(op)) }
}

fn word(status: &Status) -> &str {
    status.metadata().get(ERROR_KEY).map_or("", |value| value.to_str().unwrap())
}

/// The sentence of a request that can never work.
fn refusal<T: std::fmt::Debug>(checked: Result<T, Status>) -> String {
    let status = checked.unwrap_err();
    assert_eq!((status.code(), word(&status)), (Code::InvalidArgument, "invalid"), "{status:?}");
    status.message().to_owned()
}

#[test]
fn keys_and_values_have_limits_that_are_told() {
    assert!(check_put(b"1234", b"12345678", &limits()).is_ok());
    assert_eq!(refusal(check_key(b"", &limits())), "a key has at least one byte");
    assert_eq!(
        refusal(check_key(b"12345", &limits())),
        "the key has 5 bytes; at most 4 are allowed"
    );
    assert_eq!(
        refusal(check_put(b"1", b"123456789", &limits())),
        "the value has 9 bytes; at most 8 are allowed"
    );
    assert!(check_put(b"1", b"", &limits()).is_ok(), "an empty value is a value");
}

#[test]
fn a_batch_is_judged_write_by_write_and_as_a_whole() {
    let check = |writes: &[v1::Write]| check_batch(writes, &limits());
    assert!(check(&[put_of("12", "12345678"),]).is_ok());
    assert_eq!(refusal(check(&[])), "a batch holds at least one write");
    let sentence = refusal(check(&[delete_of("1"), delete_of("")]));
    assert_eq!(sentence, "write 1 of the batch: a key has at least one byte");
    let sentence = refusal(check(&[v1::Write { op: None }]));
    assert_eq!(sentence, "write 0 of the batch: it is neither a put nor a delete");
    let sentence = refusal(check(&[put_of("123", "12345678")]));
    assert_eq!(sentence, "the batch has 11 bytes; at most 10 are allowed");
    let many = vec![delete_of("1"); BATCH_WRITES_MAX + 1];
    let large = Limits { batch_bytes_max: usize::MAX, ..limits() };
    assert!(refusal(check_batch(&many, &large)).contains("at most 131072"));
    assert!(check_batch(&many[1..], &large).is_ok());
}

#[test]
fn a_batch_keeps_its_order() {
    let writes = [put_of("a", "1"), delete_of("b"), put_of("a", "2")];
    let wanted = [
        Op::Put { key: b"a", value: b"1" },
        Op::Delete { key: b"b" },
        Op::Put { key: b"a", value: b"2" },
    ];
    assert_eq!(ops(&writes), wanted);
}

/// A session 0 stands for none in the log: it must never get there with a number.
#[test]
fn sessions_have_an_id_and_a_number() {
    let read = |id, sequence| session(Some(&v1::Session { id, sequence }));
    assert_eq!(session(None).unwrap(), None);
    assert_eq!(read(7, 1).unwrap(), Some(Session { id: 7, sequence: 1 }));
    assert!(refusal(read(0, 1)).contains("OpenSession"));
    assert!(refusal(read(0, 0)).contains("OpenSession"));
    assert!(refusal(read(7, 0)).contains("from 1"));
}

#[test]
fn the_bounds_of_a_scan_may_stand_just_behind_the_longest_key() {
    let check = |start: &'static str, prefix: &'static str, consistency| {
        let (start, prefix) = (start.into(), prefix.into());
        let request = v1::ScanRequest { start, prefix, consistency, ..v1::ScanRequest::default() };
        check_scan(&request, &limits())
    };
    assert!(check("1234\0", "12", 1).is_ok());
    assert!(refusal(check("123456", "", 0)).contains("start of the range has 6 bytes"));
    assert!(refusal(check("", "123456", 0)).contains("prefix has 6 bytes"));
    assert!(refusal(check("", "", 2)).contains("no consistency number 2"));
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

#[test]
fn timeouts_are_read_as_grpc_writes_them() {
    let read = |text: &str| {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", text.parse().unwrap());
        timeout(&metadata)
    };
    assert_eq!(timeout(&MetadataMap::new()), None);
    assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
    assert_eq!(read("3M"), Some(Duration::from_secs(180)));
    assert_eq!(read("4S"), Some(Duration::from_secs(4)));
    assert_eq!(read("05m"), Some(Duration::from_millis(5)));
    assert_eq!(read("6u"), Some(Duration::from_micros(6)));
    assert_eq!(read("99999999n"), Some(Duration::from_nanos(99_999_999)));
    for senseless in ["", "S", "5", "5s", "-1S", "+1S", "1.5S", "999999999S", "5 S"] {
        assert_eq!(read(senseless), None, "{senseless:?}");
    }
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
        status(Code::FailedPrecondition, INVALID, ""),
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
