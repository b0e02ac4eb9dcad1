//! The file as it was written: what it holds, where each key stands, and what of it may be shown.

use std::collections::BTreeMap;
use std::ops::Range;

use figment::value::{Dict, Map, Value};
use figment::{Error, Metadata, Profile, Provider};
use toml::de::{DeTable, DeValue};

use crate::problem::{KeyPath, Segment};

/// A part of one line, for a person: counted from 1, in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which line.
    pub line: usize,
    /// Its first character.
    pub column: usize,
    /// The character behind its last one.
    pub end_column: usize,
    /// The same in bytes of the whole text.
    pub(crate) bytes: Range<usize>,
}

/// What the grammar does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) what: String,
    pub(crate) place: Place,
}

/// A value and where it stands.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its key; nothing for the entries of a list.
    pub(crate) key: Option<Range<usize>>,
    /// The value itself; of a table its header.
    pub(crate) value: Range<usize>,
    pub(crate) kind: Kind,
}

impl Node {
    /// Where it is named.
    pub(crate) fn header(&self) -> Range<usize> {
        self.key.clone().unwrap_or_else(|| self.value.clone())
    }

    pub(crate) const fn is_table(&self) -> bool {
        match self.kind {
            Kind::Table(_) => true,
            Kind::List(_) | Kind::Text(_) | Kind::Other => false,
        }
    }
}

/// What a value is.
#[derive(Debug)]
pub(crate) enum Kind {
    Table(BTreeMap<String, Node>),
    List(Vec<Node>),
    Text(String),
    Other,
}

/// The text of a file, and the tree that it says.
#[derive(Debug)]
pub struct Document {
    text: String,
    root: Node,
    values: Dict,
    faults: Vec<Fault>,
}

/// What there is of a path.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// The key itself.
    Whole(&'a Node),
    /// What encloses it, with all but the last so many segments.
    Part(&'a Node),
    /// Nothing: it would stand at the top of the file.
    Nothing,
}

impl Document {
    /// Reads what can be read: behind a fault in the grammar the parser goes on.
    pub fn parse(text: &str) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let faults = errors.iter().map(|error| {
            let span = error.span().unwrap_or(0..0);
            Fault { what: error.message().replace('\n', ", "), place: place(text, span) }
        });
        let faults = faults.collect();
        let (kind, values) = read_table(table.get_ref());
        let root = Node { key: None, value: 0..0, kind };
        Self { text: text.to_owned(), root, values, faults }
    }

    /// What is no TOML.
    pub(crate) fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The tree.
    pub(crate) const fn root(&self) -> &Node {
        &self.root
    }

    /// The path with numbers in place of ids, where the file has an entry of that id.
    pub(crate) fn resolved(&self, path: &KeyPath) -> KeyPath {
        let (mut node, mut resolved) = (Some(&self.root), KeyPath::default());
        for segment in &path.0 {
            let at = node.and_then(|node| position(node, segment));
            let segment = match (segment, at) {
                (Segment::Entry(_), Some(index)) => Segment::Index(index),
                (Segment::Entry(_) | Segment::Key(_) | Segment::Index(_), _) => segment.clone(),
            };
            node = node.and_then(|node| step(node, &segment));
            resolved.0.push(segment);
        }
        resolved
    }

    /// What the file has of `path`.
    pub(crate) fn find(&self, path: &KeyPath) -> Found<'_> {
        let mut node = &self.root;
        for (depth, segment) in path.0.iter().enumerate() {
            match step(node, segment) {
                Some(next) => node = next,
                None if depth == 0 => return Found::Nothing,
                None => return Found::Part(node),
            }
        }
        Found::Whole(node)
    }

    /// The first line of what is there.
    pub(crate) fn place(&self, bytes: Range<usize>) -> Place {
        place(&self.text, bytes)
    }
}

/// figment's part: the file is one of the things that it merges.
impl Provider for &Document {
    fn metadata(&self) -> Metadata {
        Metadata::named("the file")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

fn position(node: &Node, segment: &Segment) -> Option<usize> {
    let (Kind::List(list), Segment::Entry(id)) = (&node.kind, segment) else { return None };
    list.iter().position(|entry| {
        let Kind::Table(table) = &entry.kind else { return false };
        let own = table.get("id").map(|node| &node.kind);
        matches!(own, Some(Kind::Text(text)) if text == id)
    })
}

fn step<'a>(node: &'a Node, segment: &Segment) -> Option<&'a Node> {
    match (&node.kind, segment) {
        (Kind::Table(table), Segment::Key(key)) => table.get(key),
        (Kind::List(list), Segment::Index(index)) => list.get(*index),
        (Kind::Table(_) | Kind::List(_) | Kind::Text(_) | Kind::Other, _) => None,
    }
}

fn read_table(table: &DeTable<'_>) -> (Kind, Dict) {
    let (mut nodes, mut values) = (BTreeMap::new(), Dict::new());
    for (key, value) in table.iter() {
        let (kind, read) = read_value(value.get_ref());
        let node = Node { key: Some(key.span()), value: value.span(), kind };
        nodes.insert(key.get_ref().to_string(), node);
        values.insert(key.get_ref().to_string(), read);
    }
    (Kind::Table(nodes), values)
}

fn read_value(value: &DeValue<'_>) -> (Kind, Value) {
    match value {
        DeValue::String(text) => (Kind::Text(text.to_string()), Value::from(text.as_ref())),
        DeValue::Integer(number) => {
            let read = i64::from_str_radix(number.as_str(), number.radix());
            // What is too large for it is a text in nobody's range.
            let value = read.map_or_else(|_| Value::from(number.as_str()), Value::from);
            (Kind::Other, value)
        }
        DeValue::Float(number) => {
            let read: Result<f64, _> = number.as_str().parse();
            (Kind::Other, read.map_or_else(|_| Value::from(number.as_str()), Value::from))
        }
        DeValue::Boolean(truth) => (Kind::Other, Value::from(*truth)),
        DeValue::Datetime(time) => (Kind::Other, Value::from(time.to_string())),
        DeValue::Array(list) => {
            let read = list.iter().map(|each| {
                let (kind, value) = read_value(each.get_ref());
                (Node { key: None, value: each.span(), kind }, value)
            });
            let (nodes, values): (Vec<_>, Vec<_>) = read.unzip();
            (Kind::List(nodes), Value::from(values))
        }
        DeValue::Table(table) => {
            let (kind, values) = read_table(table);
            (kind, Value::from(values))
        }
    }
}

fn place(text: &str, bytes: Range<usize>) -> Place {
    let start = floor(text, bytes.start);
    let (before, rest) = text.split_at(start);
    let line_start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
    let line_end = rest.find('\n').map_or(text.len(), |at| start.saturating_add(at));
    let end = floor(text, bytes.end).clamp(start, line_end);
    let characters = |range: Range<usize>| text.get(range).map_or(0, |part| part.chars().count());
    let column = characters(line_start..start).saturating_add(1);
    Place {
        line: before.matches('\n').count().saturating_add(1),
        column,
        end_column: column.saturating_add(characters(start..end).max(1)),
        bytes: start..end,
    }
}

fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "a = 1\n[t]\nb = \"ä\" # c\n\n[[l]]\nid = \"x\"\n[[l]]\nid = \"y\"\nc = { d = 4 }\n[l.s]\ne = [1,\n 2]\n";

    fn shown(path: KeyPath) -> String {
        let document = Document::parse(FILE);
        let (bytes, what) = match document.find(&document.resolved(&path)) {
            Found::Whole(node) => (node.value.clone(), "whole"),
            Found::Part(node) => (node.header(), "part"),
            Found::Nothing => return "nothing".to_owned(),
        };
        let place = document.place(bytes);
        format!("{what} {}:{}-{}", place.line, place.column, place.end_column)
    }

    #[test]
    fn finds_keys_and_what_would_enclose_them() {
        let l = || KeyPath::of("l");
        for (path, expected) in [
            (KeyPath::of("a"), "whole 1:5-6"),
            (KeyPath::of("t.b"), "whole 3:5-8"),
            (KeyPath::of("t.missing"), "part 2:2-3"),
            (l().index(1).key("c.d"), "whole 9:11-12"),
            (l().entry("y").key("c.d"), "whole 9:11-12"),
            (l().entry("y").key("s.e"), "whole 11:5-8"),
            (l().entry("y").key("s.e").index(1), "whole 12:2-3"),
            (l().entry("z").key("c"), "part 5:3-4"),
            (KeyPath::of("nothing.at"), "nothing"),
        ] {
            assert_eq!(shown(path.clone()), expected, "{path}");
        }
    }

    #[test]
    fn reads_on_behind_a_fault() {
        let document = Document::parse("a = \nb = 2\nc = [1\n[t]\nd = 3\nd = 4\n");
        let lines: Vec<_> = document.faults().iter().map(|fault| fault.place.line).collect();
        assert!(lines.contains(&1) && lines.contains(&6), "{lines:?}");
        assert!(document.faults().iter().all(|fault| !fault.what.is_empty()));
        assert!(matches!(document.find(&KeyPath::of("b")), Found::Whole(_)));
    }
}
