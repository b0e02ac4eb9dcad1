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

use futures_util::future::try_join_all;
use redis::{Cmd, Script, Value, from_redis_value};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::clock::UnixTime;
use crate::redis::cluster::{KeptCluster, keep_cluster};
use crate::redis::invocation::Invocation;
use crate::redis::keeper::{Kept, Making, Whereabouts, keep};
use crate::redis::line::{Answer, Line};
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
}

#[derive(Clone)]
enum Way {
    One(Arc<Kept>),
    Cluster(Arc<KeptCluster>),
}

/// How a master is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Master {
    /// `host:port`
    pub address: String,
    /// Keys in the configured database, those of others and expired ones included.
    pub keys: u64,
    /// Bytes of memory in use, as of the last seconds.
    pub memory_used: u64,
    /// Bytes of memory it may use before it refuses to store; nothing where it has no limit.
    pub memory_limit: Option<u64>,
    /// What its clock says.
    pub time: UnixTime,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Redis {
    /// Whether `settings` can be used, as far as can be said without asking Redis.
    ///
    /// # Errors
    /// [`SetupError`] where they cannot.
    pub fn check(settings: &Settings) -> Result<(), SetupError> {
        Setup::new(settings).map(drop)
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
        let making = Arc::new(Making {
            dialer: setup.dialer.clone(),
            login: setup.login,
            database: setup.database,
            replicas: setup.replicas,
            cluster: matches!(setup.servers, Servers::Cluster(_)),
            metrics: metrics.clone(),
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
        Ok(Self { way, prefix, timeout, metrics })
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

    /// Asks every master something that needs no key and changes nothing.
    ///
    /// # Errors
    /// [`RedisError`] where one of them gives no answer.
    pub async fn every_master(&self, command: &Cmd) -> Result<Vec<Value>, RedisError> {
        let deadline = self.deadline();
        let lines = self.lines(deadline).await?;
        let asked = lines.iter().map(|line| line.ask(command, deadline));
        Ok(try_join_all(asked).await?.into_iter().map(|(_, value)| value).collect())
    }

    /// How every master is.
    ///
    /// # Errors
    /// [`RedisError`] where one of them gives no answer.
    pub async fn masters(&self) -> Result<Vec<Master>, RedisError> {
        let deadline = self.deadline();
        let lines = self.lines(deadline).await?;
        Ok(try_join_all(lines.iter().map(|line| describe(line, deadline))).await?)
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

    async fn lines(&self, deadline: Instant) -> Result<Vec<Arc<Line>>, Trouble> {
        match &self.way {
            Way::One(kept) => Ok(vec![Arc::clone(&kept.line)]),
            Way::Cluster(kept) => kept.cluster.lines(deadline).await,
        }
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

async fn describe(line: &Line, deadline: Instant) -> Result<Master, Failure> {
    let (keys, time) = (redis::cmd("DBSIZE"), redis::cmd("TIME"));
    let ((up, keys), (_, time)) =
        tokio::try_join!(line.ask(&keys, deadline), line.ask(&time, deadline))?;
    let strange = |_| Failure::Sent(Trouble::Strange(up.address.clone()));
    let (secs, micros) = from_redis_value::<(u64, u64)>(time).map_err(strange)?;
    let vitals = up.vitals();
    Ok(Master {
        address: up.address.to_string(),
        keys: from_redis_value(keys).map_err(strange)?,
        memory_used: vitals.memory_used,
        memory_limit: vitals.memory_limit,
        time: UnixTime::from_secs(secs).plus(Duration::from_micros(micros)),
    })
}
