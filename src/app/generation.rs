//! One configuration at work: every step made of it, put together top to bottom.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::ambient::{Ambient, StartError, inside, note, outside};
use crate::app::lasting::{Lasting, Metrics};
use crate::app::state::{state_directory, state_problems};
use crate::audit::Audit;
use crate::body::Intake;
use crate::config::Config;
use crate::config::client::Client;
use crate::doors::{ClientCertificates, Doors};
use crate::gateway::analytics::AnalyticsPath;
use crate::gateway::auth;
use crate::gateway::auth::Authenticator;
use crate::gateway::cors::Cors;
use crate::gateway::discovery::DiscoveryPath;
use crate::gateway::entry::Entry;
use crate::gateway::feedback::FeedbackPath;
use crate::gateway::forward::Forward;
use crate::gateway::hook::HookPath;
use crate::gateway::inspect::policy::{Policy, PolicyError};
use crate::gateway::issued::Lookup;
use crate::gateway::jwks::JwksPath;
use crate::gateway::limit;
use crate::gateway::limit::Limits;
use crate::gateway::open::OpenPath;
use crate::gateway::replay::Replay;
use crate::gateway::rewrite::Rewriter;
use crate::gateway::route::Router;
use crate::gateway::service;
use crate::gateway::service::{Service, Services};
use crate::gateway::signer::GatewaySigner;
use crate::gateway::tokens::{CardIds, KnownNames, LinkTokens};
use crate::gateway::upstream::{Signer, Surroundings, Upstreams};
use crate::gateway::{Gateway, Ways};
use crate::keyring::{Keyring, LiveKeyring};
use crate::names::{ClientId, ServiceId, UpstreamId};
use crate::outbound::names::SystemResolver;
use crate::problem::{Code, KeyPath, Problem, Problems};
use crate::redis::Redis;
use crate::traces::Traces;

/// One configuration and all that was made of it. A reload puts another one in its place; calls end on the
/// one that they began with.
#[derive(Debug)]
pub struct Generation {
    config: Arc<Config>,
    gateway: Arc<Gateway>,
    auth: Arc<Authenticator>,
    limits: Arc<Limits>,
    upstreams: Arc<Upstreams>,
    /// Those that are configured by name, or were before in this process: links name them.
    named: HashSet<ServiceId>,
}

impl Generation {
    /// Puts together what `config` describes.
    ///
    /// # Errors
    /// [`StartError`]
    pub(crate) fn new(config: Config, steps: Steps, lasting: &Lasting) -> Result<Self, StartError> {
        let upstreams =
            Arc::new(upstreams(&config, &lasting.keyring, &lasting.ambient, &lasting.metrics)?);
        Self::of(config, steps, upstreams, HashSet::new(), lasting)
    }

    /// Puts together what `config` describes, with all of this one that has not changed.
    ///
    /// # Errors
    /// [`StartError`] with a sentence for each problem.
    pub(crate) fn succeeded_by(
        &self,
        config: Config,
        lasting: &Lasting,
    ) -> Result<Self, StartError> {
        let steps = Steps::renewed(&config, self)?;
        let upstreams = self.upstreams.renewed(&config.upstream, config.public_url.as_url());
        let upstreams = Arc::new(upstreams.map_err(inside)?);
        Self::of(config, steps, upstreams, self.named.clone(), lasting)
    }

    fn of(
        config: Config,
        steps: Steps,
        upstreams: Arc<Upstreams>,
        former: HashSet<ServiceId>,
        lasting: &Lasting,
    ) -> Result<Self, StartError> {
        let (auth, limits) = (Arc::clone(&steps.auth), Arc::clone(&steps.limits));
        let names = known_names(&config, &steps.services, &former)?;
        let named = former.into_iter().chain(steps.services.ids().cloned()).collect();
        let gateway = Arc::new(gateway(&config, steps, Arc::clone(&upstreams), names, lasting));
        Ok(Self { config: Arc::new(config), gateway, auth, limits, upstreams, named })
    }

    /// Starts what keeps it fresh, where that does not run from before; it ends with `stop`, or with the last
    /// generation that needs it.
    pub(crate) fn start(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        self.auth.start(tasks, stop.clone());
        self.upstreams.start(tasks, stop);
    }

    /// Says what is wrong with a configuration beyond its form: files, keys, certificates, URLs. Reads files
    /// and makes none.
    pub(crate) fn check(config: &Config, ambient: &Ambient) -> Vec<Problem> {
        let metrics = Metrics::register(&mut Registry::default(), ambient);
        let mut problems = Vec::new();
        if let Err(error) = Steps::new(config, None, ambient, &metrics) {
            problems.extend(error.0.0);
        }
        problems.extend(Doors::check(&config.listener, &ambient.clock).err().map(Problem::from));
        problems.extend(Audit::check(&config.audit).err().map(Problem::from));
        problems.extend(Traces::check(&config.traces).err().map(Problem::from));
        problems.extend(state_problems(config));
        // A key of its own: checking must not make the key file.
        match Keyring::generate(ambient.entropy.as_ref(), ambient.clock.as_ref()) {
            Ok(keyring) => {
                let keyring = Arc::new(LiveKeyring::new(keyring, ambient.clock.now()));
                if let Err(error) = upstreams(config, &keyring, ambient, &metrics) {
                    problems.extend(error.0.0);
                }
            }
            Err(error) => problems.extend(outside(error).0.0),
        }
        problems
    }

    /// What it was made of. Holds names of files, and no secret out of one.
    pub const fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Everything between the doors and the upstreams.
    pub const fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// The clients and their keys.
    pub const fn auth(&self) -> &Arc<Authenticator> {
        &self.auth
    }

    /// How often somebody may come.
    pub const fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// The legacy services' servers.
    pub const fn upstreams(&self) -> &Arc<Upstreams> {
        &self.upstreams
    }
}

/// The steps that are made from the configuration alone.
pub(crate) struct Steps {
    auth: Arc<Authenticator>,
    limits: Arc<Limits>,
    cors: Cors,
    services: Arc<Services>,
    policies: HashMap<ClientId, Policy>,
}

impl Steps {
    /// Reads files and makes none.
    ///
    /// # Errors
    /// [`StartError`] with a sentence for each problem.
    pub(crate) fn new(
        config: &Config,
        redis: Option<&Redis>,
        ambient: &Ambient,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        let auth = Authenticator::new(
            clients(config),
            config.jwks.clone(),
            config.public_url.as_url(),
            state_directory(config).as_deref(),
            Arc::clone(&ambient.clock),
            Arc::clone(&ambient.entropy),
            metrics.auth.clone(),
        );
        let limits = Limits::new(
            &config.limits,
            &own_limits(config),
            redis.cloned(),
            Arc::clone(&ambient.clock),
            metrics.limit.clone(),
        );
        Self::of(config, auth, limits)
    }

    /// The same, with what `before` holds and has not changed.
    ///
    /// # Errors
    /// [`StartError`] with a sentence for each problem.
    pub(crate) fn renewed(config: &Config, before: &Generation) -> Result<Self, StartError> {
        let auth = before.auth.renewed(
            clients(config),
            &config.jwks,
            config.public_url.as_url(),
            state_directory(config).as_deref(),
        );
        Self::of(config, auth, before.limits.renewed(&config.limits, &own_limits(config)))
    }

    fn of(
        config: &Config,
        auth: Result<Authenticator, auth::SettingsError>,
        limits: Result<Limits, Problems>,
    ) -> Result<Self, StartError> {
        let mut problems = Vec::new();
        let auth = note(&mut problems, auth);
        let limits = note(&mut problems, limits);
        let cors = note(&mut problems, Cors::new(&config.cors));
        let policies = config
            .client
            .iter()
            .enumerate()
            .filter_map(|(index, client)| {
                let wrong = |error| policy_problem(index, error);
                let policy = Policy::new(client.inspect.clone()).map_err(wrong);
                Some((client.auth.id.clone(), note(&mut problems, policy)?))
            })
            .collect();
        match (auth, limits, cors) {
            (Some(auth), Some(limits), Some(cors)) if problems.is_empty() => Ok(Self {
                auth: Arc::new(auth),
                limits: Arc::new(limits),
                cors,
                services: Arc::new(services(config)),
                policies,
            }),
            _ => Err(StartError(Problems(problems))),
        }
    }
}

fn policy_problem(client: usize, error: PolicyError) -> Problem {
    let at = KeyPath::of("client").index(client);
    match error {
        PolicyError::NoServers => Problem::said(Code::Conflict, error.to_string()).below(&at),
    }
}

impl Steps {
    /// Who is calling, and which services there are.
    pub(crate) fn callers_and_services(&self) -> (Arc<Authenticator>, Arc<Services>) {
        (Arc::clone(&self.auth), Arc::clone(&self.services))
    }
}

fn clients(config: &Config) -> Vec<auth::ClientSettings> {
    config.client.iter().map(|client| client.auth.clone()).collect()
}

/// Clients with limits of their own.
fn own_limits(config: &Config) -> Vec<(ClientId, limit::ClientSettings)> {
    let own = |client: &Client| Some((client.auth.id.clone(), client.limit?));
    config.client.iter().filter_map(own).collect()
}

/// The services that the configuration names, or any.
pub(crate) fn services(config: &Config) -> Services {
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

/// Reads the upstreams' certificates and secrets.
///
/// # Errors
/// [`StartError`] with a sentence for each problem.
fn upstreams(
    config: &Config,
    keyring: &Arc<LiveKeyring>,
    ambient: &Ambient,
    metrics: &Metrics,
) -> Result<Upstreams, StartError> {
    let signer: Arc<dyn Signer> = Arc::new(GatewaySigner::new(Arc::clone(keyring)));
    Upstreams::new(
        &config.upstream,
        config.public_url.as_url(),
        Some(&signer),
        Surroundings {
            clock: Arc::clone(&ambient.clock),
            entropy: Arc::clone(&ambient.entropy),
            resolver: Arc::new(SystemResolver),
            metrics: metrics.upstream.clone(),
        },
    )
    .map_err(inside)
}

/// Puts the steps together, top to bottom.
fn gateway(
    config: &Config,
    steps: Steps,
    upstreams: Arc<Upstreams>,
    names: KnownNames,
    lasting: &Lasting,
) -> Gateway {
    let public_url = config.public_url.as_url();
    let (clock, entropy) = (&lasting.ambient.clock, &lasting.ambient.entropy);
    let (store, keyring) = (&lasting.store, &lasting.keyring);
    let links = LinkTokens::new(Arc::clone(keyring), public_url, names, Arc::clone(entropy));
    let links = Arc::new(links);
    let ids = Arc::new(CardIds::new(Arc::clone(keyring), public_url, Arc::clone(entropy)));
    let entry = Arc::new(Entry::new(
        steps.auth,
        Arc::clone(&steps.limits),
        Intake::new(&config.body),
        Replay::new(Arc::clone(store), Arc::clone(&lasting.local), Arc::clone(entropy)),
        public_url,
    ));
    let forward = Arc::new(Forward::new(upstreams, Arc::clone(entropy)));
    let lookup = Arc::new(Lookup::new(Arc::clone(&ids), Arc::clone(store), Arc::clone(clock)));
    let rewriter = Rewriter::new(
        Arc::clone(&links),
        ids,
        Arc::clone(store),
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
            Arc::clone(&lasting.deliveries),
            Arc::clone(&forward),
            Arc::clone(clock),
        ),
        analytics: AnalyticsPath::new(
            entry,
            Arc::clone(&services),
            lookup,
            Arc::clone(&lasting.deliveries),
            forward,
            Arc::clone(clock),
        ),
        open: OpenPath::new(
            services,
            links,
            Arc::clone(store),
            Arc::clone(clock),
            Arc::clone(entropy),
        ),
        jwks: JwksPath::new(Arc::clone(keyring)),
    };
    Gateway {
        router: Router::new(public_url),
        trusted: config.trusted_proxies.clone(),
        certificate_required: config.listener.client_certificates == ClientCertificates::Required,
        limits: steps.limits,
        cors: steps.cors,
        ways,
        recorder: lasting.metrics.recorder.clone(),
        audit: lasting.audit.clone(),
        traces: lasting.traces.clone(),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
    }
}

/// What links may leave out. Those of a service that was named before are still read.
///
/// # Errors
/// [`StartError`] where two names look the same in a token.
pub(crate) fn known_names(
    config: &Config,
    services: &Services,
    former: &HashSet<ServiceId>,
) -> Result<KnownNames, StartError> {
    let clients: Vec<ClientId> =
        config.client.iter().map(|client| client.auth.id.clone()).collect();
    let ids: Vec<ServiceId> = services.ids().cloned().collect();
    let names = KnownNames::new(clients, ids).map_err(|e| {
        inside(Problem::error(Code::BadValue, KeyPath::of("client"), e.to_string()))
    })?;
    Ok(names.with_former(former.iter().cloned()))
}
