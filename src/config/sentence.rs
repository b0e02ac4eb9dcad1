//! Says what is wrong with a configuration: where, what, and what to write instead.
//!
//! What was written is not repeated where it could be a credential: a text of the wrong kind, a URL with a
//! user and password in it.

use std::ops::Range;

use figment::Error;
use figment::error::{Actual, Kind};
use toml::de::{DeTable, DeValue};

/// One sentence for each error in the chain. `file` is the text that was read, `prefix` that of the
/// environment's variables.
pub fn sentences(error: Error, file: &str, prefix: &str) -> Vec<String> {
    error.into_iter().map(|each| located(&each, file, prefix)).collect()
}

/// What is wrong with the grammar, and in which line.
///
/// # Errors
/// The sentence.
pub fn check_grammar(file: &str) -> Result<(), String> {
    DeTable::parse(file).map(|_| ()).map_err(|error| {
        let line = error.span().map(|span| line_at(file, span.start));
        let what = error.message().replace('\n', ", ");
        line.map_or_else(|| what.clone(), |line| format!("line {line}: {what}"))
    })
}

/// The key an error is about, as `listener.address`, and what is wrong with its value.
pub fn key_and_problem(error: &Error) -> (String, String) {
    let mut path: Vec<&str> = error.path.iter().map(String::as_str).collect();
    if let Kind::MissingField(name) = &error.kind {
        path.push(name);
    }
    if let Kind::UnknownField(name, _) = &error.kind
        && !path.last().is_some_and(|last| last.eq_ignore_ascii_case(name))
    {
        path.push(name);
    }
    // The line says which of several tables it is.
    path.retain(|segment| segment.parse::<usize>().is_err());
    (path.join("."), without_userinfo(&problem(&error.kind)))
}

/// A problem below a table that is dealt out by hand, as its `Deserialize` reports it.
pub fn nested(key: &str, problem: &str) -> String {
    format!("{key}{NESTED}{problem}")
}

/// Stands in no key and in no sentence.
const NESTED: char = '\u{1f}';

fn located(error: &Error, file: &str, prefix: &str) -> String {
    let (mut key, mut problem) = key_and_problem(error);
    let mut path = error.path.clone();
    if let Some((inner, what)) = problem.split_once(NESTED) {
        key = format!("{key}.{inner}");
        path.extend(inner.split('.').map(str::to_owned));
        problem = what.to_owned();
    }
    let from_environment = error
        .metadata
        .as_ref()
        .is_some_and(|metadata| metadata.name.contains("environment variable"));
    if from_environment {
        let variable = key.to_ascii_uppercase().replace('.', "__");
        let in_a_list = matches!(&error.kind, Kind::InvalidType(Actual::Map, expected) if expected == "a sequence");
        let problem = if in_a_list {
            "the keys of a list of tables can be set in the file only"
        } else {
            problem.as_str()
        };
        return format!("{prefix}{variable}: {problem}");
    }
    let place = line_of(file, &path).map_or_else(String::new, |line| format!("line {line}: "));
    if key.is_empty() { format!("{place}{problem}") } else { format!("{place}{key}: {problem}") }
}

fn problem(kind: &Kind) -> String {
    match kind {
        Kind::Message(text) if text == "invalid socket address syntax" => {
            "is no address with a port; write \"0.0.0.0:8443\" or \"[::]:8443\"".to_owned()
        }
        Kind::Message(text) => text.clone(),
        Kind::UnknownField(_, []) => "there is no such key".to_owned(),
        Kind::UnknownField(_, known) => {
            format!("there is no such key; there are {}", known.join(", "))
        }
        Kind::MissingField(_) => "is missing".to_owned(),
        Kind::UnknownVariant(found, known) => {
            format!("{found:?} is not one of \"{}\"", known.join("\", \""))
        }
        Kind::InvalidType(Actual::Map, expected) if expected == "a sequence" => {
            "is a list of tables; write its name in two brackets, as [[client]]".to_owned()
        }
        Kind::InvalidType(Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_), expected)
            if expected == "a string" =>
        {
            "is a bare number; write it in quotes, and a length of time with its unit, as \"30s\""
                .to_owned()
        }
        Kind::InvalidType(Actual::Str(_), expected) => {
            format!("is a text in quotes; write {}", plainly(expected))
        }
        Kind::InvalidValue(Actual::Str(_), expected) => format!("cannot be used: {expected}"),
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            let found = found.to_string();
            let number = found.rsplit(' ').next().unwrap_or_default().trim_matches('`');
            format!("cannot be {number}; write {}", plainly(expected))
        }
        Kind::InvalidLength(..)
        | Kind::DuplicateField(_)
        | Kind::ISizeOutOfRange(_)
        | Kind::USizeOutOfRange(_)
        | Kind::Unsupported(_)
        | Kind::UnsupportedKey(..) => kind.to_string(),
    }
}

/// serde's name for a type, in the words of a configuration.
fn plainly(expected: &str) -> String {
    match expected {
        "socket address" => "an address with a port, as \"0.0.0.0:8443\"".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" => "a text in quotes".to_owned(),
        "a sequence" => "a list in brackets".to_owned(),
        "a map" => "a table".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number".to_owned(),
        "a nonzero u8" => "a whole number from 1 to 255".to_owned(),
        "a nonzero u32" => "a whole number from 1".to_owned(),
        _ if expected.starts_with("enum ") => "one of its words, in quotes".to_owned(),
        _ if expected.starts_with("struct ") => "a table".to_owned(),
        _ => expected.to_owned(),
    }
}

/// `https://user:password@host` without what is before the `@`.
fn without_userinfo(text: &str) -> String {
    let mut parts = text.split("://");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let authority = part.find(['/', '?', '#', '"', ' ']).unwrap_or(part.len());
        let rest = part.get(..authority).and_then(|a| a.rfind('@')).and_then(|at| part.get(at..));
        clean.push_str("://");
        clean.push_str(rest.map_or_else(|| part.to_owned(), |rest| format!("…{rest}")).as_str());
    }
    clean
}

/// In which line `path` stands, or as much of it as is there.
fn line_of(file: &str, path: &[String]) -> Option<usize> {
    let document = DeTable::parse(file).ok()?;
    let mut found: Option<Range<usize>> = None;
    let mut table = Some(document.get_ref());
    let mut list = None;
    for segment in path {
        let value = if let Some(inside) = table.take() {
            let Some((key, value)) = inside.iter().find(|(key, _)| key.get_ref() == segment) else {
                break;
            };
            found = Some(key.span());
            value
        } else if let Some(inside) = list.take() {
            let inside: &toml::de::DeArray<'_> = inside;
            let Some(value) = segment.parse::<usize>().ok().and_then(|index| inside.get(index))
            else {
                break;
            };
            found = Some(value.span());
            value
        } else {
            break;
        };
        if let DeValue::Table(inside) = value.get_ref() {
            table = Some(inside);
        } else if let DeValue::Array(inside) = value.get_ref() {
            list = Some(inside);
        }
    }
    found.map(|span| line_at(file, span.start))
}

fn line_at(file: &str, offset: usize) -> usize {
    file.bytes().take(offset).filter(|byte| *byte == b'\n').count().saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_line_of_a_key() {
        let file = "a = 1\n[t]\nb = 2\n\n[[l]]\nc = 3\n[[l]]\nc = { d = 4 }\n[l.s]\ne = 5\n";
        let line = |path: &[&str]| {
            line_of(file, &path.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(line(&["a"]), Some(1));
        assert_eq!(line(&["t", "b"]), Some(3));
        assert_eq!(line(&["l", "0", "c"]), Some(6));
        assert_eq!(line(&["l", "1", "c", "d"]), Some(8));
        assert_eq!(line(&["l", "1", "s", "e"]), Some(10));
        assert_eq!(line(&["l", "1"]), Some(7));
        assert_eq!(line(&["nothing"]), None);
        assert_eq!(line(&["t", "missing"]), Some(2));
    }

    #[test]
    fn leaves_credentials_out() {
        assert_eq!(without_userinfo("\"https://u:p@x.org/\" is"), "\"https://…@x.org/\" is");
        assert_eq!(without_userinfo("https://a@b://c:d@e"), "https://…@b://…@e");
        assert_eq!(without_userinfo("https://x.org/@y"), "https://x.org/@y");
        assert_eq!(without_userinfo("none"), "none");
    }

    #[test]
    fn grammar_is_told_by_line() {
        assert_eq!(check_grammar("a = 1"), Ok(()));
        assert!(check_grammar("a = 1\nb = [").unwrap_err().starts_with("line 2: "));
        assert!(check_grammar("a = 1\na = 2").unwrap_err().starts_with("line 2: "));
        assert!(!check_grammar("a = \"secret").unwrap_err().contains("secret"));
    }
}
