//! How much Redis keeps, and for how long: memory that ends, policies that evict, keys that expire.

use bytes::Bytes;
use hookgate::store::{Claim, Insert, Namespace, Store, StoreError};

use crate::backends::{key, nonce, one, value};
use crate::replica::{Replica, WRONG, soon};
use crate::server::RedisServer;

#[tokio::test]
async fn a_server_without_memory_is_full_and_what_was_begun_is_finished() {
    let mut server = RedisServer::start_with(&["--maxmemory", "6mb"]);
    let redis = one(server.address());
    let replica = Replica::ready(&redis, WRONG).await;
    let until = replica.later(600);
    let (mine, other) = (nonce(), nonce());
    for n in 0..20 {
        assert_eq!(replica.store.claim(key(n), mine, until).await.unwrap(), Claim::Mine);
    }
    let filler = Bytes::from(vec![7; 60_000]);
    let mut kept = 100;
    let full = loop {
        match replica.store.insert(key(kept), mine, filler.clone(), until).await {
            Ok(first) => assert_eq!(first, Insert::First),
            Err(error) => break error,
        }
        kept += 1;
    };
    assert!(matches!(full, StoreError::Full), "{full}");
    assert!(kept > 110, "{kept}");
    // So that it stays full, whatever room callers leave who go away.
    assert_eq!(server.command(&["CONFIG", "SET", "maxmemory", "2mb"]), "OK");
    assert!(matches!(replica.store.ready().await, Err(StoreError::Full)));
    soon("it is seen how little is left", async || {
        let memory = replica.store.fill().memory.unwrap();
        memory.limit == 2 << 20 && memory.used > memory.limit
    })
    .await;
    let claim = replica.store.claim(key(50), mine, until).await;
    assert!(matches!(claim, Err(StoreError::Full)), "{claim:?}");

    for n in 0..10 {
        replica.store.settle(key(n), mine, value(n), until).await.unwrap();
        replica.store.settle(key(n), mine, value(n), until).await.unwrap();
        let claim = replica.store.claim(key(n), other, until).await.unwrap();
        assert_eq!(claim, Claim::Settled(value(n)));
    }
    for n in 10..20 {
        replica.store.release(key(n), mine).await.unwrap();
    }
    for n in 100..kept {
        let held = replica.store.insert(key(n), other, value(0), until).await.unwrap();
        assert_eq!(held, Insert::Held(filler.clone()), "nothing was dropped");
    }
    // Whoever comes now learns the same history, full or not.
    let newcomer = Replica::new(&redis, -WRONG);
    assert!(matches!(newcomer.store.ready().await, Err(StoreError::Full)));
    assert_eq!(newcomer.incarnation(), replica.incarnation());
    assert_eq!(newcomer.store.get(key(5)).await.unwrap(), Some(value(5)));
    assert_eq!(server.command(&["CONFIG", "SET", "maxmemory", "100mb"]), "OK");
    replica.store.ready().await.unwrap();
    assert_eq!(replica.insert(kept, other, until).await.unwrap(), Insert::First);

    server.kill();
    soon("it is missed", async || replica.store.ready().await.is_err()).await;
    assert!(replica.store.fill().memory.is_some(), "nobody says that there is room for being away");
}

#[tokio::test]
async fn a_server_that_evicts_is_refused_in_words() {
    for policy in ["allkeys-lru", "volatile-ttl"] {
        let server =
            RedisServer::start_with(&["--maxmemory", "100mb", "--maxmemory-policy", policy]);
        let replica = Replica::new(&one(server.address()), 0);
        let refused = async || {
            let told = replica.store.ready().await.unwrap_err().to_string();
            assert!(told.contains(policy), "{told}");
            assert!(told.contains("set maxmemory-policy noeviction"), "{told}");
            let insert = replica.insert(1, nonce(), replica.later(600)).await;
            assert!(matches!(insert, Err(StoreError::Down(_))), "{insert:?}");
        };
        refused().await;
        assert_eq!(server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]), "OK");
        replica.reached().await;
        replica.store.ready().await.unwrap();
        // Somebody sets it while the server runs.
        assert_eq!(server.command(&["CONFIG", "SET", "maxmemory-policy", policy]), "OK");
        refused().await;
        assert_eq!(server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]), "OK");
        replica.reached().await;
        let first = replica.insert(1, nonce(), replica.later(600)).await.unwrap();
        assert_eq!(first, Insert::First);
    }
}

#[tokio::test]
async fn everything_that_is_kept_expires_by_itself() {
    let server = RedisServer::start();
    let redis = one(server.address());
    let replicas = [-WRONG, 0, WRONG].map(|ahead| Replica::new(&redis, ahead));
    for (turn, n) in (0..600_u64).enumerate() {
        let replica = &replicas[turn % 3];
        let other = &replicas[(turn + 1) % 3];
        let (mine, until) = (nonce(), replica.later(600 + n * n));
        let store = &replica.store;
        match n % 6 {
            0 | 1 => assert_eq!(replica.insert(n, mine, until).await.unwrap(), Insert::First),
            2 => assert_eq!(store.claim(key(n), mine, until).await.unwrap(), Claim::Mine),
            3 => {
                assert_eq!(store.claim(key(n), mine, until).await.unwrap(), Claim::Mine);
                store.settle(key(n), mine, value(n), replica.later(600 + n)).await.unwrap();
                other.store.settle(key(n), mine, value(n), replica.later(600 + n)).await.unwrap();
            }
            4 => {
                assert_eq!(store.claim(key(n), mine, until).await.unwrap(), Claim::Mine);
                other.store.release(key(n), mine).await.unwrap();
            }
            _ => {
                let far = hookgate::store::Key::new(Namespace::Jti, &[&n.to_be_bytes()]);
                let end = hookgate::clock::UnixTime::from_millis(u64::MAX);
                assert_eq!(store.insert(far, mine, value(n), end).await.unwrap(), Insert::First);
            }
        }
    }
    // What begins anew expires as well.
    assert_eq!(server.command(&["DEL", "hookgate:v1:{hg7}:history"]), "1");
    for replica in &replicas {
        let _forgotten = replica.store.ready().await;
    }
    let ends = "local ends = {}
        for _, key in ipairs(redis.call('KEYS', '*')) do
            local kind = key:find('history') and 'history' or 'entry'
            ends[#ends + 1] = string.format('%s %.0f', kind, redis.call('PTTL', key))
        end
        return ends";
    let said = server.command(&["EVAL", ends, "0"]);
    let of = |kind: &str| -> Vec<i64> {
        said.lines().filter_map(|line| line.strip_prefix(kind)?.trim().parse().ok()).collect()
    };
    let (histories, entries) = (of("history"), of("entry"));
    assert_eq!(histories.len(), 64);
    assert_eq!(histories.len() + entries.len(), said.lines().count());
    assert!(entries.len() >= 400, "{}", entries.len());
    assert!(entries.iter().chain(&histories).all(|left| *left > 0), "{said}");
    let month = 30 * 24 * 3600 * 1000;
    assert!(histories.iter().all(|left| *left > month - 3_600_000 && *left <= month));
}
