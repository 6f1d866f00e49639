use super::super::test_log::{entries, entry};
use super::*;

fn index(cache_bytes_max: usize) -> Index {
    Index::new(LogId { index: 10, term: 2 }, cache_bytes_max)
}

/// Everything in the cache, nothing written.
fn appended(last: u64) -> Index {
    let mut index = index(usize::MAX);
    index.append(&entries(11..=last, 2, 100));
    index
}

fn write(index: &mut Index, segment: u64, entries: &[Entry]) {
    let first = entries[0].index;
    let record = Written { segment: FileNumber(segment), offset: first, payload_len: 0, first };
    index.written(record, entries, 5);
}

/// The segments from which `low..=last` are read, and how many entries from each.
fn pieces(index: &Index, low: u64) -> (Vec<(u64, usize)>, usize) {
    let plan = index.plan(low, index.last() + 1, u64::MAX).unwrap();
    let from_files = plan.from_files.iter().map(|p| (p.record.segment.0, p.entries.len()));
    (from_files.collect(), plan.cached.len())
}

#[test]
fn what_is_outside_is_missing_and_why() {
    let index = appended(20);
    assert_eq!((index.first(), index.last()), (11, 20));
    assert_eq!(index.term(9), Err(Missing::Truncated));
    assert_eq!((index.term(10), index.term(11)), (Ok(2), Ok(2)));
    assert_eq!(index.term(21), Err(Missing::Unavailable));
    let missing = |low, high| index.plan(low, high, u64::MAX).unwrap_err();
    assert_eq!(missing(10, 12), Missing::Truncated);
    assert_eq!(missing(12, 22), Missing::Unavailable);
    assert!(index.plan(12, 12, 0).unwrap().cached.is_empty());
}

#[test]
fn reads_are_limited_but_never_empty() {
    let index = appended(20);
    let len = |i| entry_len(&entry(i, 2, 100)) as u64;
    let count = |max| index.plan(12, 21, max).unwrap().cached.len();
    assert_eq!(count(0), 1);
    assert_eq!(count(len(12)), 1);
    assert_eq!(count(len(12) + len(13)), 2);
    assert_eq!(count(len(12) + len(13) - 1), 1);
    assert_eq!(count(u64::MAX), 9);
}

#[test]
fn bytes_are_counted_from_the_first_entry() {
    let mut index = appended(20);
    let total = |from: u64, to| (from..=to).map(|i| entry_len(&entry(i, 2, 100)) as u64).sum();
    assert_eq!(index.bytes_through(10), 0);
    assert_eq!(index.bytes_through(15), total(11, 15));
    assert_eq!(index.bytes_through(99), total(11, 20));
    index.truncate(12);
    assert_eq!(index.bytes_through(15), total(13, 15));
    index.append(&entries(14..=14, 3, 0));
    assert_eq!(index.bytes_through(99), total(13, 13) + entry_len(&entry(14, 3, 0)) as u64);
}

#[test]
fn only_what_is_written_leaves_the_cache() {
    let mut index = index(0);
    let all = entries(11..=20, 2, 100);
    index.append(&all);
    assert_eq!(pieces(&index, 11), (vec![], 10));
    write(&mut index, 1, &all[..4]);
    assert_eq!(pieces(&index, 11), (vec![(1, 4)], 6));
    write(&mut index, 2, &all[4..]);
    assert_eq!(pieces(&index, 13), (vec![(1, 2), (2, 6)], 0));
    let plan = index.plan(13, 14, u64::MAX).unwrap();
    let skipped: usize = all[..2].iter().map(entry_len).sum();
    assert_eq!(plan.from_files[0].entries, [(2, 5 + skipped, entry_len(&all[2]))]);
    index.truncate(14);
    assert_eq!(pieces(&index, 15), (vec![(2, 6)], 0));
}

#[test]
fn an_entry_that_was_replaced_before_it_was_written_is_not_read_from_there() {
    let mut index = index(0);
    let (old, new) = (entries(11..=15, 2, 10), entries(13..=14, 3, 10));
    index.append(&old);
    index.append(&new);
    write(&mut index, 1, &old);
    assert_eq!(pieces(&index, 11), (vec![(1, 2)], 2));
    write(&mut index, 2, &new);
    assert_eq!(pieces(&index, 11), (vec![(1, 2), (2, 2)], 0));
    assert_eq!(index.last(), 14);
}

/// Three leaders: the third one has what the first one had. What the second one replaced must
/// not be taken for written because the first one's record holds the same entries.
#[test]
fn an_entry_that_came_back_is_read_from_where_it_was_written_last() {
    let mut index = index(0);
    let (old, other) = (entries(11..=15, 2, 10), entries(12..=13, 3, 10));
    let longer = entries(14..=16, 4, 10);
    index.append(&old);
    index.append(&other);
    index.append(&longer);
    index.append(&old[1..]);
    write(&mut index, 1, &old);
    assert_eq!(pieces(&index, 11), (vec![(1, 1)], 4));
    write(&mut index, 2, &other);
    write(&mut index, 3, &longer);
    assert_eq!(pieces(&index, 11), (vec![(1, 1)], 4));
    write(&mut index, 4, &old[1..]);
    assert_eq!(pieces(&index, 11), (vec![(1, 1), (4, 4)], 0));
}

#[test]
fn a_reset_waits_for_the_disk() {
    let mut index = index(0);
    let (old, new) = (entries(11..=15, 2, 10), entries(31..=32, 3, 10));
    index.append(&old);
    index.reset(LogId { index: 20, term: 3 });
    index.reset(LogId { index: 30, term: 3 });
    index.append(&new);
    write(&mut index, 1, &old);
    index.reset_done();
    write(&mut index, 1, &new);
    assert_eq!(pieces(&index, 31), (vec![], 2), "the second reset is not on disk yet");
    index.reset_done();
    write(&mut index, 2, &new);
    assert_eq!((pieces(&index, 31), index.first()), ((vec![(2, 2)], 0), 31));
}

#[test]
fn a_log_that_was_read_may_begin_later_but_not_with_another_entry() {
    for (place, fits) in [((10, 9), true), ((12, 2), true), ((12, 3), false), ((9, 2), false)] {
        let place = LogId { index: place.0, term: place.1 };
        assert_eq!(appended(20).begin_behind(place), fits, "{place:?}");
    }
}

#[test]
#[should_panic(expected = "do not fit a log of 11 to 20")]
fn a_gap_is_a_bug_of_the_caller() {
    appended(20).append(&entries(22..=22, 2, 0));
}
