//! Planted imports against a small table: each rule is seen to fire, and to stay silent.

use super::file::File;
use super::imports::check;
use super::layers::Crate;

const TABLE: &str = "
lib.rs      L4
db/         L3
    open.rs
    read.rs
    state.rs
wal/        L2  never key
    damage_test.rs
    reader.rs
    record.rs
table/      L2
    block.rs
fs/         L1
    os.rs
key/        L1
    order.rs
clock.rs    L0
error.rs    L0
kit/        any
    model.rs
";
const SPEC: Crate = Crate { name: "x", bans_std_fs: true, never: &["lsm_server"], table: TABLE };

/// The findings for these files beside a tree in order.
fn findings(planted: &[(&str, &str)]) -> Vec<String> {
    let mut texts = vec![
        ("lib.rs", "mod clock; pub use clock::Clock; pub use wal::Reader; pub use kit::Model;"),
        ("db/mod.rs", "mod open; mod read; mod state; pub(crate) use open::Open;"),
        ("wal/mod.rs", "mod reader; mod record; pub(crate) use self::{reader::Reader, record::R};"),
        ("table/mod.rs", "mod block; pub(crate) use block::Block as Piece;"),
        ("fs/mod.rs", "mod os; pub use os::Os;"),
        ("key/mod.rs", "mod order; pub use order::Order;"),
        ("kit/mod.rs", "mod model; pub use model::Model;"),
    ];
    let others = "db/open db/read db/state wal/reader wal/record table/block fs/os key/order clock \
        error kit/model";
    let others: Vec<_> = others.split_whitespace().map(|name| format!("{name}.rs")).collect();
    texts.extend(others.iter().map(|name| (name.as_str(), "")));
    texts.retain(|(name, _)| planted.iter().all(|(other, _)| name != other));
    texts.extend_from_slice(planted);
    let paths: Vec<_> = texts.iter().map(|(n, t)| (format!("crates/x/src/{n}"), *t)).collect();
    let files: Vec<_> = paths.iter().map(|(path, text)| File::new(path, text)).collect();
    let checked = check(&SPEC, &files.iter().collect::<Vec<_>>());
    let cut = |f: &super::file::Finding| f.to_string().replace("crates/x/src/", "");
    checked.findings.iter().map(cut).collect()
}

#[test]
fn downward_imports_pass() {
    let planted = [
        ("db/open.rs", "use super::{read::Read, state};\nuse crate::wal::{self, Reader};"),
        ("db/read.rs", "use crate::table::Piece; fn f() { crate::fs::Os::new() }"),
        ("db/state.rs", "use crate::Clock; use crate::error::{Error, Result};"),
        ("wal/reader.rs", "use super::R; use crate::fs::Os;"),
        ("wal/record.rs", "mod inner { use super::Local; use super::super::record::X; }"),
        ("fs/os.rs", "use std::fs::File;"),
        ("clock.rs", "use crate::error::Error; use std::fmt;"),
        ("kit/model.rs", "use crate::db::Open; use std::fs;"),
    ];
    assert_eq!(findings(&planted), [""; 0]);
}

#[test]
fn imports_against_the_table_are_found() {
    let planted = [
        ("table/block.rs", "use crate::error::Error;\nuse crate::{\n  fs::Os,\n  wal::{R},\n};"),
        ("fs/os.rs", "fn f() {\n  crate::table::Piece::new()\n}"),
        ("key/order.rs", "use super::super::fs;"),
        ("clock.rs", "fn f() { super::db::Open::new() }"),
        ("error.rs", "use crate::Clock;"),
        ("wal/record.rs", "use crate::Unknown;\nuse crate::wal::Other;"),
    ];
    let want = [
        "table/block.rs:4: table/ (L2) may not import wal/ (L2)",
        "fs/os.rs:2: fs/ (L1) may not import table/ (L2)",
        "key/order.rs:1: key/ (L1) may not import fs/ (L1)",
        "clock.rs:1: clock.rs (L0) may not import db/ (L3)",
        "error.rs:1: clock.rs (L0) stands above error.rs (L0) in the table",
        "wal/record.rs:1: crate::Unknown leads to lib.rs only: name the file that holds it",
        "wal/record.rs:2: crate::wal::Other leads to wal/mod.rs only: name the file that holds it",
        "fs/os.rs:2: cycle of imports: table/block.rs -> fs/os.rs -> table/block.rs",
    ];
    assert_eq!(findings(&planted), want);
}

#[test]
fn what_is_lower_and_still_forbidden_is_found() {
    let planted = [
        ("wal/reader.rs", "use crate::key::Order;"),
        ("db/open.rs", "use crate::kit::Model;\nuse std::{fs, io};\nuse lsm_server::Service;"),
        ("db/read.rs", "use crate::Model;\n\nfn f() { ::std::fs::read(x) }"),
    ];
    let want = [
        "wal/reader.rs:1: wal/ (L2) never imports key/ (L1)",
        "db/open.rs:1: kit/ is imported by tests only",
        "db/open.rs:2: std::fs appears only in fs/",
        "db/open.rs:3: x never names lsm_server",
        "db/read.rs:1: kit/ is imported by tests only",
        "db/read.rs:3: std::fs appears only in fs/",
    ];
    assert_eq!(findings(&planted), want);
}

#[test]
fn imports_up_the_list_of_a_folder_are_found_also_through_reexports() {
    let planted = [
        ("db/open.rs", "use super::*;"),
        ("db/read.rs", "use super::Open;"),
        ("db/state.rs", "use crate::db::read::Read;"),
    ];
    let want = [
        "db/open.rs:1: super::* leads to db/mod.rs only: name the file that holds it",
        "db/read.rs:1: open.rs stands above read.rs in db/",
        "db/state.rs:1: read.rs stands above state.rs in db/",
    ];
    assert_eq!(findings(&planted), want);
}

#[test]
fn cycles_are_found() {
    let planted = [
        ("db/open.rs", "use super::read::Read;"),
        ("db/read.rs", "use super::state::State;"),
        ("db/state.rs", "\nuse super::Open;"),
    ];
    let want = [
        "db/state.rs:2: open.rs stands above state.rs in db/",
        "db/state.rs:2: cycle of imports: db/open.rs -> db/read.rs -> db/state.rs -> db/open.rs",
    ];
    assert_eq!(findings(&planted), want);
}

#[test]
fn tests_import_what_they_like() {
    let planted = [
        ("key/order.rs", "#[cfg(test)]\nmod tests { use crate::db::Open; use std::fs; }"),
        ("key/order_test.rs", "use crate::db::Open;"),
    ];
    assert_eq!(findings(&planted), [""; 0]);
}

#[test]
fn files_that_the_table_lacks_are_found() {
    let planted = [
        ("db/extra.rs", ""),
        ("extra.rs", ""),
        ("wal/damage_test.rs", ""),
        ("wal/lost_test.rs", ""),
        ("wal/reader_test.rs", ""),
    ];
    let want = [
        "db/extra.rs:1: add it to the table of layers",
        "extra.rs:1: add it to the table of layers",
        "wal/lost_test.rs:1: tests of nothing: there is no wal/lost.rs",
    ];
    assert_eq!(findings(&planted), want);
}
