//! Planted faults of single files: each rule is seen to fire, and to stay silent.

use super::file::File;
use super::layers::UNSAFE_FILES;
use super::rules::check;

fn findings(path: &str, text: &str) -> Vec<String> {
    let show = |f: &super::file::Finding| format!("{}: {}", f.line, f.message);
    check(&File::new(path, text)).iter().map(show).collect()
}

#[test]
fn words_of_unfinished_work_are_found_but_not_in_text() {
    let text = "//! H\n// todo!()\nfn f() { todo!() }\nfn g() { dbg!(\"todo!()\") }\n\
        fn h() { unimplemented!() }\n#[cfg(test)]\nmod tests {\n#[test]\n#[ignore]\nfn t() {}\n}";
    let want = [
        "3: todo! is for work in progress",
        "4: dbg! is for work in progress",
        "5: unimplemented! is for work in progress",
        "9: a test that is ignored guards nothing: run it or delete it",
    ];
    assert_eq!(findings("a.rs", text), want);
}

#[test]
fn unsafe_needs_a_place_on_the_list_and_a_proof() {
    let text = "//! H\nfn f() { unsafe { g() } }";
    assert_eq!(findings("a.rs", text), ["2: unsafe stands only in the files of UNSAFE_FILES"]);
    let listed = UNSAFE_FILES[0];
    assert_eq!(findings(listed, text), ["2: a SAFETY comment states the proof"]);
    let proven = "//! H\nfn f(_: unsafe fn()) {\n    // SAFETY: g is\n    // pure.\n    let x =\n\
        \n        unsafe { g() };\n}";
    let proven = proven.replace("\n\n", "\n");
    assert_eq!(findings(listed, &proven), [""; 0]);
    let impls = "//! H\n// SAFETY: no state.\nunsafe impl Send for A {}\nunsafe impl Sync for A {}";
    assert_eq!(findings(listed, impls), ["4: a SAFETY comment states the proof"]);
    let function = "//! H\n/// Reads.\n///\n/// # Safety\n/// Alive.\n#[inline]\nunsafe fn f() {}";
    assert_eq!(findings(listed, function), [""; 0]);
}

#[test]
fn mod_rs_declares_and_shows() {
    let good = "//! H\n#![allow(x)]\n#[cfg(feature = \"a\")]\nmod a;\n#[path = \"c.rs\"]\npub mod b;\n\
        pub use a::{\n A,\n B,\n};\npub(crate) use b::*;\n#[cfg(test)]\nmod a_test;";
    assert_eq!(findings("x/mod.rs", good), [""; 0]);
    let message = "mod.rs holds the header, declarations and re-exports only";
    for bad in ["use a::A;", "fn f() {}", "mod m {}", "#[x]\nconst A: u8 = 1;", "pub struct S;"] {
        let line = 3 + bad.matches('\n').count();
        let text = format!("//! H\nmod a;\n{bad}");
        assert_eq!(findings("x/mod.rs", &text), [format!("{line}: {message}")], "{bad}");
    }
}

#[test]
fn a_missing_header_is_found() {
    let want = ["1: a module opens with its header: `//!`"];
    assert_eq!(findings("a.rs", "// not one\nfn f() {}\n"), want);
    assert_eq!(findings("a.rs", ""), want);
    assert_eq!(findings("a.rs", "#![no_main]\n\n//! H\nfn f() {}"), [""; 0]);
    assert_eq!(findings("a_test.rs", "fn f() {}"), [""; 0]);
}

#[test]
fn long_files_and_functions_are_found_tests_apart() {
    let many = |n: usize| "// x\n".repeat(n);
    let tests = |n: usize| format!("#[cfg(test)]\nmod tests {{\n{}}}\n", many(n - 3));
    assert_eq!(findings("a.rs", &format!("//! H\n{}{}", many(799), tests(700))), [""; 0]);
    let want = ["1: 801 lines, tests apart: split past 800"];
    assert_eq!(findings("a.rs", &format!("//! H\n{}{}", many(800), tests(700))), want);
    let want = ["1: 101 lines of tests outgrow 1 of code: move to a_test.rs"];
    assert_eq!(findings("b/a.rs", &format!("//! H\n{}", tests(101))), want);
    assert_eq!(findings("b/a.rs", &format!("//! H\n{}", tests(100))), [""; 0]);
    let function = |n: usize| format!("//! H\nfn f(_: [u8; 4]) {{\n{}}}\n", many(n - 2));
    assert_eq!(findings("a.rs", &function(70)), [""; 0]);
    assert_eq!(findings("a.rs", &function(71)), ["2: f has 71 lines: a function fits 70"]);
    assert_eq!(findings("tests/it/a.rs", &function(99)), [""; 0]);
}
