//! What is wrong with a configuration: a stable code, the key it is about, and a sentence.
//!
//! A step that checks its settings names the key by its path; where that key stands in the file, or which
//! environment variable set it, is found out by [`config`](crate::config), which alone has read them.

use std::fmt;

/// How grave a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Nothing is served with it.
    Error,
    /// It works, and will not, or not as it should.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])+ $name:ident = $word:literal,)+) => {
        /// What kind of problem it is. The words are stable: pipelines match them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[$doc])+ $name,)+ }

        impl Code {
            /// All of them, as `docs/configuration.md` lists them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The stable word.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }
        }
    };
}

codes! {
    /// The text is no TOML.
    Syntax = "syntax",
    /// There is no such key or table.
    UnknownKey = "unknown-key",
    /// The key exists, in another table.
    MisplacedKey = "misplaced-key",
    /// A key or table that must be there is not.
    MissingKey = "missing-key",
    /// A number for a text, a table for a list, and the like.
    WrongType = "wrong-type",
    /// Not one of the words that the key takes.
    UnknownValue = "unknown-value",
    /// A text that is not what the key asks for: no URL, no address, no length of time.
    BadValue = "bad-value",
    /// A number, time or size outside of what makes sense.
    OutOfRange = "out-of-range",
    /// Something is there twice that must be one.
    Duplicate = "duplicate",
    /// Something is named that does not exist.
    UnknownReference = "unknown-reference",
    /// Keys that exclude, or need, each other.
    Conflict = "conflict",
    /// An environment variable for something that only the file can say.
    Environment = "environment",
    /// A file that is not there.
    FileMissing = "file-missing",
    /// A directory where a file should be, or the other way round.
    FileKind = "file-kind",
    /// A file that this user may not read.
    FileUnreadable = "file-unreadable",
    /// A secret that others may read or write.
    FilePermissions = "file-permissions",
    /// A file that does not hold what it should.
    FileContent = "file-content",
    /// The certificate is not that of the key.
    CertificateKey = "certificate-key",
    /// The certificate has ended.
    CertificateExpired = "certificate-expired",
    /// The certificate's time has not begun.
    CertificateNotYetValid = "certificate-not-yet-valid",
    /// The certificate ends within 30 days.
    CertificateExpiring = "certificate-expiring",
    /// The certificate is not for the host of `public_url`.
    CertificateName = "certificate-name",
    /// The certificates of the chain do not vouch for one another in their order.
    CertificateChain = "certificate-chain",
    /// Nobody but itself vouches for the certificate.
    CertificateSelfSigned = "certificate-self-signed",
    /// Anybody can sign as this client: its private key is published.
    PublicTestKey = "public-test-key",
    /// What is wrong is outside of the file: an address that is in use, a store that cannot be opened.
    Outside = "outside",
    /// Something that is allowed and weakens what the gateway is for.
    Weak = "weak",
}

/// One step of a path to a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// A key of a table.
    Key(String),
    /// An entry of a list, counted from 0.
    Index(usize),
    /// The entry of a list of tables that has this `id`.
    Entry(String),
}

/// Which key: `listener.address`, `client[1].issuer`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyPath(pub Vec<Segment>);

impl KeyPath {
    /// Keys with dots between them: `"state.redis.timeout"`.
    pub fn of(keys: &str) -> Self {
        Self::default().key(keys)
    }

    /// Below this one, keys with dots between them.
    #[must_use]
    pub fn key(mut self, keys: &str) -> Self {
        self.0.extend(
            keys.split('.').filter(|key| !key.is_empty()).map(|key| Segment::Key(key.to_owned())),
        );
        self
    }

    /// The entry of that number, from 0.
    #[must_use]
    pub fn index(mut self, index: usize) -> Self {
        self.0.push(Segment::Index(index));
        self
    }

    /// The entry with that `id`.
    #[must_use]
    pub fn entry(mut self, id: impl fmt::Display) -> Self {
        self.0.push(Segment::Entry(id.to_string()));
        self
    }

    /// The last key in it: `address` of `listener.address`.
    pub fn name(&self) -> &str {
        let keys = self.0.iter().rev().find_map(|segment| match segment {
            Segment::Key(key) => Some(key.as_str()),
            Segment::Index(_) | Segment::Entry(_) => None,
        });
        keys.unwrap_or_default()
    }

    /// Whether `other` is this key or stands below it.
    pub fn holds(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if place == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Entry(id) => write!(f, "[{id:?}]")?,
            }
        }
        Ok(())
    }
}

/// One thing to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether it keeps the gateway from serving.
    pub severity: Severity,
    /// What kind.
    pub code: Code,
    /// Which key. A key that is missing has a path, too: where it would stand.
    pub path: KeyPath,
    /// What is wrong. Never a value that could be a secret.
    pub message: String,
    /// What to write instead, where there is something to say.
    pub help: Option<String>,
    /// Other keys that have to do with it, each with a word on why.
    pub related: Vec<(KeyPath, String)>,
}

impl Problem {
    /// An error. `sentence` says what is wrong, and behind a semicolon what to write instead, as
    /// `"is 0; write \"1s\" or more"`.
    pub fn error(code: Code, path: KeyPath, sentence: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, path, sentence.into())
    }

    /// An error whose `sentence` begins with the key: `"breaker.pause is longer than breaker.max_pause"`.
    pub fn said(code: Code, sentence: impl Into<String>) -> Self {
        let sentence = sentence.into();
        let (key, rest) = sentence.split_once(' ').unwrap_or((&sentence, ""));
        Self::error(code, KeyPath::of(key.trim_end_matches(':')), rest)
    }

    /// A warning, said in the same way.
    pub fn warning(code: Code, path: KeyPath, sentence: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, path, sentence.into())
    }

    fn new(severity: Severity, code: Code, path: KeyPath, sentence: String) -> Self {
        let (message, help) = match sentence.split_once("; ") {
            Some((message, help)) => (message.to_owned(), Some(help.to_owned())),
            None => (sentence, None),
        };
        Self { severity, code, path, message, help, related: Vec::new() }
    }

    /// With another key that has to do with it.
    #[must_use]
    pub fn with(mut self, path: KeyPath, why: impl Into<String>) -> Self {
        self.related.push((path, why.into()));
        self
    }

    /// The same below `base`: for a step that knows its keys and not its table.
    #[must_use]
    pub fn below(mut self, base: &KeyPath) -> Self {
        let under = |path: &mut KeyPath| {
            let mut whole = base.0.clone();
            whole.append(&mut path.0);
            path.0 = whole;
        };
        under(&mut self.path);
        self.related.iter_mut().for_each(|(path, _)| under(path));
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.0.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, "; {help}"))
    }
}

/// Settings that cannot be used: everything that is wrong with them.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<Problem>);

impl<P: Into<Problem>> From<P> for Problems {
    fn from(problem: P) -> Self {
        Self(vec![problem.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_has_two_halves() {
        let problem =
            Problem::error(Code::OutOfRange, KeyPath::of("timeout"), "is 0; write \"1s\"; or more")
                .with(KeyPath::of("wait"), "half of it")
                .below(&KeyPath::of("upstream").entry("legacy"));
        assert_eq!(problem.message, "is 0");
        assert_eq!(problem.help.as_deref(), Some("write \"1s\"; or more"));
        assert_eq!(
            problem.to_string(),
            "upstream[\"legacy\"].timeout: is 0; write \"1s\"; or more"
        );
        assert_eq!(problem.related[0].0.to_string(), "upstream[\"legacy\"].wait");
        assert!(KeyPath::of("a.b").holds(&KeyPath::of("a.b").index(1)));
        assert!(!KeyPath::of("a.b").holds(&KeyPath::of("a.bc")));
    }

    #[test]
    fn every_code_is_a_word_of_its_own() {
        let words: std::collections::HashSet<_> =
            Code::ALL.iter().map(|code| code.word()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        assert!(words.iter().all(|w| w.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
    }
}
