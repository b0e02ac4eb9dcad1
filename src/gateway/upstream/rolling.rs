//! What happened lately, in slots of time: the newest is written, the oldest is forgotten.

use std::time::Duration;

/// `N` slots of `span` each.
#[derive(Debug)]
pub(crate) struct Rolling<T, const N: usize> {
    span: Duration,
    slots: [T; N],
    /// The number of the newest slot, counted from the beginning of the stop watch.
    newest: u64,
}

impl<T: Copy + Default, const N: usize> Rolling<T, N> {
    /// Empty slots. `span` is not 0.
    pub(crate) fn new(span: Duration) -> Self {
        Self { span, slots: [T::default(); N], newest: 0 }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.slots = [T::default(); N];
    }

    /// Writes into the slot of this moment.
    pub(crate) fn note(&mut self, now: Duration, write: impl FnOnce(&mut T)) {
        self.advance(now);
        let index = Self::index(self.newest);
        if let Some(slot) = self.slots.get_mut(index) {
            write(slot);
        }
    }

    /// The newest `count` slots.
    pub(crate) fn newest(&mut self, now: Duration, count: usize) -> impl Iterator<Item = &T> {
        self.advance(now);
        let (slots, newest) = (&self.slots, self.newest);
        (0..count.min(N)).filter_map(move |back| {
            let number = newest.checked_sub(u64::try_from(back).ok()?)?;
            slots.get(Self::index(number))
        })
    }

    /// Empties the slots whose time has come again.
    fn advance(&mut self, now: Duration) {
        let number = u64::try_from(now.as_nanos() / self.span.as_nanos().max(1)).unwrap_or(0);
        let passed = number.saturating_sub(self.newest).min(u64::try_from(N).unwrap_or(u64::MAX));
        for back in 0..passed {
            if let Some(slot) = self.slots.get_mut(Self::index(number.saturating_sub(back))) {
                *slot = T::default();
            }
        }
        self.newest = self.newest.max(number);
    }

    fn index(number: u64) -> usize {
        let slots = u64::try_from(N).unwrap_or(u64::MAX).max(1);
        usize::try_from(number % slots).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_is_forgotten_slot_by_slot() {
        let at = Duration::from_secs;
        let mut rolling = Rolling::<u32, 3>::new(at(10));
        rolling.note(at(5), |slot| *slot += 1);
        assert_eq!(
            rolling.newest(at(5), 3).sum::<u32>(),
            1,
            "there is nothing before the beginning"
        );
        let sum = |rolling: &mut Rolling<u32, 3>, now| rolling.newest(at(now), 3).sum::<u32>();
        for second in [100, 109, 110, 125] {
            rolling.note(at(second), |slot| *slot += 1);
        }
        assert_eq!(rolling.newest(at(125), 1).sum::<u32>(), 1);
        assert_eq!(sum(&mut rolling, 129), 4);
        assert_eq!(sum(&mut rolling, 130), 2, "the slot from 100 on is gone");
        assert_eq!(sum(&mut rolling, 149), 1);
        assert_eq!(sum(&mut rolling, 150), 0);
        rolling.note(at(1000), |slot| *slot += 5);
        // A reader that is behind empties nothing.
        assert_eq!(sum(&mut rolling, 990), 5);
        rolling.clear();
        assert_eq!(sum(&mut rolling, 1000), 0);
    }
}
