//! Definitions and what becomes of them.

use super::definition::{Mutant, parse};
use super::weave::weave;

const SOURCE: &str = "fn f(a: u8) -> u8 {\n    log.sync()?; // Durable.\n    if a < 3 {\n        g(a)\n    } else { h() }\n}\n";

fn mutants(text: &str) -> Vec<Mutant> {
    let head = "mutant m\nfile x.rs\nbreaks all\ntests t\n";
    parse("p", &format!("{head}{text}")).unwrap()
}

fn woven(text: &str) -> Result<String, String> {
    weave("crates/p/src/x.rs", SOURCE, &mutants(text))
}

#[test]
fn definitions_are_read() {
    let text = "# a comment\nmutant one\nfile a.rs\nbreaks order\ntests it::x lib\n| «a ⇒ b» c\n\n\
        mutant two\nbreaks more\ntests u\n| x\n| «⇒ y;»\nfile b.rs\n| «z; ⇒»\n";
    let mutants = parse("p", text).unwrap();
    assert_eq!((&*mutants[0].name, &*mutants[0].breaks), ("one", "order"));
    assert_eq!(mutants[0].tests, ["it::x", "lib"]);
    let files: Vec<_> = mutants[1].places.iter().map(|place| &*place.file).collect();
    assert_eq!(
        files,
        ["crates/p/src/a.rs", "crates/p/src/b.rs"],
        "the file stays until another is named"
    );
}

#[test]
fn what_cannot_be_read_is_named_with_its_line() {
    for (text, want) in [
        ("file a.rs\n", "line 1: no mutant was begun"),
        ("mutant m\nbreaks b\n| a b\n", "line 4: nothing is marked"),
        ("mutant m\nbreaks b\n| «a b\n", "line 4: « without »"),
        ("mutant m\nbreaks b\n| «a b»\n", "line 4: no ⇒"),
        ("mutant m\ncracks b\n", "line 2: an unknown word"),
        ("mutant m\n| «a ⇒ b»\n", "m lacks a promise, tests or"),
        ("mutant m\nbreaks b\n", "m lacks a promise, tests or"),
    ] {
        let error = parse("p", text).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn expressions_stand_beside_each_other() {
    let both = woven("| if «a < 3 ⇒ a <= 3» {").unwrap();
    assert!(both.contains("if (if crate::mutant::is(1) { a <= 3 } else { a < 3 }) {"), "{both}");
    let several = woven("| «a ⇒ b» < «3 ⇒ 4» {").unwrap();
    assert_eq!(several.matches("crate::mutant::is(1)").count(), 2);
}

#[test]
fn statements_are_left_out_and_put_in() {
    let out = woven("| «log.sync()?; ⇒» //").unwrap();
    assert!(out.contains("if crate::mutant::is(1) {  } else { log.sync()?; }"), "{out}");
    let put_in = woven("| log.sync()?; // Durable.\n| «⇒ return;» if").unwrap();
    let beside = "sync()?; // Durable.\n    if crate::mutant::is(1) { return; } else {  }if a < 3";
    assert!(put_in.contains(beside), "{put_in}");
    let both = woven("| «log.sync()?; ⇒ if !MUTANT { sync()?; }»").unwrap();
    assert!(both.contains("if !crate::mutant::is(1) { sync()?; } // Durable."), "{both}");
}

#[test]
fn white_space_does_not_count() {
    let same = woven("| if   «a<3 ⇒ b»\n|  { g(a) }\n| else {").unwrap();
    assert!(same.contains("if (if crate::mutant::is(1) { b } else { a < 3 }) {\n        g"));
}

#[test]
fn mutants_share_a_place_or_are_refused() {
    let second = "mutant n\nbreaks b\ntests t\n";
    let shared = woven(&format!("| if «a < 3 ⇒ true» {{\n{second}| «a < 3 ⇒ false»\n")).unwrap();
    assert!(shared.contains(
        "(if crate::mutant::is(1) { true } else if crate::mutant::is(2) { false } else { a < 3 })"
    ));
    let overlap = woven(&format!("| if «a < 3 ⇒ true» {{\n{second}| «a ⇒ b» < 3\n"));
    assert!(overlap.unwrap_err().contains("overlaps"));
}

#[test]
fn what_is_no_expression_is_refused() {
    for link in ["| log«.sync() ⇒»?;", "| log«.sync() ⇒ .write()»?;"] {
        assert!(woven(link).unwrap_err().contains("mark the chain"), "{link}");
    }
    assert!(woven("| log.sync()«⇒ .map(|_| !MUTANT)»?;").is_ok());
}

#[test]
fn stale_definitions_are_named() {
    let gone = woven("| «a < 4 ⇒ true»").unwrap_err();
    assert_eq!(gone, "mutant m went stale: in crates/p/src/x.rs its text is not there");
    let twice = woven("| «a ⇒ b»").unwrap_err();
    assert_eq!(twice, "mutant m went stale: in crates/p/src/x.rs its text is there more than once");
}
