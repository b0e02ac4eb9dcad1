//! What callers have asked for and the writer has not begun.

use std::mem;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::clock::Clock;
use crate::store::disk::operation::Operation;

/// The most steps in one transaction.
const BATCH: usize = 1_024;

/// The steps that wait, in the order in which they were asked for.
#[derive(Debug)]
pub(crate) struct Queue {
    asked: Receiver<Operation>,
    taken: Vec<Operation>,
}

impl Queue {
    pub(crate) fn new(asked: Receiver<Operation>) -> Self {
        Self { asked, taken: Vec::new() }
    }

    /// All that waits, up to one batch; where nothing does, whatever comes first.
    ///
    /// # Errors
    /// [`RecvTimeoutError`]: nothing has come for the time of `patience`, or nobody can ask any more.
    pub(crate) fn next(&mut self, patience: Duration) -> Result<Vec<Operation>, RecvTimeoutError> {
        if self.taken.is_empty() {
            self.taken.push(self.asked.recv_timeout(patience)?);
        }
        self.waiting();
        Ok(mem::take(&mut self.taken))
    }

    /// How many wait, up to one batch.
    pub(crate) fn waiting(&mut self) -> usize {
        let room = BATCH.saturating_sub(self.taken.len());
        self.taken.extend(self.asked.try_iter().take(room));
        self.taken.len()
    }

    /// Lets up to `crowd` steps come together, for no longer than `pause`.
    pub(crate) fn gather(&mut self, crowd: usize, pause: Duration, clock: &dyn Clock) {
        let end = clock.monotonic().saturating_add(pause);
        while self.waiting() < crowd.min(BATCH) {
            let left = end.saturating_sub(clock.monotonic());
            match self.asked.recv_timeout(left) {
                Ok(operation) => self.taken.push(operation),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{SyncSender, sync_channel};
    use std::thread;

    use tokio::sync::oneshot;

    use super::*;
    use crate::clock::{ManualClock, SystemClock, UnixTime};

    const LONG: Duration = Duration::from_secs(3600);

    fn queue() -> (SyncSender<Operation>, Queue) {
        let (asks, asked) = sync_channel(10_000);
        (asks, Queue::new(asked))
    }

    fn ask(asks: &SyncSender<Operation>, count: usize) {
        for _ in 0..count {
            asks.send(Operation::Probe { reply: oneshot::channel().0 }).unwrap();
        }
    }

    #[test]
    fn all_that_waits_is_one_batch_up_to_its_most() {
        let (asks, mut queue) = queue();
        ask(&asks, BATCH + 5);
        assert_eq!(queue.next(LONG).unwrap().len(), BATCH);
        assert_eq!(queue.waiting(), 5);
        ask(&asks, 1);
        assert_eq!(queue.next(LONG).unwrap().len(), 6);
        assert_eq!(queue.next(Duration::ZERO).unwrap_err(), RecvTimeoutError::Timeout);
        ask(&asks, 3);
        assert_eq!(queue.waiting(), 3);
        drop(asks);
        assert_eq!(queue.next(LONG).unwrap().len(), 3);
        assert_eq!(queue.next(LONG).unwrap_err(), RecvTimeoutError::Disconnected);
    }

    /// The pause is an hour, the test is not: a whole crowd is not kept waiting.
    #[test]
    fn a_crowd_that_is_complete_is_not_kept_waiting() {
        let (asks, mut queue) = queue();
        ask(&asks, 3);
        let late = thread::spawn(move || {
            ask(&asks, 5);
            asks
        });
        queue.gather(8, LONG, &SystemClock::new());
        assert_eq!(queue.waiting(), 8);
        queue.gather(8, LONG, &SystemClock::new());
        let asks = late.join().unwrap();
        ask(&asks, BATCH);
        queue.gather(usize::MAX, LONG, &SystemClock::new());
        assert_eq!(queue.next(LONG).unwrap().len(), BATCH);
    }

    #[test]
    fn a_crowd_that_does_not_come_is_not_waited_for_beyond_the_pause() {
        let (asks, mut queue) = queue();
        ask(&asks, 2);
        queue.gather(3, Duration::from_millis(1), &SystemClock::new());
        queue.gather(3, Duration::ZERO, &ManualClock::new(UnixTime::from_secs(1)));
        assert_eq!(queue.waiting(), 2);
        drop(asks);
        queue.gather(3, LONG, &SystemClock::new());
        assert_eq!(queue.next(LONG).unwrap().len(), 2);
    }
}
