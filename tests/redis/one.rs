//! One server: scripts, figures, and servers that must not be used.

use hookgate::redis::{Redis, RedisError, Settings, SetupError};
use redis::{Script, Value};

use crate::cluster::Cluster;
use crate::rig::{answers, count, counting, says, settings, soon};
use crate::server::RedisServer;

#[tokio::test]
async fn a_script_that_was_forgotten_is_loaded_and_run_once() {
    let server = RedisServer::start();
    let redis = Redis::open(&settings(server.address())).expect("settings");
    assert_eq!(count(&redis, "a").await, Ok(Value::Int(1)), "the first connection is waited for");
    assert_eq!(server.command(&["SCRIPT", "FLUSH", "SYNC"]), "OK");
    assert_eq!(count(&redis, "a").await, Ok(Value::Int(2)));
    assert_eq!(redis.prefix(), "hookgate");
    assert_eq!(redis.ready(), Ok(()));
}

#[tokio::test]
async fn keys_and_arguments_arrive_as_bytes() {
    let server = RedisServer::start();
    let database = Settings { database: 3, ..settings(server.address()) };
    let redis = Redis::open(&database).expect("settings");
    let script =
        Script::new("redis.call('SET', KEYS[1], ARGV[1]) return {KEYS[1], ARGV[1], #ARGV}");
    let (key, value) = (b"hookgate:\x00\xff\r\n", b"\x80\x00");
    let expected =
        vec![Value::BulkString(key.to_vec()), Value::BulkString(value.to_vec()), Value::Int(1)];
    assert_eq!(redis.run(&script, &[key], &[value]).await, Ok(Value::Array(expected)));
    assert_eq!(server.command(&["-n", "3", "DBSIZE"]), "1");
    assert_eq!(server.command(&["DBSIZE"]), "0");
}

#[test]
fn there_is_no_connection_without_a_runtime() {
    let opened = Redis::open(&Settings::default());
    assert!(matches!(opened, Err(SetupError::NoRuntime)), "{opened:?}");
}

#[tokio::test]
async fn it_opens_while_redis_is_away_and_connects_once_it_is_there() {
    let mut server = RedisServer::start();
    server.kill();
    let redis = Redis::open(&settings(server.address())).expect("settings");
    let away = count(&redis, "a").await.expect_err("nobody is there").to_string();
    assert!(away.contains(&server.address()) && away.contains("reached"), "{away}");
    server.restart();
    answers(&redis).await;
}

#[tokio::test]
async fn a_full_server_is_full_and_not_down() {
    let server = RedisServer::start_with(&["--maxmemory", "3mb"]);
    let redis = Redis::open(&settings(server.address())).expect("settings");
    let script = Script::new("redis.call('SET', KEYS[1], ARGV[1])");
    let value = vec![0; 100_000];
    let mut full = None;
    for number in 0..100 {
        let key = format!("hookgate:{number}");
        if let Err(error) = redis.run(&script, &[key.as_bytes()], &[&value]).await {
            full = Some(error);
            break;
        }
    }
    assert_eq!(full, Some(RedisError::Full));
    assert_eq!(redis.ready(), Ok(()));
    soon("it is seen that little is left", async || {
        let [master] = redis.masters().try_into().expect("one master");
        assert_eq!((&master.address, master.memory_limit), (&server.address(), Some(3 << 20)));
        master.memory_used > 2 << 20
    })
    .await;
}

#[tokio::test]
async fn an_error_of_a_script_tells_nothing_of_what_was_asked() {
    let server = RedisServer::start();
    let redis = Redis::open(&settings(server.address())).expect("settings");
    for code in ["return redis.error_reply('S3CRET ' .. ARGV[1])", "error(ARGV[1])", "not lua"] {
        let error = redis.run(&Script::new(code), &[b"hookgate:a"], &[b"patient"]).await;
        let told = format!("{error:?}");
        assert!(told.contains("Down") && !told.contains("patient"), "{told}");
        assert_eq!(redis.ready(), Ok(()), "it is not the server's fault");
    }
}

#[tokio::test]
async fn a_server_that_evicts_is_refused_until_it_does_not() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let redis = Redis::open(&settings(server.address())).expect("settings");
    says(&redis, "set maxmemory-policy noeviction").await;
    let refused = count(&redis, "a").await.expect_err("it evicts").to_string();
    assert!(refused.contains("allkeys-lru"), "{refused}");
    assert_eq!(server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]), "OK");
    answers(&redis).await;
    assert_eq!(server.command(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]), "OK");
    says(&redis, "volatile-ttl").await;
    assert!(count(&redis, "a").await.is_err());
}

#[tokio::test]
async fn a_replica_is_refused_until_it_is_the_master() {
    let other = RedisServer::start();
    let server = RedisServer::start();
    let redis = Redis::open(&settings(server.address())).expect("settings");
    answers(&redis).await;
    let address = other.address();
    let (host, port) = address.split_once(':').expect("host:port");
    assert_eq!(server.command(&["REPLICAOF", host, port]), "OK");
    soon("it is refused", async || count(&redis, "a").await.is_err()).await;
    says(&redis, "replica").await;
    assert_eq!(server.command(&["REPLICAOF", "NO", "ONE"]), "OK");
    answers(&redis).await;
}

#[tokio::test]
async fn a_topology_that_is_another_is_said() {
    let server = RedisServer::start();
    let cluster =
        Settings { topology: hookgate::redis::Topology::Cluster, ..settings(server.address()) };
    let redis = Redis::open(&cluster).expect("settings");
    says(&redis, &server.address()).await;
    let nodes = Cluster::start();
    let redis = Redis::open(&settings(nodes.addresses().remove(0))).expect("settings");
    says(&redis, "write state.redis.topology = \"cluster\"").await;
}

#[tokio::test]
async fn its_connections_end_with_the_last_clone() {
    let server = RedisServer::start();
    let connections = || server.command(&["CLIENT", "LIST"]).lines().count();
    let redis = Redis::open(&settings(server.address())).expect("settings");
    let clone = redis.clone();
    answers(&redis).await;
    assert_eq!(connections(), 2, "and that of redis-cli");
    drop(redis);
    assert_eq!(clone.run(&counting(), &[b"hookgate:a"], &[]).await, Ok(Value::Int(1)));
    drop(clone);
    soon("the connection is closed", async || connections() == 1).await;
}
