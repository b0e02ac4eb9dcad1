//! What explains tokens, links and ids: the steps of a gateway that serves nobody.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;

use crate::app::ambient::{Ambient, StartError, outside};
use crate::app::generation::{Steps, known_names, services};
use crate::app::lasting::Metrics;
use crate::config::Config;
use crate::explain::{Calls, StoreSide, Substitutes};
use crate::gateway::tokens::{CardIds, LinkTokens};
use crate::keyring::{Keyring, LiveKeyring};
use crate::redis::Redis;
use crate::store;
use crate::store::redis::RedisView;

/// How long somebody who asks waits for Redis.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);

/// Explains calls to a gateway with this configuration. Reads files and makes none.
///
/// # Errors
/// [`StartError`] with everything that is wrong with the configuration.
pub fn explain_calls(config: &Config, ambient: &Ambient) -> Result<Calls, StartError> {
    let metrics = Metrics::register(&mut Registry::default(), ambient);
    let steps = Steps::new(config, None, ambient, &metrics)?;
    let (auth, services) = steps.callers_and_services();
    Ok(Calls::new(auth, services, config.discovery.mode, config.public_url.as_url()))
}

/// Explains links and ids that a gateway with this configuration and these keys gave out. Looks into Redis
/// where that is the store, and takes no step there. To be called within a tokio runtime.
///
/// # Errors
/// [`StartError`] where the keys cannot be read.
pub async fn explain_substitutes(
    config: &Config,
    key_file: &Path,
    ambient: &Ambient,
) -> Result<Substitutes, StartError> {
    let ring = Keyring::load(key_file).map_err(outside)?;
    let keyring = Arc::new(LiveKeyring::new(ring, ambient.clock.now()));
    let (services, public_url) = (services(config), config.public_url.as_url());
    let names = known_names(config, &services, &HashSet::new())?;
    let entropy = Arc::clone(&ambient.entropy);
    let links = LinkTokens::new(Arc::clone(&keyring), public_url, names, entropy);
    let ids = CardIds::new(Arc::clone(&keyring), public_url, Arc::clone(&ambient.entropy));
    let store = store_side(config, ambient).await?;
    Ok(Substitutes::new(keyring, (links, ids), services, public_url, store))
}

async fn store_side(config: &Config, ambient: &Ambient) -> Result<StoreSide, StartError> {
    let redis = match config.state.backend {
        store::Backend::Memory => {
            return Ok(StoreSide::Closed(
                "state.backend is \"memory\": only the gateway itself knows",
            ));
        }
        store::Backend::Disk => {
            return Ok(StoreSide::Closed(
                "state.backend is \"disk\": the gateway has that file to itself, and its log has what it did",
            ));
        }
        store::Backend::Redis => Redis::open(&config.state.redis).map_err(outside)?,
    };
    let view = RedisView::new(redis.clone(), Arc::clone(&ambient.clock));
    let mut arrivals = redis.arrivals();
    let connected = async { while redis.ready().is_err() && arrivals.changed().await.is_ok() {} };
    // What is still not there then is told with the steps.
    let _there_or_not = tokio::time::timeout(CONNECTED_WITHIN, connected).await;
    Ok(StoreSide::Open(Box::new(view)))
}
