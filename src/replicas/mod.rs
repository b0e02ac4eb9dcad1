//! The other replicas: whether all of them hold the same keys.
//!
//! A link that one replica sealed is opened at another. Where that one has another key file, clinicians
//! meet a dead end that no probe of a single replica can see. So each replica announces prints of
//! its keys in Redis and compares; the one whose keys do not go with the others' is not ready, and says so.

pub mod agreement;
mod metrics;
mod roll;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use agreement::{KeyPrint, Keys};
pub use metrics::Metrics;

use crate::clock::Clock;
use crate::entropy::{Entropy, NoEntropy, draw};
use crate::readiness::{Pending, Readiness};
use crate::redis::Redis;
use crate::replicas::agreement::{Standing, standing};
use crate::replicas::roll::Roll;

/// How often a replica speaks up: often enough that four words may be lost.
const EVERY: Duration = Duration::from_secs(5);

const NOT_YET: &str = "replicas: keys not compared yet";

/// This replica among the others.
pub struct Replicas {
    roll: Roll,
    instance: String,
    keys: Box<dyn Fn() -> Keys + Send + Sync>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    /// The keys last announced, and since when this replica has them.
    announced: Option<(String, u64)>,
}

impl fmt::Debug for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replicas").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl Replicas {
    /// This replica, one of `expected`. `keys` is asked anew each time: a rotation changes them.
    ///
    /// # Errors
    /// [`NoEntropy`] where it cannot be given a name.
    pub fn new(
        redis: Redis,
        expected: u32,
        keys: Box<dyn Fn() -> Keys + Send + Sync>,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
        metrics: Metrics,
    ) -> Result<Self, NoEntropy> {
        metrics.expected.set(i64::from(expected));
        let instance = format!("{:016x}", u64::from_be_bytes(draw(entropy)?));
        Ok(Self { roll: Roll::new(redis), instance, keys, clock, metrics, announced: None })
    }

    /// Announces and compares until `stop` is cancelled, then takes its leave. Until the first
    /// comparison the replica is not ready; where Redis is away then, that is for the store to say, which
    /// knows of clients that go on without it.
    pub async fn run(mut self, readiness: Readiness, stop: CancellationToken) {
        let mut pending = Some(readiness.register(NOT_YET));
        let mut known = None;
        loop {
            match self.compare().await {
                Some(new) if known != Some(new) => {
                    tell(new);
                    pending = objection(new, &readiness);
                    known = Some(new);
                }
                None if known.is_none() => pending = Some(readiness.degrade(NOT_YET)),
                Some(_) | None => {}
            }
            tokio::select! {
                () = self.clock.sleep(EVERY) => {}
                () = stop.cancelled() => break,
            }
        }
        drop(pending);
        // Where it cannot, it is taken for gone a little later.
        let _ = self.roll.leave(&self.instance).await;
    }

    /// `None` where Redis does not answer: what was known last holds, and the store's own readiness says
    /// the rest.
    async fn compare(&mut self) -> Option<Standing> {
        let keys = (self.keys)().to_string();
        let since = self.announced.as_ref().filter(|(known, _)| *known == keys);
        let since = since.map(|(_, since)| *since);
        let members = self.roll.announce(&self.instance, &keys, since).await.ok()?;
        let mine = members.iter().find(|member| member.instance == self.instance)?;
        self.announced = Some((keys, mine.since));
        let standing = standing(&self.instance, &members)?;
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.seen.set(count(standing.seen));
        self.metrics.apart.set(count(standing.apart));
        Some(standing)
    }
}

fn objection(standing: Standing, readiness: &Readiness) -> Option<Pending> {
    (!standing.serves).then(|| {
        readiness.register(format!(
            "replicas: {} of {} hold other keys than this one",
            standing.apart, standing.seen
        ))
    })
}

fn tell(standing: Standing) {
    let Standing { seen, apart, serves } = standing;
    if apart == 0 {
        tracing::info!(seen, "all replicas hold each other's keys");
    } else {
        tracing::error!(
            seen,
            apart,
            serves,
            "replicas hold different keys: links of one do not open at another; give all the same key file"
        );
    }
}
