//! Says what is wrong with a value: the code, what, and what to write instead.
//!
//! What was written is not repeated where it could be a credential: a text of the wrong kind, a URL with a
//! user and password in it.

use figment::Error;
use figment::error::{Actual, Kind};

use crate::problem::Code;

/// What the reading of one value ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Where in the tree of values, numbers for the entries of lists.
    pub(crate) path: Vec<String>,
    pub(crate) code: Code,
    /// What is wrong, and behind a semicolon what to write instead.
    pub(crate) sentence: String,
}

/// What an error of figment's says. Of several it is the first; the others come when it is out of the way.
pub(crate) fn finding(error: &Error) -> Finding {
    let mut path = error.path.clone();
    if let Kind::Message(text) = &error.kind
        && let Some(nested) = unpacked(text)
    {
        path.extend(nested.path);
        return Finding { path, ..nested };
    }
    if let Kind::MissingField(name) = &error.kind {
        path.push(name.to_string());
    }
    if let Kind::UnknownField(name, _) = &error.kind
        && !path.last().is_some_and(|last| last.eq_ignore_ascii_case(name))
    {
        path.push(name.clone());
    }
    let (code, sentence) = problem(&error.kind);
    Finding { path, code, sentence: without_userinfo(&sentence) }
}

/// Stand in no key and in no sentence.
const PART: char = '\u{1f}';
const STEP: char = '\u{1e}';

/// A finding below a table that is dealt out by hand, as its `Deserialize` can report it.
pub(crate) fn packed(finding: &Finding) -> String {
    let path = finding.path.join(&STEP.to_string());
    format!("{PART}{path}{PART}{}{PART}{}", finding.code.word(), finding.sentence)
}

fn unpacked(text: &str) -> Option<Finding> {
    let mut parts = text.strip_prefix(PART)?.splitn(3, PART);
    let (path, word, sentence) = (parts.next()?, parts.next()?, parts.next()?);
    let code = Code::ALL.iter().find(|code| code.word() == word)?;
    let path = path.split(STEP).map(str::to_owned).collect();
    Some(Finding { path, code: *code, sentence: sentence.to_owned() })
}

fn problem(kind: &Kind) -> (Code, String) {
    match kind {
        Kind::Message(text) if text == "invalid socket address syntax" => {
            let sentence = "is no address with a port; write \"0.0.0.0:8443\" or \"[::]:8443\"";
            (Code::BadValue, sentence.to_owned())
        }
        Kind::Message(text) => (Code::BadValue, text.clone()),
        Kind::UnknownField(..) => (Code::UnknownKey, "there is no such key".to_owned()),
        Kind::MissingField(_) => (Code::MissingKey, "is missing".to_owned()),
        Kind::UnknownVariant(found, known) => {
            let sentence = format!("{found:?} is not one of \"{}\"", known.join("\", \""));
            let meant = nearest(found, known.iter().copied());
            let help = meant.map(|word| format!("; did you mean \"{word}\"?"));
            (Code::UnknownValue, sentence + &help.unwrap_or_default())
        }
        Kind::InvalidType(Actual::Map, expected) if expected == "a sequence" => {
            let sentence = "is a list of tables; write its name in two brackets, as [[client]]";
            (Code::WrongType, sentence.to_owned())
        }
        Kind::InvalidType(Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_), expected)
            if expected == "a string" =>
        {
            let sentence = "is a bare number; write it in quotes, and a length of time with its unit, as \"30s\"";
            (Code::WrongType, sentence.to_owned())
        }
        Kind::InvalidType(Actual::Str(_), expected) => {
            (Code::WrongType, format!("is a text in quotes; write {}", plainly(expected)))
        }
        Kind::InvalidValue(Actual::Str(_), expected) => {
            (Code::BadValue, format!("cannot be used; write {}", plainly(expected)))
        }
        Kind::InvalidType(found, expected) => (Code::WrongType, cannot_be(found, expected)),
        Kind::InvalidValue(found, expected) => (Code::OutOfRange, cannot_be(found, expected)),
        Kind::InvalidLength(..)
        | Kind::DuplicateField(_)
        | Kind::ISizeOutOfRange(_)
        | Kind::USizeOutOfRange(_) => (Code::OutOfRange, kind.to_string()),
        Kind::Unsupported(_) | Kind::UnsupportedKey(..) => (Code::WrongType, kind.to_string()),
    }
}

fn cannot_be(found: &Actual, expected: &str) -> String {
    let found = found.to_string();
    let number = match found.rsplit(' ').next().unwrap_or_default().trim_matches('`') {
        "sequence" => "a list",
        "map" => "a table",
        number => number,
    };
    format!("cannot be {number}; write {}", plainly(expected))
}

/// serde's name for a type, in the words of a configuration.
fn plainly(expected: &str) -> String {
    match expected {
        "socket address" => "an address with a port, as \"0.0.0.0:8443\"".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" => "a text in quotes".to_owned(),
        "path string" => "a path in quotes".to_owned(),
        "a sequence" => "a list in brackets".to_owned(),
        "a map" => "a table".to_owned(),
        "u8" => "a whole number from 0 to 255".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" => "a whole number from 0 to 4294967295".to_owned(),
        "u64" | "usize" => "a whole number from 0".to_owned(),
        "a nonzero u8" => "a whole number from 1 to 255".to_owned(),
        "a nonzero u16" => "a whole number from 1 to 65535".to_owned(),
        "a nonzero u32" => "a whole number from 1 to 4294967295".to_owned(),
        "a nonzero u64" | "a nonzero usize" => "a whole number from 1".to_owned(),
        _ if expected.starts_with("enum ") => "one of its words, in quotes".to_owned(),
        _ if expected.starts_with("struct ") => "a table".to_owned(),
        _ => expected.to_owned(),
    }
}

/// What somebody who wrote `word` probably meant: the same in another spelling (camel case, dashes), or one
/// with few letters changed.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = plain(word);
    // Of a short word every other one is near.
    let far = (plain.chars().count() / 3).min(4);
    let scored = known.map(|each| (strsim::damerau_levenshtein(&plain, &self::plain(each)), each));
    scored
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, each)| each)
}

/// `idleTimeout`, `Idle-Timeout` and `idle_timeout` are one word.
pub(crate) fn plain(word: &str) -> String {
    let letters = word.chars().filter(|c| !matches!(c, '_' | '-' | ' ' | '.'));
    letters.flat_map(char::to_lowercase).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_credentials_out() {
        assert_eq!(without_userinfo("\"https://u:p@x.org/\" is"), "\"https://…@x.org/\" is");
        assert_eq!(without_userinfo("https://a@b://c:d@e"), "https://…@b://…@e");
        assert_eq!(without_userinfo("https://x.org/@y"), "https://x.org/@y");
        assert_eq!(without_userinfo("none"), "none");
    }

    #[test]
    fn guesses_what_was_meant() {
        let known = ["idle_timeout", "header_timeout", "address", "http2", "max_headers"];
        let guess = |word| nearest(word, known.into_iter());
        for (word, meant) in [
            ("idleTimeout", "idle_timeout"),
            ("idle-timeout", "idle_timeout"),
            ("IDLE_TIMEOUT", "idle_timeout"),
            ("idel_timeout", "idle_timeout"),
            ("adress", "address"),
            ("addresses", "address"),
            ("http_2", "http2"),
        ] {
            assert_eq!(guess(word), Some(meant), "{word}");
        }
        for word in ["zzz", "timeout", "color", "a", ""] {
            assert_eq!(guess(word), None, "{word}");
        }
    }

    #[test]
    fn what_is_dealt_out_by_hand_is_found_again() {
        let finding = Finding {
            path: vec!["limit".to_owned(), "0".to_owned()],
            code: Code::WrongType,
            sentence: "is; not".to_owned(),
        };
        assert_eq!(unpacked(&packed(&finding)), Some(finding));
        assert_eq!(unpacked("an ordinary sentence"), None);
    }
}
