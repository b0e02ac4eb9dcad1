//! What a caller sent, made fit for a log line.

use std::fmt;

/// The most characters that are kept.
const MAX: usize = 200;

/// A short piece of a caller's text: cut, and free of control characters. It may stand in the log;
/// it is never compared and never sent anywhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    /// Takes the beginning of `text`.
    pub(super) fn new(text: &str) -> Self {
        let mut shown = String::new();
        for (count, c) in text.chars().enumerate() {
            if count == MAX {
                shown.push('…');
                break;
            }
            if c.is_control() || is_invisible(c) {
                shown.extend(c.escape_unicode());
            } else {
                shown.push(c);
            }
        }
        Self(shown)
    }

    /// The text, cut and escaped.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Line and paragraph separators, and marks that turn or hide the text around them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_and_escapes() {
        assert_eq!(Shown::new("https://a").as_str(), "https://a");
        assert_eq!(Shown::new("a\r\nb\u{1b}").as_str(), "a\\u{d}\\u{a}b\\u{1b}");
        assert_eq!(Shown::new("a\u{202e}b\u{2028}").as_str(), "a\\u{202e}b\\u{2028}");
        let long = Shown::new(&"ä".repeat(500));
        assert_eq!(long.as_str().chars().count(), MAX + 1);
    }
}
