//! Redis or Valkey: what all replicas share. One server, a master that sentinels watch, or a cluster.
//!
//! * A call waits no longer than the configured time, whatever the server or the network does. While
//!   nothing is connected it fails at once; only the first attempt to connect is waited for.
//! * Connecting, and examining the servers, happens in the background, without end.
//! * A command is sent again only where a server said that it did not run it (`NOSCRIPT`, `MOVED`, `ASK`,
//!   `TRYAGAIN`). One whose fate is unknown is the caller's: it asks again with the same nonce and so tells
//!   its own success from a lost race. A command that was given up may still run later.
//! * Servers that would break the store's promise are refused: replicas, those that evict, old ones.
//!
//! # Rights
//! With the prefix `hookgate`, this ACL user can do what is needed and nothing else; `cluster` and
//! `asking` are for a cluster, `wait` for `wait_replicas`, `select` for another database than 0:
//!
//! ```text
//! user hookgate on >PASSWORD ~hookgate:* resetchannels -@all +info +ping +dbsize +time +evalsha
//!   +script|load +get +set +del +exists +hget +hmget +hgetall +hset +hdel +hincrby +pexpire
//!   +pexpireat +pttl +cluster|slots +cluster|myid +asking +wait +select
//! ```
//!
//! A user for the sentinels needs `+sentinel|get-master-addr-by-name`.

pub mod settings;
pub mod error;
mod address;
mod trouble;
pub mod metrics;
mod login;
mod tls;
mod dial;
mod setup;
mod checkup;
mod sentinels;
mod invocation;
mod waits;
mod line;
mod keeper;
mod slots;
mod cluster;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{Script, Value};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::problem::Problem;
use crate::redis::checkup::Vitals;
use crate::redis::cluster::{KeptCluster, keep_cluster};
use crate::redis::invocation::Invocation;
use crate::redis::keeper::{Kept, Making, Whereabouts, keep};
use crate::redis::line::{Answer, Line, Up};
use crate::redis::sentinels::Sentinels;
use crate::redis::setup::{Servers, Setup};
use crate::redis::trouble::{Failure, Trouble};

pub use error::{RedisError, SetupError};
pub use metrics::Metrics;
pub use settings::{Settings, Topology};

/// The way to Redis. Clones share its connections, which are closed when the last one is dropped.
#[derive(Clone)]
pub struct Redis {
    way: Way,
    prefix: Arc<str>,
    timeout: Duration,
    metrics: Metrics,
    arrivals: watch::Receiver<()>,
}

#[derive(Clone)]
enum Way {
    One(Arc<Kept>),
    Cluster(Arc<KeptCluster>),
}

/// A master, as it was when it was looked at in the last seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Master {
    /// `host:port`
    pub address: String,
    /// Bytes of memory in use.
    pub memory_used: u64,
    /// Bytes of memory it may use before it refuses to store; nothing where it has no limit.
    pub memory_limit: Option<u64>,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Redis {
    /// What keeps `settings` from being used, as far as can be said without asking Redis.
    pub fn check(settings: &Settings) -> Vec<Problem> {
        Setup::problems(settings).into_iter().map(Problem::from).collect()
    }

    /// Begins to connect. Redis may be away: then calls fail until it is there. To be called within the
    /// tokio runtime that is to carry the connections.
    ///
    /// # Errors
    /// [`SetupError`] where the settings cannot be used.
    pub fn open(settings: &Settings) -> Result<Self, SetupError> {
        Self::open_with(settings, Metrics::default())
    }

    /// The same, and counts what happens.
    ///
    /// # Errors
    /// [`SetupError`] where the settings cannot be used.
    pub fn open_with(settings: &Settings, metrics: Metrics) -> Result<Self, SetupError> {
        let setup = Setup::new(settings)?;
        let _runtime = Handle::try_current().map_err(|_| SetupError::NoRuntime)?;
        let (prefix, timeout) = (setup.prefix.into(), setup.timeout);
        let (arrived, arrivals) = watch::channel(());
        let making = Arc::new(Making {
            dialer: setup.dialer.clone(),
            login: setup.login,
            database: setup.database,
            replicas: setup.replicas,
            cluster: matches!(setup.servers, Servers::Cluster(_)),
            metrics: metrics.clone(),
            arrivals: arrived,
        });
        let way = match setup.servers {
            Servers::Standalone(address) => {
                Way::One(Arc::new(keep(Whereabouts::Fixed(address), making)))
            }
            Servers::Sentinel { addresses, master, login } => {
                let sentinels = Sentinels { addresses, master, login, dialer: setup.dialer };
                Way::One(Arc::new(keep(Whereabouts::Sentinels(sentinels), making)))
            }
            Servers::Cluster(seeds) => Way::Cluster(Arc::new(keep_cluster(seeds, making))),
        };
        Ok(Self { way, prefix, timeout, metrics, arrivals })
    }

    /// Changes with each connection that can be used from now on: what is behind it may be another server,
    /// which whoever relies on what it holds should look at soon.
    pub fn arrivals(&self) -> watch::Receiver<()> {
        self.arrivals.clone()
    }

    /// What every key begins with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether every server that is needed can be used, with the replicas that durable steps wait for, as
    /// far as is known without asking. The error's sentence says what to do.
    ///
    /// # Errors
    /// [`RedisError::Down`]
    pub fn ready(&self) -> Result<(), RedisError> {
        let ready = match &self.way {
            Way::One(kept) => kept.line.ready(),
            Way::Cluster(kept) => kept.cluster.ready(),
        };
        Ok(ready?)
    }

    /// Runs `script` in one atomic step where `keys` are; all of them lie in one hash slot.
    ///
    /// # Errors
    /// [`RedisError`]
    pub async fn run(
        &self,
        script: &Script,
        keys: &[&[u8]],
        args: &[&[u8]],
    ) -> Result<Value, RedisError> {
        self.call(script, keys, args, false).await
    }

    /// The same, and the step counts only once `wait_replicas` replicas have it. With 0 of them, this is
    /// [`Redis::run`].
    ///
    /// Servers wait for what was last *written* on the connection. A script that finds what an earlier
    /// attempt of the same caller wrote must therefore write again (setting the expiry anew is enough),
    /// or it is answered though no replica has it.
    ///
    /// # Errors
    /// [`RedisError::Down`] also where too few replicas have it: then a failover may lose it. The caller
    /// asks again with the same nonce.
    pub async fn run_durably(
        &self,
        script: &Script,
        keys: &[&[u8]],
        args: &[&[u8]],
    ) -> Result<Value, RedisError> {
        self.call(script, keys, args, true).await
    }

    /// The masters that are connected.
    pub fn masters(&self) -> Vec<Master> {
        let lines = match &self.way {
            Way::One(kept) => vec![Arc::clone(&kept.line)],
            Way::Cluster(kept) => kept.cluster.lines(),
        };
        lines.iter().filter_map(|line| line.now().ok()).map(|up| describe(&up)).collect()
    }

    async fn call(
        &self,
        script: &Script,
        keys: &[&[u8]],
        args: &[&[u8]],
        durably: bool,
    ) -> Result<Value, RedisError> {
        let invocation = Invocation::new(script, keys, args);
        let (start, deadline) = (Instant::now(), self.deadline());
        let done = match &self.way {
            Way::One(kept) => run_on_one(&kept.line, &invocation, durably, deadline).await,
            Way::Cluster(kept) => {
                let key = keys.first().copied().unwrap_or_default();
                kept.cluster.run(&invocation, key, durably, deadline).await
            }
        };
        self.metrics.called(&done, start.elapsed());
        Ok(done?)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }
}

async fn run_on_one(
    line: &Line,
    invocation: &Invocation<'_>,
    durably: bool,
    deadline: Instant,
) -> Result<Value, Failure> {
    match line.run(invocation, false, durably, deadline).await? {
        Answer::Value(value) => Ok(value),
        Answer::Moved(_) | Answer::Ask(_) | Answer::TryAgain => {
            Err(Failure::Sent(Trouble::NoTopology))
        }
    }
}

fn describe(up: &Up) -> Master {
    let Vitals { memory_used, memory_limit, .. } = up.vitals();
    Master { address: up.address.to_string(), memory_used, memory_limit }
}
