//! What explains tokens, links and ids: the steps of a gateway that serves nobody.

use std::path::Path;
use std::sync::Arc;

use prometheus_client::registry::Registry;

use crate::app::ambient::{Ambient, StartError, outside};
use crate::app::generation::{Steps, link_tokens, services};
use crate::app::lasting::Metrics;
use crate::config::Config;
use crate::explain::{Calls, Substitutes};
use crate::keyring::{Keyring, LiveKeyring};

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

/// Explains links and ids that a gateway with this configuration and these keys gave out.
///
/// # Errors
/// [`StartError`] where the keys cannot be read.
pub fn explain_substitutes(
    config: &Config,
    key_file: &Path,
    ambient: &Ambient,
) -> Result<Substitutes, StartError> {
    let ring = Keyring::load(key_file).map_err(outside)?;
    let keyring = Arc::new(LiveKeyring::new(ring, ambient.clock.now()));
    let (services, public_url) = (services(config), config.public_url.as_url());
    let links = link_tokens(config, &services, &keyring, public_url, &ambient.entropy)?;
    Ok(Substitutes::new(keyring, links, services, public_url))
}
