//! The backends that the contract is tried on, and small words that all tests use.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hookgate::clock::{Clock, ManualClock, SystemClock, UnixTime};
use hookgate::entropy::{SystemEntropy, draw};
use hookgate::store::disk::DiskStore;
use hookgate::store::disk::opening::OpenError;
use hookgate::store::memory::MemoryStore;
use hookgate::store::redis::RedisStore;
use hookgate::store::repeat::Repeating;
use hookgate::store::{Fill, Key, Namespace, Nonce, Settings, Store, StoreError};
use hookgate::units::Period;
use hookgate::{redis, store};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::common::CommonCluster;
use crate::server::{RedisServer, cli};

/// When tests begin.
pub(crate) const START: UnixTime = UnixTime::from_secs(1_700_000_000);

/// A store, its clock, and what must live as long as it.
pub(crate) struct Stand {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: ManualClock,
    start: UnixTime,
    behind: Behind,
}

/// What the store is on.
enum Behind {
    Nothing,
    Folder(#[expect(dead_code, reason = "it is removed with the stand")] TempDir),
    Redis(RedisServer),
    Cluster(CommonCluster),
}

impl Stand {
    fn new(store: Arc<dyn Store>, clock: ManualClock, behind: Behind) -> Self {
        Self { store, start: clock.now(), clock, behind }
    }

    /// So many seconds after it was made.
    pub(crate) fn at(&self, secs: u64) -> UnixTime {
        UnixTime::from_secs(self.start.secs() + secs)
    }

    /// Lets time pass until `now`. Redis drops what has ended by a clock of its own, which no test can
    /// move: what it would have dropped once its clock had come there, and its margin had passed, is
    /// dropped for it.
    pub(crate) async fn pass_until(&self, now: UnixTime) {
        self.clock.advance(now.since(self.clock.now()));
        match &self.behind {
            Behind::Nothing | Behind::Folder(_) => {}
            Behind::Redis(server) => drop_ended(&server.address(), now),
            Behind::Cluster(cluster) => {
                cluster.addresses().iter().for_each(|address| drop_ended(address, now));
            }
        }
    }

    /// Whether the store is ready, once it answers.
    pub(crate) async fn ready(&self) -> Result<(), StoreError> {
        for _ in 0..100 {
            match self.store.ready().await {
                Err(StoreError::Down(_)) => sleep(Duration::from_millis(20)).await,
                answer => return answer,
            }
        }
        self.store.ready().await
    }

    /// How full the store is: backends that ask a server say what it said last.
    pub(crate) async fn fill(&self) -> Fill {
        let _full_or_not = self.ready().await;
        self.store.fill()
    }

    /// Whether its history began when it was made. Redis' begins by its own clock.
    pub(crate) fn began_now(&self, since: UnixTime) -> bool {
        match self.behind {
            Behind::Nothing | Behind::Folder(_) => since == self.start,
            Behind::Redis(_) | Behind::Cluster(_) => since >= self.start && since < self.at(60),
        }
    }
}

/// Makes a store for so many entries.
pub(crate) type Make = fn(u64) -> BoxFuture<'static, Stand>;

/// Every backend there is, each a line.
pub(crate) const BACKENDS: &[(&str, Make)] = &[
    ("memory", |capacity| Box::pin(async move { memory(capacity) })),
    ("disk", |capacity| Box::pin(async move { disk(capacity) })),
    ("redis", |capacity| Box::pin(redis(capacity))),
    ("a Redis cluster", |capacity| Box::pin(cluster(capacity))),
];

fn memory(capacity: u64) -> Stand {
    let clock = ManualClock::new(START);
    let store =
        MemoryStore::new(capacity, Arc::new(clock.clone()), &SystemEntropy::default()).unwrap();
    Stand::new(Arc::new(store), clock, Behind::Nothing)
}

fn disk(capacity: u64) -> Stand {
    let clock = ManualClock::new(START);
    let folder = tempfile::tempdir().unwrap();
    let store = opened(folder.path(), capacity, &clock);
    Stand::new(Arc::new(store), clock, Behind::Folder(folder))
}

async fn redis(capacity: u64) -> Stand {
    // Durability has tests of its own.
    let server = RedisServer::start_with(&["--appendonly", "no"]);
    let clock = ManualClock::new(now());
    let store = open_redis(&one(server.address()), capacity, Arc::new(clock.clone()));
    on_redis(store, clock, Behind::Redis(server)).await
}

async fn cluster(capacity: u64) -> Stand {
    let cluster = CommonCluster::take().await;
    let clock = ManualClock::new(now());
    let settings = many(cluster.addresses().to_vec());
    let store = open_redis(&settings, capacity, Arc::new(clock.clone()));
    on_redis(store, clock, Behind::Cluster(cluster)).await
}

async fn on_redis(store: RedisStore, clock: ManualClock, behind: Behind) -> Stand {
    let stand = Stand::new(Arc::new(patient(Arc::new(store))), clock, behind);
    stand.ready().await.unwrap();
    stand
}

/// As the gateway asks, but for far longer: a busy machine may be too slow for one call, and the same
/// nonce finds out what became of it.
pub(crate) fn patient(store: Arc<dyn Store>) -> Repeating {
    Repeating::new(store, Duration::from_secs(60))
}

/// The settings for one server, with the most patience there is: other tests are busy beside this one.
pub(crate) fn one(address: String) -> redis::Settings {
    redis::Settings {
        addresses: vec![address],
        timeout: Period::secs(1),
        ..redis::Settings::default()
    }
}

/// The same for a cluster.
pub(crate) fn many(addresses: Vec<String>) -> redis::Settings {
    redis::Settings { topology: redis::Topology::Cluster, addresses, ..one(String::new()) }
}

/// Opens a store in Redis, which may be away.
pub(crate) fn open_redis(
    redis: &redis::Settings,
    capacity: u64,
    clock: Arc<dyn Clock>,
) -> RedisStore {
    let settings = Settings { max_entries: capacity, redis: redis.clone(), ..Settings::default() };
    let way = redis::Redis::open(&settings.redis).unwrap();
    store::open_on(way, &settings, clock, Arc::new(SystemEntropy::default())).unwrap()
}

/// The real time, in whole seconds: Redis drops by it.
pub(crate) fn now() -> UnixTime {
    UnixTime::from_secs(SystemClock::new().now().secs())
}

/// Drops the entries of a server that ended at `now` or before.
pub(crate) fn drop_ended(address: &str, now: UnixTime) {
    const MARGIN: u64 = 300_000;
    const DROP: &str = "for _, key in ipairs(redis.call('KEYS', '*:e:*')) do
        if redis.call('PEXPIRETIME', key) <= tonumber(ARGV[1]) then redis.call('DEL', key) end
    end";
    let latest = (now.millis() + MARGIN).to_string();
    assert_eq!(ask(address, &["EVAL", DROP, "0", &latest]), "");
}

/// What the server at `address` answers to a command.
pub(crate) fn ask(address: &str, words: &[&str]) -> String {
    let (host, port) = address.split_once(':').unwrap();
    cli(&[&["-h", host, "-p", port], words].concat())
}

/// Opens a disk store in `folder`.
pub(crate) fn open_with(
    folder: &Path,
    capacity: u64,
    clock: &ManualClock,
) -> Result<DiskStore, OpenError> {
    DiskStore::open(folder, capacity, Arc::new(clock.clone()), Arc::new(SystemEntropy::default()))
}

/// The same where nothing is in the way. A program that another test is just starting holds every open
/// file for a moment, and with it the lock of a store that was closed meanwhile.
pub(crate) fn opened(folder: &Path, capacity: u64, clock: &ManualClock) -> DiskStore {
    for _ in 0..1000 {
        match open_with(folder, capacity, clock) {
            Err(OpenError::InUse { .. }) => thread::sleep(Duration::from_millis(5)),
            opened => return opened.unwrap(),
        }
    }
    panic!("{} stays in use", folder.display());
}

/// Opens a disk store in `folder` at the time tests begin.
pub(crate) fn open(folder: &Path) -> DiskStore {
    opened(folder, 100_000, &ManualClock::new(START))
}

pub(crate) fn key(n: u64) -> Key {
    Key::new(Namespace::Link, &[&n.to_be_bytes()])
}

pub(crate) fn nonce() -> Nonce {
    Nonce(draw(&SystemEntropy::default()).unwrap())
}

pub(crate) fn value(n: u64) -> Bytes {
    Bytes::from(format!("value {n}"))
}

/// So many seconds after the start.
pub(crate) fn at(secs: u64) -> UnixTime {
    UnixTime::from_secs(START.secs() + secs)
}
