//! Which upstreams may be on this machine, so that somebody could reach them past the gateway.

use std::net::SocketAddr;
use std::sync::Arc;

use prometheus_client::registry::Registry;

use crate::app::live::Live;
use crate::bypass::{BypassCheck, Metrics, Place, SystemInterfaces};
use crate::clock::Clock;
use crate::gateway::upstream;

/// Looks after the upstreams of whatever generation is at work. What answers at one of the gateway's `own`
/// listeners is the gateway.
pub(crate) fn bypass_check(
    live: &Live,
    own: Vec<SocketAddr>,
    clock: Arc<dyn Clock>,
    registry: &mut Registry,
) -> BypassCheck {
    let live = live.clone();
    let places = Box::new(move || {
        let generation = live.generation();
        let checked = generation.config().upstream.iter().filter(|one| one.bypass_check);
        checked.flat_map(places).collect()
    });
    BypassCheck::new(places, own, Arc::new(SystemInterfaces), Metrics::register(registry), clock)
}

/// Where an upstream is dialled, as far as that can be on this machine.
fn places(upstream: &upstream::Settings) -> Vec<Place> {
    if upstream.addresses.is_empty() {
        return Place::of(&upstream.id, &upstream.url).into_iter().collect();
    }
    let dialled = upstream.addresses.iter();
    dialled.filter_map(|d| Place::at(&upstream.id, d.host(), d.port())).collect()
}
