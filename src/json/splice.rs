//! Edits to a JSON text, applied in one forward pass. What no edit names is copied byte for byte.

use std::borrow::Cow;

use serde_json::Value;

use crate::json::token::Span;

/// White space between JSON tokens (RFC 8259 section 2).
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

#[derive(Debug)]
enum Change<'e> {
    String(&'e str),
    Json(Cow<'e, str>),
    Append(Cow<'e, str>),
    Remove,
}

/// Changes to one text. Spans must come from a scan of that very text; a change inside something that
/// is removed or replaced as a whole goes with it.
#[derive(Debug)]
pub struct Edits<'e> {
    text: &'e str,
    list: Vec<(Span, Change<'e>)>,
}

impl<'e> Edits<'e> {
    /// No edits to `text` yet, and room for `expected`.
    pub fn new(text: &'e str, expected: usize) -> Self {
        Self { text, list: Vec::with_capacity(expected) }
    }

    /// Puts the JSON string that means `meaning` in the place of a value.
    pub fn replace_with_string(&mut self, value: Span, meaning: &'e str) {
        self.list.push((value, Change::String(meaning)));
    }

    /// Puts `json`, a JSON text, in the place of a value.
    pub fn replace_with_json(&mut self, value: Span, json: impl Into<Cow<'e, str>>) {
        self.list.push((value, Change::Json(json.into())));
    }

    /// Adds `member` (`"name":value`) as the last one of an object.
    pub fn append(&mut self, object: Span, member: impl Into<Cow<'e, str>>) {
        let inside = self.text.get(..object.end.saturating_sub(1)).unwrap_or_default();
        let at = inside.trim_end_matches(BLANKS).len();
        self.list.push((Span { start: at, end: at }, Change::Append(member.into())));
    }

    /// Removes a member (from its name's quote to its value's end) or an array's element, together
    /// with exactly one comma where it has a neighbour that stays.
    pub fn remove(&mut self, item: Span) {
        self.list.push((item, Change::Remove));
    }

    /// The edited text.
    pub fn apply(mut self) -> Vec<u8> {
        self.list.sort_by_key(|(span, _)| span.start);
        let mut out = String::with_capacity(self.text.len().saturating_add(self.growth()));
        let mut done = 0;
        let mut rest = self.list.iter().peekable();
        while let Some((span, change)) = rest.next() {
            if span.start < done {
                continue;
            }
            let mut place = *span;
            if matches!(change, Change::Remove) {
                while let Some((next, change)) = rest.peek() {
                    if next.start < place.end {
                        rest.next();
                    } else if matches!(change, Change::Remove)
                        && after_comma(self.text, place.end) == Some(next.start)
                    {
                        place.end = next.end;
                        rest.next();
                    } else {
                        break;
                    }
                }
                place = with_comma(self.text, place);
            }
            out.push_str(Span { start: done, end: place.start }.of(self.text));
            match change {
                Change::String(meaning) => push_string(&mut out, meaning),
                Change::Json(json) => out.push_str(json),
                Change::Append(member) => {
                    if !out.trim_end_matches(BLANKS).ends_with('{') {
                        out.push(',');
                    }
                    out.push_str(member);
                }
                Change::Remove => {}
            }
            done = place.end;
        }
        out.push_str(self.text.get(done..).unwrap_or_default());
        out.into_bytes()
    }

    fn growth(&self) -> usize {
        self.list
            .iter()
            .map(|(_, change)| match change {
                Change::String(meaning) => meaning.len().saturating_add(2),
                Change::Json(json) => json.len(),
                Change::Append(member) => member.len().saturating_add(1),
                Change::Remove => 0,
            })
            .fold(0, usize::saturating_add)
    }
}

/// Where the next member or element begins, if one follows.
fn after_comma(text: &str, end: usize) -> Option<usize> {
    let rest = text.get(end..)?;
    let next = rest.trim_start_matches(BLANKS).strip_prefix(',')?.trim_start_matches(BLANKS);
    text.len().checked_sub(next.len())
}

/// A run of members or elements and the one comma that goes with it: the one before the run, or,
/// where the run comes first, the one after it.
fn with_comma(text: &str, run: Span) -> Span {
    let before = text.get(..run.start).unwrap_or_default().trim_end_matches(BLANKS);
    if let Some(before) = before.strip_suffix(',') {
        return Span { start: before.trim_end_matches(BLANKS).len(), end: run.end };
    }
    Span { start: run.start, end: after_comma(text, run.end).unwrap_or(run.end) }
}

fn push_string(out: &mut String, meaning: &str) {
    // Without an early exit the compiler compares many bytes at once; most texts are plain.
    let plain = meaning
        .bytes()
        .fold(true, |plain, byte| plain & (byte >= 0x20) & (byte != b'"') & (byte != b'\\'));
    if plain {
        out.push('"');
        out.push_str(meaning);
        out.push('"');
    } else {
        out.push_str(&Value::from(meaning).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::scan::Scanner;
    use crate::json::token::JsonError;

    /// Removes the members whose values are the numbers in `doomed`, and appends one if asked to.
    fn edit(text: &str, doomed: &[&str], appended: Option<&str>) -> String {
        let mut scan = Scanner::new(text.as_bytes()).unwrap();
        let mut items = Vec::new();
        let object = scan
            .object(|scan, member| {
                let value = scan.skip()?;
                items.push(Span { start: member.start, end: value.end });
                Ok::<(), JsonError>(())
            })
            .unwrap();
        let mut edits = Edits::new(text, 4);
        if let Some(member) = appended {
            edits.append(object, member);
        }
        for item in items.into_iter().rev() {
            if doomed.iter().any(|value| item.of(text).ends_with(value)) {
                edits.remove(item);
            }
        }
        String::from_utf8(edits.apply()).unwrap()
    }

    #[test]
    fn one_comma_goes_with_each_removed_member() {
        let text = r#"{ "a" : 1 , "b":2, "c" :3 }"#;
        for (doomed, left) in [
            (&[][..], r#"{ "a" : 1 , "b":2, "c" :3 }"#),
            (&["1"], r#"{ "b":2, "c" :3 }"#),
            (&["2"], r#"{ "a" : 1, "c" :3 }"#),
            (&["3"], r#"{ "a" : 1 , "b":2 }"#),
            (&["1", "2"], r#"{ "c" :3 }"#),
            (&["1", "3"], r#"{ "b":2 }"#),
            (&["2", "3"], r#"{ "a" : 1 }"#),
            (&["1", "2", "3"], "{  }"),
        ] {
            assert_eq!(edit(text, doomed, None), left, "{doomed:?}");
        }
    }

    #[test]
    fn an_appended_member_gets_a_comma_where_it_has_a_neighbour() {
        for (text, doomed, left) in [
            ("{}", &[][..], r#"{"x":0}"#),
            ("{ \n}", &[], "{\"x\":0 \n}"),
            ("{\"a\":1\n}", &[], "{\"a\":1,\"x\":0\n}"),
            ("{\"a\":1\n}", &["1"], "{\"x\":0\n}"),
            ("{\"a\":1,\"b\":2}", &["2"], "{\"a\":1,\"x\":0}"),
            ("{\"a\":1,\"b\":2}", &["1", "2"], "{\"x\":0}"),
            ("{\"a\":\"{\"}", &[], "{\"a\":\"{\",\"x\":0}"),
        ] {
            assert_eq!(edit(text, doomed, Some("\"x\":0")), left, "{text:?} {doomed:?}");
        }
    }

    #[test]
    fn what_is_put_in_is_quoted_and_what_is_inside_a_removed_place_goes_with_it() {
        let text = r#"[{"a":1},2,3]"#;
        let mut edits = Edits::new(text, 4);
        edits.replace_with_string(Span { start: 9, end: 10 }, "\"\\\n\u{7f}é");
        edits.replace_with_json(Span { start: 11, end: 12 }, "[]");
        edits.replace_with_string(Span { start: 6, end: 7 }, "gone");
        edits.remove(Span { start: 1, end: 8 });
        let out = String::from_utf8(edits.apply()).unwrap();
        assert_eq!(out, "[\"\\\"\\\\\\n\u{7f}é\",[]]");
    }
}
