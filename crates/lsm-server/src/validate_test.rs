use tonic::Code;

use super::*;
use crate::status::{INVALID, says};

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

/// The sentence of a request that can never work.
fn refusal<T: std::fmt::Debug>(checked: Result<T, Status>) -> String {
    let status = checked.unwrap_err();
    assert!(says(&status, INVALID), "{status:?}");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
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
