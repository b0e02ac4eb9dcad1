//! Redis Cluster: a line to each master, and calls led to the one that has the key.
//!
//! The client library's own cluster connection sends commands again whose fate is unknown, and cannot be
//! kept from it without losing redirects; hence this one, which repeats only what a node said it did not do.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::redis::address::Address;
use crate::redis::dial::{PATIENCE, refused};
use crate::redis::invocation::Invocation;
use crate::redis::keeper::{Kept, LONGEST, Making, Whereabouts, keep, new_pauses};
use crate::redis::line::{Answer, Line};
use crate::redis::slots::Slots;
use crate::redis::trouble::{Failure, Trouble};

/// How often the nodes are asked who has what, if no call finds out before.
const REFRESH_EVERY: Duration = Duration::from_secs(5);

/// The least time between two such questions.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);

/// How often one call may be sent on.
const REDIRECTS: usize = 8;

/// The pause before a call whose keys are on their way is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// The masters of a cluster.
pub(super) struct Cluster {
    seeds: Vec<Address>,
    making: Arc<Making>,
    known: watch::Sender<Known>,
    lines: Mutex<HashMap<Address, Used>>,
    unsettled: Notify,
}

/// A line, and whether it was used since the nodes were asked last who has what.
struct Used {
    kept: Kept,
    lately: bool,
}

enum Known {
    Starting,
    Slots(Arc<Slots>),
    Nothing(Trouble),
}

/// A cluster that is followed until this is dropped.
pub(super) struct KeptCluster {
    pub(super) cluster: Arc<Cluster>,
    _stop: DropGuard,
}

/// Keeps lines to all masters that these nodes know. It needs a tokio runtime.
pub(super) fn keep_cluster(seeds: Vec<Address>, making: Arc<Making>) -> KeptCluster {
    let (known, _) = watch::channel(Known::Starting);
    let (lines, unsettled) = (Mutex::default(), Notify::new());
    let cluster = Arc::new(Cluster { seeds, making, known, lines, unsettled });
    let stop = CancellationToken::new();
    let follow = follow(Arc::clone(&cluster));
    tokio::spawn(stop.clone().run_until_cancelled_owned(follow));
    KeptCluster { cluster, _stop: stop.drop_guard() }
}

/// Follows the cluster's changes, without end.
async fn follow(cluster: Arc<Cluster>) {
    let mut pauses = new_pauses();
    loop {
        match cluster.look().await {
            Ok(slots) => {
                cluster.adopt(slots);
                pauses = new_pauses();
                sleep(REFRESH_PAUSE).await;
                let _changed = timeout(REFRESH_EVERY, cluster.unsettled.notified()).await;
            }
            Err(trouble) => {
                cluster.miss(trouble);
                sleep(pauses.next().unwrap_or(LONGEST)).await;
            }
        }
    }
}

impl Cluster {
    /// Runs a script on the master that has the key.
    pub(super) async fn run(
        &self,
        invocation: &Invocation<'_>,
        key: &[u8],
        durably: bool,
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let slots = self.slots(deadline).await.map_err(Failure::NotSent)?;
        let mut to = slots.master_of(key).cloned().ok_or(Failure::NotSent(Trouble::NoSlot))?;
        let (mut asking, mut redirects) = (false, 0);
        while redirects < REDIRECTS {
            let line = self.line(&to);
            let answer = line.run(invocation, asking, durably, deadline).await;
            let other = match answer {
                Ok(Answer::Value(value)) => return Ok(value),
                Ok(Answer::Moved(other)) => {
                    self.unsettled.notify_one();
                    asking = false;
                    other
                }
                Ok(Answer::Ask(other)) => {
                    asking = true;
                    other
                }
                // As long as keys are on their way: nobody else has them.
                Ok(Answer::TryAgain) if Instant::now() < deadline => {
                    let pause = sleep(RETRY_PAUSE);
                    let _at_the_latest = timeout_at(deadline, pause).await;
                    continue;
                }
                Ok(Answer::TryAgain) => break,
                Err(failure) => {
                    self.unsettled.notify_one();
                    return Err(failure);
                }
            };
            to = other.ok_or(Failure::Sent(Trouble::NoSlot))?;
            redirects += 1;
        }
        Err(Failure::Sent(Trouble::Redirected(to)))
    }

    /// Whether every slot has a master that can be used.
    pub(super) fn ready(&self) -> Result<(), Trouble> {
        let slots = self.slots_now()?;
        if !slots.are_whole() {
            return Err(Trouble::NoSlot);
        }
        let lines = self.locked();
        slots.masters().into_iter().try_for_each(|master| {
            lines.get(master).map_or(Err(Trouble::Starting), |used| used.kept.line.ready())
        })
    }

    /// The lines to all masters that are known.
    pub(super) fn lines(&self) -> Vec<Arc<Line>> {
        let Ok(slots) = self.slots_now() else { return Vec::new() };
        let lines = self.locked();
        let line = |master| lines.get(master).map(|used| Arc::clone(&used.kept.line));
        slots.masters().into_iter().filter_map(line).collect()
    }

    /// Who has what. Only the first look is waited for.
    async fn slots(&self, deadline: Instant) -> Result<Arc<Slots>, Trouble> {
        let mut known = self.known.subscribe();
        let looked = known.wait_for(|known| !matches!(known, Known::Starting));
        // What it answers holds the lock for reading: kept while it is read again, with a writer in
        // between, it would be for ever.
        drop(timeout_at(deadline, looked).await);
        self.slots_now()
    }

    fn slots_now(&self) -> Result<Arc<Slots>, Trouble> {
        match &*self.known.borrow() {
            Known::Starting => Err(Trouble::Starting),
            Known::Slots(slots) => Ok(Arc::clone(slots)),
            Known::Nothing(trouble) => Err(trouble.clone()),
        }
    }

    /// The line to a node; a node that was not known is dialled.
    fn line(&self, address: &Address) -> Arc<Line> {
        let mut lines = self.locked();
        if let Some(used) = lines.get_mut(address) {
            used.lately = true;
            return Arc::clone(&used.kept.line);
        }
        let kept = keep(Whereabouts::Fixed(address.clone()), Arc::clone(&self.making));
        let line = Arc::clone(&kept.line);
        lines.insert(address.clone(), Used { kept, lately: true });
        line
    }

    /// Asks one node after the other, those that are connected first.
    async fn look(&self) -> Result<Slots, Trouble> {
        let connected: Vec<_> =
            self.locked().values().filter_map(|used| used.kept.line.now().ok()).collect();
        for up in connected {
            if let Ok(slots) = slots_by(&up.address, up.connection.clone()).await {
                return Ok(slots);
            }
        }
        let mut trouble = Trouble::NoTopology;
        for seed in &self.seeds {
            let asked = async {
                let wire = self.making.dialer.dial(seed, &self.making.login, 0).await?;
                slots_by(seed, wire.connection.clone()).await
            };
            match asked.await {
                Ok(slots) => return Ok(slots),
                Err(error) => trouble = error,
            }
        }
        Err(trouble)
    }

    fn adopt(&self, slots: Slots) {
        let masters = slots.masters();
        for master in &masters {
            let _connecting = self.line(master);
        }
        // A node that takes its first slot over is no master yet, and calls are on their way to it.
        self.locked()
            .retain(|address, used| mem::take(&mut used.lately) || masters.contains(address));
        let _before = self.known.send_replace(Known::Slots(Arc::new(slots)));
    }

    /// What was known is better than nothing: nodes lead on to where things are.
    fn miss(&self, trouble: Trouble) {
        let _changed = self.known.send_if_modified(|known| match known {
            Known::Slots(_) => false,
            // Said once, not at every attempt.
            Known::Nothing(former) if *former == trouble => false,
            Known::Starting | Known::Nothing(_) => {
                tracing::warn!("the Redis cluster cannot be used: {trouble}");
                *known = Known::Nothing(trouble);
                true
            }
        });
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Address, Used>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn slots_by(node: &Address, mut connection: MultiplexedConnection) -> Result<Slots, Trouble> {
    let mut command = Cmd::new();
    command.arg("CLUSTER").arg("SLOTS");
    let answer = timeout(PATIENCE, command.query_async::<Value>(&mut connection))
        .await
        .map_err(|_elapsed| Trouble::Late(node.clone()))?
        .map_err(|error| refused(node, &error))?;
    Slots::read(&answer, node).ok_or(Trouble::NoTopology)
}
