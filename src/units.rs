//! Quantities as an ops person writes them in a configuration file: `"5m"`, `"8MiB"`.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::UnixTime;

/// A length of time, written as `"30s"`, `"5m"`, `"1h 30m"` or `"250ms"`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^(P.+|[0-9].*[A-Za-zµ].*)$"))]
pub struct Period(Duration);

impl Period {
    /// A period of whole seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// A period of milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// The same as the standard library's type.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl TryFrom<String> for Period {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let signed: jiff::SignedDuration = text.parse().map_err(|_| {
            format!("{text:?} is not a length of time; write \"30s\", \"5m\", \"1h\" or \"250ms\"")
        })?;
        Duration::try_from(signed)
            .map(Self)
            .map_err(|_| format!("{text:?} is negative; a length of time cannot be"))
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::SignedDuration::try_from(self.0) {
            Ok(signed) => write!(f, "{signed:#}"),
            Err(_) => write!(f, "{}s", self.0.as_secs()),
        }
    }
}

/// A length of time as one says it: its two largest units, rounded down, and `"less than a second"`.
pub fn in_words(length: Duration) -> String {
    const UNITS: [(u64, &str); 5] =
        [(365 * 86_400, "years"), (86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let mut left = length.as_secs();
    let mut words = Vec::new();
    for (size, name) in UNITS {
        let count = left / size;
        left %= size;
        if count > 0 {
            words.push(format!("{count} {name}"));
        }
        // What comes after the largest unit and the next counts for nothing.
        if words.len() == 2 || (words.len() == 1 && count == 0) {
            break;
        }
    }
    if words.is_empty() { "less than a second".to_owned() } else { words.join(" ") }
}

/// A time, and how far it is from `at`: `"2026-11-26T08:15:00Z, 3 min ago"`.
pub fn moment(time: UnixTime, at: UnixTime) -> String {
    if time > at {
        return format!("{time}, in {}", in_words(time.since(at)));
    }
    format!("{time}, {} ago", in_words(at.since(time)))
}

/// A number of bytes, written as `"64KiB"`, `"8MiB"` or a plain number.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "WrittenSize", into = "String")]
pub struct ByteSize(bytesize::ByteSize);

#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a size; write \"64KiB\", \"8MiB\" or a number of bytes")]
enum WrittenSize {
    Bytes(u64),
    Text(#[schemars(extend("pattern" = "^[0-9]"))] String),
}

impl TryFrom<WrittenSize> for ByteSize {
    type Error = String;

    fn try_from(written: WrittenSize) -> Result<Self, String> {
        match written {
            WrittenSize::Bytes(bytes) => Ok(Self(bytesize::ByteSize(bytes))),
            WrittenSize::Text(text) => text.parse().map(Self).map_err(|_| {
                format!("{text:?} is not a size; write \"64KiB\", \"8MiB\" or a number of bytes")
            }),
        }
    }
}

impl From<ByteSize> for String {
    fn from(size: ByteSize) -> Self {
        size.0.to_string()
    }
}

impl ByteSize {
    /// That many KiB.
    pub const fn kib(kib: u64) -> Self {
        Self(bytesize::ByteSize::kib(kib))
    }

    /// That many MiB.
    pub const fn mib(mib: u64) -> Self {
        Self(bytesize::ByteSize::mib(mib))
    }

    /// In bytes, as lengths in memory are counted.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0.as_u64()).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_said_in_two_units() {
        for (secs, words) in [
            (0, "less than a second"),
            (1, "1 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3_600, "1 h"),
            (3_605, "1 h"),
            (7_500, "2 h 5 min"),
            (90_061, "1 d 1 h"),
            (400 * 86_400, "1 years 35 d"),
        ] {
            assert_eq!(in_words(Duration::from_secs(secs)), words, "{secs}");
        }
        let at = UnixTime::from_secs(1_800_000_000);
        assert_eq!(
            moment(at.plus(Duration::from_secs(90)), at),
            "2027-01-15T08:01:30Z, in 1 min 30 s"
        );
        assert_eq!(
            moment(UnixTime::from_secs(1_799_999_940), at),
            "2027-01-15T07:59:00Z, 1 min ago"
        );
    }

    #[test]
    fn reads_and_prints_periods() {
        for (text, secs) in [("30s", 30), ("5m", 300), ("1h 30m", 5400), ("1h", 3600)] {
            let period = Period::try_from(text.to_owned()).unwrap();
            assert_eq!(period.get(), Duration::from_secs(secs));
            assert_eq!(Period::try_from(period.to_string()).unwrap(), period);
        }
        assert_eq!(Period::secs(300).to_string(), "5m");
        for bad in ["", "5", "-5m", "5 parsecs"] {
            assert!(Period::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_and_prints_sizes() {
        let size: ByteSize = serde_json::from_str("\"8MiB\"").unwrap();
        assert_eq!(size, ByteSize::mib(8));
        assert_eq!(size.bytes(), 8 * 1024 * 1024);
        assert_eq!(serde_json::from_str::<ByteSize>("4096").unwrap(), ByteSize::kib(4));
        let printed = serde_json::to_string(&size).unwrap();
        assert_eq!(serde_json::from_str::<ByteSize>(&printed).unwrap(), size, "{printed}");
        for bad in ["\"5 MMB\"", "-1", "true", "1.5", "\"\""] {
            let why = serde_json::from_str::<ByteSize>(bad).unwrap_err().to_string();
            assert!(why.contains("64KiB"), "{bad}: {why}");
        }
    }
}
