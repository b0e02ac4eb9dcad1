//! Replicas in one process: each with buckets and a connection of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hookgate::clock::{Clock, SystemClock};
use hookgate::gateway::limit::{Limits, Metrics, Rate, Settings};
use hookgate::redis::{Redis, Settings as RedisSettings};
use hookgate::units::Period;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use crate::server::RedisServer;

pub(crate) struct Replica {
    pub(crate) limits: Limits,
    registry: Registry,
}

/// Limits are no durable data: this one writes nothing down.
pub(crate) fn server() -> RedisServer {
    RedisServer::start_with(&["--appendonly", "no"])
}

pub(crate) fn redis(server: &RedisServer) -> Redis {
    let addresses = vec![server.address()];
    Redis::open(&RedisSettings { addresses, ..RedisSettings::default() }).unwrap()
}

impl Replica {
    pub(crate) fn new(server: Option<&RedisServer>, address: Rate) -> Arc<Self> {
        // A busy machine shall not turn this into a measurement of the replicas' own limits.
        let settings = Settings { address, shared_timeout: Period::secs(1), ..Settings::default() };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let limits = Limits::new(&settings, &[], server.map(redis), clock, metrics).unwrap();
        Arc::new(Self { limits, registry })
    }

    /// Whether Redis was missing at any time.
    pub(crate) fn was_local(&self) -> bool {
        let mut metrics = String::new();
        text::encode(&mut metrics, &self.registry).unwrap();
        let none = |outcome| format!("hookgate_limit_shared_total{{outcome=\"{outcome}\"}} 0\n");
        !["late", "failed", "spared"].iter().all(|outcome| metrics.contains(&none(*outcome)))
    }
}

pub(crate) fn v4(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number))
}
