//! What runs beside the calls: looking after the store, forgetting, and leaving in good order.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;

use crate::app::live::Live;
use crate::app::supervisor;
use crate::clock::Clock;
use crate::gateway::replay::Local;
use crate::readiness::{Pending, Readiness};
use crate::store::{Fullness, Store, StoreError};

/// The way out: not ready at once, not accepting after a while.
pub(crate) async fn leave(
    readiness: Readiness,
    live: Live,
    shutdown: CancellationToken,
    accepting: CancellationToken,
) {
    shutdown.cancelled().await;
    readiness.drain();
    supervisor::stopping();
    let grace = live.generation().config().listener.ready_grace.get();
    tokio::time::sleep(grace).await;
    accepting.cancel();
}

/// Looks after the store now and then: tells in readiness what is wrong with it and in the log how full
/// it is, and hands over to it what it has missed: for the last time when every call is answered.
pub(crate) struct StoreWatch {
    store: Arc<dyn Store>,
    local: Arc<Local>,
    fullness: Fullness,
    readiness: Readiness,
    clock: Arc<dyn Clock>,
    /// What readiness has been told of the store.
    told: Option<Pending>,
}

impl StoreWatch {
    /// Begins with what was found `first`, so that readiness never knows less than that.
    pub(crate) fn new(
        first: Result<(), StoreError>,
        store: Arc<dyn Store>,
        local: Arc<Local>,
        fullness: Fullness,
        readiness: Readiness,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut watch = Self { store, local, fullness, readiness, clock, told: None };
        watch.told = first.err().map(|error| watch.tell(&error));
        watch
    }

    /// A store that does not answer makes this replica unready, so that one with a broken line of its own
    /// gets no calls. It stays ready where a client goes on without the store, and where the store is full:
    /// every other replica has the same trouble, and without any replica nobody would get even what still
    /// works.
    fn tell(&self, error: &StoreError) -> Pending {
        let trouble = format!("store: {error}");
        if matches!(error, StoreError::Full) || self.local.is_for_anybody() {
            self.readiness.degrade(trouble)
        } else {
            self.readiness.register(trouble)
        }
    }

    /// With each of the `arrivals` it looks at once. Another server may have taken over, and all replicas
    /// have to look at that one before any of them takes a step.
    pub(crate) async fn run(mut self, mut arrivals: Option<Receiver<()>>, stop: CancellationToken) {
        const EVERY: Duration = Duration::from_secs(5);
        // No call comes as long as it is not ready.
        const WHILE_DOWN: Duration = Duration::from_secs(1);
        loop {
            let pause = match self.store.ready().await {
                Ok(()) => {
                    self.local.hand_over(self.store.as_ref()).await;
                    self.told = None;
                    EVERY
                }
                Err(error) => {
                    self.told = Some(self.tell(&error));
                    if matches!(error, StoreError::Full) { EVERY } else { WHILE_DOWN }
                }
            };
            self.fullness.look();
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                () = arrival(arrivals.as_mut()) => {}
                () = stop.cancelled() => break,
            }
        }
        self.local.leave(self.store.as_ref()).await;
    }
}

/// The next one; never, where there are none.
async fn arrival(arrivals: Option<&mut Receiver<()>>) {
    if let Some(arrivals) = arrivals
        && arrivals.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// Limits forget addresses that have been quiet, and find Redis again on a quiet replica.
pub(crate) async fn tend(live: Live, clock: Arc<dyn Clock>, stop: CancellationToken) {
    const EVERY: Duration = Duration::from_secs(30);
    loop {
        tokio::select! {
            () = clock.sleep(EVERY) => {
                let limits = Arc::clone(live.generation().limits());
                limits.tend().await;
            }
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::HashSet;

    use prometheus_client::registry::Registry;

    use crate::clock::SystemClock;
    use crate::entropy::SystemEntropy;
    use crate::gateway::replay;
    use crate::names::ClientId;
    use crate::store::memory::MemoryStore;

    /// What `/readyz` says, pending and degraded, before the store was looked at again.
    fn told(first: Result<(), StoreError>, going_on: &[&str]) -> [usize; 2] {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let entropy = SystemEntropy::default();
        let store: Arc<dyn Store> =
            Arc::new(MemoryStore::new(10, Arc::clone(&clock), &entropy).unwrap());
        let clients: HashSet<ClientId> =
            going_on.iter().map(|id| ClientId::try_from((*id).to_owned()).unwrap()).collect();
        let metrics = replay::Metrics::register(&mut Registry::default());
        let local = Local::new(clients, 10, Arc::clone(&clock), &entropy, metrics).unwrap();
        let (readiness, fullness) = (Readiness::new(), Fullness::new(Arc::clone(&store)));
        let watch =
            StoreWatch::new(first, store, Arc::new(local), fullness, readiness.clone(), clock);
        let told = [readiness.pending().len(), readiness.degraded().len()];
        drop(watch);
        told
    }

    #[test]
    fn nobody_is_told_that_it_is_ready_before_the_store_was_reached() {
        let down = || Err(StoreError::Down("the line is cut".to_owned()));
        assert_eq!(told(Ok(()), &[]), [0, 0]);
        assert_eq!(told(down(), &[]), [1, 0]);
        assert_eq!(told(down(), &["my-ehr"]), [0, 1]);
        assert_eq!(told(Err(StoreError::Full), &[]), [0, 1]);
    }
}
