//! Steps that count only once replicas have them.

use futures_util::future::join_all;
use hookgate::redis::{Redis, RedisError, Settings};
use redis::Value;

use crate::rig::{answers, count, counting, says, settings, soon};
use crate::server::{RedisServer, eventually};

/// The longest wait there is: only a replica that hangs is to be too slow.
fn waiting(address: String, replicas: u8) -> Settings {
    let wait_timeout = "500ms".to_owned().try_into().expect("a period");
    Settings { wait_replicas: replicas, wait_timeout, ..settings(address) }
}

async fn durably(redis: &Redis) -> Result<Value, RedisError> {
    redis.run_durably(&counting(), &[b"hookgate:a"], &[]).await
}

/// How many steps a server has.
fn steps(server: &RedisServer) -> u64 {
    server.command(&["HGET", "hookgate:a", "n"]).parse().expect("a number")
}

fn replica_of(master: &RedisServer) -> RedisServer {
    let replica = RedisServer::start_with(&["--replicaof", &master.address().replace(':', " ")]);
    eventually("the replica is connected", || {
        replica.command(&["INFO", "replication"]).contains("master_link_status:up")
    });
    replica
}

#[tokio::test]
async fn a_step_counts_once_the_replica_has_it_and_not_before() {
    let master = RedisServer::start();
    let mut replica = replica_of(&master);
    let redis = Redis::open(&waiting(master.address(), 1)).expect("settings");
    soon("the replica is known", async || durably(&redis).await.is_ok()).await;
    // Attempts that came to no end before are steps as well.
    let first = steps(&master);
    assert_eq!(steps(&replica), first, "it was waited for");

    let before = master.calls("wait");
    let done = join_all((0..64).map(|_| durably(&redis))).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    assert_eq!(steps(&replica), first + 64);
    let waits = master.calls("wait") - before;
    assert!(waits < 64, "{waits} waits for 64 steps");

    replica.pause();
    let told = durably(&redis).await.expect_err("nobody has it").to_string();
    assert!(told.contains("0 of 1 replicas"), "{told}");
    assert_eq!(steps(&master), first + 65, "the master has");
    assert!(count(&redis, "b").await.is_ok(), "what need not wait does not");
    replica.resume();
    soon("the replica has all", async || durably(&redis).await.is_ok()).await;

    replica.kill();
    says(&redis, "0 of 1 replicas").await;
    assert!(durably(&redis).await.is_err());
    assert!(count(&redis, "b").await.is_ok());
    replica.restart();
    soon("it is back", async || durably(&redis).await.is_ok()).await;
    assert_eq!(redis.ready(), Ok(()));
}

#[tokio::test]
async fn without_replicas_nothing_is_waited_for_unless_it_is_asked_for() {
    let server = RedisServer::start();
    let alone = Redis::open(&settings(server.address())).expect("settings");
    assert_eq!(durably(&alone).await, Ok(Value::Int(1)));
    assert_eq!(server.calls("wait"), 0);
    let asked = Redis::open(&waiting(server.address(), 1)).expect("settings");
    answers(&asked).await;
    let told = durably(&asked).await.expect_err("there is none").to_string();
    assert!(told.contains("0 of 1 replicas"), "{told}");
    assert_eq!(server.command(&["HGET", "hookgate:a", "n"]), "1", "it was not even sent");
}
