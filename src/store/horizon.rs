//! Up to when everything has ended: not by a clock that has just jumped ahead.
//!
//! A wall clock that is wrong for a while and then corrected must not revive what was spent: what it had
//! ended would be dropped, and be as if it had never been. So time passes here as the stop watch says, until
//! the wall clock has been ahead of it for long enough to be believed.

use std::time::Duration;

use crate::clock::UnixTime;

/// By how much the clocks may differ between two looks without a jump: slewing is slower.
const DRIFT: Duration = Duration::from_secs(10);
/// How long a wall clock that jumped ahead has to stay there. Somebody notices within that time, or it was
/// right.
const BELIEVED_AFTER: Duration = Duration::from_secs(15 * 60);

/// The time that ends things. It follows the wall clock back at once.
#[derive(Debug, Default)]
pub(crate) struct Horizon {
    /// What both clocks said when they agreed last.
    agreed: Option<(UnixTime, Duration)>,
    /// Since when on the stop watch the wall clock has been ahead.
    ahead_since: Option<Duration>,
}

impl Horizon {
    /// The time that ends things, where the wall clock says `now` and the stop watch `elapsed`.
    pub(crate) fn at(&mut self, now: UnixTime, elapsed: Duration) -> UnixTime {
        let Some((wall, watch)) = self.agreed else { return self.agree(now, elapsed) };
        let expected = wall.plus(elapsed.saturating_sub(watch));
        if now <= expected.plus(DRIFT) {
            return self.agree(now, elapsed);
        }
        let since = *self.ahead_since.get_or_insert(elapsed);
        if elapsed.saturating_sub(since) >= BELIEVED_AFTER {
            return self.agree(now, elapsed);
        }
        expected
    }

    fn agree(&mut self, now: UnixTime, elapsed: Duration) -> UnixTime {
        (self.agreed, self.ahead_since) = (Some((now, elapsed)), None);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixTime = UnixTime::from_secs(1_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_jump_ahead_is_believed_once_it_lasts_and_one_back_at_once() {
        let mut horizon = Horizon::default();
        assert_eq!(horizon.at(START, MINUTE), START);
        let passed = START.plus(MINUTE);
        assert_eq!(horizon.at(passed, MINUTE * 2), passed);
        let year = Duration::from_secs(365 * 24 * 3600);
        let wrong = |minutes: u32| passed.plus(MINUTE * minutes).plus(year);
        assert_eq!(horizon.at(wrong(1), MINUTE * 3), passed.plus(MINUTE));
        assert_eq!(horizon.at(wrong(15), MINUTE * 17), passed.plus(MINUTE * 15));
        // Corrected, and wrong again: the time counts anew.
        assert_eq!(horizon.at(passed.plus(MINUTE * 16), MINUTE * 18), passed.plus(MINUTE * 16));
        assert_eq!(horizon.at(wrong(17), MINUTE * 19), passed.plus(MINUTE * 17));
        assert_eq!(horizon.at(wrong(32), MINUTE * 34), wrong(32));
        assert_eq!(horizon.at(START, MINUTE * 35), START);
    }

    #[test]
    fn a_clock_that_is_slewed_is_followed() {
        let mut horizon = Horizon::default();
        let mut now = START;
        for minutes in 1..100 {
            now = now.plus(MINUTE + Duration::from_secs(9));
            assert_eq!(horizon.at(now, MINUTE * minutes), now);
        }
    }
}
