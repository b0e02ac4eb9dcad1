//! Whether what was told about a thing that can be spent once can be true.
//!
//! Every attempt has a start and an end; what it did happened somewhere between. An answer that never
//! came may have been a success. Of all orders that these spans allow, one must be the story of a thing
//! that was spent at most once.

use std::fmt;

use tokio::time::Instant;

/// What somebody who tried to spend was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is his.
    Won,
    /// It was somebody's before.
    Refused,
    /// Nobody knows: the answer was lost, or was that nobody knows.
    Maybe,
    /// It was not even sent.
    Nothing,
}

/// One attempt.
#[derive(Clone, Debug)]
pub(crate) struct Spend {
    /// Who tried: may win as often as he likes.
    pub(crate) who: u64,
    pub(crate) start: Instant,
    pub(crate) end: Instant,
    pub(crate) outcome: Outcome,
    /// Refused for another reason than that it was spent.
    pub(crate) excused: bool,
    /// Where and how it was answered, for a person who reads.
    pub(crate) answer: String,
}

impl fmt::Display for Spend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, start, end, outcome, excused, answer } = self;
        writeln!(f, "{start:?} to {end:?}: {who} {outcome:?} (excused: {excused}), {answer}")
    }
}

/// What cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Two won.
    DoubleWin,
    /// Refused as spent before anybody can have spent it.
    RefusedWithoutWinner,
    /// Somebody began after another was refused, and won.
    WonAfterRefusal,
}

/// What of this cannot be.
pub(crate) fn judge(spends: &[Spend]) -> Option<Verdict> {
    let told = |outcome| spends.iter().filter(move |spend| spend.outcome == outcome);
    if let Some(first) = told(Outcome::Won).next()
        && told(Outcome::Won).any(|other| other.who != first.who)
    {
        return Some(Verdict::DoubleWin);
    }
    for refused in told(Outcome::Refused).filter(|spend| !spend.excused) {
        let mut before = told(Outcome::Won)
            .chain(told(Outcome::Maybe))
            .filter(|other| other.start < refused.end)
            .peekable();
        if before.peek().is_none() {
            return Some(Verdict::RefusedWithoutWinner);
        }
        // It was spent when the refusal was told: whoever won had begun to spend by then.
        if let Some(winner) = told(Outcome::Won).next()
            && !before.any(|other| other.who == winner.who)
        {
            return Some(Verdict::WonAfterRefusal);
        }
    }
    None
}

/// Somebody was refused and nobody is known to have won: an answer that was lost took it along.
pub(crate) fn is_lost(spends: &[Spend]) -> bool {
    let any = |outcome| spends.iter().any(|spend| spend.outcome == outcome && !spend.excused);
    any(Outcome::Refused) && !any(Outcome::Won)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use Outcome::{Maybe, Nothing, Refused, Won};

    /// Who, from which second to which, and what he was told.
    type Line = (u64, u64, u64, Outcome);

    fn history(spends: &[Line]) -> Vec<Spend> {
        let zero = Instant::now();
        let at = |second| zero + Duration::from_secs(second);
        let spend = |&(who, start, end, outcome): &Line| Spend {
            who,
            start: at(start),
            end: at(end),
            outcome,
            excused: false,
            answer: String::new(),
        };
        spends.iter().map(spend).collect()
    }

    #[test]
    fn tells_what_can_be_from_what_cannot() {
        let table: [(&[Line], Option<Verdict>); 14] = [
            (&[], None),
            (&[(1, 0, 1, Won), (2, 2, 3, Refused)], None),
            (&[(1, 0, 1, Won), (1, 2, 3, Won)], None),
            (&[(1, 0, 1, Won), (2, 2, 3, Won)], Some(Verdict::DoubleWin)),
            (&[(1, 0, 9, Won), (2, 0, 9, Won)], Some(Verdict::DoubleWin)),
            (&[(1, 0, 1, Refused)], Some(Verdict::RefusedWithoutWinner)),
            (&[(1, 0, 1, Nothing), (2, 2, 3, Refused)], Some(Verdict::RefusedWithoutWinner)),
            (&[(1, 0, 1, Maybe), (2, 2, 3, Refused)], None),
            (&[(1, 0, 1, Refused), (2, 2, 3, Won)], Some(Verdict::RefusedWithoutWinner)),
            (&[(1, 0, 3, Refused), (2, 2, 4, Won)], None),
            (&[(1, 0, 1, Maybe), (2, 2, 3, Won)], None),
            (
                &[(1, 0, 1, Maybe), (2, 2, 3, Refused), (3, 4, 5, Won)],
                Some(Verdict::WonAfterRefusal),
            ),
            (&[(1, 0, 1, Maybe), (2, 2, 3, Refused), (1, 4, 5, Won)], None),
            (&[(1, 0, 1, Maybe), (2, 2, 5, Refused), (3, 4, 6, Won)], None),
        ];
        for (spends, expected) in table {
            assert_eq!(judge(&history(spends)), expected, "{spends:?}");
        }
    }

    #[test]
    fn knows_what_a_lost_answer_took_along() {
        assert!(is_lost(&history(&[(1, 0, 1, Maybe), (2, 2, 3, Refused)])));
        assert!(!is_lost(&history(&[(1, 0, 1, Won), (2, 2, 3, Refused)])));
        assert!(!is_lost(&history(&[(1, 0, 1, Maybe)])));
    }
}
