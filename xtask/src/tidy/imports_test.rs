//! Planted imports against a small table: each rule is seen to fire, and to stay silent.

use super::file::File;
use super::imports::check;
use super::layers::parse;

const TABLE: &str = "
x                   never std::fs lsm_server
    db/         L3
    wal/        L2  never lsm_log::fs
    table/      L2
    fs/         L1  may std::fs
    key/        L1
    clock.rs    L0
    error.rs    L0
    kit/        any
";

/// A tree in order, up and down the names inside of each folder.
const TREE: [(&str, &str); 20] = [
    ("lib.rs", "mod clock; pub use clock::Clock; pub use wal::Reader; pub use kit::Model;"),
    ("db/mod.rs", "mod open; mod read; mod state; pub(crate) use open::Open;"),
    ("db/open.rs", "use super::{read::Read, state};\nuse crate::wal::{self, Reader};"),
    ("db/read.rs", "use crate::table::Piece; fn f() { crate::fs::Os::new() }"),
    ("db/state.rs", "use super::read::Read; use crate::Clock; use crate::error::{Error, Result};"),
    ("db/state_test.rs", "use crate::db::Open;"),
    ("wal/mod.rs", "mod reader; mod record; pub(crate) use self::{reader::Reader, record::R};"),
    ("wal/reader.rs", "use super::R; use lsm_log::fss; use crate::fs::Os;"),
    ("wal/record.rs", "mod inner { use super::Local; use super::super::record::X; }"),
    ("table/mod.rs", "mod block; pub(crate) use block::Block as Piece;"),
    ("table/block.rs", "pub(in crate::db) fn f() {}"),
    ("fs/mod.rs", "mod os; pub use os::Os;"),
    ("fs/os.rs", "use std::fs::File;"),
    ("key/mod.rs", "mod order; pub use order::Order;"),
    ("key/order.rs", "#[cfg(test)]\nmod tests { use crate::db::Open; use std::fs; }"),
    ("clock.rs", "use crate::error::E; impl C { #[cfg(test)] fn f() { crate::db::f() } }"),
    ("error.rs", "// use crate::clock;\n#[cfg(all(test, x))] use crate::db::Open;"),
    ("kit/mod.rs", "mod model; pub use model::Model;"),
    ("kit/model.rs", "use crate::db::Open; use std::fs;"),
    ("whole_test.rs", "use crate::kit::Model;"),
];

/// The findings with these files instead of, or beside, those of the tree.
fn findings(planted: &[(&str, &str)]) -> Vec<String> {
    let kept = TREE.iter().filter(|(name, _)| planted.iter().all(|(other, _)| name != other));
    let parse_file =
        |(name, text): &(&str, &str)| File::parse(&format!("crates/x/src/{name}"), text).unwrap();
    let files: Vec<_> = kept.chain(planted).map(parse_file).collect();
    let findings = check(&parse(TABLE), &files);
    findings.iter().map(|f| f.to_string().replace("crates/x/src/", "")).collect()
}

#[test]
fn a_tree_in_order_passes() {
    assert_eq!(findings(&[]), [""; 0]);
}

#[test]
fn imports_against_the_table_are_found() {
    let planted = [
        ("table/block.rs", "use crate::error::Error;\nuse crate::{\n  fs::Os,\n  wal::{R},\n};"),
        ("fs/os.rs", "fn f() {\n  assert!(x as crate::wal::R > 0, \"\")\n}"),
        ("key/order.rs", "mod inner { use super::super::super::fs; }"),
        ("clock.rs", "fn f() { super::db::Open::new() }"),
        ("error.rs", "use crate::Clock;"),
    ];
    let want = [
        "table/block.rs:4: table/ (L2) may not import wal/ (L2)",
        "fs/os.rs:2: fs/ (L1) may not import wal/ (L2)",
        "key/order.rs:1: key/ (L1) may not import fs/ (L1)",
        "clock.rs:1: clock.rs (L0) may not import db/ (L3)",
        "error.rs:1: error.rs (L0) may not import clock.rs (L0)",
    ];
    assert_eq!(findings(&planted), want);
}

#[test]
fn what_no_layer_forbids_is_found() {
    let planted = [
        ("lib.rs", "pub use clock::Clock; use std::fs;"),
        ("wal/reader.rs", "use lsm_log::{error, fs::Fs};"),
        ("db/open.rs", "use crate::kit::Model;\nuse std::{fs, io};\nuse lsm_server as server;"),
        ("db/read.rs", "fn f() { ::std::fs::read(lsm_server::X) }"),
    ];
    let want = [
        "lib.rs:1: x never names std::fs",
        "wal/reader.rs:1: wal/ never names lsm_log::fs",
        "db/open.rs:1: kit/ is imported by tests only",
        "db/open.rs:2: db/ never names std::fs",
        "db/open.rs:3: db/ never names lsm_server",
        "db/read.rs:1: db/ never names std::fs",
        "db/read.rs:1: db/ never names lsm_server",
    ];
    assert_eq!(findings(&planted), want);
}

#[test]
fn a_cycle_is_told_file_by_file() {
    let planted = [
        ("db/handle.rs", "use super::Open; // leads to the cycle, and is not in it"),
        ("db/open.rs", "use super::read::Read;"),
        ("db/read.rs", "fn f() {\n  vec![super::state::State]\n}"),
        ("db/state.rs", "\n\nuse super::Open; // through mod.rs"),
    ];
    let want = "db/open.rs:1: in a cycle of imports:\n    \
        db/open.rs:1 imports db/read.rs\n    \
        db/read.rs:2 imports db/state.rs\n    \
        db/state.rs:3 imports db/open.rs";
    assert_eq!(findings(&planted), [want]);
}

#[test]
fn paths_that_hide_their_file_are_found() {
    let planted = [
        ("db/open.rs", "use super::*;"),
        ("wal/record.rs", "use crate::Unknown;\nuse crate::wal::Other;"),
    ];
    let want = [
        "db/open.rs:1: super::* leads to db/mod.rs only: name the file that holds it",
        "wal/record.rs:1: crate::Unknown leads to lib.rs only: name the file that holds it",
        "wal/record.rs:2: crate::wal::Other leads to wal/mod.rs only: name the file that holds it",
    ];
    assert_eq!(findings(&planted), want);
}

#[test]
fn what_the_table_lacks_is_found_and_what_it_has_in_vain() {
    assert_eq!(findings(&[("extra.rs", "")]), ["extra.rs:1: add it to the table of layers"]);
    let file = |path| File::parse(path, "").unwrap();
    let specs = parse("x\n    a.rs  L1\n    b/    L0\n");
    let files = [file("crates/x/src/a.rs"), file("crates/y/src/lib.rs"), file("xtask/src/main.rs")];
    let findings: Vec<_> = check(&specs, &files).iter().map(ToString::to_string).collect();
    let want = [
        "crates/x/src/b/:1: the table of layers has it, and it does not exist",
        "crates/y/src/lib.rs:1: this crate has no table of layers",
    ];
    assert_eq!(findings, want);
}
