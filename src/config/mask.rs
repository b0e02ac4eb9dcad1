//! What of a file may be shown. Whatever could be a secret is covered with stars, of the same length, so that
//! what stands beside it stays where it is.
//!
//! Shown are keys, and values whose key is known and takes a value of that kind. A text where none belongs, a
//! value of an unknown key, a comment and what is before the `@` of a URL are not.

use std::ops::Range;

use serde_json::Value;

use crate::config::document::{Document, Kind, Node};
use crate::config::schema;

/// The text of `document`, without what could be a secret.
pub(crate) fn masked(document: &Document, schema: &Value) -> String {
    if !document.faults().is_empty() {
        return document.text().split_inclusive('\n').map(outline).collect();
    }
    let mut cover = Cover { text: document.text(), hidden: Vec::new(), seen: Vec::new() };
    cover.node(document.root(), Some(schema));
    cover.comments();
    let hidden = cover.hidden;
    let stars = document.text().char_indices().map(|(at, c)| {
        let stars = hidden.iter().any(|range| range.contains(&at)) && c != '\n';
        if stars { "*".repeat(c.len_utf8()) } else { c.to_string() }
    });
    stars.collect()
}

/// A line of a file whose grammar is broken: nobody knows where its values begin and end.
fn outline(line: &str) -> String {
    let shown = if line.trim_start().starts_with('[') {
        line.find('#').unwrap_or(line.len())
    } else {
        line.find('=').filter(|_| !line.trim_start().starts_with(['#', '"', '\''])).unwrap_or(0)
    };
    let (before, after) = line.split_at(shown);
    let covered = after.chars().map(|c| {
        let plain = c.is_ascii_whitespace() || "=[]{},\"'".contains(c);
        if plain { c.to_string() } else { "*".repeat(c.len_utf8()) }
    });
    before.to_owned() + &covered.collect::<String>()
}

struct Cover<'a> {
    text: &'a str,
    hidden: Vec<Range<usize>>,
    /// Keys and values: a `#` in one of them begins no comment.
    seen: Vec<Range<usize>>,
}

impl Cover<'_> {
    fn node(&mut self, node: &Node, schema: Option<&Value>) {
        self.seen.extend(node.key.clone());
        match &node.kind {
            Kind::Table(table) => {
                for (key, inside) in table {
                    self.node(inside, schema.and_then(|schema| schema::below(schema, key)));
                }
            }
            Kind::List(list) => {
                for inside in list {
                    self.node(inside, schema.and_then(schema::entry));
                }
            }
            Kind::Text(_) => {
                self.seen.push(node.value.clone());
                if schema.is_some_and(schema::takes_text) {
                    self.userinfo(node.value.clone());
                } else {
                    self.hidden.push(node.value.clone());
                }
            }
            Kind::Other => {
                self.seen.push(node.value.clone());
                if schema.is_none_or(schema::takes_anything) {
                    self.hidden.push(node.value.clone());
                }
            }
        }
    }

    /// `https://user:password@host`: what is between.
    fn userinfo(&mut self, value: Range<usize>) {
        let written = self.text.get(value.clone()).unwrap_or_default();
        for (at, _) in written.match_indices("://") {
            let from = at.saturating_add(3);
            let rest = written.get(from..).unwrap_or_default();
            let authority = rest.find(['/', '?', '#', '"', ' ']).unwrap_or(rest.len());
            if let Some(end) = rest.get(..authority).and_then(|authority| authority.rfind('@')) {
                let start = value.start.saturating_add(from);
                self.hidden.push(start..start.saturating_add(end));
            }
        }
    }

    fn comments(&mut self) {
        let mut at = 0;
        while let Some(found) = self.text.get(at..).and_then(|rest| rest.find('#')) {
            let start = at.saturating_add(found);
            if let Some(range) = self.seen.iter().find(|range| range.contains(&start)) {
                at = range.end;
                continue;
            }
            let rest = self.text.get(start..).unwrap_or_default();
            let end = start.saturating_add(rest.find('\n').unwrap_or(rest.len()));
            self.hidden.push(start.saturating_add(1)..end);
            at = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(text: &str) -> String {
        let schema = json!({"properties": {
            "url": {"type": "string"}, "on": {"type": "boolean"}, "n": {"type": "integer"}, "keys": {},
            "list": {"items": {"properties": {"word": {"oneOf": [{"type": "string", "const": "a"}]}}}},
        }});
        masked(&Document::parse(text), &schema)
    }

    #[test]
    fn shows_what_is_known_and_nothing_else() {
        for (text, expected) in [
            ("url = \"https://u:p@x/#a\" # s3cret\n", "url = \"https://***@x/#a\" #*******\n"),
            ("on = \"s3cret\"", "on = ********"),
            ("n = 5\non = true", "n = 5\non = true"),
            ("pass = \"s3cret\"\npin = 12", "pass = ********\npin = **"),
            ("keys = { k = [\"s\"], n = 1 }", "keys = { k = [***], n = * }"),
            ("[[list]]\nword = \"b\"\nother = \"c\"", "[[list]]\nword = \"b\"\nother = ***"),
            ("other = '''\ns3cret\nä'''", "other = ***\n******\n*****"),
            // Where the grammar is broken, only what stands before the first "=".
            ("url = \"s3cret\nn = 1\ns3cret\n[t] # s", "url = \"******\nn = *\n******\n[t] * *"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
            assert_eq!(shown(text).len(), text.len(), "{text}");
        }
    }
}
