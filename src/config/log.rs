//! `[log]`: what the log says and how.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// What the log says and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace` or `off`, or several for parts of the program, as
    /// `"warn,hookgate::access=info"`. `info` has one line for each request and for each change of state.
    pub level: Level,
    /// `json`, one object per line, for whatever collects logs; or `text`, for a person at a terminal.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One JSON object per line, to standard output.
    #[default]
    Json,
    /// For a person at a terminal, to standard error.
    Text,
}

/// Which lines are written. A bare word must be a level: tracing-subscriber itself takes any word for the
/// name of a part, so that `"inof"` would silence everything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Level(String);

/// A text that is neither a level nor a list of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no log level; write \"info\", or \"warn,hookgate::access=info\"")]
pub struct BadLevel(String);

impl Level {
    /// Reads one level, or `part=level` pairs and levels with commas between them.
    ///
    /// # Errors
    /// [`BadLevel`]
    pub fn new(text: &str) -> Result<Self, BadLevel> {
        let sound = text.split(',').all(|each| {
            let level = each.rsplit_once('=').map_or(each, |(_, level)| level);
            // tracing's own parser takes numbers and nothing at all, too.
            let word = !level.is_empty() && level.bytes().all(|b| b.is_ascii_alphabetic());
            word && level.parse::<LevelFilter>().is_ok()
        });
        if sound && EnvFilter::try_new(text).is_ok() {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadLevel(text.to_owned()))
        }
    }

    /// Errors, and nothing else.
    pub fn only_errors() -> Self {
        Self("error".to_owned())
    }

    /// The filter that lets these lines through.
    pub fn filter(&self) -> EnvFilter {
        EnvFilter::new(&self.0)
    }
}

impl Default for Level {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl TryFrom<String> for Level {
    type Error = BadLevel;

    fn try_from(text: String) -> Result<Self, BadLevel> {
        Self::new(&text)
    }
}

impl From<Level> for String {
    fn from(level: Level) -> Self {
        level.0
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_silences_nothing() {
        for good in ["info", "WARN", "off", "warn,hookgate::access=info", "hookgate=debug,error"] {
            assert!(Level::new(good).is_ok(), "{good}");
        }
        for bad in ["", "inof", "loud,", "info,", "hookgate", "hookgate=inof", "info debug", "3"] {
            assert!(Level::new(bad).is_err(), "{bad}");
        }
    }
}
