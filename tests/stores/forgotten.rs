//! A Redis that has forgotten: every process notices, and nothing that was given out before is first
//! again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use futures_util::future::BoxFuture;
use hookgate::clock::UnixTime;
use hookgate::store::{Incarnation, Insert, Store};
use tokio::runtime::Builder;

use crate::backends::{nonce, now, one};
use crate::proxy::Proxy;
use crate::replica::{Replica, WRONG, answered, soon};
use crate::server::{RedisServer, eventually};

/// The servers of one trial. Processes come through the proxy.
struct Place {
    proxy: Proxy,
    server: RedisServer,
    /// One that takes the server's place.
    other: Option<RedisServer>,
    aside: PathBuf,
}

/// A way in which Redis forgets. `prepare` comes before the last spends, `strike` after.
struct Deed {
    name: &'static str,
    options: &'static [&'static str],
    prepare: fn(&mut Place) -> BoxFuture<'_, ()>,
    strike: fn(&mut Place) -> BoxFuture<'_, ()>,
}

const IN_FILES: &[&str] = &[];
const IN_MEMORY: &[&str] = &["--appendonly", "no"];

const DEEDS: &[Deed] = &[
    Deed {
        name: "everything is flushed",
        options: IN_FILES,
        prepare: |_| Box::pin(async {}),
        strike: |place| Box::pin(async { place.server.flush() }),
    },
    Deed {
        name: "the server comes back without its files",
        options: IN_FILES,
        prepare: |_| Box::pin(async {}),
        strike: |place| {
            Box::pin(async {
                let folder = place.folder();
                place.server.kill();
                fs::remove_dir_all(folder.join("appendonlydir")).unwrap();
                place.server.restart();
            })
        },
    },
    Deed {
        name: "an old copy of the append-only file is put back",
        options: IN_FILES,
        prepare: |place| {
            Box::pin(async { copy(&place.folder().join("appendonlydir"), &place.aside) })
        },
        strike: |place| {
            Box::pin(async {
                let files = place.folder().join("appendonlydir");
                place.server.kill();
                fs::remove_dir_all(&files).unwrap();
                copy(&place.aside, &files);
                place.server.restart();
            })
        },
    },
    Deed {
        name: "the server comes back with an old snapshot",
        options: IN_MEMORY,
        prepare: |place| Box::pin(async { assert_eq!(place.server.command(&["SAVE"]), "OK") }),
        strike: |place| Box::pin(async { place.server.restart() }),
    },
    Deed {
        name: "a replica without data takes over",
        options: IN_FILES,
        prepare: |place| {
            Box::pin(async {
                place.other = Some(RedisServer::start());
            })
        },
        strike: |place| Box::pin(place.fail_over()),
    },
    Deed {
        name: "a replica without the last writes takes over",
        options: IN_FILES,
        prepare: |place| {
            Box::pin(async {
                place.other = Some(left_behind(&place.server));
            })
        },
        strike: |place| Box::pin(place.fail_over()),
    },
];

impl Place {
    async fn new(deed: &Deed, aside: &Path) -> Self {
        let server = RedisServer::start_with(deed.options);
        let proxy = Proxy::to(server.address()).await;
        Self { proxy, server, other: None, aside: aside.join("copy") }
    }

    fn folder(&self) -> PathBuf {
        let said = self.server.command(&["CONFIG", "GET", "dir"]);
        PathBuf::from(said.lines().nth(1).unwrap())
    }

    async fn fail_over(&mut self) {
        self.server.kill();
        let other = self.other.as_ref().unwrap();
        self.proxy.lead_to(other.address());
    }
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(done.success());
}

/// A replica that has all that `master` has now, and gets nothing of what comes: it is on its way to it, and
/// lost with the master.
fn left_behind(master: &RedisServer) -> RedisServer {
    let address = master.address().replace(':', " ");
    let replica = RedisServer::start_with(&["--replicaof", &address]);
    let keys = master.command(&["DBSIZE"]);
    eventually("the replica has it all", || replica.command(&["DBSIZE"]) == keys);
    assert_eq!(replica.command(&["REPLICAOF", "NO", "ONE"]), "OK");
    replica
}

/// Something that may be spent once, as the gateway gives it out: it bears the history under which it was
/// made, or the time at which somebody else made it.
#[derive(Clone, Copy, Debug)]
struct Token {
    n: u64,
    mark: Option<[u8; 8]>,
    issued: UnixTime,
}

impl Token {
    fn new(n: u64, incarnation: Incarnation) -> Self {
        Self { n, mark: n.is_multiple_of(2).then_some(incarnation.mark), issued: now() }
    }

    fn until(&self) -> UnixTime {
        UnixTime::from_secs(self.issued.secs() + 600)
    }

    fn belongs_to(&self, incarnation: Incarnation) -> bool {
        match self.mark {
            Some(mark) => mark == incarnation.mark,
            None => self.issued.secs() >= incarnation.since.secs(),
        }
    }
}

/// Whether the token was good, as the gateway asks.
async fn spend(replica: &Replica, token: Token) -> bool {
    let Ok(incarnation) = replica.store.incarnation() else { return false };
    if !token.belongs_to(incarnation) {
        return false;
    }
    matches!(replica.insert(token.n, nonce(), token.until()).await, Ok(Insert::First))
}

async fn nothing_is_first_again(deed: &Deed, order: [usize; 2]) {
    let aside = tempfile::tempdir().unwrap();
    let mut place = Place::new(deed, aside.path()).await;
    let redis = one(place.proxy.address());
    // The history begins by the later of Redis' clock and that of the first who comes.
    let behind = Replica::ready(&redis, -WRONG).await;
    let replicas = [Replica::ready(&redis, WRONG).await, behind];
    let former = replicas[0].incarnation();
    assert_eq!(replicas[1].incarnation(), former);

    let mut tokens = Vec::new();
    for n in 0..200 {
        if n == 100 {
            (deed.prepare)(&mut place).await;
        }
        let token = Token::new(n, former);
        let replica = &replicas[usize::try_from(n % 3 / 2).unwrap()];
        assert!(token.belongs_to(former), "{token:?} {former:?}");
        let (by, until) = (nonce(), token.until());
        let first = answered(async || replica.insert(n, by, until).await).await;
        assert_eq!(first, Insert::First);
        tokens.push(token);
    }
    // Those of the next second: nothing is known of the parts of a second in which tokens are issued.
    let struck = now().secs();
    soon("the next second", async || now().secs() > struck).await;
    (deed.strike)(&mut place).await;

    soon("both have noticed, and agree", async || {
        for replica in order.map(|number| &replicas[number]) {
            for token in &tokens {
                assert!(!spend(replica, *token).await, "{}: {token:?}", deed.name);
            }
            replica.end_pause();
            let _ready_or_not = replica.store.ready().await;
        }
        let [a, b] = [0, 1].map(|number| replicas[number].store.incarnation().ok());
        a.is_some_and(|a| Some(a) == b && a != former)
    })
    .await;
    let since = replicas[0].incarnation().since;
    assert!(since.secs() > struck, "{}", deed.name);
    assert!(replicas.iter().all(|replica| replica.store.has_forgotten()), "{}", deed.name);
    assert_ne!(replicas[0].incarnation().mark, former.mark, "{}", deed.name);
    // The new history is as good as the former.
    let token = Token { mark: Some(replicas[0].incarnation().mark), ..Token::new(1_000, former) };
    assert!(spend(&replicas[0], token).await);
    assert!(!spend(&replicas[1], token).await);
}

#[test]
fn nothing_is_first_again_after_a_forgetting() {
    let run = |deed, order| {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(nothing_is_first_again(deed, order));
    };
    for order in [[0, 1], [1, 0]] {
        thread::scope(|scope| {
            for deed in DEEDS {
                scope.spawn(move || run(deed, order));
            }
        });
    }
}

/// The snapshot has a history in it that everybody has given up since.
#[tokio::test]
async fn a_history_that_was_given_up_is_not_believed_again() {
    let mut server = RedisServer::start_with(IN_MEMORY);
    let redis = one(server.address());
    let replicas = [Replica::ready(&redis, 0).await, Replica::ready(&redis, 0).await];
    let mut given_up = vec![replicas[0].incarnation()];
    let until = replicas[0].later(600);
    assert_eq!(server.command(&["SAVE"]), "OK");
    let first = replicas[0].insert(1, nonce(), until).await.unwrap();
    assert_eq!(first, Insert::First);
    for _ in 0..2 {
        server.restart();
        soon("both have noticed, and agree", async || {
            for replica in &replicas {
                replica.end_pause();
                let _ready_or_not = replica.store.ready().await;
            }
            let [a, b] = [0, 1].map(|number| replicas[number].store.incarnation().ok());
            a.is_some_and(|a| Some(a) == b && given_up.iter().all(|former| former.mark != a.mark))
        })
        .await;
        let now = replicas[0].incarnation();
        assert!(now.since > given_up.last().unwrap().since);
        given_up.push(now);
    }
}

/// Who misses nothing takes no step on another server before those had time to look who do.
#[tokio::test]
async fn a_process_that_misses_nothing_waits_for_those_that_might() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.address()).await;
    let redis = one(proxy.address());
    let [winner, idle] = [Replica::ready(&redis, 0).await, Replica::ready(&redis, 0).await];
    let former = winner.incarnation();
    let replica = left_behind(&server);
    let until = winner.later(600);
    let first = answered(async || winner.insert(1, nonce(), until).await).await;
    assert_eq!(first, Insert::First);

    proxy.lead_to(replica.address());
    soon("the other server is reached", async || {
        let _ready_or_not = idle.store.ready().await;
        replica.calls("evalsha") > 0
    })
    .await;
    for _ in 0..50 {
        assert!(idle.insert(1, nonce(), until).await.is_err(), "nobody else has looked yet");
        let _not_ready = idle.store.ready().await;
    }
    soon("the winner has noticed", async || {
        let _ready_or_not = winner.store.ready().await;
        replica.command(&["HGET", "hookgate:v1:{hg0}:history", "moved"]).is_empty()
            || winner.store.incarnation().is_ok_and(|now| now != former)
            || winner.store.incarnation().is_err()
    })
    .await;
    soon("the idle one has, too", async || {
        idle.end_pause();
        let first = matches!(idle.insert(1, nonce(), until).await, Ok(Insert::First));
        let forgot = idle.store.incarnation().is_ok_and(|now| now != former);
        assert!(!first || forgot, "first for the second time in one history");
        forgot
    })
    .await;
}

/// It was a replica meanwhile, and has the data of another server now. Who was away then knows it as the same
/// run as before.
#[tokio::test]
async fn a_master_that_was_a_replica_in_between_is_looked_at_first() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.address()).await;
    let (direct, led) = (one(server.address()), one(proxy.address()));
    let [winner, away] = [Replica::ready(&direct, 0).await, Replica::ready(&direct, 0).await];
    let idle = Replica::ready(&led, 0).await;
    let other = left_behind(&server);
    let until = winner.later(600);
    let first = answered(async || winner.insert(1, nonce(), until).await).await;
    assert_eq!(first, Insert::First);

    proxy.lead_to(other.address());
    soon("the other is looked at", async || {
        let _ready_or_not = idle.store.ready().await;
        !other.command(&["HGET", "hookgate:v1:{hg0}:history", "moved"]).is_empty()
    })
    .await;
    let address = other.address();
    let (host, port) = address.split_once(':').unwrap();
    assert_eq!(server.command(&["REPLICAOF", host, port]), "OK");
    eventually("it has what the other has", || {
        server.command(&["INFO", "replication"]).contains("master_link_status:up")
    });
    assert_eq!(server.command(&["REPLICAOF", "NO", "ONE"]), "OK");
    let mut refused = String::new();
    soon("who was away is told to wait", async || {
        match away.insert(1, nonce(), until).await {
            Ok(answer) => panic!("{answer:?} before anybody has looked"),
            Err(error) => refused = error.to_string(),
        }
        refused.contains("another server")
    })
    .await;
}

/// Nothing was lost: Redis only does not know any more what such a process has done.
#[tokio::test]
async fn a_process_that_was_away_for_a_day_costs_nobody_anything() {
    let server = RedisServer::start();
    let redis = one(server.address());
    let away = Replica::ready(&redis, 0).await;
    let until = away.later(600);
    assert_eq!(away.insert(1, nonce(), until).await.unwrap(), Insert::First);
    let former = away.incarnation();
    let other = Replica::ready(&redis, 0).await;

    // The one that has taken a step was there a day ago, the other two hours ago.
    let day = "local stepped, count = {}, 0
        local keys = redis.call('KEYS', '*history')
        local function each(kind, work)
            for _, key in ipairs(keys) do
                for _, field in ipairs(redis.call('HKEYS', key)) do
                    if field:sub(1, 2) == kind then work(key, field) end
                end
            end
        end
        each('w:', function(_, field) stepped[field:sub(3)] = true; count = count + 1 end)
        each('p:', function(key, field)
            local hours = stepped[field:sub(3)] and 25 or 2
            local was = redis.call('HGET', key, field)
            redis.call('HSET', key, field, string.format('%.0f', was - hours * 3600000))
        end)
        return count";
    assert_eq!(server.command(&["EVAL", day, "0"]), "1");
    other.store.ready().await.unwrap();
    assert_eq!(
        server.command(&["EVAL", day, "0"]),
        "0",
        "its step is not known as its own any more"
    );
    away.turn(25 * 3600);
    for replica in [&away, &other] {
        soon("it goes on", async || replica.store.ready().await.is_ok()).await;
        assert_eq!(replica.incarnation(), former);
        assert!(!replica.store.has_forgotten());
    }
    let again = answered(async || away.insert(1, nonce(), until).await).await;
    assert!(matches!(again, Insert::Held(_)));
    let first = answered(async || away.insert(2, nonce(), until).await).await;
    assert_eq!(first, Insert::First);
    away.store.ready().await.unwrap();
    assert_eq!(away.incarnation(), former);
}
