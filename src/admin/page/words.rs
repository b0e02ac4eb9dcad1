//! Figures as people read them.

use bytesize::ByteSize;
use maud::{Markup, html};

use crate::clock::UnixTime;

/// A length of time in its two largest units: `3 d 4 h`, `12 min`, `45 s`.
pub(super) fn lasting(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let Some(first) = UNITS.iter().position(|(unit, _)| seconds >= *unit) else {
        return "0 s".to_owned();
    };
    let mut rest = seconds;
    let mut words = Vec::new();
    for (unit, name) in UNITS.iter().skip(first).take(2) {
        let count = rest.checked_div(*unit).unwrap_or_default();
        rest = rest.checked_rem(*unit).unwrap_or_default();
        if count > 0 {
            words.push(format!("{count} {name}"));
        }
    }
    words.join(" ")
}

/// Some milliseconds: `850 ms`, or as [`lasting`].
pub(super) fn lasting_millis(millis: u64) -> String {
    if millis < 1000 { format!("{millis} ms") } else { lasting(millis.div_ceil(1000)) }
}

/// `1,234,567`
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && digits.len().saturating_sub(place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.5 GiB`
pub(super) fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// How much `part` is of `whole`, in percent, at most 100.
pub(super) fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100).checked_div(whole).unwrap_or(100).min(100)
}

/// A moment, to the minute: `2026-11-23 18:14 UTC`.
pub(super) fn moment(at: UnixTime) -> Markup {
    let full = at.to_string();
    let short = full.get(..16).unwrap_or(&full).replace('T', " ");
    html! { time datetime=(full) { (short) " UTC" } }
}

/// A moment that may not be.
pub(super) fn moment_or(at: Option<UnixTime>, none: &str) -> Markup {
    match at {
        Some(at) => moment(at),
        None => html! { span.faint { (none) } },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_at_a_glance() {
        let lengths = [0, 45, 60, 61, 3600, 7380, 86_400, 273_600].map(lasting).join(", ");
        assert_eq!(lengths, "0 s, 45 s, 1 min, 1 min 1 s, 1 h, 2 h 3 min, 1 d, 3 d 4 h");
        assert_eq!([0, 999, 1000, 1500].map(lasting_millis).join(", "), "0 ms, 999 ms, 1 s, 2 s");
        assert_eq!([7, 999, 1000, 1_234_567].map(count).join(" "), "7 999 1,000 1,234,567");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!([percent(1, 3), percent(5, 3), percent(0, 0)], [33, 100, 100]);
        let at = moment(UnixTime::from_secs(1_795_456_800)).into_string();
        assert_eq!(at, "<time datetime=\"2026-11-23T18:00:00Z\">2026-11-23 18:00 UTC</time>");
    }
}
