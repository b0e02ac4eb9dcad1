//! What outlives every configuration: made once per process, and taken over by each generation.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::watch::Sender;

use crate::app::ambient::{Ambient, StartError};
use crate::app::state::local;
use crate::audit;
use crate::audit::Audit;
use crate::config::Config;
use crate::gateway::auth;
use crate::gateway::delivery::Deliveries;
use crate::gateway::limit;
use crate::gateway::replay;
use crate::gateway::replay::Local;
use crate::gateway::upstream;
use crate::keyring::LiveKeyring;
use crate::record::Recorder;
use crate::record::history::History;
use crate::store::Store;
use crate::traces;
use crate::traces::Traces;

/// The metric families of the steps that a reload makes anew, registered once. Steps are given clones.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) auth: auth::Metrics,
    pub(crate) limit: limit::Metrics,
    pub(crate) replay: replay::Metrics,
    pub(crate) upstream: upstream::Metrics,
    pub(crate) recorder: Recorder,
    pub(crate) audit: audit::Metrics,
    pub(crate) traces: traces::Metrics,
}

impl Metrics {
    /// Makes them known to `registry`.
    pub(crate) fn register(registry: &mut Registry, ambient: &Ambient) -> Self {
        Self {
            auth: auth::Metrics::register(registry),
            limit: limit::Metrics::register(registry),
            replay: replay::Metrics::register(registry),
            upstream: upstream::Metrics::register(registry),
            recorder: Recorder::new(registry, History::new(Arc::clone(&ambient.clock))),
            audit: audit::Metrics::register(registry),
            traces: traces::Metrics::register(registry),
        }
    }
}

/// What every generation of this process works with.
#[derive(Debug)]
pub(crate) struct Lasting {
    pub(crate) ambient: Ambient,
    pub(crate) metrics: Metrics,
    pub(crate) audit: Audit,
    pub(crate) traces: Traces,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keyring: Arc<LiveKeyring>,
    pub(crate) local: Arc<Local>,
    pub(crate) deliveries: Arc<Deliveries>,
    /// For which the key file must be good.
    pub(crate) longest_life: Sender<Duration>,
}

impl Lasting {
    /// What `config` asks for at the start, over what was opened already.
    ///
    /// # Errors
    /// [`StartError`] where there is no randomness.
    pub(crate) fn new(
        config: &Config,
        ambient: Ambient,
        (metrics, audit, traces): (Metrics, Audit, Traces),
        store: Arc<dyn Store>,
        keyring: Arc<LiveKeyring>,
        longest_life: Sender<Duration>,
    ) -> Result<Self, StartError> {
        let local = Arc::new(local(config, &ambient, metrics.replay.clone())?);
        let (clock, entropy) = (Arc::clone(&ambient.clock), Arc::clone(&ambient.entropy));
        let deliveries = Arc::new(Deliveries::new(Arc::clone(&store), clock, entropy));
        Ok(Self {
            ambient,
            metrics,
            audit,
            traces,
            store,
            keyring,
            local,
            deliveries,
            longest_life,
        })
    }
}
