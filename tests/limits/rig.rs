//! Replicas that limit together.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hookgate::clock::{Clock, ManualClock, SystemClock, UnixTime};
use hookgate::gateway::limit::{Limited, Limits, Metrics, Passed, Settings};
use hookgate::names::{ClientId, ServiceId};
use hookgate::redis::{Redis, Settings as RedisSettings};
use hookgate::units::Period;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use redis::{Client, Connection, cmd};

use crate::server::RedisServer;

/// Enough for a machine that has other things to do; what is to be too slow is stopped altogether.
pub(crate) const PATIENT: Period = Period::secs(20);

pub(crate) struct Replica {
    pub(crate) limits: Limits,
    /// Of its own buckets and of its trials.
    pub(crate) clock: ManualClock,
    registry: Registry,
}

pub(crate) fn redis(addresses: Vec<String>) -> Redis {
    let settings =
        RedisSettings { addresses, timeout: Period::secs(1), ..RedisSettings::default() };
    Redis::open(&settings).unwrap()
}

impl Replica {
    /// One whose own clock stands still.
    pub(crate) fn new(server: &RedisServer, settings: &Settings) -> Self {
        let clock = ManualClock::new(UnixTime::from_secs(1_700_000_000));
        Self::with(server, settings, clock.clone(), Arc::new(clock))
    }

    /// One on the machine's clock.
    pub(crate) fn running(server: &RedisServer, settings: &Settings) -> Self {
        let clock = ManualClock::new(UnixTime::from_secs(1_700_000_000));
        Self::with(server, settings, clock, Arc::new(SystemClock::new()))
    }

    fn with(
        server: &RedisServer,
        settings: &Settings,
        clock: ManualClock,
        used: Arc<dyn Clock>,
    ) -> Self {
        let redis = redis(vec![server.address()]);
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let limits = Limits::new(settings, &[], Some(redis), used, metrics).unwrap();
        Self { limits, clock, registry }
    }

    pub(crate) async fn address(&self, last: u32) -> Result<Passed, Limited> {
        self.limits.admit_address(v4(last)).await
    }

    pub(crate) async fn client(&self, client: &str, service: &str) -> Result<Passed, Limited> {
        let (client, service) = (ClientId::new(client), ServiceId::new(service));
        self.limits.admit_client(&client.unwrap(), Some(&service.unwrap())).await
    }

    /// How many of so many calls of an address pass.
    pub(crate) async fn passes(&self, times: u32, last: u32) -> u32 {
        let mut passed = 0;
        for _ in 0..times {
            passed += u32::from(self.address(last).await.is_ok());
        }
        passed
    }

    /// The value of a metric's series.
    pub(crate) fn sample(&self, series: &str) -> u64 {
        let mut text = String::new();
        text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    pub(crate) fn shared(&self, outcome: &str) -> u64 {
        self.sample(&format!("hookgate_limit_shared_total{{outcome=\"{outcome}\"}}"))
    }

    pub(crate) fn is_local(&self) -> bool {
        self.sample("hookgate_limit_local") == 1
    }
}

pub(crate) fn v4(last: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + last))
}

/// What the server says the time is.
pub(crate) struct ServerClock(Mutex<Connection>);

impl ServerClock {
    pub(crate) fn new(server: &RedisServer) -> Self {
        let client = Client::open(format!("redis://{}", server.address())).unwrap();
        Self(Mutex::new(client.get_connection().unwrap()))
    }

    pub(crate) fn micros(&self) -> u64 {
        let mut connection = self.0.lock().unwrap();
        let (secs, micros): (u64, u64) = cmd("TIME").query(&mut connection).unwrap();
        secs * 1_000_000 + micros
    }
}

/// Looks again and again, while other tasks go on, until `met`.
pub(crate) async fn eventually(what: &str, mut met: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if met() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came: {what}");
}

/// Everything it holds.
pub(crate) fn keys(server: &RedisServer) -> Vec<String> {
    server.command(&["KEYS", "*"]).lines().filter(|l| !l.is_empty()).map(str::to_owned).collect()
}
