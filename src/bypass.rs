//! Can a service be reached past the gateway?
//!
//! A service that stands on this machine is protected only as long as its port answers nowhere but on the
//! loopback. Whether it does is found out by knocking: a TCP connection to the same port on each other
//! address of this machine, closed as soon as it stands. What stands on another host cannot be known from
//! here: there a firewall or a NetworkPolicy has to be believed.
//!
//! Knocking at one's own address does not pass the rules that a firewall has for what comes from outside. So
//! an answer is a warning and stops nothing; an operator who knows better turns it off for the upstream.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use if_addrs::IfAddr;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::clock::{Clock, UnixTime};
use crate::names::UpstreamId;
use crate::readiness::{Pending, Readiness};

/// A service may be started anew, and listen elsewhere, at any time.
const EVERY: Duration = Duration::from_secs(5 * 60);
/// A connection to one's own address stands at once, or a firewall drops it.
const PATIENCE: Duration = Duration::from_secs(2);
/// A host of a cluster can have hundreds of addresses; those that come first tell enough.
const MOST_ADDRESSES: usize = 64;

/// The addresses under which others may reach this machine.
pub trait Interfaces: Send + Sync + fmt::Debug + 'static {
    /// All of them, which leaves out the loopback. The port is 0; link-local addresses have their scope.
    ///
    /// # Errors
    /// Where the system does not tell.
    fn addresses(&self) -> io::Result<Vec<SocketAddr>>;
}

/// What the system says.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemInterfaces;

impl Interfaces for SystemInterfaces {
    fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let found = if_addrs::get_if_addrs()?;
        let others = found.into_iter().filter(|interface| !interface.is_loopback());
        let address = |interface: if_addrs::Interface| match interface.addr {
            IfAddr::V4(address) => SocketAddr::from((address.ip, 0)),
            IfAddr::V6(address) if address.ip.is_unicast_link_local() => {
                let scope = interface.index.unwrap_or_default();
                SocketAddrV6::new(address.ip, 0, 0, scope).into()
            }
            IfAddr::V6(address) => SocketAddr::from((address.ip, 0)),
        };
        Ok(others.map(address).collect())
    }
}

/// Where a service is, as its upstream's URL names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    upstream: UpstreamId,
    /// `None` is the loopback: by its name, or by any of its addresses.
    address: Option<IpAddr>,
    port: u16,
}

impl Place {
    /// The place that `url` names, where it can be one on this machine: the loopback, or a literal address,
    /// which may turn out to be this machine's. What a name leads to is not asked.
    pub fn of(upstream: &UpstreamId, url: &Url) -> Option<Self> {
        let port = url.port_or_known_default()?;
        Self::at(upstream, url.host_str()?.trim_matches(['[', ']']), port)
    }

    /// The same for a host, whose number has no brackets, and a port.
    pub fn at(upstream: &UpstreamId, host: &str, port: u16) -> Option<Self> {
        let named = match host.parse::<IpAddr>() {
            Ok(address) => Some(address.to_canonical()),
            Err(_) if is_localhost(host) => None,
            Err(_) => return None,
        };
        let address = named.filter(|address| !address.is_loopback());
        Some(Self { upstream: upstream.clone(), address, port })
    }
}

/// RFC 6761 section 6.3.
fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// What was found out about one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where it answers although it should not. Empty: nowhere.
    pub answers: Vec<SocketAddr>,
    /// When this was found out.
    pub checked_at: UnixTime,
}

/// What was found out last. Clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Standings(Arc<ArcSwap<BTreeMap<UpstreamId, Standing>>>);

impl Standings {
    /// Of every upstream that is checked, once it has been.
    pub fn all(&self) -> Arc<BTreeMap<UpstreamId, Standing>> {
        self.0.load_full()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfUpstream {
    upstream: String,
}

impl OfUpstream {
    fn new(upstream: &UpstreamId) -> Self {
        Self { upstream: upstream.as_str().to_owned() }
    }
}

/// What Prometheus sees of it.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Family<OfUpstream, Gauge>);

impl Metrics {
    /// Registers the one metric.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "hookgate_upstream_bypass",
            "Whether the upstream's port answers on an address of this machine other than loopback",
            metrics.0.clone(),
        );
        metrics
    }
}

/// Says which places are to be checked: another configuration has others.
pub type Places = Box<dyn Fn() -> Vec<Place> + Send + Sync>;

/// Looks now and then whether services can be reached past the gateway.
pub struct BypassCheck {
    places: Places,
    own: Vec<SocketAddr>,
    interfaces: Arc<dyn Interfaces>,
    standings: Standings,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for BypassCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BypassCheck").field("own", &self.own).finish_non_exhaustive()
    }
}

impl BypassCheck {
    /// A check of `places`. What answers at one of the gateway's `own` listeners is the gateway.
    pub fn new(
        places: Places,
        own: Vec<SocketAddr>,
        interfaces: Arc<dyn Interfaces>,
        metrics: Metrics,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { places, own, interfaces, standings: Standings::default(), metrics, clock }
    }

    /// Where it says what it has found.
    pub fn standings(&self) -> Standings {
        self.standings.clone()
    }

    /// Checks at once and then every few minutes, until `stop`.
    pub async fn run(self, readiness: Readiness, stop: CancellationToken) {
        let mut told: BTreeMap<UpstreamId, Pending> = BTreeMap::new();
        loop {
            tokio::select! {
                () = self.look(&readiness, &mut told) => {}
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = self.clock.sleep(EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn look(&self, readiness: &Readiness, told: &mut BTreeMap<UpstreamId, Pending>) {
        let places = (self.places)();
        let addresses = match self.interfaces.addresses() {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::warn!("whether services answer past the gateway is not known: {error}");
                return;
            }
        };
        let (mut found, checked_at) = (BTreeMap::<UpstreamId, Standing>::new(), self.clock.now());
        for place in &places {
            let answers = self.knock(place, &addresses).await;
            let fresh = || Standing { answers: Vec::new(), checked_at };
            let standing = found.entry(place.upstream.clone()).or_insert_with(fresh);
            standing.answers.extend(answers);
        }
        for gone in self.standings.all().keys().filter(|upstream| !found.contains_key(*upstream)) {
            told.remove(gone);
            self.metrics.0.remove(&OfUpstream::new(gone));
        }
        for (upstream, standing) in &found {
            self.tell(upstream, &standing.answers, readiness, told);
        }
        self.standings.0.store(Arc::new(found));
    }

    fn tell(
        &self,
        upstream: &UpstreamId,
        answers: &[SocketAddr],
        readiness: &Readiness,
        told: &mut BTreeMap<UpstreamId, Pending>,
    ) {
        let label = OfUpstream::new(upstream);
        self.metrics.0.get_or_create(&label).set(i64::from(!answers.is_empty()));
        if answers.is_empty() {
            if told.remove(upstream).is_some() {
                tracing::info!(%upstream, "answers past the gateway no longer");
            }
            return;
        }
        if told.contains_key(upstream) {
            return;
        }
        let list: Vec<String> = answers.iter().map(ToString::to_string).collect();
        let list = list.join(", ");
        tracing::warn!(
            %upstream,
            addresses = %list,
            "answers past the gateway: whoever reaches these addresses needs no token. Let the service listen \
             on 127.0.0.1 only, or close the port to everybody but hookgate and write bypass_check = false"
        );
        let pending = readiness.degrade(format!("bypass: upstream {upstream} answers on {list}"));
        told.insert(upstream.clone(), pending);
    }

    /// Where the service answers beside the loopback.
    async fn knock(&self, place: &Place, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        // What stands on another host is not this machine's to judge.
        let elsewhere = place
            .address
            .is_some_and(|named| !addresses.iter().any(|a| a.ip().to_canonical() == named));
        if elsewhere {
            return Vec::new();
        }
        let knocks = self.doors(place.port, addresses).into_iter().map(|door| async move {
            matches!(timeout(PATIENCE, TcpStream::connect(door)).await, Ok(Ok(_))).then_some(door)
        });
        futures_util::future::join_all(knocks).await.into_iter().flatten().collect()
    }

    fn doors(&self, port: u16, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        let mut doors: Vec<SocketAddr> = Vec::new();
        for address in addresses {
            let mut door = *address;
            door.set_port(port);
            if !doors.contains(&door) && !self.is_own(door) {
                doors.push(door);
            }
        }
        doors.truncate(MOST_ADDRESSES);
        doors
    }

    fn is_own(&self, door: SocketAddr) -> bool {
        self.own.iter().any(|own| {
            own.port() == door.port() && (own.ip().is_unspecified() || own.ip() == door.ip())
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::clock::ManualClock;

    /// The machine's other addresses are played by `127.0.0.2` and the like, which every machine has.
    #[derive(Debug)]
    struct Listed(Vec<SocketAddr>);

    impl Interfaces for Listed {
        fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
            Ok(self.0.clone())
        }
    }

    fn upstream(name: &str) -> UpstreamId {
        UpstreamId::new(name).unwrap()
    }

    fn place(url: &str) -> Option<Place> {
        Place::of(&upstream("legacy"), &url.parse().unwrap())
    }

    fn check(places: Vec<Place>, listed: &[&str], own: &[SocketAddr]) -> (BypassCheck, Registry) {
        let listed = listed.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect();
        let mut registry = Registry::default();
        let check = BypassCheck::new(
            Box::new(move || places.clone()),
            own.to_vec(),
            Arc::new(Listed(listed)),
            Metrics::register(&mut registry),
            Arc::new(ManualClock::new(UnixTime::from_secs(1_800_000_000))),
        );
        (check, registry)
    }

    fn metric(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text
    }

    const OTHERS: [&str; 2] = ["127.0.0.2", "127.0.0.3"];

    #[test]
    fn places_on_this_machine_are_known_by_their_url() {
        let port = |url: &str| place(url).map(|place| (place.address, place.port));
        for (url, expected) in [
            ("http://127.0.0.1:8080/cds", Some((None, 8080))),
            ("http://127.8.8.8", Some((None, 80))),
            ("https://localhost", Some((None, 443))),
            ("http://legacy.LOCALHOST.:1", Some((None, 1))),
            ("http://[::1]:8080", Some((None, 8080))),
            ("http://[::ffff:127.0.0.1]:8080", Some((None, 8080))),
            ("http://10.0.0.5:8080", Some((Some("10.0.0.5".parse().unwrap()), 8080))),
            ("http://legacy:8080", None),
            ("http://localhost.example.org", None),
        ] {
            assert_eq!(port(url), expected, "{url}");
        }
    }

    #[tokio::test]
    async fn a_service_that_answers_elsewhere_is_told_until_it_does_no_longer() {
        let everywhere = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = everywhere.local_addr().unwrap().port();
        let places = place(&format!("http://127.0.0.1:{port}")).into_iter().collect();
        let (check, registry) = check(places, &OTHERS, &[]);
        let (readiness, mut told) = (Readiness::new(), BTreeMap::new());

        check.look(&readiness, &mut told).await;
        let answers = |check: &BypassCheck| -> Vec<String> {
            let all = check.standings.all();
            all.values().flat_map(|s| s.answers.iter().map(ToString::to_string)).collect()
        };
        let (second, third) = (format!("127.0.0.2:{port}"), format!("127.0.0.3:{port}"));
        assert_eq!(answers(&check), [second.clone(), third.clone()]);
        assert_eq!(
            readiness.degraded(),
            [format!("bypass: upstream legacy answers on {second}, {third}")]
        );
        assert!(readiness.pending().is_empty(), "calls are taken all the same");
        assert!(metric(&registry).contains("hookgate_upstream_bypass{upstream=\"legacy\"} 1\n"));

        check.look(&readiness, &mut told).await;
        assert_eq!(readiness.degraded().len(), 1, "told once");

        drop(everywhere);
        let _inside = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        check.look(&readiness, &mut told).await;
        assert!(answers(&check).is_empty() && readiness.degraded().is_empty());
        assert!(metric(&registry).contains("hookgate_upstream_bypass{upstream=\"legacy\"} 0\n"));
        assert_eq!(check.standings.all().len(), 1, "it was checked");
    }

    #[tokio::test]
    async fn an_upstream_that_leaves_the_configuration_takes_its_warning_with_it() {
        let everywhere = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let url = format!("http://127.0.0.1:{}", everywhere.local_addr().unwrap().port());
        let (mut check, registry) = check(place(&url).into_iter().collect(), &OTHERS, &[]);
        let (readiness, mut told) = (Readiness::new(), BTreeMap::new());
        check.look(&readiness, &mut told).await;
        assert_eq!(readiness.degraded().len(), 1);
        check.places = Box::new(Vec::new);
        check.look(&readiness, &mut told).await;
        assert!(readiness.degraded().is_empty() && check.standings.all().is_empty());
        assert!(!metric(&registry).contains("upstream=\"legacy\""));
    }

    #[tokio::test]
    async fn the_gateway_does_not_take_itself_for_the_service() {
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = service.local_addr().unwrap().port();
        let own = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        let places: Vec<Place> = place(&format!("http://127.0.0.1:{port}")).into_iter().collect();
        let here = own.local_addr().unwrap();
        for (own, expected) in [(vec![], 1), (vec![here], 0)] {
            let (check, _) = check(places.clone(), &["127.0.0.2"], &own);
            check.look(&Readiness::new(), &mut BTreeMap::new()).await;
            let found: usize = check.standings.all().values().map(|s| s.answers.len()).sum();
            assert_eq!(found, expected, "{own:?}");
        }
    }

    #[tokio::test]
    async fn a_literal_address_counts_only_where_it_is_this_machines() {
        let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for (named, expected) in [("192.0.2.77", 0), ("192.0.2.78", 1)] {
            let places = place(&format!("http://{named}:{port}")).into_iter().collect();
            let (check, _) = check(places, &["127.0.0.2", "192.0.2.78"], &[]);
            check.look(&Readiness::new(), &mut BTreeMap::new()).await;
            let found: usize = check.standings.all().values().map(|s| s.answers.len()).sum();
            assert_eq!(found, expected, "{named}");
        }
    }

    /// The addresses that this machine really has; one with the loopback alone has nothing to be found.
    #[tokio::test]
    async fn on_this_machines_own_addresses() {
        let all = SystemInterfaces.addresses().unwrap();
        assert!(!all.iter().any(|address| address.ip().is_loopback()), "{all:?}");
        for (host, everywhere) in [("0.0.0.0", true), ("127.0.0.1", false)] {
            let listener = TcpListener::bind((host, 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let check = BypassCheck {
                interfaces: Arc::new(SystemInterfaces),
                ..check(place(&format!("http://localhost:{port}")).into_iter().collect(), &[], &[])
                    .0
            };
            check.look(&Readiness::new(), &mut BTreeMap::new()).await;
            let standings = check.standings.all();
            let found: Vec<SocketAddr> =
                standings.values().flat_map(|s| s.answers.iter().copied()).collect();
            let mut expected = check.doors(port, &all);
            expected.retain(|door| everywhere && door.is_ipv4());
            assert_eq!(found, expected, "{host} of {all:?}");
        }
    }
}
