//! `[audit]`

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::problem::{Code, Problem};

/// One line for each security decision, for whoever has to show later what was decided and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The file to which events are appended. Made with mode 0640 if missing; its folder must be there. A file
    /// that was moved away is noticed and made anew, so that logrotate needs no signal. Left out, nothing is written.
    pub file: Option<PathBuf>,
    /// Write events to standard output instead, among the lines of the log.
    pub stdout: bool,
    /// `"ndjson"`, or `"fhir"`: each event as a FHIR R4 AuditEvent, one to a line.
    pub format: Format,
    /// No decision without its event: an answer waits until its events are on disk, and calls and links are refused
    /// with 503 while they cannot be written. Without it answers wait for nothing, and events that cannot be
    /// written are lost after a while, counted, and told in readiness.
    pub required: bool,
}

/// What an event looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One flat JSON object.
    #[default]
    Ndjson,
    /// A FHIR R4 AuditEvent.
    Fhir,
}

/// Why there is nowhere to write events to.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Both places are named.
    #[error("audit.stdout is true, and audit.file is there, too; write one of them")]
    TwoPlaces,
    /// Nothing is named, and it must be written.
    #[error("audit.required has no place to write to; name a file, or write stdout = true")]
    NoPlace,
    /// The file cannot be used.
    #[error("audit.file {path} {why}")]
    File {
        /// Which file.
        path: String,
        /// What kind of problem it is.
        code: Code,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// No thread, or no randomness.
    #[error("audit: {0}")]
    System(String),
}

impl From<AuditError> for Problem {
    fn from(error: AuditError) -> Self {
        let code = match error {
            AuditError::TwoPlaces => Code::Conflict,
            AuditError::NoPlace => Code::MissingKey,
            AuditError::File { code, .. } => code,
            AuditError::System(_) => Code::Outside,
        };
        Self::said(code, error.to_string())
    }
}

impl Settings {
    /// Whether anything is to be written.
    pub const fn is_on(&self) -> bool {
        self.file.is_some() || self.stdout
    }

    /// Says what is wrong with the settings by themselves.
    ///
    /// # Errors
    /// [`AuditError`]
    pub const fn check(&self) -> Result<(), AuditError> {
        match (&self.file, self.stdout) {
            (Some(_), true) => Err(AuditError::TwoPlaces),
            (None, false) if self.required => Err(AuditError::NoPlace),
            (_, _) => Ok(()),
        }
    }
}
