//! What a step of a rotation changed, in words.

use std::fmt::Write;

use crate::keyring::life::KeyState;
use crate::keyring::ring::KeyRow;

/// Until when a key stays, in words.
pub(crate) fn until(row: &KeyRow) -> String {
    match row.course.retirable_from() {
        Some(from) => format!("may go from {from}"),
        None => "the file does not say since when it is not used; --force drops it".to_owned(),
    }
}

/// What a step changed.
#[derive(Debug)]
pub struct Step {
    /// The keys that were added, changed or dropped, as they are or were.
    pub changed: Vec<KeyRow>,
    /// Earlier keys that must stay.
    pub staying: Vec<KeyRow>,
}

impl Step {
    /// A line for each key. `what` happened to those that changed: `changed` says to what.
    pub fn told(&self, what: &str) -> String {
        let mut text = String::new();
        for row in &self.changed {
            let (kind, kid, state) = (row.r#use.word(), &row.kid, row.course.state.word());
            let _ = match row.course.state {
                KeyState::Previous if what == "changed" => {
                    writeln!(text, "{kind} {kid}: {what} to {state}, {}", until(row))
                }
                KeyState::Current if what == "changed" => {
                    writeln!(text, "{kind} {kid}: {what} to {state}")
                }
                KeyState::Next | KeyState::Current | KeyState::Previous => {
                    writeln!(text, "{kind} {kid}: {what}")
                }
            };
        }
        for row in &self.staying {
            let _ = writeln!(text, "{} {}: stays, {}", row.r#use.word(), row.kid, until(row));
        }
        text
    }
}
