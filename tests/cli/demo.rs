//! `hookgate demo --once`, as a script runs it.

use crate::home::run;

#[test]
fn it_comes_as_promised_and_paints_no_file() {
    let (code, out, complaint) = run(&["demo", "--once"]);
    assert_eq!(code, 0, "{out}{complaint}");
    assert!(out.contains(" 1. ") && out.contains("ok  "), "{out}");
    assert!(!out.contains('\u{1b}') && !complaint.contains('\u{1b}'), "{out}{complaint}");
    assert_eq!(complaint, "");
}
