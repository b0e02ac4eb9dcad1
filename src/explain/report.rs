//! What was found out, for a person and for a script.

use std::fmt;

use serde::Serialize;

use crate::gateway::refusal::Refusal;

/// Every step, and how it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was asked.
    pub subject: String,
    /// The steps, in the gateway's order.
    pub steps: Vec<Step>,
    /// How it ends.
    pub verdict: Verdict,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its name.
    pub name: &'static str,
    /// How it went.
    #[serde(flatten)]
    pub standing: Standing,
    /// What came.
    pub came: String,
    /// What is taken: a line for each possibility.
    pub expected: Vec<String>,
    /// What to change where it failed.
    pub change: Vec<String>,
}

/// How a step went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "outcome")]
pub enum Standing {
    /// As it should.
    Passed,
    /// It refuses.
    Failed {
        /// The reason, as the log has it.
        reason: &'static str,
        /// The same in a sentence.
        sentence: String,
    },
    /// It could not be taken.
    Unsaid {
        /// Why.
        sentence: String,
    },
}

/// How it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "verdict")]
pub enum Verdict {
    /// The gateway takes it.
    Accepted {
        /// What that hangs on still.
        sentence: String,
    },
    /// The gateway refuses it.
    Refused {
        /// The reason, as the log has it.
        reason: &'static str,
        /// The status that the caller sees.
        status: u16,
        /// The code that the caller sees.
        code: &'static str,
        /// The reason in a sentence.
        sentence: String,
    },
    /// It cannot be said from here.
    Undecided {
        /// Why, and what would help.
        sentence: String,
    },
}

impl Verdict {
    /// Whether the gateway takes it.
    pub const fn is_accepted(&self) -> bool {
        match self {
            Self::Accepted { .. } => true,
            Self::Refused { .. } | Self::Undecided { .. } => false,
        }
    }
}

/// What the log and a person read of a refusal.
pub(crate) fn said(refusal: &Refusal) -> (&'static str, String) {
    (refusal.reason(), refusal.to_string())
}

/// How it ends with this refusal.
pub(crate) fn refused(refusal: &Refusal) -> Verdict {
    let public = refusal.public();
    Verdict::Refused {
        reason: refusal.reason(),
        status: public.status.as_u16(),
        code: public.code,
        sentence: refusal.to_string(),
    }
}

impl Step {
    /// A step that went as it should.
    pub(crate) fn passed(name: &'static str, came: impl Into<String>) -> Self {
        Self::new(name, Standing::Passed, came)
    }

    /// A step that refuses, and what to change.
    pub(crate) fn failed(
        name: &'static str,
        (reason, sentence): (&'static str, String),
        came: impl Into<String>,
        change: &str,
    ) -> Self {
        let standing = Standing::Failed { reason, sentence };
        Self { change: vec![change.to_owned()], ..Self::new(name, standing, came) }
    }

    /// A step that could not be taken.
    pub(crate) fn unsaid(name: &'static str, why: &str, came: impl Into<String>) -> Self {
        Self::new(name, Standing::Unsaid { sentence: why.to_owned() }, came)
    }

    fn new(name: &'static str, standing: Standing, came: impl Into<String>) -> Self {
        Self { name, standing, came: came.into(), expected: Vec::new(), change: Vec::new() }
    }
}

/// How wide the names of steps are.
const WIDTH: usize = 9;
/// What stands before a line that goes on.
const INDENT: usize = 6 + WIDTH + 1;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.subject)?;
        for step in &self.steps {
            write!(f, "{step}")?;
        }
        writeln!(f)?;
        match &self.verdict {
            Verdict::Accepted { sentence } => writeln!(f, "accepted: {sentence}")?,
            Verdict::Undecided { sentence } => writeln!(f, "undecided: {sentence}")?,
            Verdict::Refused { reason, status, code, sentence } => {
                writeln!(f, "refused: {reason} ({status} {code}): {sentence}")?;
            }
        }
        let others = self.other_reasons();
        if !others.is_empty() {
            writeln!(f, "and then: {}", others.join(", "))?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

impl Report {
    /// Why it would be refused if what it is refused for were mended: each reason once.
    fn other_reasons(&self) -> Vec<&'static str> {
        let first = match &self.verdict {
            Verdict::Refused { reason, .. } => Some(*reason),
            Verdict::Accepted { .. } | Verdict::Undecided { .. } => None,
        };
        let mut others = Vec::new();
        for step in &self.steps {
            if let Standing::Failed { reason, .. } = &step.standing
                && Some(*reason) != first
                && !others.contains(reason)
            {
                others.push(*reason);
            }
        }
        others
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mark, sentence) = match &self.standing {
            Standing::Passed => ("ok", None),
            Standing::Failed { sentence, .. } => ("FAIL", Some(sentence)),
            Standing::Unsaid { sentence } => ("?", Some(sentence)),
        };
        let mut lines = vec![];
        lines.extend(Some(self.came.clone()).filter(|came| !came.is_empty()));
        lines.extend(sentence.cloned());
        let plain = matches!(self.standing, Standing::Passed);
        for (index, line) in self.expected.iter().enumerate() {
            let word = if index == 0 { "expected" } else { "" };
            // What passed needs no more than one line beside it.
            if !plain || self.expected.len() == 1 || self.name == "aud" || self.name == "kid" {
                lines.push(format!("{word:9} {line}"));
            }
        }
        for (index, line) in self.change.iter().enumerate() {
            let word = if index == 0 { "change" } else { "" };
            lines.push(format!("{word:9} {line}"));
        }
        let mut lines = lines.iter();
        let first = lines.next().map_or("", String::as_str);
        writeln!(f, "{}", format!("{mark:4}  {:WIDTH$} {first}", self.name).trim_end())?;
        for line in lines {
            writeln!(f, "{:INDENT$}{line}", "")?;
        }
        Ok(())
    }
}
