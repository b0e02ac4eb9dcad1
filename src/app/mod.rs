//! Assembly: the only place that knows every concrete type.

pub mod ambient;
mod state;
mod upkeep;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::app::ambient::{Problems, inside, outside};
use crate::app::state::{
    key_file_watch, live_keyring, local, open_redis, open_store, replicas, state_directory,
    state_problems, tell_of_key_file,
};
use crate::app::upkeep::{leave, tend, watch};
use crate::body::Intake;
use crate::clock::Clock;
use crate::config::Config;
use crate::doors::{Doors, Drained};
use crate::entropy::Entropy;
use crate::gateway::analytics::AnalyticsPath;
use crate::gateway::auth::Authenticator;
use crate::gateway::cors::Cors;
use crate::gateway::delivery::Deliveries;
use crate::gateway::discovery::DiscoveryPath;
use crate::gateway::entry::Entry;
use crate::gateway::feedback::FeedbackPath;
use crate::gateway::forward::Forward;
use crate::gateway::hook::HookPath;
use crate::gateway::inspect::policy::Policy;
use crate::gateway::issued::Lookup;
use crate::gateway::jwks::JwksPath;
use crate::gateway::limit;
use crate::gateway::limit::Limits;
use crate::gateway::open::OpenPath;
use crate::gateway::replay::{Local, Replay};
use crate::gateway::rewrite::Rewriter;
use crate::gateway::route::Router;
use crate::gateway::service;
use crate::gateway::service::{Service, Services};
use crate::gateway::signer::GatewaySigner;
use crate::gateway::tokens::{CardIds, KnownNames, LinkTokens};
use crate::gateway::upstream;
use crate::gateway::upstream::{Signer, Upstreams};
use crate::gateway::{Gateway, Ways};
use crate::health::Health;
use crate::keyring::{KeyFileWatch, Keyring, LiveKeyring};
use crate::names::{ClientId, ServiceId, UpstreamId};
use crate::readiness::Readiness;
use crate::record::Recorder;
use crate::record::history::History;
use crate::redis::Redis;
use crate::replicas::Replicas;
use crate::store::{Fullness, Repeating, Store};

pub use ambient::{Ambient, StartError};
pub use state::longest_life;

/// How long what runs beside the calls may take to end when all calls are answered. What waits for something
/// that does not answer must not keep the process, which would be killed later anyway.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Everything, bound and not yet serving.
#[derive(Debug)]
pub struct App {
    gateway: Arc<Gateway>,
    auth: Arc<Authenticator>,
    limits: Arc<Limits>,
    doors: Doors,
    health: Health,
    readiness: Readiness,
    registry: Registry,
    store: Arc<dyn Store>,
    key_file: Option<KeyFileWatch>,
    replicas: Option<Replicas>,
    local: Arc<Local>,
    deliveries: Arc<Deliveries>,
    fullness: Fullness,
    arrivals: Option<Receiver<()>>,
    clock: Arc<dyn Clock>,
    ready_grace: Duration,
}

/// The steps that are made from the configuration alone.
struct Steps {
    auth: Arc<Authenticator>,
    limits: Arc<Limits>,
    cors: Cors,
    local: Arc<Local>,
    services: Arc<Services>,
    policies: HashMap<ClientId, Policy>,
}

impl Steps {
    fn new(
        config: &Config,
        redis: Option<&Redis>,
        ambient: &Ambient,
        registry: &mut Registry,
    ) -> Result<Self, StartError> {
        let mut problems = Problems::default();
        let clients = config.client.iter().map(|client| client.auth.clone()).collect();
        let auth = problems.note(Authenticator::new(
            clients,
            config.jwks.clone(),
            config.public_url.as_url(),
            state_directory(config).as_deref(),
            Arc::clone(&ambient.clock),
            Arc::clone(&ambient.entropy),
            registry,
        ));
        let overrides: Vec<_> = config
            .client
            .iter()
            .filter_map(|client| Some((client.auth.id.clone(), client.limit?)))
            .collect();
        let limits = problems.note(Limits::new(
            &config.limits,
            &overrides,
            redis.cloned(),
            Arc::clone(&ambient.clock),
            limit::Metrics::register(registry),
        ));
        let cors = problems.note(Cors::new(&config.cors));
        let services = services(config);
        let policies = config
            .client
            .iter()
            .filter_map(|client| {
                Some((client.auth.id.clone(), problems.note(Policy::new(client.inspect.clone()))?))
            })
            .collect();
        let local = Arc::new(local(config, ambient, registry)?);
        match (auth, limits, cors) {
            (Some(auth), Some(limits), Some(cors)) if problems.0.is_empty() => Ok(Self {
                auth: Arc::new(auth),
                limits: Arc::new(limits),
                cors,
                local,
                services: Arc::new(services),
                policies,
            }),
            _ => Err(problems.into_error()),
        }
    }
}

fn services(config: &Config) -> Services {
    let default = service::Settings::any();
    let entries = if config.service.is_empty() {
        std::slice::from_ref(&default)
    } else {
        config.service.as_slice()
    };
    let ready = entries.iter().filter_map(|entry| {
        let upstream = config.upstream_of(entry.upstream.as_ref())?;
        let service = Service {
            upstream,
            cards: entry.cards.clone(),
            links: entry.links.clone(),
            feedback: entry.feedback,
        };
        Some((entry.id.clone(), service))
    });
    Services::new(ready)
}

impl App {
    /// Says what is wrong with a configuration beyond its form: files, keys, certificates, URLs. Reads
    /// files and makes none.
    ///
    /// # Errors
    /// [`StartError`] with a sentence for each problem.
    pub fn check(config: &Config) -> Result<(), StartError> {
        let (ambient, mut registry) = (Ambient::system(), Registry::default());
        let mut problems = Vec::new();
        if let Err(error) = Steps::new(config, None, &ambient, &mut registry) {
            problems.extend(error.problems);
        }
        if let Err(error) = Doors::check(&config.listener) {
            problems.push(format!("listener: {error}"));
        }
        problems.extend(state_problems(config));
        // A key of its own: checking must not make the key file.
        let keyring = Keyring::generate(ambient.entropy.as_ref(), ambient.clock.as_ref());
        let keyring = LiveKeyring::new(keyring.map_err(outside)?, ambient.clock.now());
        let signer: Arc<dyn Signer> = Arc::new(GatewaySigner::new(Arc::new(keyring)));
        let upstreams = Upstreams::new(
            &config.upstream,
            config.public_url.as_url(),
            Some(&signer),
            &ambient.clock,
            &ambient.entropy,
            &upstream::Metrics::register(&mut registry),
        );
        if let Err(error) = upstreams {
            problems.push(error.to_string());
        }
        if problems.is_empty() { Ok(()) } else { Err(StartError { problems, configuration: true }) }
    }

    /// Makes every step and binds every listener, so that nothing that can be known to be wrong is found
    /// out later.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn bind(config: Config, ambient: Ambient) -> Result<Self, StartError> {
        Self::assemble(config, ambient, open_store).await
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
        Self::assemble(config, ambient, |_, _, _| Ok(store)).await
    }

    /// Opens the store only once nothing is wrong with the configuration and the addresses are free.
    async fn assemble(
        config: Config,
        ambient: Ambient,
        open: impl FnOnce(&Config, Option<&Redis>, &Ambient) -> Result<Arc<dyn Store>, StartError>,
    ) -> Result<Self, StartError> {
        let mut registry = Registry::default();
        let redis = open_redis(&config, &mut registry)?;
        let steps = Steps::new(&config, redis.as_ref(), &ambient, &mut registry)?;
        let doors = Doors::bind(&config.listener, &mut registry).await.map_err(outside)?;
        let health = Health::bind(&config.health).await.map_err(outside)?;
        let store = Repeating::new(
            open(&config, redis.as_ref(), &ambient)?,
            config.state.redis.timeout.get(),
        );
        let store: Arc<dyn Store> = Arc::new(store);
        // The first calls find it known, where it is there; where it is away, readiness says so.
        let _there_or_not = store.ready().await;
        let keyring = Arc::new(live_keyring(&config, &ambient)?);
        let replicas = replicas(&config, redis.as_ref(), &keyring, &ambient, &mut registry)?;
        let key_file = key_file_watch(&config, &ambient, &keyring, &mut registry);
        let signer: Arc<dyn Signer> = Arc::new(GatewaySigner::new(Arc::clone(&keyring)));
        let upstreams = Upstreams::new(
            &config.upstream,
            config.public_url.as_url(),
            Some(&signer),
            &ambient.clock,
            &ambient.entropy,
            &upstream::Metrics::register(&mut registry),
        )
        .map_err(inside)?;
        let readiness = readiness(&steps.auth);
        let auth = Arc::clone(&steps.auth);
        let limits = Arc::clone(&steps.limits);
        let kept = Arc::clone(&store);
        let fullness = Fullness::new(Arc::clone(&store));
        registry.register_collector(Box::new(fullness.clone()));
        let local = Arc::clone(&steps.local);
        let (gateway, deliveries) =
            gateway(&config, &ambient, steps, kept, keyring, upstreams, &mut registry)?;
        Ok(Self {
            gateway: Arc::new(gateway),
            auth,
            limits,
            doors,
            health,
            readiness,
            registry,
            store,
            key_file,
            replicas,
            local,
            deliveries,
            fullness,
            arrivals: redis.map(|redis| redis.arrivals()),
            clock: ambient.clock,
            ready_grace: config.listener.ready_grace.get(),
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

    /// The ways through without the doors: for embedding behind another server, and for measuring. Keys
    /// are refreshed, and limits swept, only while [`App::serve`] runs.
    pub fn gateway(&self) -> Arc<Gateway> {
        Arc::clone(&self.gateway)
    }
}

impl App {
    /// Serves until `shutdown` is cancelled. Then readiness turns false, accepting goes on while load
    /// balancers notice, and accepted work is finished within its deadline.
    pub async fn serve(self, shutdown: CancellationToken) -> Drained {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (public, health) = (self.public_addr(), self.health_addr());
        tracing::info!(version = env!("CARGO_PKG_VERSION"), %public, %health, "serving");
        self.auth.start(&tasks, stop.clone());
        tasks.spawn(self.health.serve(
            self.readiness.clone(),
            Arc::new(self.registry),
            stop.clone(),
        ));
        tasks.spawn(tend(Arc::clone(&self.limits), Arc::clone(&self.clock), stop.clone()));
        if let Some(key_file) = self.key_file {
            let tell = tell_of_key_file(self.readiness.clone());
            tasks.spawn(key_file.run(tell, stop.clone()));
        }
        if let Some(replicas) = self.replicas {
            tasks.spawn(replicas.run(self.readiness.clone(), stop.clone()));
        }
        tasks.spawn(watch(
            self.store,
            self.local,
            self.fullness,
            self.readiness.clone(),
            self.clock,
            self.arrivals,
            stop.clone(),
        ));

        let accepting = CancellationToken::new();
        tasks.spawn(leave(self.readiness, self.ready_grace, shutdown, accepting.clone()));
        let gateway = self.gateway;
        let handle = move |request, peer| {
            let gateway = Arc::clone(&gateway);
            async move { gateway.handle(request, peer).await }
        };
        let drained = self.doors.serve(handle, accepting).await;
        self.deliveries.finish().await;
        stop.cancel();
        tasks.close();
        ended(&tasks, LAST_WORDS).await;
        tracing::info!(?drained, "stopped");
        drained
    }
}

async fn ended(tasks: &TaskTracker, within: Duration) {
    if tokio::time::timeout(within, tasks.wait()).await.is_err() {
        tracing::warn!(tasks = tasks.len(), "some work beside the calls does not end: it is left");
    }
}

fn readiness(auth: &Arc<Authenticator>) -> Readiness {
    let readiness = Readiness::new();
    let auth = Arc::clone(auth);
    readiness.add_check(Box::new(move || {
        auth.pending().into_iter().map(|client| format!("keys: {client}")).collect()
    }));
    readiness
}

/// Puts the steps together, top to bottom. The deliveries are to be finished once nobody calls any more.
fn gateway(
    config: &Config,
    ambient: &Ambient,
    steps: Steps,
    store: Arc<dyn Store>,
    keyring: Arc<LiveKeyring>,
    upstreams: Upstreams,
    registry: &mut Registry,
) -> Result<(Gateway, Arc<Deliveries>), StartError> {
    let public_url = config.public_url.as_url();
    let (clock, entropy) = (&ambient.clock, &ambient.entropy);
    let links = Arc::new(link_tokens(config, &steps.services, &keyring, public_url, entropy)?);
    let ids = Arc::new(CardIds::new(Arc::clone(&keyring), public_url, Arc::clone(entropy)));
    let entry = Arc::new(Entry::new(
        steps.auth,
        Arc::clone(&steps.limits),
        Intake::new(&config.body),
        Replay::new(Arc::clone(&store), steps.local, Arc::clone(entropy)),
        public_url,
    ));
    let forward = Arc::new(Forward::new(upstreams, Arc::clone(entropy)));
    let lookup = Arc::new(Lookup::new(Arc::clone(&ids), Arc::clone(&store), Arc::clone(clock)));
    let deliveries =
        Arc::new(Deliveries::new(Arc::clone(&store), Arc::clone(clock), Arc::clone(entropy)));
    let rewriter = Rewriter::new(
        Arc::clone(&links),
        ids,
        Arc::clone(&store),
        Arc::clone(clock),
        Arc::clone(entropy),
    );
    let services = steps.services;
    let upstream_ids: Vec<UpstreamId> =
        config.upstream.iter().map(|upstream| upstream.id.clone()).collect();
    let ways = Ways {
        discovery: DiscoveryPath::new(
            config.discovery.mode,
            Arc::clone(&entry),
            Arc::clone(&services),
            upstream_ids,
            Arc::clone(&forward),
        ),
        hook: HookPath::new(
            Arc::clone(&entry),
            Arc::clone(&services),
            steps.policies,
            Arc::clone(&forward),
            rewriter,
        ),
        feedback: FeedbackPath::new(
            Arc::clone(&entry),
            Arc::clone(&services),
            Arc::clone(&lookup),
            Arc::clone(&deliveries),
            Arc::clone(&forward),
            Arc::clone(clock),
        ),
        analytics: AnalyticsPath::new(
            entry,
            Arc::clone(&services),
            lookup,
            Arc::clone(&deliveries),
            forward,
            Arc::clone(clock),
        ),
        open: OpenPath::new(services, links, store, Arc::clone(clock), Arc::clone(entropy)),
        jwks: JwksPath::new(keyring),
    };
    let gateway = Gateway {
        router: Router::new(public_url),
        trusted: config.trusted_proxies.clone(),
        limits: steps.limits,
        cors: steps.cors,
        ways,
        recorder: Recorder::new(registry, History::new(Arc::clone(clock))),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
    };
    Ok((gateway, deliveries))
}

fn link_tokens(
    config: &Config,
    services: &Services,
    keyring: &Arc<LiveKeyring>,
    public_url: &Url,
    entropy: &Arc<dyn Entropy>,
) -> Result<LinkTokens, StartError> {
    let clients: Vec<ClientId> =
        config.client.iter().map(|client| client.auth.id.clone()).collect();
    let ids: Vec<ServiceId> = services.ids().cloned().collect();
    let names = KnownNames::new(clients, ids).map_err(inside)?;
    Ok(LinkTokens::new(Arc::clone(keyring), public_url, names, Arc::clone(entropy)))
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
