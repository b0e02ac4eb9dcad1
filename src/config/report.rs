//! Problems with their places, as a person and as a pipeline read them.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

pub use crate::config::document::Place;
use crate::problem::{Code, Problem, Severity};

/// A problem, and where to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// What is wrong. Its path has numbers for the entries of lists.
    pub problem: Problem,
    /// Where in the file; nothing where the file has no such place.
    pub place: Option<Place>,
    /// Which environment variable says it, where the file does not.
    pub variable: Option<String>,
    /// Where the related keys stand, in their order.
    pub related: Vec<Option<Place>>,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(variable) = &self.variable else {
            if let Some(place) = &self.place {
                write!(f, "line {}: ", place.line)?;
            }
            return fmt::Display::fmt(&self.problem, f);
        };
        write!(f, "{variable}: {}", self.problem.message)?;
        self.problem.help.as_ref().map_or(Ok(()), |help| write!(f, "; {help}"))
    }
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file.
    pub(crate) file: String,
    /// Its text, with stars for what could be a secret.
    pub(crate) text: String,
    /// In the order of the file.
    pub(crate) problems: Vec<Located>,
}

/// One line for each problem: for a log.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.problems.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl Report {
    /// A file that cannot even be read.
    pub(crate) fn unreadable(file: &Path, code: Code, sentence: &str) -> Self {
        let problem = Problem::error(code, crate::problem::KeyPath::default(), sentence);
        let located = Located { problem, place: None, variable: None, related: Vec::new() };
        Self { file: file.display().to_string(), text: String::new(), problems: vec![located] }
    }

    /// Leaves out what is about something else.
    pub(crate) fn retain(&mut self, wanted: impl Fn(&Problem) -> bool) {
        self.problems.retain(|each| wanted(&each.problem));
    }

    /// Which file it is about.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// All problems.
    pub fn problems(&self) -> &[Located] {
        &self.problems
    }

    /// How many problems are so grave.
    pub fn count(&self, severity: Severity) -> usize {
        self.problems.iter().filter(|each| each.problem.severity == severity).count()
    }

    /// Whether nothing keeps the gateway from serving.
    pub fn is_good(&self) -> bool {
        self.count(Severity::Error) == 0
    }

    /// Each problem with the line that it is about, for a terminal.
    pub fn shown(&self) -> String {
        let renderer = Renderer::plain().decor_style(DecorStyle::Ascii);
        let shown = self.problems.iter().map(|each| renderer.render(&[self.group(each)]));
        let lines = |text: String| {
            // Covered comments leave blanks behind.
            let lines: Vec<_> = text.lines().map(|line| line.trim_end().to_owned()).collect();
            lines.join("\n")
        };
        shown.map(lines).collect::<Vec<_>>().join("\n\n")
    }

    fn group<'a>(&'a self, each: &'a Located) -> Group<'a> {
        let level = match each.problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let path = each.problem.path.to_string();
        let title = if path.is_empty() {
            each.problem.message.clone()
        } else {
            format!("{path}: {}", each.problem.message)
        };
        let mut group = Group::with_title(level.primary_title(title).id(each.problem.code.word()));
        let help = each.problem.help.as_deref();
        match (&each.place, &each.variable) {
            (_, Some(variable)) => {
                group = group.element(
                    Level::NOTE.message(format!("set by the environment variable {variable}")),
                );
            }
            (Some(place), None) => group = group.element(self.snippet(each, place, help)),
            (None, None) => group = group.element(Origin::path(self.file.as_str())),
        }
        match help.filter(|_| each.place.is_none() || each.variable.is_some()) {
            Some(help) => group.element(Level::HELP.message(help)),
            None => group,
        }
    }

    fn snippet<'a>(
        &'a self,
        each: &'a Located,
        place: &Place,
        help: Option<&'a str>,
    ) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let primary = AnnotationKind::Primary.span(self.within(&place.bytes)).label(help);
        let others =
            each.related.iter().zip(&each.problem.related).filter_map(|(place, (_, why))| {
                let span = self.within(&place.as_ref()?.bytes);
                Some(AnnotationKind::Context.span(span).label(why.as_str()))
            });
        Snippet::source(self.text.as_str())
            .path(self.file.as_str())
            .fold(true)
            .annotation(primary)
            .annotations(others)
    }

    /// The shown text has the length of the read one; this holds a slip to what is there.
    fn within(&self, bytes: &Range<usize>) -> Range<usize> {
        let end = bytes.end.min(self.text.len());
        bytes.start.min(end)..end
    }

    /// The same for pipelines: a JSON object whose shape `docs/configuration.md` promises.
    pub fn to_json(&self) -> serde_json::Value {
        let problems: Vec<_> = self.problems.iter().map(entry).collect();
        let told = Told {
            file: &self.file,
            ok: self.is_good(),
            errors: self.count(Severity::Error),
            warnings: self.count(Severity::Warning),
            problems,
        };
        serde_json::to_value(told).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Told<'a> {
    file: &'a str,
    ok: bool,
    errors: usize,
    warnings: usize,
    problems: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    severity: &'static str,
    code: &'static str,
    path: String,
    variable: Option<&'a str>,
    line: Option<usize>,
    column: Option<usize>,
    end_column: Option<usize>,
    message: &'a str,
    help: Option<&'a str>,
    related: Vec<Related<'a>>,
}

#[derive(Serialize)]
struct Related<'a> {
    path: String,
    line: Option<usize>,
    column: Option<usize>,
    message: &'a str,
}

fn entry(each: &Located) -> Entry<'_> {
    let place = each.place.as_ref().filter(|_| each.variable.is_none());
    let related = each.related.iter().zip(&each.problem.related);
    Entry {
        severity: each.problem.severity.word(),
        code: each.problem.code.word(),
        path: each.problem.path.to_string(),
        variable: each.variable.as_deref(),
        line: place.map(|place| place.line),
        column: place.map(|place| place.column),
        end_column: place.map(|place| place.end_column),
        message: &each.problem.message,
        help: each.problem.help.as_deref(),
        related: related
            .map(|(place, (path, message))| Related {
                path: path.to_string(),
                line: place.as_ref().map(|place| place.line),
                column: place.as_ref().map(|place| place.column),
                message,
            })
            .collect(),
    }
}
