//! What is kept between calls: keys, entries, and what this replica remembers by itself.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::watch::Receiver;

use crate::app::ambient::{Ambient, StartError, inside, outside};
use crate::audit::Audit;
use crate::config::Config;
use crate::config::client::Client;
use crate::gateway::replay;
use crate::gateway::replay::{Local, WhenStoreDown};
use crate::gateway::service;
use crate::keyring;
use crate::keyring::{KeyFileWatch, KeyState, Keyring, KeyringError, LiveKeyring};
use crate::names::ClientId;
use crate::problem::{Code, KeyPath, Problem};
use crate::readiness::Readiness;
use crate::redis;
use crate::redis::Redis;
use crate::replicas;
use crate::replicas::{Keys, Replicas};
use crate::store;
use crate::store::Store;

pub(crate) fn state_directory(config: &Config) -> Option<PathBuf> {
    match config.state.backend {
        store::Backend::Disk => Some(config.state.directory.clone()),
        store::Backend::Memory | store::Backend::Redis => None,
    }
}

/// What of the state is there already and cannot be used. What is not there yet will be made.
pub(crate) fn state_problems(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(directory) = state_directory(config)
        && directory.exists()
        && !directory.is_dir()
    {
        let why = format!("state.directory {} is no directory; name one", directory.display());
        problems.push(Problem::said(Code::FileKind, why));
    }
    if let store::Backend::Redis = config.state.backend {
        problems.extend(Redis::check(&config.state.redis));
    }
    if let Some(file) = config.key_file().filter(|file| file.exists())
        && let Err(error) = Keyring::load(&file).and_then(|ring| ring.lasting(longest_life(config)))
    {
        let exposed =
            matches!(error, KeyringError::Exposed { .. } | KeyringError::ExposedMount { .. });
        let code = if exposed { Code::FilePermissions } else { Code::FileContent };
        problems.push(Problem::error(code, KeyPath::of("keyring.file"), error.to_string()));
    }
    problems
}

pub(crate) fn live_keyring(config: &Config, ambient: &Ambient) -> Result<LiveKeyring, StartError> {
    let (entropy, clock) = (ambient.entropy.as_ref(), ambient.clock.as_ref());
    let ring = match config.key_file() {
        Some(path) => Keyring::load_or_create(&path, longest_life(config), entropy, clock),
        None => Keyring::generate(entropy, clock),
    };
    Ok(LiveKeyring::new(ring.map_err(outside)?, clock.now()))
}

/// The way to Redis, for all that replicas share there; nothing where each is alone.
pub(crate) fn open_redis(
    config: &Config,
    registry: &mut Registry,
) -> Result<Option<Redis>, StartError> {
    let metrics = redis::Metrics::register(registry);
    match config.state.backend {
        store::Backend::Redis => {
            Redis::open_with(&config.state.redis, metrics).map(Some).map_err(inside)
        }
        store::Backend::Memory | store::Backend::Disk => Ok(None),
    }
}

/// The store that the configuration describes, in `redis` where that is its backend.
pub(crate) fn open_store(
    config: &Config,
    redis: Option<&Redis>,
    ambient: &Ambient,
) -> Result<Arc<dyn Store>, StartError> {
    let (clock, entropy) = (Arc::clone(&ambient.clock), Arc::clone(&ambient.entropy));
    match redis {
        Some(redis) => store::open_on(redis.clone(), &config.state, clock, entropy)
            .map(|store| Arc::new(store) as Arc<dyn Store>)
            .map_err(outside),
        None => store::open(&config.state, clock, entropy).map_err(outside),
    }
}

/// This replica among the others; nothing where it is alone.
pub(crate) fn replicas(
    config: &Config,
    redis: Option<&Redis>,
    keyring: &Arc<LiveKeyring>,
    ambient: &Ambient,
    registry: &mut Registry,
) -> Result<Option<Replicas>, StartError> {
    let metrics = replicas::Metrics::register(registry);
    let Some(redis) = redis else { return Ok(None) };
    let keyring = Arc::clone(keyring);
    let keys = Box::new(move || keys(&keyring.ring()));
    let (clock, entropy) = (Arc::clone(&ambient.clock), ambient.entropy.as_ref());
    Replicas::new(redis.clone(), config.replicas.get(), keys, clock, entropy, metrics)
        .map(Some)
        .map_err(outside)
}

fn keys(ring: &Keyring) -> Keys {
    let current = |(print, state)| (state == KeyState::Current).then_some(print);
    Keys {
        current: ring.prints().filter_map(current).collect(),
        held: ring.prints().map(|(print, _)| print).collect(),
    }
}

/// Nothing where the keys are in memory only.
pub(crate) fn key_file_watch(
    config: &Config,
    ambient: &Ambient,
    keyring: &Arc<LiveKeyring>,
    longest_life: Receiver<Duration>,
    (registry, audit): (&mut Registry, &Audit),
) -> Option<KeyFileWatch> {
    let metrics = keyring::Metrics::register(registry, Arc::clone(keyring));
    let (path, clock) = (config.key_file()?, Arc::clone(&ambient.clock));
    let ring = Arc::clone(keyring);
    Some(KeyFileWatch::new(path, longest_life, ring, clock, metrics, audit.clone()))
}

/// Says in readiness that the key file cannot be taken up. Calls are answered as before; but this replica
/// would not start again, and others with the same file would not either.
pub(crate) fn tell_of_key_file(readiness: Readiness) -> impl FnMut(Option<String>) + Send {
    let mut _told = None;
    move |trouble| _told = trouble.map(|trouble| readiness.degrade(format!("keyring: {trouble}")))
}

/// The longest time for which this configuration has anything sealed.
pub fn longest_life(config: &Config) -> Duration {
    let default = service::Settings::any();
    let services = config.service.iter().chain(config.service.is_empty().then_some(&default));
    let lives = services.flat_map(|s| [s.links.lifetime.get(), s.feedback.lifetime.get()]);
    lives.max().unwrap_or_default()
}

/// The clients that go on without the store.
pub(crate) fn going_on_alone(config: &Config) -> HashSet<ClientId> {
    let goes_on = |client: &&Client| match client.replay.when_store_down {
        WhenStoreDown::Refuse => false,
        WhenStoreDown::Local => true,
    };
    config.client.iter().filter(goes_on).map(|client| client.auth.id.clone()).collect()
}

/// What this replica remembers of their tokens.
pub(crate) fn local(
    config: &Config,
    ambient: &Ambient,
    metrics: replay::Metrics,
) -> Result<Local, StartError> {
    let (clock, entropy) = (Arc::clone(&ambient.clock), ambient.entropy.as_ref());
    Local::new(going_on_alone(config), replay::CAPACITY, clock, entropy, metrics).map_err(outside)
}
