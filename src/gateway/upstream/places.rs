//! How many calls an upstream gets at once.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::clock::Clock;
use crate::gateway::upstream::error::UpstreamError;

/// A fixed number of places, and a short queue for them in order of arrival.
#[derive(Debug)]
pub(crate) struct Places {
    all: usize,
    places: Semaphore,
    queue: Semaphore,
    patience: Duration,
}

/// Leave to call. It is given back when dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    _permit: SemaphorePermit<'a>,
}

impl Places {
    pub(crate) fn new(places: usize, queued: usize, patience: Duration) -> Self {
        Self {
            all: places,
            places: Semaphore::new(places),
            queue: Semaphore::new(queued),
            patience,
        }
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.all.saturating_sub(self.places.available_permits())
    }

    /// Takes a place, at once or after waiting for a moment.
    ///
    /// # Errors
    /// [`UpstreamError::Overloaded`] where the queue is full or the wait too long.
    pub(crate) async fn take(&self, clock: &dyn Clock) -> Result<Place<'_>, UpstreamError> {
        if let Ok(permit) = self.places.try_acquire() {
            return Ok(Place { _permit: permit });
        }
        let _in_queue = self.queue.try_acquire().map_err(|_| UpstreamError::Overloaded)?;
        tokio::select! {
            biased;
            permit = self.places.acquire() => {
                permit.map(|it| Place { _permit: it }).map_err(|_| UpstreamError::Overloaded)
            }
            () = clock.sleep(self.patience) => Err(UpstreamError::Overloaded),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{ManualClock, UnixTime};

    const PATIENCE: Duration = Duration::from_millis(100);

    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_queue_is_short_in_length_and_time() {
        let clock = ManualClock::new(UnixTime::from_secs(1));
        let places = Arc::new(Places::new(1, 2, PATIENCE));
        let held = places.take(&clock).await.unwrap();
        let wait = || {
            let (places, clock) = (Arc::clone(&places), clock.clone());
            tokio::spawn(async move { places.take(&clock).await.is_ok() })
        };
        let (first, second) = (wait(), wait());
        settle().await;
        assert!(places.take(&clock).await.is_err(), "the queue is full");
        assert!(!first.is_finished());
        drop(held);
        assert!(first.await.unwrap(), "the first in the queue has its turn");
        assert!(second.await.unwrap());

        let held = places.take(&clock).await.unwrap();
        let late = wait();
        settle().await;
        clock.advance(PATIENCE - Duration::from_millis(1));
        settle().await;
        assert!(!late.is_finished());
        clock.advance(Duration::from_millis(1));
        assert!(!late.await.unwrap(), "patience is at an end");
        drop(held);
        assert!(places.take(&clock).await.is_ok());
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_queue() {
        let clock = ManualClock::new(UnixTime::from_secs(1));
        let places = Arc::new(Places::new(1, 1, PATIENCE));
        let held = places.take(&clock).await.unwrap();
        for _ in 0..5 {
            let (places, clock) = (Arc::clone(&places), clock.clone());
            let waiting = tokio::spawn(async move { places.take(&clock).await.is_ok() });
            settle().await;
            waiting.abort();
            assert!(waiting.await.is_err());
        }
        drop(held);
        assert!(places.take(&clock).await.is_ok());
    }
}
