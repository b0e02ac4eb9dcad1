//! The floor rule: in `lib.rs` and in every `mod.rs` the modules stand in floor order, and a module
//! names (`crate::…`) only modules that stand above it, and nothing of the module that encloses it.
//! A total order cannot contain a circle.
#![expect(clippy::panic, clippy::indexing_slicing, reason = "a failing test is the report")]

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// A module's place: for `gateway::auth` the position of `gateway` in `lib.rs`, then that of `auth` in
/// `gateway/mod.rs`.
type Places = HashMap<Vec<String>, Vec<usize>>;

fn module_lines(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let line = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ");
            line.strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned)
        })
        .collect()
}

fn walk(
    dir: &Path,
    file: &Path,
    path: &[String],
    place: &[usize],
    out: &mut Places,
    texts: &mut Vec<(Vec<String>, String)>,
) {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    for (number, name) in module_lines(&text).into_iter().enumerate() {
        let (mut child, mut child_place) = (path.to_vec(), place.to_vec());
        child.push(name.clone());
        child_place.push(number);
        out.insert(child.clone(), child_place.clone());
        let (folder, plain) = (dir.join(&name), dir.join(format!("{name}.rs")));
        let file = if plain.exists() { plain } else { folder.join("mod.rs") };
        walk(&folder, &file, &child, &child_place, out, texts);
    }
    texts.push((path.to_vec(), text));
}

/// The `crate::` paths that production code in `text` names; tests at the end of a file are free.
fn named(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1).map(str::to_owned).collect::<Vec<_>>())
        .map(|rest| {
            rest.chars()
                .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '{'))
                .collect()
        })
        .collect()
}

fn offences(places: &Places, texts: &[(Vec<String>, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (module, text) in texts {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        if code.contains("super::") {
            found.push(format!("{}: super is for tests", module.join("::")));
        }
        let Some(own) = places.get(module) else { continue };
        for name in named(text) {
            if name.starts_with('{') || name.is_empty() {
                found.push(format!("{}: cannot judge crate::{name}", module.join("::")));
                continue;
            }
            let parts: Vec<String> =
                name.split("::").map(|p| p.trim_matches('{').to_owned()).collect();
            let target =
                (1..=parts.len()).rev().find_map(|n| places.get(&parts[..n]).map(|p| (n, p)));
            let Some((depth, target)) = target else { continue };
            // A parent naming its own child composes it; that is what a mod.rs is for.
            let own_child = depth > module.len() && parts[..module.len()] == module[..];
            let enclosing = module.len() >= depth && module[..depth] == parts[..depth];
            if !own_child && (enclosing || target >= own) {
                found.push(format!(
                    "{} names crate::{name}, which does not stand above it",
                    module.join("::")
                ));
            }
        }
    }
    found
}

fn read_tree() -> (Places, Vec<(Vec<String>, String)>) {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut places, mut texts) = (Places::new(), Vec::new());
    walk(&src, &src.join("lib.rs"), &[], &[], &mut places, &mut texts);
    (places, texts)
}

#[test]
fn modules_name_only_what_stands_above_them() {
    let (places, texts) = read_tree();
    assert!(places.len() > 10, "the tree was not read");
    let found = offences(&places, &texts);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_file_opens_with_its_purpose() {
    let (_, texts) = read_tree();
    for (module, text) in texts {
        assert!(text.starts_with("//! "), "{} does not", module.join("::"));
    }
}

#[test]
fn a_planted_circle_is_caught() {
    let places = Places::from([
        (vec!["low".to_owned()], vec![0]),
        (vec!["high".to_owned()], vec![1]),
        (vec!["high".to_owned(), "inner".to_owned()], vec![1, 0]),
    ]);
    let text = |module: &[&str], text: &str| {
        vec![(module.iter().map(|m| (*m).to_owned()).collect::<Vec<_>>(), text.to_owned())]
    };
    assert!(offences(&places, &text(&["high"], "use crate::low::A;")).is_empty());
    assert!(offences(&places, &text(&["high"], "use crate::high::inner::A;")).is_empty());
    for (module, code) in [
        (vec!["low"], "use crate::high::A;"),
        (vec!["low"], "fn f() -> crate::high::A {}"),
        (vec!["high"], "use crate::{low, high};"),
        (vec!["high", "inner"], "use crate::high::A;"),
        (vec!["high"], "use super::low;"),
    ] {
        assert!(!offences(&places, &text(&module, code)).is_empty(), "{module:?}: {code}");
    }
}

/// Every `.rs` file below `dir`, in one string.
fn sources(dir: &Path, out: &mut String) {
    for entry in fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())).flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push_str(&fs::read_to_string(&path).unwrap_or_default());
        }
    }
}

#[test]
fn every_promise_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap_or_default();
    let (_, table) = text.split_once("| promise | held by |").unwrap_or_default();
    let mut code = String::new();
    sources(&root.join("src"), &mut code);
    sources(&root.join("tests"), &mut code);
    let names: Vec<&str> = table
        .lines()
        .filter_map(|line| line.rsplit('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(names.len() > 20, "the table was not read");
    for name in names {
        assert!(code.contains(&format!("fn {name}(")), "no test is called {name}");
    }
}
