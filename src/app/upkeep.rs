//! What runs beside the calls: looking after the store, forgetting, and leaving in good order.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;

use crate::app::live::Live;
use crate::app::supervisor;
use crate::clock::Clock;
use crate::gateway::replay::Local;
use crate::readiness::Readiness;
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
///
/// With each of the `arrivals` it looks at once. Another server may have taken over, and all replicas have to
/// look at that one before any of them takes a step.
///
/// A store that does not answer makes this replica unready, so that one with a broken line of its own gets
/// no calls. It stays ready where a client goes on without the store, and where the store is full: every
/// other replica has the same trouble, and without any replica nobody would get even what still works.
pub(crate) async fn watch(
    store: Arc<dyn Store>,
    local: Arc<Local>,
    fullness: Fullness,
    readiness: Readiness,
    clock: Arc<dyn Clock>,
    mut arrivals: Option<Receiver<()>>,
    stop: CancellationToken,
) {
    const EVERY: Duration = Duration::from_secs(5);
    // No call comes as long as it is not ready.
    const WHILE_DOWN: Duration = Duration::from_secs(1);
    let mut _told = None;
    loop {
        let (told, pause) = match store.ready().await {
            Ok(()) => {
                local.hand_over(store.as_ref()).await;
                (None, EVERY)
            }
            Err(error) => {
                let full = matches!(error, StoreError::Full);
                let trouble = format!("store: {error}");
                let told = if full || local.is_for_anybody() {
                    readiness.degrade(trouble)
                } else {
                    readiness.register(trouble)
                };
                (Some(told), if full { EVERY } else { WHILE_DOWN })
            }
        };
        _told = told;
        fullness.look();
        tokio::select! {
            () = clock.sleep(pause) => {}
            () = arrival(arrivals.as_mut()) => {}
            () = stop.cancelled() => break,
        }
    }
    local.leave(store.as_ref()).await;
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
