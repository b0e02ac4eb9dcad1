//! Where a key is in its life, and when nothing that it made can be alive any more.
//!
//! ```text
//! next       opens and is published; does not seal or sign yet
//! current    seals or signs
//! previous   opens what it sealed, is published for what it signed, until it may be retired
//! ```
//!
//! What a sealing key's work can last is written beside the key, and whoever seals with it keeps to
//! that. So the moment from which a key may go does not depend on what the configuration says then.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::UnixTime;

/// How long what a key seals may live, unless the operator says something else. A month: longer than
/// links and ids are wanted for, short enough for a key to be gone before long.
pub const DEFAULT_LONGEST_LIFE: Duration = Duration::from_secs(31 * 24 * 3600);

/// How long what a key signs may live.
pub const LONGEST_SIGNATURE: Duration = Duration::from_secs(3600);

/// What is added before a key may go: replicas go on with an old key until they see the new file, their
/// clocks differ, and a card id ends up to ten minutes after its time.
pub const MARGIN: Duration = Duration::from_secs(3600);

/// Where a key is in its life. A rotation takes two steps: a `next` signing key is published before it
/// signs, and a `next` sealing key is on every replica before one of them seals with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Opens and is published; does not seal or sign yet.
    Next,
    /// Seals or signs.
    Current,
    /// Opens what it sealed, and is published for what it signed.
    Previous,
}

impl KeyState {
    /// As files and metrics spell it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Current => "current",
            Self::Previous => "previous",
        }
    }
}

/// A key's state and its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    /// Where it is.
    pub state: KeyState,
    /// When it was made.
    pub created: UnixTime,
    /// When it began to seal or sign.
    pub current_since: Option<UnixTime>,
    /// When it ceased to.
    pub superseded: Option<UnixTime>,
    /// How long what it seals or signs may live.
    pub longest_life: Duration,
}

impl Course {
    /// From when on nothing that it made can be alive. Unknown for a key that is not previous, and for
    /// one whose file does not say since when it is.
    pub fn retirable_from(&self) -> Option<UnixTime> {
        match self.state {
            KeyState::Next | KeyState::Current => None,
            KeyState::Previous => Some(self.superseded?.plus(self.longest_life).plus(MARGIN)),
        }
    }

    /// The latest of its times.
    pub fn latest(&self) -> UnixTime {
        let later = self.current_since.into_iter().chain(self.superseded);
        later.fold(self.created, UnixTime::max)
    }

    /// Whether it began before it was made, or ended before it began. Nobody can tell from such times when
    /// the key may go.
    pub fn runs_backwards(&self) -> bool {
        let began = self.current_since.unwrap_or(self.created);
        began < self.created || self.superseded.is_some_and(|ended| ended < began)
    }

    /// Whether something that it made may be alive at `now`.
    pub fn may_be_needed(&self, now: UnixTime) -> bool {
        match self.state {
            KeyState::Next => false,
            KeyState::Current => true,
            KeyState::Previous => self.retirable_from().is_none_or(|from| now < from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: UnixTime = UnixTime::from_secs(1_000_000);

    fn previous(superseded: Option<UnixTime>) -> Course {
        Course {
            state: KeyState::Previous,
            created: AT,
            current_since: Some(AT),
            superseded,
            longest_life: Duration::from_secs(500),
        }
    }

    #[test]
    fn a_key_may_go_when_all_that_it_made_has_ended_and_not_before() {
        let key = previous(Some(AT));
        let from = AT.plus(Duration::from_secs(500 + 3600));
        assert_eq!(key.retirable_from(), Some(from));
        assert!(key.may_be_needed(from.minus(Duration::from_millis(1))));
        assert!(!key.may_be_needed(from));
    }

    #[test]
    fn a_life_begins_before_it_ends() {
        let (early, late) = (AT.minus(MARGIN), AT.plus(MARGIN));
        let table = [
            (None, None, AT, false),
            (Some(AT), Some(AT), AT, false),
            (None, Some(late), late, false),
            (Some(AT), Some(late), late, false),
            (Some(late), None, late, false),
            (Some(early), None, AT, true),
            (None, Some(early), AT, true),
            (Some(late), Some(AT), late, true),
            (Some(early), Some(late), late, true),
        ];
        for (current_since, superseded, latest, backwards) in table {
            let key = Course { current_since, superseded, ..previous(None) };
            assert_eq!((key.latest(), key.runs_backwards()), (latest, backwards), "{key:?}");
        }
    }

    #[test]
    fn nobody_knows_when_a_key_may_go_that_does_not_say_when_it_ended() {
        assert_eq!(previous(None).retirable_from(), None);
        assert!(previous(None).may_be_needed(UnixTime::from_secs(u64::MAX)));
    }

    #[test]
    fn the_current_key_is_needed_and_the_next_one_not_yet() {
        for (state, needed) in [(KeyState::Next, false), (KeyState::Current, true)] {
            let key = Course { state, ..previous(Some(AT)) };
            assert_eq!(key.retirable_from(), None);
            assert_eq!(key.may_be_needed(UnixTime::from_secs(u64::MAX)), needed);
        }
    }
}
