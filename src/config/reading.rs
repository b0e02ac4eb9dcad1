//! A file and the environment, read: what they say, what is wrong with it, and where to mend that.

use std::collections::BTreeSet;
use std::path::Path;

use figment::Figment;
use figment::providers::Env;
use figment::value::Value;
use serde::de::DeserializeOwned;

use crate::config::document::{Document, Found, Place};
use crate::config::form;
use crate::config::form::{Form, Pruning};
use crate::config::mask::masked;
use crate::config::report::{Located, Report};
use crate::config::schema;
use crate::problem::{Code, KeyPath, Problem, Segment};

/// What was read, and what has been found to be wrong with it so far.
#[derive(Debug)]
pub(crate) struct Reading {
    file: String,
    prefix: &'static str,
    document: Document,
    schema: serde_json::Value,
    /// What the file and the environment say together, before anything was taken out.
    values: Value,
    figment: Figment,
    pruning: Pruning,
    found: Vec<Located>,
}

/// Where the variables of the environment come from: a test brings its own, or none.
pub(crate) type Variables = Option<Env>;

impl Reading {
    /// Reads the form. The settings are what could be made of it, where there are problems.
    pub(crate) fn new<T: DeserializeOwned>(
        file: &Path,
        text: &str,
        schema: serde_json::Value,
        prefix: &'static str,
        variables: Variables,
    ) -> (Self, Option<T>) {
        let document = Document::parse(text);
        let (environment, refused) = overrides(variables, &schema, prefix);
        let mut figment = Figment::from(&document);
        if let Some(environment) = environment {
            figment = figment.merge(environment);
        }
        let values =
            figment.find_value("").unwrap_or_else(|_| Value::from(figment::value::Dict::new()));
        let Form { settings, problems, pruning } = form::read(values.clone(), &schema);
        let broken = !document.faults().is_empty();
        let mut reading = Self {
            file: file.display().to_string(),
            prefix,
            document,
            schema,
            values,
            figment,
            pruning,
            found: refused,
        };
        reading.note_faults();
        for problem in problems {
            // What is missing from a file that cannot be read whole may be in the rest of it.
            if !(broken && (problem.code == Code::MissingKey || reading.is_garbled(&problem))) {
                reading.note_located(problem);
            }
        }
        (reading, settings.filter(|_| !broken))
    }

    /// Takes in what a later look at the settings has found, unless it comes of what is known already.
    pub(crate) fn note(&mut self, problems: impl IntoIterator<Item = Problem>) {
        for problem in problems {
            let original = |path: &KeyPath| self.document.resolved(&self.pruning.original(path));
            let mut problem = problem;
            problem.path = original(&problem.path);
            problem.related.iter_mut().for_each(|(path, _)| *path = original(path));
            let paths = || {
                std::iter::once(&problem.path).chain(problem.related.iter().map(|(path, _)| path))
            };
            let misspelt =
                problem.code == Code::MissingKey && self.pruning.is_misspelt(&problem.path);
            let guessed =
                misspelt || paths().any(|path| self.pruning.concerns(path) || is_unresolved(path));
            let known = self.found.iter().any(|known| {
                known.problem.path == problem.path
                    && is_file(known.problem.code)
                    && !problem.path.0.is_empty()
            });
            if !guessed && !known {
                self.note_located(problem);
            }
        }
    }

    /// Whether it is about a line of which nobody knows what it says.
    fn is_garbled(&self, problem: &Problem) -> bool {
        let place = self.document_place(problem);
        let line = place.map(|place| place.line);
        self.document.faults().iter().any(|fault| Some(fault.place.line) == line)
    }

    fn note_located(&mut self, problem: Problem) {
        let place = self.document_place(&problem);
        let related = problem.related.iter().map(|(path, _)| self.value_place(path)).collect();
        let variable = self.variable(&problem.path);
        self.found.push(Located { problem, place, variable, related });
    }

    fn note_faults(&mut self) {
        for fault in self.document.faults() {
            let sentence = without_quotes(&fault.what);
            let problem = Problem::error(Code::Syntax, KeyPath::default(), sentence);
            let place = Some(fault.place.clone());
            self.found.push(Located { problem, place, variable: None, related: Vec::new() });
        }
    }

    /// The name of the variable that says what stands at `path`, where it is not the file that says it.
    fn variable(&self, path: &KeyPath) -> Option<String> {
        let value = form::at(&self.values, path)?;
        let metadata = self.figment.get_metadata(value.tag())?;
        if !metadata.name.contains("environment variable") {
            return None;
        }
        let keys = path.0.iter().map_while(|segment| match segment {
            Segment::Key(key) => Some(key.to_ascii_uppercase()),
            Segment::Index(_) | Segment::Entry(_) => None,
        });
        Some(format!("{}{}", self.prefix, keys.collect::<Vec<_>>().join("__")))
    }

    fn document_place(&self, problem: &Problem) -> Option<Place> {
        let about_key = matches!(problem.code, Code::UnknownKey | Code::MisplacedKey);
        let bytes = match self.document.find(&problem.path) {
            Found::Whole(node) if about_key || node.is_table() => node.header(),
            Found::Whole(node) => node.value.clone(),
            Found::Part(node) => node.header(),
            Found::Nothing => return None,
        };
        Some(self.document.place(bytes))
    }

    fn value_place(&self, path: &KeyPath) -> Option<Place> {
        let Found::Whole(node) = self.document.find(path) else { return None };
        let bytes = if node.is_table() { node.header() } else { node.value.clone() };
        Some(self.document.place(bytes))
    }

    /// Everything that was found.
    pub(crate) fn report(mut self) -> Report {
        self.found.sort_by_key(|each| {
            let line = each.place.as_ref().filter(|_| each.variable.is_none());
            line.map_or((usize::MAX, 0), |place| (place.line, place.column))
        });
        self.found.dedup();
        Report { file: self.file, text: masked(&self.document, &self.schema), problems: self.found }
    }
}

const fn is_file(code: Code) -> bool {
    matches!(code, Code::FileMissing | Code::FileKind | Code::FileUnreadable)
}

fn is_unresolved(path: &KeyPath) -> bool {
    path.0.iter().any(|segment| matches!(segment, Segment::Entry(_)))
}

/// What a parser quotes could be a part of a secret.
fn without_quotes(what: &str) -> String {
    let parts = what.split('`').enumerate();
    let kept = parts.map(|(at, part)| match at % 2 {
        1 if part.chars().any(char::is_alphanumeric) => "…",
        1 => part,
        _ => part,
    });
    kept.collect()
}

/// The environment's variables without those that cannot be merged: a list of tables would be replaced by one
/// of its keys.
fn overrides(
    variables: Variables,
    schema: &serde_json::Value,
    prefix: &str,
) -> (Option<Env>, Vec<Located>) {
    let Some(all) = variables else { return (None, Vec::new()) };
    let all = all.split("__");
    let lists: BTreeSet<String> = schema::keys(schema)
        .into_iter()
        .filter(|key| schema::below(schema, key).is_some_and(schema::is_list_of_tables))
        .map(str::to_owned)
        .collect();
    let first = |key: &str| key.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let mut refused = Vec::new();
    for (key, _) in all.iter() {
        let key = key.as_str();
        if lists.contains(&first(key)) {
            let sentence =
                "the keys of a list of tables can be set in the file only; remove the variable";
            let variable = format!("{prefix}{}", key.replace('.', "__").to_ascii_uppercase());
            refused.push(Located {
                problem: Problem::error(Code::Environment, KeyPath::of(&first(key)), sentence),
                place: None,
                variable: Some(variable),
                related: Vec::new(),
            });
        }
    }
    (Some(all.filter(move |key| !lists.contains(&first(key.as_str())))), refused)
}
