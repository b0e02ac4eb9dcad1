//! Asking again: whoever got no answer finds out what became of the step.
//!
//! The answer of a step can be lost after the step was taken: the winner of a link would be told that
//! nobody can say, and on the next try that somebody else had been first. The same nonce finds out, so
//! every step is asked for once more before its caller is told that the store does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout_at};

use crate::clock::UnixTime;
use crate::store::contract::{Claim, Fill, Incarnation, Insert, Key, Nonce, Store, StoreError};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// A store that is asked a second time where the first answer did not come.
///
/// Only while it works: a step that began after the last one had failed is tried once, so that an
/// outage does not make everybody wait twice. And only for as long as was said: a connection that was lost
/// leaves time for another, a store that is silent does not.
#[derive(Debug)]
pub struct Repeating {
    store: Arc<dyn Store>,
    patience: Duration,
    down: AtomicBool,
}

impl Repeating {
    /// Asks `store`, for the second time no longer than `patience` after the first.
    pub fn new(store: Arc<dyn Store>, patience: Duration) -> Self {
        Self { store, patience, down: AtomicBool::new(false) }
    }

    async fn ask<T, F>(&self, step: impl Fn() -> F + Send + Sync) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        let was_down = self.down.load(Ordering::Relaxed);
        let deadline = Instant::now() + self.patience;
        let mut answer = step().await;
        let down = matches!(answer, Err(StoreError::Down(_)));
        if down && !was_down && Instant::now() < deadline {
            answer = timeout_at(deadline, until_answered(&step)).await.unwrap_or(answer);
        }
        self.down.store(matches!(answer, Err(StoreError::Down(_))), Ordering::Relaxed);
        answer
    }
}

/// A lost connection is made anew within milliseconds; until then steps fail without being sent.
async fn until_answered<T, F>(step: &(impl Fn() -> F + Sync)) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>> + Send,
{
    loop {
        let answer = step().await;
        if !matches!(answer, Err(StoreError::Down(_))) {
            return answer;
        }
        sleep(PAUSE).await;
    }
}

#[async_trait]
impl Store for Repeating {
    async fn insert(
        &self,
        key: Key,
        nonce: Nonce,
        value: Bytes,
        until: UnixTime,
    ) -> Result<Insert, StoreError> {
        self.ask(|| self.store.insert(key, nonce, value.clone(), until)).await
    }

    async fn get(&self, key: Key) -> Result<Option<Bytes>, StoreError> {
        self.ask(|| self.store.get(key)).await
    }

    async fn claim(
        &self,
        key: Key,
        nonce: Nonce,
        lease_until: UnixTime,
    ) -> Result<Claim, StoreError> {
        self.ask(|| self.store.claim(key, nonce, lease_until)).await
    }

    async fn settle(
        &self,
        key: Key,
        nonce: Nonce,
        value: Bytes,
        until: UnixTime,
    ) -> Result<(), StoreError> {
        self.ask(|| self.store.settle(key, nonce, value.clone(), until)).await
    }

    async fn release(&self, key: Key, nonce: Nonce) -> Result<(), StoreError> {
        self.ask(|| self.store.release(key, nonce)).await
    }

    fn incarnation(&self) -> Result<Incarnation, StoreError> {
        self.store.incarnation()
    }

    fn has_forgotten(&self) -> bool {
        self.store.has_forgotten()
    }

    fn fill(&self) -> Fill {
        self.store.fill()
    }

    /// A probe is repeated by whoever probes, and says whether steps are worth two tries again.
    async fn ready(&self) -> Result<(), StoreError> {
        let answer = self.store.ready().await;
        self.down.store(matches!(answer, Err(StoreError::Down(_))), Ordering::Relaxed);
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(300);

    /// A store that never answers a look, and takes so long to say so.
    #[derive(Debug)]
    struct Dead {
        after: Duration,
        asked: AtomicUsize,
    }

    fn down<T>() -> Result<T, StoreError> {
        Err(StoreError::Down(String::new()))
    }

    #[async_trait]
    impl Store for Dead {
        async fn insert(
            &self,
            _: Key,
            _: Nonce,
            _: Bytes,
            _: UnixTime,
        ) -> Result<Insert, StoreError> {
            down()
        }
        async fn get(&self, _: Key) -> Result<Option<Bytes>, StoreError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            sleep(self.after).await;
            down()
        }
        async fn claim(&self, _: Key, _: Nonce, _: UnixTime) -> Result<Claim, StoreError> {
            down()
        }
        async fn settle(&self, _: Key, _: Nonce, _: Bytes, _: UnixTime) -> Result<(), StoreError> {
            down()
        }
        async fn release(&self, _: Key, _: Nonce) -> Result<(), StoreError> {
            down()
        }
        fn incarnation(&self) -> Result<Incarnation, StoreError> {
            down()
        }
        fn has_forgotten(&self) -> bool {
            false
        }
        fn fill(&self) -> Fill {
            Fill { entries: 0, capacity: 0, memory: None }
        }
        async fn ready(&self) -> Result<(), StoreError> {
            Ok(())
        }
    }

    async fn asked(after: Duration) -> (usize, usize) {
        let dead = Arc::new(Dead { after, asked: AtomicUsize::new(0) });
        let store = Repeating::new(Arc::clone(&dead) as Arc<dyn Store>, PATIENCE);
        let key = Key::new(crate::store::contract::Namespace::Link, &[b"one"]);
        assert!(store.get(key).await.is_err());
        let first = dead.asked.swap(0, Ordering::Relaxed);
        assert!(store.get(key).await.is_err());
        (first, dead.asked.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn a_lost_answer_is_asked_for_again_and_an_outage_is_not() {
        let (working, down) = asked(Duration::ZERO).await;
        assert!(working > 1, "{working}");
        assert_eq!(down, 1);
    }

    #[tokio::test]
    async fn a_store_that_is_silent_is_not_waited_for_twice() {
        assert_eq!(asked(PATIENCE).await, (1, 1));
    }
}
