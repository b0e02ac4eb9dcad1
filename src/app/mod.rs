//! Assembly: the only place that knows every concrete type.

pub mod ambient;
pub mod sockets;
mod supervisor;
mod state;
mod lasting;
mod generation;
mod check;
mod live;
mod restart;
mod watching;
mod reload;
mod bypass;
mod explaining;
mod upkeep;
mod shown;
mod admin;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::watch::{Receiver, Sender};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::Admin;
use crate::app::admin::Console;
use crate::app::ambient::{inside, outside};
use crate::app::bypass::bypass_check;
use crate::app::generation::Steps;
use crate::app::lasting::{Lasting, Metrics};
use crate::app::reload::{Reached, Reloads};
use crate::app::state::{
    key_file_watch, live_keyring, open_redis, open_store, replicas, tell_of_key_file,
};
use crate::app::upkeep::{StoreWatch, leave, tend};
use crate::audit::{Audit, Event, What};
use crate::bypass::{BypassCheck, Standings};
use crate::config::Config;
use crate::doors::{Doors, Drained};
use crate::gateway::Gateway;
use crate::health::Health;
use crate::keyring::KeyFileWatch;
use crate::names::ClientId;
use crate::problem::Problem;
use crate::readiness::Readiness;
use crate::redis::Redis;
use crate::replicas::Replicas;
use crate::store::{Fullness, Repeating, Store, StoreError};
use crate::traces::{Exporter, Traces};

pub use ambient::{Ambient, StartError};
pub use explaining::{explain_calls, explain_substitutes};
pub use generation::Generation;
pub use live::{Attempt, Cause, Live, ReloadStatus};
pub use reload::Source;
pub use sockets::Sockets;
pub use state::longest_life;

/// How long what runs beside the calls may take to end when all calls are answered. What waits for something
/// that does not answer must not keep the process, which would be killed later anyway.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Everything, bound and not yet serving.
#[derive(Debug)]
pub struct App {
    live: Live,
    lasting: Arc<Lasting>,
    doors: Doors,
    health: Health,
    admin: Option<Admin>,
    readiness: Readiness,
    registry: Registry,
    reloads: reload::Metrics,
    key_file: Option<KeyFileWatch>,
    replicas: Option<Replicas>,
    exporter: Option<Exporter>,
    /// What was found when the store was opened.
    there_or_not: Result<(), StoreError>,
    fullness: Fullness,
    arrivals: Option<Receiver<()>>,
    bypass: BypassCheck,
}

impl App {
    /// Says what is wrong with a configuration beyond its form: files, keys, certificates, URLs. Reads
    /// files and makes none.
    pub fn check(config: &Config, ambient: &Ambient) -> Vec<Problem> {
        check::problems(config, ambient)
    }

    /// Makes every step and binds every listener, so that nothing that can be known to be wrong is found
    /// out later.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn bind(config: Config, ambient: Ambient) -> Result<Self, StartError> {
        Self::bind_with(config, ambient, Sockets::default()).await
    }

    /// The same with listeners that were handed over in place of those that the configuration names.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn bind_with(
        config: Config,
        ambient: Ambient,
        sockets: Sockets,
    ) -> Result<Self, StartError> {
        Self::assemble(config, ambient, sockets, open_store).await
    }

    /// The same on a store of the caller's own, whatever `[state]` says: for embedding, and for meeting a
    /// store in trouble.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn bind_on(
        config: Config,
        ambient: Ambient,
        store: Arc<dyn Store>,
    ) -> Result<Self, StartError> {
        Self::assemble(config, ambient, Sockets::default(), |_, _, _| Ok(store)).await
    }

    /// Opens the store only once nothing is wrong with the configuration and the addresses are free.
    async fn assemble(
        config: Config,
        ambient: Ambient,
        sockets: Sockets,
        open: impl FnOnce(&Config, Option<&Redis>, &Ambient) -> Result<Arc<dyn Store>, StartError>,
    ) -> Result<Self, StartError> {
        let mut registry = Registry::default();
        let mut metrics = Metrics::register(&mut registry, &ambient);
        let audit = open_audit(&config, &ambient, &metrics)?;
        metrics.auth = metrics.auth.audited(audit.clone());
        let (traces, exporter) = open_traces(&config, &ambient, &metrics)?;
        let redis = open_redis(&config, &mut registry)?;
        let steps = Steps::new(&config, redis.as_ref(), &ambient, &metrics)?;
        let doors = doors(&config, sockets.public, &ambient, &mut registry).await?;
        let health = health(&config, sockets.health).await?;
        let admin = admin(&config, sockets.admin, &ambient).await?;
        let store = Repeating::new(
            open(&config, redis.as_ref(), &ambient)?,
            config.state.redis.timeout.get(),
        );
        let store: Arc<dyn Store> = Arc::new(store);
        // The first calls find it known, where it is there; where it is away, readiness says so.
        let there_or_not = store.ready().await;
        let keyring = Arc::new(live_keyring(&config, &ambient)?);
        let replicas = replicas(&config, redis.as_ref(), &keyring, &ambient, &mut registry)?;
        let life = Sender::new(longest_life(&config));
        let key_file =
            key_file_watch(&config, &ambient, &keyring, life.subscribe(), (&mut registry, &audit));
        let fullness = Fullness::new(Arc::clone(&store));
        registry.register_collector(Box::new(fullness.clone()));
        let arrivals = redis.as_ref().map(Redis::arrivals);
        let now = ambient.clock.now();
        let reloads = reload::Metrics::register(&mut registry, now);
        let lasting =
            Lasting::new(&config, ambient, (metrics, audit, traces), store, keyring, life)?;
        let live = Live::new(Generation::new(config, steps, &lasting)?, now);
        let own = vec![doors.local_addr(), health.local_addr()];
        let bypass = bypass_check(&live, own, Arc::clone(&lasting.ambient.clock), &mut registry);
        let readiness = readiness(&live, &lasting.audit);
        Ok(Self {
            live,
            lasting: Arc::new(lasting),
            doors,
            health,
            admin,
            readiness,
            registry,
            reloads,
            key_file,
            replicas,
            exporter,
            there_or_not,
            fullness,
            arrivals,
            bypass,
        })
    }

    /// Where EHRs and browsers connect.
    pub fn public_addr(&self) -> SocketAddr {
        self.doors.local_addr()
    }

    /// Where probes and Prometheus connect.
    pub fn health_addr(&self) -> SocketAddr {
        self.health.local_addr()
    }

    /// Where the status page is, if anywhere.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::local_addr)
    }

    /// The generation at work, now and after each reload.
    pub fn live(&self) -> Live {
        self.live.clone()
    }

    /// Which services can be reached past the gateway, as was found out last.
    pub fn bypass(&self) -> Standings {
        self.bypass.standings()
    }

    /// The ways through without the doors: for embedding behind another server, and for measuring. Keys
    /// are refreshed, and limits swept, only while [`App::serve`] runs.
    pub fn gateway(&self) -> Arc<Gateway> {
        Arc::clone(self.live.generation().gateway())
    }
}

impl App {
    /// Serves until `shutdown` is cancelled. Then readiness turns false, accepting goes on while load
    /// balancers notice, and accepted work is finished within its deadline.
    pub async fn serve(self, shutdown: CancellationToken) -> Drained {
        self.serve_with(None, shutdown).await
    }

    /// The same, and takes up what changes in the configuration meanwhile. systemd is told how it stands.
    pub async fn serve_from(self, source: Source, shutdown: CancellationToken) -> Drained {
        self.serve_with(Some(source), shutdown).await
    }

    async fn serve_with(self, source: Option<Source>, shutdown: CancellationToken) -> Drained {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (public, health) = (self.public_addr(), self.health_addr());
        let admin = self.admin_addr().map(tracing::field::display);
        tracing::info!(version = env!("CARGO_PKG_VERSION"), %public, %health, admin, "serving");
        let (live, lasting) = (self.live, self.lasting);
        lasting.audit.note(Event::new(What::Started).detail(env!("CARGO_PKG_VERSION")));
        let (clock, first) = (&lasting.ambient.clock, live.generation());
        first.start(&tasks, &stop);
        // Before anybody can ask.
        let store_watch = StoreWatch::new(
            self.there_or_not,
            Arc::clone(&lasting.store),
            Arc::clone(&lasting.local),
            self.fullness.clone(),
            self.readiness.clone(),
            Arc::clone(clock),
        );
        tasks.spawn(self.health.serve(
            self.readiness.clone(),
            Arc::new(self.registry),
            stop.clone(),
        ));
        if let Some(admin) = self.admin {
            let console = Console::new(
                live.clone(),
                &lasting,
                self.fullness.clone(),
                self.readiness.clone(),
                self.bypass.standings(),
            );
            tasks.spawn(admin.serve(Arc::new(console), stop.clone()));
        }
        tasks.spawn(tend(live.clone(), Arc::clone(clock), stop.clone()));
        tasks.spawn(self.bypass.run(self.readiness.clone(), stop.clone()));
        if let Some(key_file) = self.key_file {
            let tell = tell_of_key_file(self.readiness.clone());
            tasks.spawn(key_file.run(tell, stop.clone()));
        }
        if let Some(exporter) = self.exporter {
            tasks.spawn(exporter.run(stop.clone()));
        }
        if let Some(replicas) = self.replicas {
            tasks.spawn(replicas.run(self.readiness.clone(), stop.clone()));
        }
        tasks.spawn(store_watch.run(self.arrivals, stop.clone()));

        if let Some(source) = source {
            let reached = Reached {
                live: live.clone(),
                lasting: Arc::clone(&lasting),
                manners: self.doors.manners(),
                readiness: self.readiness.clone(),
                metrics: self.reloads,
                tasks: tasks.clone(),
                stop: stop.clone(),
            };
            tasks.spawn(Reloads::new(source, reached).run());
            supervisor::ready();
        }
        drop(first);
        let accepting = CancellationToken::new();
        tasks.spawn(leave(self.readiness, live.clone(), shutdown, accepting.clone()));
        let handle = move |request, peer| {
            let gateway = Arc::clone(live.generation().gateway());
            async move { gateway.handle(request, peer).await }
        };
        let drained = self.doors.serve(handle, accepting).await;
        lasting.deliveries.finish().await;
        stop.cancel();
        tasks.close();
        ended(&tasks, LAST_WORDS).await;
        lasting.audit.note(Event::new(What::Stopped));
        if tokio::time::timeout(LAST_WORDS, lasting.audit.close()).await.is_err() {
            tracing::error!("the last audit events are not written: their disk does not answer");
        }
        tracing::info!(?drained, "stopped");
        drained
    }
}

async fn ended(tasks: &TaskTracker, within: Duration) {
    if tokio::time::timeout(within, tasks.wait()).await.is_err() {
        tracing::warn!(tasks = tasks.len(), "some work beside the calls does not end: it is left");
    }
}

fn open_audit(config: &Config, ambient: &Ambient, metrics: &Metrics) -> Result<Audit, StartError> {
    let (clock, entropy) = (Arc::clone(&ambient.clock), ambient.entropy.as_ref());
    Audit::open(&config.audit, clock, entropy, metrics.audit.clone()).map_err(inside)
}

fn open_traces(
    config: &Config,
    ambient: &Ambient,
    metrics: &Metrics,
) -> Result<(Traces, Option<Exporter>), StartError> {
    let (clock, entropy) = (Arc::clone(&ambient.clock), Arc::clone(&ambient.entropy));
    Traces::open(&config.traces, clock, entropy, metrics.traces.clone()).map_err(inside)
}

/// Where decisions have to be written and cannot be, nothing is decided: others must have the traffic. Where
/// they need not, it goes on.
fn tell_of_audit(readiness: &Readiness, audit: &Audit) {
    let told = |audit: &Audit, decides: bool| {
        let trouble = audit.trouble().filter(|(_, stops)| *stops == decides);
        trouble.into_iter().map(|(why, _)| why).collect()
    };
    let (check, remark) = (audit.clone(), audit.clone());
    readiness.add_check(Box::new(move || told(&check, true)));
    readiness.add_remark(Box::new(move || told(&remark, false)));
}

async fn doors(
    config: &Config,
    socket: Option<TcpListener>,
    ambient: &Ambient,
    registry: &mut Registry,
) -> Result<Doors, StartError> {
    let clock = Arc::clone(&ambient.clock);
    match socket {
        Some(socket) => Doors::take(socket, &config.listener, clock, registry),
        None => Doors::bind(&config.listener, clock, registry).await,
    }
    .map_err(outside)
}

async fn health(config: &Config, socket: Option<TcpListener>) -> Result<Health, StartError> {
    match socket {
        Some(socket) => Health::take(socket),
        None => Health::bind(&config.health).await,
    }
    .map_err(outside)
}

async fn admin(
    config: &Config,
    socket: Option<TcpListener>,
    ambient: &Ambient,
) -> Result<Option<Admin>, StartError> {
    let (clock, entropy) = (Arc::clone(&ambient.clock), ambient.entropy.as_ref());
    match socket {
        Some(socket) => Admin::take(socket, clock, entropy).map(Some),
        None => Admin::bind(&config.admin, clock, entropy).await,
    }
    .map_err(outside)
}

/// Clients without keys keep calls away from this replica, unless a reload has brought them.
fn readiness(live: &Live, audit: &Audit) -> Readiness {
    let readiness = Readiness::new();
    let named = |clients: Vec<ClientId>| {
        clients.into_iter().map(|client| format!("keys: {client}")).collect()
    };
    let (first, second) = (live.clone(), live.clone());
    readiness.add_check(Box::new(move || named(first.generation().auth().pending())));
    readiness.add_remark(Box::new(move || named(second.generation().auth().missing())));
    tell_of_audit(&readiness, audit);
    readiness
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_end_keeps_nobody() {
        let tasks = TaskTracker::new();
        tasks.spawn(std::future::pending::<()>());
        tasks.close();
        let ended = ended(&tasks, Duration::from_millis(1));
        tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap();
        assert_eq!(tasks.len(), 1);
    }
}
