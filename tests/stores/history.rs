//! Everything that many callers are told, on every backend, while processes and servers end and answers
//! get lost: for each key there is an order in which it can have come about.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use hookgate::clock::{ManualClock, UnixTime};
use hookgate::entropy::SystemEntropy;
use hookgate::redis;
use hookgate::store::disk::DiskStore;
use hookgate::store::memory::MemoryStore;
use hookgate::store::{Claim, Incarnation, Insert, Nonce, Store, StoreError};
use tokio::time::sleep;

use crate::backends::{START, key, many, now, one, value};
use crate::cluster::Cluster;
use crate::linear::{Call, Step, Told, is_linear};
use crate::medium::FickleDisk;
use crate::proxy::{Proxy, Way};
use crate::replica::{Replica, WRONG};
use crate::server::RedisServer;

/// How many keys are spent in a wave, by how many; and how many are claimed.
const SPENT: u64 = 24;
const DELIVERED: u64 = 12;
const CALLERS: u64 = 6;
const WAVES: u64 = 4;
/// How often somebody asks before giving up.
const TRIES: usize = 2000;
const PAUSE: Duration = Duration::from_millis(10);

/// The processes, and all that their callers were told.
struct Fleet {
    processes: Vec<Mutex<Process>>,
    moment: AtomicU64,
    steps: Mutex<HashMap<u64, Vec<Step>>>,
    until: UnixTime,
    lease: UnixTime,
}

/// A store in a process that may end: nobody hears any more what it would have answered.
struct Process {
    life: u64,
    store: Option<Arc<dyn Store>>,
}

impl Fleet {
    fn new(stores: Vec<Arc<dyn Store>>, start: UnixTime) -> Arc<Self> {
        let process = |store| Mutex::new(Process { life: 0, store: Some(store) });
        Arc::new(Self {
            processes: stores.into_iter().map(process).collect(),
            moment: AtomicU64::new(0),
            steps: Mutex::default(),
            until: start.plus(Duration::from_secs(7200)),
            lease: start.plus(Duration::from_secs(3600)),
        })
    }

    fn incarnation(&self, number: usize) -> Incarnation {
        self.living(number).unwrap().1.incarnation().unwrap()
    }

    /// The store of a process, unless it has ended.
    fn living(&self, number: usize) -> Option<(u64, Arc<dyn Store>)> {
        let process = self.processes[number % self.processes.len()].lock().unwrap();
        Some((process.life, Arc::clone(process.store.as_ref()?)))
    }

    /// The process ends.
    fn end(&self, number: usize) {
        let mut process = self.processes[number].lock().unwrap();
        process.life += 1;
        process.store = None;
    }

    /// Another begins in its place.
    fn begin(&self, number: usize, store: Arc<dyn Store>) {
        self.processes[number].lock().unwrap().store = Some(store);
    }

    fn now(&self) -> u64 {
        self.moment.fetch_add(1, Ordering::SeqCst)
    }

    fn note(&self, n: u64, step: Step) {
        let mut steps = self.steps.lock().unwrap();
        let of_key = steps.entry(n).or_default();
        // One more without an answer can be taken at no moment at which the first could not.
        let same = |other: &Step| other.call == step.call && other.told.is_none();
        if step.told.is_some() || !of_key.iter().any(same) {
            of_key.push(step);
        }
    }

    /// Takes a step through some process, and notes it.
    async fn step(&self, process: usize, n: u64, call: Call) -> Option<Told> {
        let (life, store) = self.living(process)?;
        let from = self.now();
        let answer = self.ask(store.as_ref(), n, call).await;
        let until = self.now();
        let same_life = self.living(process).is_some_and(|(now, _)| now == life);
        let told = match answer {
            Ok(told) => Some(told),
            Err(StoreError::LeaseLost) => Some(Told::Lost),
            Err(StoreError::Down(_)) => None,
            Err(error) => panic!("{error}"),
        };
        let told = told.filter(|_| same_life);
        self.note(n, Step { call, from, told: told.map(|told| (until, told)) });
        told
    }

    async fn ask(&self, store: &dyn Store, n: u64, call: Call) -> Result<Told, StoreError> {
        let nonce = |by: u64| Nonce(u128::from(by).to_be_bytes());
        let number = |value: Bytes| -> u64 {
            let text = std::str::from_utf8(&value).unwrap();
            text.strip_prefix("value ").unwrap().parse().unwrap()
        };
        let key = key(n);
        Ok(match call {
            Call::Spend(by) => match store.insert(key, nonce(by), value(by), self.until).await? {
                Insert::First => Told::First,
                Insert::Held(by) => Told::Held(number(by)),
            },
            Call::Look => Told::Found(store.get(key).await?.map(number)),
            Call::Claim(by) => match store.claim(key, nonce(by), self.lease).await? {
                Claim::Mine => Told::Mine,
                Claim::Busy => Told::Busy,
                Claim::Settled(by) => Told::Settled(number(by)),
            },
            Call::Settle(by) => {
                store.settle(key, nonce(by), value(by), self.until).await?;
                Told::Done
            }
            Call::Release(by) => {
                store.release(key, nonce(by)).await?;
                Told::Done
            }
            Call::EndLeases => unreachable!("no store is asked for it"),
        })
    }

    /// Asks until there is an answer, through one process after the other.
    async fn insist(&self, process: usize, n: u64, call: Call) -> Told {
        for process in process..process + TRIES {
            if let Some(told) = self.step(process, n, call).await {
                return told;
            }
            sleep(PAUSE).await;
        }
        panic!("nobody ever answered {call:?}");
    }
}

/// Spends a key as one of many.
async fn spend(fleet: Arc<Fleet>, n: u64, caller: u64) {
    sleep(PAUSE * u32::try_from(caller * n % 11).unwrap()).await;
    let process = usize::try_from(caller + n).unwrap();
    if caller == 0 {
        fleet.insist(process, n, Call::Look).await;
    }
    fleet.insist(process, n, Call::Spend(caller)).await;
}

/// Does work that is to be done once, and gives it back every other time.
async fn deliver(fleet: Arc<Fleet>, n: u64, caller: u64) {
    sleep(PAUSE * u32::try_from(caller * n % 11).unwrap()).await;
    let process = usize::try_from(caller + n).unwrap();
    for _ in 0..3 {
        let told = fleet.insist(process, n, Call::Claim(caller)).await;
        sleep(PAUSE).await;
        if told == Told::Mine {
            let give_back = (caller + n).is_multiple_of(2);
            let end = if give_back { Call::Release(caller) } else { Call::Settle(caller) };
            fleet.insist(process + 1, n, end).await;
        }
        if told != Told::Busy {
            return;
        }
    }
}

/// Lets everybody ask for the keys of a wave while `trouble` goes on, and judges what they were told.
async fn wave(fleet: &Arc<Fleet>, wave: u64, trouble: impl Future<Output = ()>) -> usize {
    let spent = wave * 1000..wave * 1000 + SPENT;
    let delivered = spent.end..spent.end + DELIVERED;
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        callers.extend(spent.clone().map(|n| tokio::spawn(spend(Arc::clone(fleet), n, caller))));
        callers
            .extend(delivered.clone().map(|n| tokio::spawn(deliver(Arc::clone(fleet), n, caller))));
    }
    let ((), done) = tokio::join!(trouble, join_all(callers));
    assert!(done.iter().all(Result::is_ok));
    // When all is quiet, every process says the same.
    for number in 0..fleet.processes.len() {
        let last = CALLERS + u64::try_from(number).unwrap();
        join_all(spent.clone().map(|n| fleet.insist(number, n, Call::Spend(last)))).await;
        join_all(delivered.clone().map(|n| fleet.insist(number, n, Call::Claim(last)))).await;
    }
    let mut steps = fleet.steps.lock().unwrap();
    let mut open = 0;
    for n in spent.start..delivered.end {
        let of_key = steps.remove(&n).unwrap();
        open += of_key.iter().filter(|step| step.told.is_none()).count();
        assert!(is_linear(&of_key), "key {n}: {of_key:#?}");
    }
    open
}

/// Waits until so many more steps were taken, or nobody takes any more: each caller holds the fleet to
/// its end, and gives up by itself. A wave is short: who looks seldom sees nothing of it.
async fn steps(fleet: &Arc<Fleet>, more: u64) {
    let until = fleet.moment.load(Ordering::SeqCst) + 2 * more;
    while fleet.moment.load(Ordering::SeqCst) < until && Arc::strong_count(fleet) > 1 {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_memory() {
    let clock = Arc::new(ManualClock::new(START));
    let store = MemoryStore::new(100_000, clock, &SystemEntropy::default()).unwrap();
    let fleet = Fleet::new(vec![Arc::new(store)], START);
    for number in 0..WAVES {
        assert_eq!(wave(&fleet, number, async {}).await, 0);
    }
}

/// The power goes again and again; of what was not synced, some survives.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_disk() {
    let disk = FickleDisk::new();
    let open = || -> Arc<dyn Store> {
        let clock = Arc::new(ManualClock::new(START));
        let entropy = Arc::new(SystemEntropy::default());
        Arc::new(DiskStore::on(Arc::new(disk.clone()), 100_000, clock, entropy).unwrap())
    };
    let fleet = Fleet::new(vec![open()], START);
    let former = fleet.incarnation(0);
    let mut lost = 0;
    for number in 0..2 * WAVES {
        lost += wave(&fleet, number, async {
            for crash in 0..3_u64 {
                steps(&fleet, 10 + 17 * crash).await;
                let from = fleet.now();
                fleet.end(0);
                let mut turn = number + crash;
                disk.crash(|| {
                    turn += 1;
                    turn.is_multiple_of(3)
                });
                // A claim need not survive.
                fleet.begin(0, tokio::task::block_in_place(open));
                let told = Some((fleet.now(), Told::Done));
                for n in number * 1000 + SPENT..number * 1000 + SPENT + DELIVERED {
                    fleet.note(n, Step { call: Call::EndLeases, from, told });
                }
            }
        })
        .await;
    }
    assert!(lost > 0, "no answer was ever lost");
    assert_eq!(fleet.incarnation(0), former);
}

/// Processes behind proxies, with clocks that are wrong.
struct Far {
    proxies: Vec<Proxy>,
    redis: Vec<redis::Settings>,
}

const CLOCKS: [i64; 3] = [-WRONG, 0, WRONG];

impl Far {
    async fn fleet(&self) -> Arc<Fleet> {
        let ready =
            self.redis.iter().zip(CLOCKS).map(|(redis, ahead)| Replica::ready(redis, ahead));
        let stores = join_all(ready).await.into_iter().map(|replica| replica.store as _);
        Fleet::new(stores.collect(), now())
    }

    /// A process loses answers, one loses requests, and one ends and is followed by another.
    async fn trouble(&self, fleet: &Arc<Fleet>, turn: usize) {
        let number = turn % 3;
        if let Some(proxy) = self.proxies.get(number) {
            steps(fleet, 20).await;
            proxy.set(if turn.is_multiple_of(2) { Way::LosesAnswers } else { Way::LosesRequests });
            steps(fleet, 30).await;
            proxy.set(Way::Open);
        }
        steps(fleet, 20).await;
        let next = (number + 1) % 3;
        fleet.end(next);
        steps(fleet, 5).await;
        fleet.begin(next, Replica::new(&self.redis[next], CLOCKS[next]).store);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_redis() {
    let mut server = RedisServer::start();
    let proxies = join_all(CLOCKS.map(|_| Proxy::to(server.address()))).await;
    let redis = proxies.iter().map(|proxy| one(proxy.address())).collect();
    let far = Far { proxies, redis };
    let fleet = far.fleet().await;
    let former = fleet.incarnation(0);
    let mut lost = 0;
    for number in 0..WAVES {
        lost += wave(&fleet, number, async {
            far.trouble(&fleet, usize::try_from(number).unwrap()).await;
            steps(&fleet, 10).await;
            tokio::task::block_in_place(|| server.restart());
        })
        .await;
    }
    assert!(lost > 0, "no answer was ever lost");
    assert_eq!([0, 1, 2].map(|number| fleet.incarnation(number)), [former; 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_a_redis_cluster() {
    let mut cluster = tokio::task::block_in_place(Cluster::start);
    let redis = many(cluster.addresses());
    let far = Far { proxies: Vec::new(), redis: vec![redis.clone(), redis.clone(), redis] };
    let fleet = far.fleet().await;
    let former = fleet.incarnation(0);
    let mut lost = 0;
    for number in 0..2_usize {
        lost += wave(&fleet, u64::try_from(number).unwrap(), async {
            far.trouble(&fleet, number).await;
            steps(&fleet, 10).await;
            tokio::task::block_in_place(|| cluster.node(number).restart());
        })
        .await;
    }
    assert!(lost > 0, "no answer was ever lost");
    assert_eq!([0, 1, 2].map(|number| fleet.incarnation(number)), [former; 3]);
}
