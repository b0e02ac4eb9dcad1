//! A cluster of which one master is away: what lies there waits, and nothing else does.

use hookgate::store::{Insert, Store};

use crate::backends::{many, nonce};
use crate::cluster::Cluster;
use crate::replica::{Replica, answered, soon};

const ENTRIES: u64 = 60;

#[tokio::test]
async fn a_dead_master_takes_only_its_entries_with_it() {
    let mut cluster = Cluster::start();
    for number in 0..3 {
        let alone = ["CONFIG", "SET", "cluster-require-full-coverage", "no"];
        assert_eq!(cluster.node(number).command(&alone), "OK");
    }
    let replica = Replica::ready(&many(cluster.addresses()), 0).await;
    let (former, until) = (replica.incarnation(), replica.later(600));
    for n in 0..ENTRIES {
        let by = nonce();
        let first = answered(async || replica.insert(n, by, until).await).await;
        assert_eq!(first, Insert::First);
    }
    let lies_there = |n: u64| {
        let key = crate::backends::key(n);
        let tag = usize::from(key.as_bytes()[0]) % 64;
        cluster.owner(cluster.slot(&format!("{{hg{tag}}}"))) == 0
    };
    let (there, elsewhere): (Vec<u64>, Vec<u64>) = (0..ENTRIES).partition(|n| lies_there(*n));
    assert!(!there.is_empty() && elsewhere.len() > there.len());

    cluster.node(0).kill();
    soon("it is missed", async || replica.store.ready().await.is_err()).await;
    for n in &elsewhere {
        let held = answered(async || replica.insert(*n, nonce(), until).await).await;
        assert!(matches!(held, Insert::Held(_)), "{n}: {held:?}");
    }
    for n in &there {
        assert!(replica.insert(*n, nonce(), until).await.is_err(), "{n}");
    }
    assert_eq!(replica.incarnation(), former, "nothing was forgotten");

    cluster.node(0).restart();
    for n in there {
        let held = answered(async || {
            replica.turn(1);
            let _ready_or_not = replica.store.ready().await;
            replica.insert(n, nonce(), until).await
        });
        assert!(matches!(held.await, Insert::Held(_)), "{n}");
    }
    assert_eq!(replica.incarnation(), former);
}
