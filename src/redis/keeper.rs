//! The task that keeps one line connected, without end, and looks after the server.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::redis::address::Address;
use crate::redis::checkup::{Vitals, examine};
use crate::redis::dial::{Dialer, PATIENCE, Wire, refused};
use crate::redis::line::{Line, Up};
use crate::redis::login::Login;
use crate::redis::metrics::Metrics;
use crate::redis::sentinels::Sentinels;
use crate::redis::setup::Replicas;
use crate::redis::trouble::Trouble;
use crate::redis::waits::Waits;

/// How often a server is examined. In between, calls find out by themselves.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// The pauses between attempts to connect, without the jitter that at most doubles them.
const SHORTEST: Duration = Duration::from_millis(20);
pub(super) const LONGEST: Duration = Duration::from_millis(500);

/// How connections are made.
pub(super) struct Making {
    pub(super) dialer: Dialer,
    pub(super) login: Login,
    pub(super) database: u16,
    pub(super) replicas: Replicas,
    /// Whether servers have to be nodes of a cluster.
    pub(super) cluster: bool,
    pub(super) metrics: Metrics,
    /// Told of each connection that calls can use from now on.
    pub(super) arrivals: watch::Sender<()>,
}

/// Where the server is.
pub(super) enum Whereabouts {
    Fixed(Address),
    Sentinels(Sentinels),
}

/// A line that is kept connected until this is dropped.
pub(super) struct Kept {
    pub(super) line: Arc<Line>,
    _stop: DropGuard,
}

/// Keeps a line to a server. It needs a tokio runtime.
pub(super) fn keep(whereabouts: Whereabouts, making: Arc<Making>) -> Kept {
    let (line, stop) = (Arc::new(Line::new()), CancellationToken::new());
    let keeper = Keeper { line: Arc::clone(&line), whereabouts, making, warned: false };
    tokio::spawn(stop.clone().run_until_cancelled_owned(keeper.run()));
    Kept { line, _stop: stop.drop_guard() }
}

struct Keeper {
    line: Arc<Line>,
    whereabouts: Whereabouts,
    making: Arc<Making>,
    warned: bool,
}

/// The connections to one server.
struct Wires {
    up: Arc<Up>,
    plain: Wire,
    waiting: Option<Wire>,
}

/// How a connection ended.
struct Ended {
    trouble: Trouble,
    /// Whether it had passed an examination: one that never did is not remade in haste.
    lasted: bool,
}

impl Keeper {
    async fn run(mut self) {
        let metrics = self.making.metrics.clone();
        let mut server = metrics.server();
        let mut pauses = new_pauses();
        let mut told = None;
        loop {
            let made = self.connect().await;
            metrics.connected(made.as_ref().map(|_| ()));
            let ended = match made {
                Ok(mut wires) => {
                    tracing::info!(server = %wires.up.address, "connected to Redis");
                    told = None;
                    self.line.connected(&wires.up);
                    self.making.arrivals.send_replace(());
                    server.is(true);
                    let ended = self.attend(&mut wires).await;
                    server.is(false);
                    ended
                }
                Err(trouble) => Ended { trouble, lasted: false },
            };
            self.line.down(ended.trouble.clone());
            // Said once, not at every attempt.
            if told.as_ref() != Some(&ended.trouble) {
                tracing::warn!("Redis cannot be used: {}", ended.trouble);
                told = Some(ended.trouble);
            }
            if ended.lasted {
                pauses = new_pauses();
            }
            // Also where the connection had lasted: every replica has lost its own.
            sleep(pauses.next().unwrap_or(LONGEST)).await;
        }
    }

    async fn connect(&mut self) -> Result<Wires, Trouble> {
        let address = match &self.whereabouts {
            Whereabouts::Fixed(address) => address.clone(),
            Whereabouts::Sentinels(sentinels) => sentinels.master().await?,
        };
        let making = Arc::clone(&self.making);
        let plain = making.dialer.dial(&address, &making.login, making.database).await?;
        let vitals = examine(&address, &plain.connection, making.cluster).await?;
        let waiting = if making.replicas.needed == 0 {
            None
        } else {
            Some(making.dialer.dial(&address, &making.login, making.database).await?)
        };
        self.warn_of_loss(&address, vitals);
        let waits =
            waiting.as_ref().map(|wire| Waits::new(wire.connection.clone(), making.replicas));
        let up = Arc::new(Up::new(address, plain.connection.clone(), waits, vitals));
        Ok(Wires { up, plain, waiting })
    }

    fn warn_of_loss(&mut self, address: &Address, vitals: Vitals) {
        if !vitals.append_only && self.making.replicas.needed == 0 && !self.warned {
            self.warned = true;
            tracing::warn!(
                server = %address,
                "Redis writes nothing to disk and no replica is waited for: what was spent may revive \
                 after a restart; set appendonly yes, or state.redis.wait_replicas"
            );
        }
    }

    async fn attend(&self, wires: &mut Wires) -> Ended {
        let mut lasted = false;
        loop {
            let trouble = tokio::select! {
                _ended = &mut wires.plain.carrier => Trouble::Lost(wires.up.address.clone()),
                () = end_of(wires.waiting.as_mut()) => Trouble::Lost(wires.up.address.clone()),
                trouble = self.line.broken() => trouble,
                () = sleep(CHECK_EVERY) => match self.check(&wires.up).await {
                    Ok(vitals) => {
                        wires.up.examined(vitals);
                        lasted = true;
                        continue;
                    }
                    Err(trouble) => trouble,
                },
            };
            return Ended { trouble, lasted };
        }
    }

    async fn check(&self, up: &Up) -> Result<Vitals, Trouble> {
        if let Some(waits) = &up.waits {
            let mut connection = waits.connection();
            let ping = redis::cmd("PING");
            timeout(PATIENCE, ping.exec_async(&mut connection))
                .await
                .map_err(|_elapsed| Trouble::Late(up.address.clone()))?
                .map_err(|error| refused(&up.address, &error))?;
        }
        // A master that was cut off from its sentinels does not know that it was replaced. Where they cannot
        // be asked, they may have named another one to everybody else.
        if let Whereabouts::Sentinels(sentinels) = &self.whereabouts
            && sentinels.master().await? != up.address
        {
            return Err(Trouble::Deposed(up.address.clone()));
        }
        examine(&up.address, &up.connection, self.making.cluster).await
    }
}

async fn end_of(wire: Option<&mut Wire>) {
    match wire {
        Some(wire) => {
            let _ended = (&mut wire.carrier).await;
        }
        None => std::future::pending().await,
    }
}

/// With jitter, so that replicas of the gateway do not come all at once.
pub(super) fn new_pauses() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(SHORTEST)
        .with_max_delay(LONGEST)
        .with_factor(2.0)
        .without_max_times()
        .with_jitter()
        .build()
}
