//! Reads the tree of values, and goes on reading behind whatever is wrong, until everything has been found.
//!
//! serde stops at the first value that does not fit. That value is then taken out, or, where the key must be
//! there, replaced by the example that the schema has for it, and the tree is read again. What is made of the
//! tree in the end serves for looking for further mistakes and for nothing else.

use std::collections::{BTreeMap, BTreeSet};

use figment::value::Value;
use serde::de::DeserializeOwned;

use crate::config::schema;
use crate::config::sentence::{Finding, finding, nearest};
use crate::problem::{Code, KeyPath, Problem, Segment};

/// No file has so many mistakes; a value that cannot be taken out must not keep anybody here for ever.
const MOST_ROUNDS: usize = 1000;

/// What became of a tree.
#[derive(Debug)]
pub(crate) struct Form<T> {
    /// The settings, without what could not be read.
    pub(crate) settings: Option<T>,
    /// Everything that is wrong with the form.
    pub(crate) problems: Vec<Problem>,
    /// What is left of the tree when it comes to what the problems are about.
    pub(crate) pruning: Pruning,
}

/// What was taken out, or replaced by an example.
#[derive(Debug, Default)]
pub(crate) struct Pruning {
    keys: Vec<KeyPath>,
    /// What misspelt keys were probably meant to be.
    meant: Vec<KeyPath>,
    /// The entries that lists have lost, by their first numbers.
    entries: BTreeMap<KeyPath, BTreeSet<usize>>,
}

impl Pruning {
    /// The path that a key had before entries were taken out of the lists above it.
    pub(crate) fn original(&self, path: &KeyPath) -> KeyPath {
        let mut original = KeyPath::default();
        for segment in &path.0 {
            let segment = match segment {
                Segment::Index(index) => {
                    let lost = self.entries.get(&original);
                    let shifted = lost.into_iter().flatten().fold(*index, |at, lost| {
                        if *lost <= at { at.saturating_add(1) } else { at }
                    });
                    Segment::Index(shifted)
                }
                Segment::Key(_) | Segment::Entry(_) => segment.clone(),
            };
            original.0.push(segment);
        }
        original
    }

    /// Whether something was wrong with this key already, so that nothing more can be said about it.
    pub(crate) fn concerns(&self, path: &KeyPath) -> bool {
        self.keys.iter().any(|pruned| pruned.holds(path))
    }

    /// Whether it, or what encloses it, is there and misspelt, so that it cannot be called missing.
    pub(crate) fn is_misspelt(&self, path: &KeyPath) -> bool {
        self.meant.iter().any(|meant| meant.holds(path))
    }
}

/// Reads `values`, which `schema` describes.
pub(crate) fn read<T: DeserializeOwned>(mut values: Value, schema: &serde_json::Value) -> Form<T> {
    let mut reading = Reading { schema, problems: Vec::new(), pruning: Pruning::default() };
    let mut settings = None;
    for _ in 0..MOST_ROUNDS {
        match values.deserialize::<T>() {
            Ok(read) => {
                settings = Some(read);
                break;
            }
            Err(error) => {
                if !reading.set_aside(&mut values, finding(&error)) {
                    break;
                }
            }
        }
    }
    Form { settings, problems: reading.problems, pruning: reading.pruning }
}

struct Reading<'a> {
    schema: &'a serde_json::Value,
    problems: Vec<Problem>,
    pruning: Pruning,
}

impl Reading<'_> {
    /// Notes what was found and takes it out of the way. False where that cannot be done.
    fn set_aside(&mut self, values: &mut Value, found: Finding) -> bool {
        let path = key_path(values, &found.path);
        let original = self.pruning.original(&path);
        if found.code == Code::MissingKey {
            return self.stand_in(values, &path, &original, found);
        }
        let problem = if found.code == Code::UnknownKey {
            self.unknown(&original)
        } else {
            Problem::error(found.code, original.clone(), found.sentence)
        };
        self.note(problem);
        self.take_out(values, &path, original)
    }

    fn note(&mut self, problem: Problem) {
        let misspelt = problem.code == Code::MissingKey && self.pruning.is_misspelt(&problem.path);
        if !misspelt && !self.pruning.concerns(&problem.path) {
            self.problems.push(problem);
        }
    }

    fn take_out(&mut self, values: &mut Value, path: &KeyPath, original: KeyPath) -> bool {
        let Some((last, above)) = path.0.split_last() else { return false };
        match (at_mut(values, above), last) {
            (Some(Value::Dict(_, table)), Segment::Key(key)) => {
                self.pruning.keys.push(original);
                table.remove(key).is_some()
            }
            (Some(Value::Array(_, list)), Segment::Index(index)) if *index < list.len() => {
                list.remove(*index);
                let Some((Segment::Index(first), list)) = original.0.split_last() else {
                    return false;
                };
                let lost = self.pruning.entries.entry(KeyPath(list.to_vec())).or_default();
                lost.insert(*first);
                self.pruning.keys.push(original);
                true
            }
            (_, _) => false,
        }
    }

    /// Puts the schema's example where something is missing; without one the enclosing entry goes.
    fn stand_in(
        &mut self,
        values: &mut Value,
        path: &KeyPath,
        original: &KeyPath,
        found: Finding,
    ) -> bool {
        let Some((Segment::Key(key), above)) = path.0.split_last() else { return false };
        let example = schema::at(self.schema, path).and_then(schema::example);
        let help = example.map(|example| format!("; write {key} = {example}"));
        let sentence = found.sentence + &help.unwrap_or_default();
        self.note(Problem::error(found.code, original.clone(), sentence));
        self.pruning.keys.push(original.clone());
        match (example.map(Value::serialize), at_mut(values, above)) {
            (Some(Ok(example)), Some(Value::Dict(_, table))) => {
                table.insert(key.clone(), example).is_none()
            }
            (_, _) => {
                let above = KeyPath(above.to_vec());
                let original = self.pruning.original(&above);
                self.take_out(values, &above, original)
            }
        }
    }

    /// A key that does not exist: what was meant, or where it belongs.
    fn unknown(&mut self, path: &KeyPath) -> Problem {
        let (above, key) = match path.0.split_last() {
            Some((Segment::Key(key), above)) => (KeyPath(above.to_vec()), key.as_str()),
            Some((Segment::Index(_) | Segment::Entry(_), _)) | None => (KeyPath::default(), ""),
        };
        let known = schema::at(self.schema, &above).map(schema::keys).unwrap_or_default();
        if let Some(meant) = nearest(key, known.iter().copied()) {
            self.pruning.meant.push(above.clone().key(meant));
            let sentence = format!("there is no such key; did you mean {meant}?");
            return Problem::error(Code::UnknownKey, path.clone(), sentence);
        }
        let mut tables = schema::tables_with(self.schema, key);
        if tables.is_empty() {
            tables = schema::tables_with(self.schema, &snake(key));
        }
        if let [first, others @ ..] = tables.as_slice()
            && others.len() < 3
        {
            let at =
                if above.0.is_empty() { "at the top".to_owned() } else { format!("in {above}") };
            let tables =
                std::iter::once(first).chain(others).map(|table| header(self.schema, table));
            let sentence =
                format!("stands {at}; put it {}", tables.collect::<Vec<_>>().join(" or "));
            return Problem::error(Code::MisplacedKey, path.clone(), sentence);
        }
        let are = if known.len() == 1 { "is only" } else { "are" };
        let sentence = format!("there is no such key; there {are} {}", known.join(", "));
        Problem::error(Code::UnknownKey, path.clone(), sentence)
    }
}

/// Where a table's keys are written: below its header.
fn header(schema: &serde_json::Value, table: &str) -> String {
    let of = schema::at(schema, &KeyPath::of(table));
    match (table, of.is_some_and(schema::is_list_of_tables)) {
        ("", _) => "at the top, above every table".to_owned(),
        (_, true) => format!("below [[{table}]]"),
        (_, false) => format!("below [{table}]"),
    }
}

/// `idleTimeout` and `idle-timeout` as this file would spell them.
fn snake(key: &str) -> String {
    let mut snake = String::new();
    for c in key.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake.replace('-', "_")
}

/// A number is the number of an entry only where there is a list.
fn key_path(values: &Value, path: &[String]) -> KeyPath {
    let (mut value, mut read) = (Some(values), KeyPath::default());
    for segment in path {
        let (next, segment) = match (value, segment.parse::<usize>()) {
            (Some(Value::Array(_, list)), Ok(index)) => (list.get(index), Segment::Index(index)),
            (Some(Value::Dict(_, table)), _) => (table.get(segment), Segment::Key(segment.clone())),
            (_, _) => (None, Segment::Key(segment.clone())),
        };
        value = next;
        read.0.push(segment);
    }
    read
}

/// The value at a path.
pub(crate) fn at<'a>(value: &'a Value, path: &KeyPath) -> Option<&'a Value> {
    path.0.iter().try_fold(value, |value, segment| match (value, segment) {
        (Value::Dict(_, table), Segment::Key(key)) => table.get(key),
        (Value::Array(_, list), Segment::Index(index)) => list.get(*index),
        (_, Segment::Key(_) | Segment::Index(_) | Segment::Entry(_)) => None,
    })
}

fn at_mut<'a>(value: &'a mut Value, path: &[Segment]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, segment| match (value, segment) {
        (Value::Dict(_, table), Segment::Key(key)) => table.get_mut(key),
        (Value::Array(_, list), Segment::Index(index)) => list.get_mut(*index),
        (_, Segment::Key(_) | Segment::Index(_) | Segment::Entry(_)) => None,
    })
}
