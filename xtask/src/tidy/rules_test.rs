//! Planted faults of single files: each rule is seen to fire, and to stay silent.

use super::file::File;
use super::rules::check;

fn findings(path: &str, text: &str) -> Vec<String> {
    let file = File::parse(path, text).unwrap();
    check(&file).iter().map(|f| format!("{}: {}", f.line, f.message)).collect()
}

#[test]
fn ignored_tests_are_found() {
    let text = "//! H\n#[cfg(test)]\nmod tests {\n#[test]\n#[ignore = \"x\"]\nfn t() {}\n}";
    let want = ["5: a test that is ignored guards nothing: run it or delete it"];
    assert_eq!(findings("a.rs", text), want);
}

#[test]
fn mod_rs_declares_and_shows() {
    let good = "//! H\n#![allow(x)]\n#[cfg(feature = \"a\")]\nmod a;\npub mod b;\n\
        pub use a::{A, B};\npub(crate) use b::*;\n#[cfg(test)]\nmod a_test;";
    assert_eq!(findings("x/mod.rs", good), [""; 0]);
    for bad in ["use a::A;", "fn f() {}", "mod m {}", "#[x] const A: u8 = 1;", "pub struct S;"] {
        let want = ["3: mod.rs holds the header, declarations and re-exports only"];
        assert_eq!(findings("x/mod.rs", &format!("//! H\nmod a;\n{bad}")), want, "{bad}");
        assert_eq!(findings("x/a.rs", &format!("//! H\nmod a;\n{bad}")), [""; 0], "{bad}");
    }
}

#[test]
fn a_missing_header_is_found() {
    let want = ["1: a module opens with its header: `//!`"];
    assert_eq!(findings("a.rs", "// not one\n/// Nor this\nfn f() {}\n"), want);
    assert_eq!(findings("a.rs", "#![no_main]\n\n//! H\nfn f() {}"), [""; 0]);
    for test in ["a_test.rs", "x/test_a.rs"] {
        assert_eq!(findings(test, "fn f() {}"), [""; 0]);
    }
}

#[test]
fn long_files_are_found_tests_apart() {
    let many = |n: usize| "// x\n".repeat(n);
    let tests = |n: usize| format!("/// D\n#[cfg(test)]\nmod tests {{\n{}}}\n", many(n - 4));
    assert_eq!(findings("a.rs", &format!("//! H\n{}{}", many(799), tests(700))), [""; 0]);
    let want = ["1: 801 lines, tests apart: split past 800"];
    assert_eq!(findings("a.rs", &format!("//! H\n{}{}", many(800), tests(700))), want);
    let want = ["1: 101 lines of tests outgrow 1 of code: move to a_test.rs"];
    assert_eq!(findings("b/a.rs", &format!("//! H\n{}", tests(101))), want);
    assert_eq!(findings("b/a.rs", &format!("//! H\n{}", tests(100))), [""; 0]);
    assert_eq!(findings("x/tests/it/a.rs", &many(900)), [""; 0]);
}
