//! A file with many mistakes: all of them are told in one run, each where it stands, and no secret is shown.

use std::path::Path;

use serde_json::Value;

use crate::home::{Home, hookgate, said};

/// Every text in the files that nobody may read in an answer begins so.
const SECRET: &str = "s3cret";

fn shipped(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Runs in the home, so that what is told names no directory of this machine.
fn check(
    home: &Home,
    file: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> (i32, String, String) {
    home.write(file, &shipped(file));
    let _ = std::fs::create_dir(home.path("a-directory"));
    let mut command = hookgate(&["check", "--config", file]);
    command.args(arguments).current_dir(home.path("")).envs(variables.iter().copied());
    said(command.output().unwrap())
}

/// What was told when a person last read it.
fn golden(name: &str, told: &str) {
    for (line, (found, expected)) in told.lines().zip(shipped(name).lines()).enumerate() {
        assert_eq!(found, expected, "{name}:{}\n{told}", line + 1);
    }
    assert_eq!(told, shipped(name), "{name}");
}

#[test]
fn every_mistake_is_told_in_one_run_with_its_line_and_a_caret() {
    let (code, out, told) = check(&Home::new(), "broken.toml", &[], &[]);
    assert_eq!((code, out.as_str()), (78, ""));
    assert!(!told.contains(SECRET) && !told.contains("hunter2"), "{told}");
    golden("broken.txt", &told);
    let carets = told.matches("^\n").count() + told.matches("^ ").count();
    assert!(told.matches("error[").count() > 30 && carets > 30, "{carets}");
}

#[test]
fn a_broken_grammar_is_told_with_all_that_can_be_read() {
    let (code, _, told) = check(&Home::new(), "garbled.toml", &[], &[]);
    assert_eq!(code, 78);
    assert!(!told.contains(SECRET), "{told}");
    golden("garbled.txt", &told);
}

#[test]
fn pipelines_get_the_same_as_json() {
    let home = Home::new();
    let (code, out, told) = check(&home, "broken.toml", &["--format", "json"], &[]);
    assert_eq!((code, told.as_str()), (78, ""));
    assert!(!out.contains(SECRET) && !out.contains("hunter2"), "{out}");
    let report: Value = serde_json::from_str(&out).unwrap();
    let problems = report["problems"].as_array().unwrap();
    assert_eq!((&report["file"], &report["ok"]), (&"broken.toml".into(), &false.into()));
    assert_eq!(report["errors"], problems.iter().filter(|p| p["severity"] == "error").count());
    let of = |path: &str| {
        let mut found = problems.iter().filter(|problem| problem["path"] == path);
        found.next().unwrap_or_else(|| panic!("{path}: {out}")).clone()
    };
    let service = of("service[0].upstream");
    assert_eq!(service["code"], "unknown-reference");
    assert_eq!(service["help"], "did you mean \"legacy\"?");
    let place = ["line", "column", "end_column"].map(|key| service[key].as_u64().unwrap());
    let line = shipped("broken.toml").lines().nth(place[0] as usize - 1).unwrap().to_owned();
    assert_eq!(line.get(place[1] as usize - 1..place[2] as usize - 1), Some("\"legcay\""));
    let twice = of("client[1].issuer");
    assert_eq!(twice["related"][0]["path"], "client[0].issuer");
    assert!(twice["related"][0]["line"].as_u64() < twice["line"].as_u64());
    let keys = [
        "severity",
        "code",
        "path",
        "variable",
        "line",
        "column",
        "end_column",
        "message",
        "help",
        "related",
    ];
    for problem in problems {
        let found: std::collections::BTreeSet<_> =
            problem.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(found, keys.into(), "{problem}");
    }
}

#[test]
fn a_file_that_is_not_there_is_told_in_the_same_shape() {
    let home = Home::new();
    for (path, code) in [("none.toml", "file-missing"), (".", "file-kind")] {
        let mut command = hookgate(&["check", "--format", "json", "--config", path]);
        let (status, out, told) = said(command.current_dir(home.path("")).output().unwrap());
        let report: Value =
            serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{told}"));
        assert_eq!(
            (status, &report["ok"], &report["problems"][0]["code"]),
            (78, &false.into(), &code.into())
        );
    }
}

#[test]
fn what_a_variable_says_is_told_by_its_name_and_never_by_its_value() {
    let variables = [
        ("HOOKGATE__LISTENER__HTTP2", "s3cret"),
        ("HOOKGATE__LISTENER__PASSWORD", "s3cret"),
        ("HOOKGATE__BODY__TIMEOUT", "7"),
        ("HOOKGATE__CLIENT__0__ID", "s3cret"),
        ("HOOKGATE__REPLICAS", "3"),
    ];
    let (code, out, _) = check(&Home::new(), "broken.toml", &["--format", "json"], &variables);
    assert_eq!(code, 78);
    assert!(!out.contains(SECRET), "{out}");
    let report: Value = serde_json::from_str(&out).unwrap();
    let problems = report["problems"].as_array().unwrap();
    let told = |name: &str| {
        let named = problems.iter().filter(|problem| problem["variable"] == name);
        let named: Vec<_> =
            named.map(|p| (p["code"].as_str().unwrap(), p["line"].is_null())).collect();
        named
    };
    for ((name, _), code) in
        variables.iter().zip(["wrong-type", "unknown-key", "wrong-type", "environment", "conflict"])
    {
        assert_eq!(told(name), [(code, true)], "{name}: {out}");
    }
    // The file's own replicas = 0 counts no more.
    assert!(
        problems
            .iter()
            .all(|problem| problem["path"] != "replicas" || !problem["variable"].is_null())
    );
}

#[test]
fn the_schema_is_printed_for_editors() {
    let (code, out, told) = said(hookgate(&["schema"]).output().unwrap());
    assert_eq!((code, told.as_str()), (0, ""));
    let schema: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(schema["properties"]["listener"]["properties"]["address"]["description"].is_string());
}
