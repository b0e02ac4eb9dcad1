//! A cluster: keys on every node, slots that move, nodes that die.

use std::collections::BTreeSet;

use hookgate::redis::{Redis, RedisError, Settings, Topology};
use redis::{Script, Value};

use crate::cluster::Cluster;
use crate::rig::{count, says, settings, soon};

fn nodes(cluster: &Cluster) -> Settings {
    Settings {
        topology: Topology::Cluster,
        addresses: cluster.addresses(),
        ..settings(String::new())
    }
}

async fn both(redis: &Redis, first: &str, second: &str) -> Result<Value, RedisError> {
    let script = Script::new(
        "redis.call('HINCRBY', KEYS[1], 'n', 1) return redis.call('HINCRBY', KEYS[2], 'n', 1)",
    );
    redis.run(&script, &[first.as_bytes(), second.as_bytes()], &[]).await
}

#[tokio::test]
async fn every_node_is_called_for_its_keys_and_slots_may_move() {
    let mut cluster = Cluster::start();
    let one_seed = Settings { addresses: vec![cluster.addresses().remove(1)], ..nodes(&cluster) };
    let redis = Redis::open(&one_seed).expect("settings");
    let mut owners = BTreeSet::new();
    for number in 0..30 {
        let key = number.to_string();
        assert_eq!(count(&redis, &key).await, Ok(Value::Int(1)));
        owners.insert(cluster.owner(cluster.slot(&format!("hookgate:{key}"))));
    }
    assert_eq!(owners.len(), 3, "keys lie on every node");
    assert_eq!(redis.ready(), Ok(()));
    let addresses: BTreeSet<_> = redis.masters().into_iter().map(|master| master.address).collect();
    assert_eq!(addresses, cluster.addresses().into_iter().collect());

    let slot = cluster.slot("hookgate:{a}");
    let (from, to) = (cluster.owner(slot), (cluster.owner(slot) + 1) % 3);
    assert_eq!(both(&redis, "hookgate:{a}1", "hookgate:{a}2").await, Ok(Value::Int(1)));
    cluster.begin_move(slot, to);
    assert_eq!(count(&redis, "{a}1").await, Ok(Value::Int(2)), "it is still here");
    assert_eq!(count(&redis, "{a}3").await, Ok(Value::Int(1)), "it is made there");
    assert_eq!(count(&redis, "{a}3").await, Ok(Value::Int(2)));
    let split = both(&redis, "hookgate:{a}1", "hookgate:{a}4").await;
    assert!(matches!(split, Err(RedisError::Down(_))), "some are here, some there: {split:?}");
    cluster.finish_move(slot, to);
    assert_eq!(count(&redis, "{a}1").await, Ok(Value::Int(3)), "it has moved");
    assert_eq!(both(&redis, "hookgate:{a}1", "hookgate:{a}4").await, Ok(Value::Int(1)));
    assert_eq!(
        cluster.node(from).command(&["EXISTS", "hookgate:{a}1"]).split(' ').next(),
        Some("MOVED")
    );
    // Once the slots are known again, the former owner is not asked any more.
    soon("the way is direct", async || {
        let before = cluster.node(from).calls("evalsha");
        let done = count(&redis, "{a}1").await.is_ok();
        done && cluster.node(from).calls("evalsha") == before
    })
    .await;
}

#[tokio::test]
async fn a_dead_node_takes_only_its_keys_with_it_and_comes_back() {
    let mut cluster = Cluster::start();
    for number in 0..3 {
        let full = ["CONFIG", "SET", "cluster-require-full-coverage", "no"];
        assert_eq!(cluster.node(number).command(&full), "OK");
    }
    let redis = Redis::open(&nodes(&cluster)).expect("settings");
    let (mut mine, mut other) = (None, None);
    for number in 0..30 {
        let key = number.to_string();
        assert_eq!(count(&redis, &key).await, Ok(Value::Int(1)));
        match cluster.owner(cluster.slot(&format!("hookgate:{key}"))) {
            0 => mine = Some(key),
            _ => other = Some(key),
        }
    }
    let (mine, other) = (mine.expect("a key there"), other.expect("a key elsewhere"));
    let address = cluster.node(0).address();
    cluster.node(0).kill();
    says(&redis, &address).await;
    assert!(matches!(count(&redis, &mine).await, Err(RedisError::Down(_))));
    assert_eq!(count(&redis, &other).await, Ok(Value::Int(2)));
    assert_eq!(redis.masters().len(), 2);
    cluster.node(0).restart();
    soon("it is back", async || count(&redis, &mine).await == Ok(Value::Int(2))).await;
}

#[tokio::test]
async fn a_cluster_may_come_later_than_its_callers() {
    let mut cluster = Cluster::start();
    for number in 0..3 {
        cluster.node(number).kill();
    }
    let waiting = Settings { wait_replicas: 1, ..nodes(&cluster) };
    let redis = Redis::open(&waiting).expect("settings");
    assert!(matches!(count(&redis, "a").await, Err(RedisError::Down(_))));
    for number in 0..3 {
        cluster.node(number).restart();
    }
    soon("it is there", async || count(&redis, "a").await.is_ok()).await;
    let script = Script::new("return redis.call('HINCRBY', KEYS[1], 'n', 1)");
    let alone = redis.run_durably(&script, &[b"hookgate:a"], &[]).await;
    let told = alone.expect_err("no master has a replica").to_string();
    assert!(told.contains("0 of 1 replicas"), "{told}");
}
