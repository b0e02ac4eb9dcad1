//! The body of a feedback call (CDS Hooks 2.0, Feedback): its entries, and each entry alone.
//!
//! Only the ids are interpreted, since they are what was replaced in the answer. Everything else
//! (`outcome`, override reasons in any spelling, time stamps) is the service's to judge.

use aws_lc_rs::digest;
use bytes::Bytes;

use crate::json::members::{BadMember, Seen};
use crate::json::scan::{Kind, Scanner, Text};
use crate::json::splice::Edits;
use crate::json::token::{Cursor, JsonError, Span};

/// Entries in one call. A client that collects a day's feedback stays below it.
pub const MAX_ENTRIES: usize = 1000;

/// The longest id, in bytes. A UUID has 36; what was ever given out is not longer than an URL.
pub const MAX_ID: usize = 256;

/// Why a feedback body is refused. Says which member, never what it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutcomesError {
    /// Not the JSON that may pass.
    #[error("the body is {0}")]
    Json(#[from] JsonError),
    /// A member that the service could understand differently.
    #[error(transparent)]
    Member(#[from] BadMember),
    /// The body is a JSON text, but no object.
    #[error("the body is not an object")]
    NotAnObject,
    /// A required member is missing or null.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A member is not of the JSON type that the standard gives it.
    #[error("{0} has the wrong JSON type")]
    WrongType(&'static str),
    /// An id is empty or longer than [`MAX_ID`].
    #[error("{0} is empty or longer than {MAX_ID} bytes")]
    Id(&'static str),
    /// More than [`MAX_ENTRIES`].
    #[error("there are more than {MAX_ENTRIES} entries")]
    TooMany,
}

/// Which id of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdPlace {
    /// `card`
    Card,
    /// `acceptedSuggestions[].id`, counted from 0.
    Suggestion(usize),
}

/// What the EHR reports about one card.
#[derive(Debug)]
pub struct Entry<'a> {
    card: Text<'a>,
    suggestions: Vec<Text<'a>>,
    span: Span,
    fingerprint: [u8; 32],
}

impl Entry<'_> {
    /// `card`: the card's uuid, as the EHR was given it.
    pub fn card(&self) -> &str {
        &self.card.decoded
    }

    /// `acceptedSuggestions[].id`, in their order.
    pub fn suggestions(&self) -> impl ExactSizeIterator<Item = &str> {
        self.suggestions.iter().map(|id| id.decoded.as_ref())
    }

    /// SHA-256 of the entry without insignificant white space: the same for a repeat that was only
    /// laid out differently. The order of members and the spelling of values count.
    pub const fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }
}

/// A readable feedback body.
#[derive(Debug)]
pub struct Outcomes<'a> {
    text: &'a str,
    entries: Vec<Entry<'a>>,
}

impl<'a> Outcomes<'a> {
    /// Reads `body` in one pass. No entries at all is well-formed: there is nothing to deliver.
    ///
    /// # Errors
    /// [`OutcomesError`]
    pub fn read(body: &'a [u8]) -> Result<Self, OutcomesError> {
        let mut scan = Scanner::new(body)?;
        if scan.kind()? != Kind::Object {
            return Err(OutcomesError::NotAnObject);
        }
        let text = scan.text();
        let mut entries = None;
        let mut seen = Seen::new(&["feedback"]);
        scan.object(|scan, member| {
            if let Some(name) = seen.meet(&member.name)? {
                let mut list = Vec::new();
                if present(scan, Kind::Array, name)? {
                    scan.array(|scan, number| {
                        if number == MAX_ENTRIES {
                            return Err(OutcomesError::TooMany);
                        }
                        list.push(entry(scan)?);
                        Ok(())
                    })?;
                    entries = Some(list);
                }
            }
            Ok::<(), OutcomesError>(())
        })?;
        scan.finish()?;
        Ok(Self { text, entries: entries.ok_or(OutcomesError::Missing("feedback"))? })
    }

    /// The entries, in the order of the body.
    pub fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    /// The body for one upstream call: the entries whose numbers are in `keep`, in the order of the
    /// body, with each id for which `replacement` knows one replaced. All else stays byte for byte.
    pub fn render<'r>(
        &'r self,
        keep: &[usize],
        replacement: impl Fn(usize, IdPlace) -> Option<&'r str>,
    ) -> Bytes {
        let mut kept = vec![false; self.entries.len()];
        for number in keep {
            if let Some(kept) = kept.get_mut(*number) {
                *kept = true;
            }
        }
        let mut edits = Edits::new(self.text, self.entries.len());
        for ((number, entry), kept) in self.entries.iter().enumerate().zip(kept) {
            if !kept {
                edits.remove(entry.span);
                continue;
            }
            let places = (0..).map(IdPlace::Suggestion);
            let ids =
                std::iter::once((IdPlace::Card, &entry.card)).chain(places.zip(&entry.suggestions));
            for (place, id) in ids {
                if let Some(original) = replacement(number, place) {
                    edits.replace_with_string(id.span, original);
                }
            }
        }
        Bytes::from(edits.apply())
    }
}

fn entry<'a>(scan: &mut Scanner<'a>) -> Result<Entry<'a>, OutcomesError> {
    if !present(scan, Kind::Object, "feedback")? {
        return Err(OutcomesError::WrongType("feedback"));
    }
    let (mut card, mut suggestions) = (None, Vec::new());
    let mut seen = Seen::new(&["card", "acceptedSuggestions"]);
    let span = scan.object(|scan, member| {
        match seen.meet(&member.name)? {
            Some("card") => card = Some(id(scan, "card")?),
            Some(name) if present(scan, Kind::Array, name)? => {
                scan.array(|scan, _| {
                    suggestions.push(suggestion(scan)?);
                    Ok::<(), OutcomesError>(())
                })?;
            }
            Some(_) | None => {}
        }
        Ok::<(), OutcomesError>(())
    })?;
    let card = card.ok_or(OutcomesError::Missing("card"))?;
    let fingerprint = fingerprint(span.of(scan.text()))?;
    Ok(Entry { card, suggestions, span, fingerprint })
}

fn suggestion<'a>(scan: &mut Scanner<'a>) -> Result<Text<'a>, OutcomesError> {
    if !present(scan, Kind::Object, "acceptedSuggestions")? {
        return Err(OutcomesError::WrongType("acceptedSuggestions"));
    }
    let mut found = None;
    let mut seen = Seen::new(&["id"]);
    scan.object(|scan, member| {
        if seen.meet(&member.name)?.is_some() {
            found = Some(id(scan, "id")?);
        }
        Ok::<(), OutcomesError>(())
    })?;
    found.ok_or(OutcomesError::Missing("id"))
}

fn id<'a>(scan: &mut Scanner<'a>, name: &'static str) -> Result<Text<'a>, OutcomesError> {
    if !present(scan, Kind::String, name)? {
        return Err(OutcomesError::Missing(name));
    }
    let id = scan.string()?;
    if id.decoded.is_empty() || id.decoded.len() > MAX_ID {
        return Err(OutcomesError::Id(name));
    }
    Ok(id)
}

/// Whether the value ahead is of that kind; `false` for null.
fn present(scan: &mut Scanner<'_>, kind: Kind, name: &'static str) -> Result<bool, OutcomesError> {
    let found = scan.kind()?;
    if found == kind {
        return Ok(true);
    }
    if found == Kind::Null { Ok(false) } else { Err(OutcomesError::WrongType(name)) }
}

/// Hashes the tokens of a well-formed text.
fn fingerprint(entry: &str) -> Result<[u8; 32], JsonError> {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut cursor = Cursor::new(entry);
    while let Some(byte) = cursor.past_blanks() {
        let start = cursor.at();
        if byte == b'"' {
            cursor.past_string()?;
        } else {
            cursor.advance();
        }
        hash.update(Span { start, end: cursor.at() }.of(entry).as_bytes());
    }
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(hash.finish().as_ref()) {
        *to = *from;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#" { "x" : 1e2 , "feedback" : [
        {"card":"a1","outcome":"overridden","overrideReasons":[{"code":"x"}]} ,
        {"outcome":"accepted","acceptedSuggestions":[{"id":"s\u0031"},{"x":0,"id":"s2"}],"card":"a2"},
        {"card":"a3","acceptedSuggestions":null}
    ], "feedback2" : [ ] , "x" : 2 } "#;

    #[test]
    fn reads_entries() {
        let outcomes = Outcomes::read(BODY.as_bytes()).unwrap();
        let read: Vec<(&str, Vec<&str>)> =
            outcomes.entries().iter().map(|e| (e.card(), e.suggestions().collect())).collect();
        assert_eq!(read, [("a1", vec![]), ("a2", vec!["s1", "s2"]), ("a3", vec![])]);
        assert!(Outcomes::read(br#"{"feedback":[]}"#).unwrap().entries().is_empty());
    }

    #[test]
    fn renders_each_part_alone_with_its_ids_mapped_back() {
        let outcomes = Outcomes::read(BODY.as_bytes()).unwrap();
        let render = |keep: &[usize]| {
            let bytes = outcomes.render(keep, |entry, place| match (entry, place) {
                (0, IdPlace::Card) => Some("C0"),
                (1, IdPlace::Card) => Some("C\"1"),
                (1, IdPlace::Suggestion(1)) => Some("S1"),
                (_, IdPlace::Card | IdPlace::Suggestion(_)) => None,
            });
            String::from_utf8(bytes.to_vec()).unwrap()
        };
        let mapped = BODY
            .replace(r#""a1""#, r#""C0""#)
            .replace(r#""a2""#, r#""C\"1""#)
            .replace(r#""s2""#, r#""S1""#);
        assert_eq!(render(&[2, 0, 1, 0, 99]), mapped);
        let (head, rest) = mapped.split_at(mapped.find(r#"{"card":"C0""#).unwrap());
        let (first, rest) = rest.split_at(rest.find(" ,\n").unwrap());
        let (second, rest) = rest.split_at(rest.find(",\n        {\"card\":\"a3\"").unwrap());
        let (third, tail) = rest.split_at(rest.find("\n    ]").unwrap());
        let alone =
            |entry: &str| format!("{head}{}{tail}", entry.trim_start_matches([' ', ',', '\n']));
        assert_eq!(render(&[0]), alone(first));
        assert_eq!(render(&[1]), alone(second));
        assert_eq!(render(&[2]), alone(third));
        assert_eq!(render(&[0, 2]), format!("{head}{first}{third}{tail}"));
        assert_eq!(render(&[]), format!("{head}{tail}"));
    }

    #[test]
    fn a_fingerprint_ignores_layout_only() {
        let print = |entry: &str| {
            let body = format!(r#"{{"feedback":[{entry}]}}"#);
            *Outcomes::read(body.as_bytes()).unwrap().entries().first().unwrap().fingerprint()
        };
        let one = print(r#"{"card":"a b","n":[1,2],"outcome":"accepted"}"#);
        assert_eq!(
            one,
            print("{ \"card\"\t: \"a b\",\r\n\"n\":[1 , 2],\"outcome\":\"accepted\" }")
        );
        for other in [
            r#"{"card":"ab","n":[1,2],"outcome":"accepted"}"#,
            r#"{"card":"a b","n":[12],"outcome":"accepted"}"#,
            r#"{"card":"a b","n":[1,2],"outcome":"overridden"}"#,
            r#"{"n":[1,2],"card":"a b","outcome":"accepted"}"#,
            r#"{"card":"a\u0020b","n":[1,2],"outcome":"accepted"}"#,
        ] {
            assert_ne!(one, print(other), "{other}");
        }
    }

    #[test]
    fn refuses_what_is_no_feedback() {
        let long = format!(r#"{{"feedback":[{{"card":"{}"}}]}}"#, "a".repeat(257));
        let many = format!(r#"{{"feedback":[{}{{}}]}}"#, r#"{"card":"a"},"#.repeat(1000));
        for (body, error) in [
            ("[]", OutcomesError::NotAnObject),
            ("{}", OutcomesError::Missing("feedback")),
            (r#"{"feedback":null}"#, OutcomesError::Missing("feedback")),
            (r#"{"feedback":{}}"#, OutcomesError::WrongType("feedback")),
            (r#"{"feedback":[null]}"#, OutcomesError::WrongType("feedback")),
            (r#"{"feedback":["a"]}"#, OutcomesError::WrongType("feedback")),
            (r#"{"feedback":[{}]}"#, OutcomesError::Missing("card")),
            (r#"{"feedback":[{"card":null}]}"#, OutcomesError::Missing("card")),
            (r#"{"feedback":[{"card":1}]}"#, OutcomesError::WrongType("card")),
            (r#"{"feedback":[{"card":""}]}"#, OutcomesError::Id("card")),
            (&long, OutcomesError::Id("card")),
            (&many, OutcomesError::TooMany),
            (
                r#"{"feedback":[{"card":"a","acceptedSuggestions":{}}]}"#,
                OutcomesError::WrongType("acceptedSuggestions"),
            ),
            (
                r#"{"feedback":[{"card":"a","acceptedSuggestions":["b"]}]}"#,
                OutcomesError::WrongType("acceptedSuggestions"),
            ),
            (
                r#"{"feedback":[{"card":"a","acceptedSuggestions":[{}]}]}"#,
                OutcomesError::Missing("id"),
            ),
            (
                r#"{"feedback":[{"card":"a","acceptedSuggestions":[{"id":[]}]}]}"#,
                OutcomesError::WrongType("id"),
            ),
            (r#"{"feedback":[{"card":"a","c\u0061rd":"b"}]}"#, BadMember::Duplicate("card").into()),
            (r#"{"feedback":[],"Feedback":[]}"#, BadMember::Case("feedback").into()),
            (
                r#"{"feedback":[{"card":"a","acceptedSuggestions":[{"id":"b","id":"c"}]}]}"#,
                BadMember::Duplicate("id").into(),
            ),
            (r#"{"feedback":[]}x"#, JsonError::Syntax { at: 15 }.into()),
        ] {
            assert_eq!(Outcomes::read(body.as_bytes()).err(), Some(error), "{body}");
        }
    }
}
