//! Waiting for replicas, once for all that wait.

use std::sync::atomic::{AtomicU64, Ordering};

use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tokio::sync::Mutex;

use crate::redis::setup::Replicas;

/// A connection whose steps count only once replicas have them. It is apart from the other one because
/// a server that waits for replicas serves nothing else on the same connection.
pub(super) struct Waits {
    connection: MultiplexedConnection,
    replicas: Replicas,
    /// Steps that were answered and have to be waited for.
    steps: AtomicU64,
    last: Mutex<Waited>,
}

/// What the last wait was for, and what came of it.
#[derive(Clone, Copy, Debug, Default)]
struct Waited {
    steps: u64,
    replicas: u64,
}

impl Waits {
    /// For the steps that are made on `connection`.
    pub(super) fn new(connection: MultiplexedConnection, replicas: Replicas) -> Self {
        Self { connection, replicas, steps: AtomicU64::new(0), last: Mutex::default() }
    }

    /// The connection to make them on.
    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// How many replicas are enough.
    pub(super) fn needed(&self) -> u64 {
        u64::from(self.replicas.needed)
    }

    /// How many replicas have the step that was just answered on this connection, and all before. One
    /// `WAIT` serves all steps that were answered before it was sent.
    pub(super) async fn acknowledged(&self) -> RedisResult<u64> {
        let step = self.steps.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        let mut last = self.last.lock().await;
        if last.steps < step {
            let steps = self.steps.load(Ordering::Acquire);
            let millis = u64::try_from(self.replicas.wait.as_millis()).unwrap_or(u64::MAX);
            let mut command = redis::cmd("WAIT");
            command.arg(self.replicas.needed).arg(millis);
            let replicas = command.query_async(&mut self.connection.clone()).await?;
            *last = Waited { steps, replicas };
        }
        Ok(last.replicas)
    }
}
