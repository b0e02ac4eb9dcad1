//! What is found out about an upstream's addresses beside the calls: what their names mean, and whether they
//! say that they are well.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::Uri;
use tokio::time::{Instant, timeout};

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::gateway::upstream::address::{Address, Moment, Origin};
use crate::gateway::upstream::exchange::Connections;
use crate::gateway::upstream::metrics::Metrics;
use crate::gateway::upstream::pool::Pool;
use crate::gateway::upstream::settings::{Dialled, Health, MOST_ADDRESSES, Settings};
use crate::gateway::upstream::tls::Tls;
use crate::outbound::names::Resolver;
use crate::problem::{Code, Problem};

/// A name that is not answered for by then is looked up again later.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(5);

/// What upstreams are given from outside.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Who knows what names mean.
    pub resolver: Arc<dyn Resolver>,
    /// Where everything is counted.
    pub metrics: Metrics,
}

/// Looks after the addresses of one upstream.
#[derive(Debug)]
pub(crate) struct Tending {
    pub(crate) pool: Pool,
    settings: Settings,
    tls: Tls,
    around: Surroundings,
    names: Vec<Dialled>,
}

impl Tending {
    /// Nothing is dialled yet, and no name looked up: until then a name is dialled as it is.
    pub(crate) fn new(settings: &Settings, around: &Surroundings) -> Result<Self, Problem> {
        let (names, tls) = (names(settings)?, Tls::read(settings)?);
        let now = Moment::of(around.clock.as_ref());
        let maker = Maker { settings, tls: &tls, metrics: &around.metrics, now, warm_up: false };
        let addresses =
            names.iter().enumerate().map(|(name, dialled)| maker.by_name(name, dialled)).collect();
        let pool = Pool::new(
            addresses,
            settings.breaker.statuses.clone(),
            Arc::clone(&around.clock),
            Arc::clone(&around.entropy),
        );
        Ok(Self { pool, settings: settings.clone(), tls, around: around.clone(), names })
    }

    /// Looks names up and asks after the health of the addresses, for as long as it is polled.
    pub(crate) async fn run(&self) {
        tokio::join!(self.keep_names(), self.keep_asking());
    }

    async fn keep_names(&self) {
        if self.names.iter().all(is_number) {
            return;
        }
        loop {
            self.look_up().await;
            self.around.clock.sleep(self.settings.resolve_every.get()).await;
        }
    }

    async fn keep_asking(&self) {
        let Some(health) = &self.settings.health else { return };
        let root = self.settings.url.origin().ascii_serialization();
        // Both parts have been found sound.
        let Ok(uri) = format!("{root}{}", health.path).parse::<Uri>() else { return };
        loop {
            let addresses = self.pool.addresses();
            join_all(addresses.iter().map(|address| self.ask(address, &uri, health))).await;
            self.around.clock.sleep(health.interval.get()).await;
        }
    }

    async fn ask(&self, address: &Address, uri: &Uri, health: &Health) {
        let deadline = Instant::now() + health.timeout.get();
        let (well, why) = match address.connections.ask(uri.clone(), deadline).await {
            Ok(status) if health.statuses.is_empty() => (status.is_success(), status.to_string()),
            Ok(status) => (health.statuses.contains(&status.as_u16()), status.to_string()),
            Err(error) => (false, error.to_string()),
        };
        address.answered(well, &why, self.pool.now());
    }

    /// Finds out what the names mean now. An address that is still meant keeps all that is known about it;
    /// what a name meant last holds as long as nobody can tell.
    async fn look_up(&self) {
        let before = self.pool.addresses();
        let found = join_all(self.names.iter().map(|name| self.meaning(name))).await;
        let now = self.pool.now();
        let (settings, tls, metrics) = (&self.settings, &self.tls, &self.around.metrics);
        let maker = Maker { settings, tls, metrics, now, warm_up: true };
        let (mut after, mut seen) = (Vec::new(), HashSet::new());
        for (name, (dialled, meaning)) in self.names.iter().zip(found).enumerate() {
            let mut of_this = match meaning {
                None => before.iter().filter(|it| it.origin().name == name).cloned().collect(),
                Some(meaning) => maker.meant(name, dialled, &meaning, &before),
            };
            of_this.retain(|it: &Arc<Address>| seen.insert(it.label().to_owned()));
            after.append(&mut of_this);
        }
        after.truncate(MOST_ADDRESSES);
        let unchanged = after.len() == before.len()
            && after.iter().zip(before.iter()).all(|(one, other)| Arc::ptr_eq(one, other));
        if !unchanged && !after.is_empty() {
            let addresses: Vec<&str> = after.iter().map(|it| it.label()).collect();
            tracing::info!(upstream = %self.settings.id, ?addresses, "an upstream's addresses have changed");
            after.iter().for_each(|address| address.show());
            self.pool.replace(after);
        }
    }

    /// The addresses behind a name; none where it is dialled as it is. Nothing where nobody could tell.
    async fn meaning(&self, name: &Dialled) -> Option<Vec<SocketAddr>> {
        if is_number(name) {
            return Some(Vec::new());
        }
        let resolver = &self.around.resolver;
        match timeout(LOOK_UP_WITHIN, resolver.look_up(name.host(), name.port())).await {
            Ok(Ok(found)) if !found.is_empty() => Some(several(found)),
            Ok(Ok(_) | Err(_)) | Err(_) => {
                tracing::debug!(upstream = %self.settings.id, %name, "a name could not be looked up");
                None
            }
        }
    }
}

/// What new addresses are made of.
struct Maker<'a> {
    settings: &'a Settings,
    tls: &'a Tls,
    metrics: &'a Metrics,
    now: Moment,
    warm_up: bool,
}

impl Maker<'_> {
    fn by_name(&self, name: usize, dialled: &Dialled) -> Arc<Address> {
        self.address(dialled.to_string(), Origin { name, found: None }, dialled.uri())
    }

    /// The addresses that a name means, those from before where they are the same.
    fn meant(
        &self,
        name: usize,
        dialled: &Dialled,
        meaning: &[SocketAddr],
        before: &[Arc<Address>],
    ) -> Vec<Arc<Address>> {
        let known = |found| {
            let origin = Origin { name, found };
            before.iter().find(|it| *it.origin() == origin).cloned()
        };
        if meaning.is_empty() {
            return vec![known(None).unwrap_or_else(|| self.by_name(name, dialled))];
        }
        let of = |found: SocketAddr| {
            known(Some(found)).or_else(|| {
                let place = Dialled::try_from(found.to_string()).ok()?.uri();
                Some(self.address(found.to_string(), Origin { name, found: Some(found) }, place))
            })
        };
        meaning.iter().copied().filter_map(of).collect()
    }

    fn address(&self, label: String, origin: Origin, place: Uri) -> Arc<Address> {
        let connections = Connections::new(self.settings, self.tls, place);
        let gauges = self.metrics.of_address(&self.settings.id, &label);
        Arc::new(Address::new(
            self.settings,
            (label, origin),
            connections,
            gauges,
            self.now,
            self.warm_up,
        ))
    }
}

/// Where an upstream is dialled: as its settings say, or where its URL points.
fn names(settings: &Settings) -> Result<Vec<Dialled>, Problem> {
    if !settings.addresses.is_empty() {
        return Ok(settings.addresses.clone());
    }
    let url = &settings.url;
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let own = Dialled::try_from(format!("{host}:{port}"));
    own.map(|own| vec![own]).map_err(|_| {
        let why =
            "url has no host and port that could be dialled; write \"https://cds.example.org\"";
        Problem::said(Code::BadValue, why)
    })
}

fn is_number(name: &Dialled) -> bool {
    name.host().parse::<IpAddr>().is_ok()
}

/// The addresses to call each by itself. A machine often has one address of either family under its name:
/// that is one place, which is dialled by its name, whichever family answers. Where a family has several,
/// these are taken, of the family that the resolver prefers.
fn several(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let prefers_v4 = found.first().is_some_and(SocketAddr::is_ipv4);
    let (mut preferred, mut others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| address.is_ipv4() == prefers_v4);
    for family in [&mut preferred, &mut others] {
        // In an order that does not change with each answer.
        family.sort_unstable();
        family.dedup();
        family.truncate(MOST_ADDRESSES);
    }
    match (preferred.len(), others.len()) {
        (2.., _) => preferred,
        (_, 2..) => others,
        (_, _) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_of_either_family_is_one_place() {
        let table: [(&[&str], &[&str]); 6] = [
            (&["10.0.0.1:80"], &[]),
            (&["[::1]:80", "127.0.0.1:80"], &[]),
            (&["10.0.0.1:80", "10.0.0.1:80"], &[]),
            (&["10.0.0.2:80", "10.0.0.1:80"], &["10.0.0.1:80", "10.0.0.2:80"]),
            (&["[::1]:80", "10.0.0.2:80", "10.0.0.1:80"], &["10.0.0.1:80", "10.0.0.2:80"]),
            (&["[::2]:80", "10.0.0.2:80", "[::1]:80", "10.0.0.1:80"], &["[::1]:80", "[::2]:80"]),
        ];
        let read = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        for (found, expected) in table {
            let expected: Vec<SocketAddr> = read(expected);
            assert_eq!(several(read(found)), expected, "{found:?}");
        }
    }
}
