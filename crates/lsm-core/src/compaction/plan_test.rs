//! What lies under the outputs of a plan, what its job takes from others, and which plans a request
//! makes.

use lsm_log::file_name::FileNumber;

use super::*;
use crate::compaction::busy::BusyTables;
use crate::compaction::manual::{ManualCompaction, ManualStep};
use crate::key::{KeyRange, SeqNo};
use crate::version::TableMeta;

fn table(number: u64, smallest: &str, largest: &str) -> Arc<TableFile> {
    let meta = TableMeta {
        number: FileNumber(number),
        bytes: 10,
        smallest: smallest.into(),
        largest: largest.into(),
        seq_min: SeqNo(1),
        seq_max: SeqNo(1),
        entries: 1,
        tombstones: 0,
        raw_bytes: 10,
        shadowed: crate::sstable::Shadowed::default(),
    };
    Arc::new(TableFile::new(meta, 0, Arc::default()))
}

fn push(version: &Version, level: usize) -> Plan {
    let inputs = version.levels[level].clone();
    Plan::merge(version, level, inputs, level + 1, Reason::Manual)
}

#[test]
fn every_deeper_level_is_asked_up_to_its_borders() {
    for level in 3..LEVELS {
        let mut version = Version::default();
        version.levels[1] = vec![table(1, "a", "z")];
        version.levels[level] = vec![table(2, "c", "e"), table(3, "g", "g")];
        let plan = push(&version, 1);
        let mut deeper = plan.deeper(&version);
        let held: Vec<_> =
            ["b", "c", "d", "e", "f", "g", "h"].map(|key| deeper.may_hold(key.as_bytes())).into();
        assert_eq!(held, [false, true, true, true, false, true, false], "level {level}");
    }
}

#[test]
fn jobs_meet_where_their_outputs_may_hold_one_key() {
    let mut version = Version::default();
    version.levels[1] = vec![table(1, "c", "e")];
    version.levels[2] = vec![table(2, "d", "g")];
    let (plan, mut busy) = (push(&version, 1), BusyTables::default());
    busy.start(&plan);
    let writes = |level, smallest: &str, largest: &str| {
        busy.writes_to(level, smallest.as_bytes(), largest.as_bytes())
    };
    assert!(writes(2, "a", "c") && writes(2, "g", "z") && writes(2, "d", "d"));
    assert!(!writes(2, "a", "b") && !writes(2, "h", "z") && !writes(1, "c", "g"));
    busy.finish(&plan);
    assert!(!busy.writes_to(2, b"a", b"z"), "a job that is done holds nothing");
}

/// Beside writers a request would never come to its end otherwise.
#[test]
fn a_request_leaves_tables_alone_that_were_flushed_after_it() {
    let (busy, options) = (BusyTables::default(), KeyspaceOptions::default());
    let mut version = Version::default();
    version.levels[0] = vec![table(1, "a", "c")];
    let mut sweep = ManualCompaction::new(&version, KeyRange::all());
    let ManualStep::Run(plan) = sweep.next(&version, &busy, &options) else {
        panic!("it is to be run")
    };
    assert_eq!(plan.level, 0);
    version.levels[plan.output_level] = vec![table(2, "a", "c")];
    version.levels[0] = vec![table(3, "a", "c")];
    let step = sweep.next(&version, &busy, &options);
    assert!(matches!(step, ManualStep::Done), "{step:?}");
}
