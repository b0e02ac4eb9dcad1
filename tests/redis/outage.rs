//! Servers that die, hang, or are not there: a call always comes back, and a dead server costs no call
//! its time.

use std::time::Duration;

use futures_util::future::join_all;
use hookgate::redis::{Metrics, Redis, RedisError, Settings};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use redis::Value;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::rig::{answers, count, settings, soon};
use crate::server::RedisServer;

/// Far more than any call may take: a call that hangs is met here.
const FOREVER: Duration = Duration::from_secs(30);

/// The value of a series, 0 where it is not there yet.
fn value_of(registry: &Registry, series: &str) -> u64 {
    let mut text = String::new();
    encode(&mut text, registry).expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().expect("a number"))
}

async fn fails(redis: &Redis, calls: usize) {
    let all = (0..calls).map(|_| count(redis, "a"));
    let done = timeout(FOREVER, join_all(all)).await.expect("calls come back");
    assert!(done.iter().all(|done| matches!(done, Err(RedisError::Down(_)))), "{done:?}");
}

#[tokio::test]
async fn a_paused_server_gets_no_more_calls_once_it_is_known() {
    let server = RedisServer::start();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let redis = Redis::open_with(&settings(server.address()), metrics).expect("settings");
    answers(&redis).await;
    let up = "hookgate_redis_servers{state=\"up\"}";
    let down = "hookgate_redis_servers{state=\"down\"}";
    soon("it is counted as up", async || {
        (value_of(&registry, up), value_of(&registry, down)) == (1, 0)
    })
    .await;

    let before = server.calls("evalsha");
    server.pause();
    fails(&redis, 50).await;
    assert!(redis.ready().is_err(), "the calls themselves have given it up");
    soon("it is counted as down", async || {
        (value_of(&registry, up), value_of(&registry, down)) == (0, 1)
    })
    .await;
    let late = value_of(&registry, "hookgate_redis_calls_total{outcome=\"late\"}");
    assert!(late >= 3, "{late}");
    // Some of the first may have come when it was known already.
    let spared = || value_of(&registry, "hookgate_redis_calls_total{outcome=\"down\"}");
    let early = spared();
    fails(&redis, 1000).await;
    assert_eq!(spared() - early, 1000);

    server.resume();
    answers(&redis).await;
    let since = server.calls("evalsha") - before;
    assert!(since < 100, "the server saw {since} calls");
    soon("it is counted as up", async || {
        (value_of(&registry, up), value_of(&registry, down)) == (1, 0)
    })
    .await;
    assert!(value_of(&registry, "hookgate_redis_connects_total{outcome=\"ok\"}") >= 2);
    drop(redis);
    soon("nothing is needed any more", async || value_of(&registry, up) == 0).await;
}

#[tokio::test]
async fn a_killed_server_is_found_again_with_what_it_answered() {
    let mut server = RedisServer::start();
    let redis = Redis::open(&settings(server.address())).expect("settings");
    for expected in 1..=3 {
        assert_eq!(count(&redis, "a").await, Ok(Value::Int(expected)));
        server.kill();
        soon("it is missed", async || redis.ready().is_err()).await;
        fails(&redis, 50).await;
        server.restart();
        answers(&redis).await;
    }
    assert_eq!(count(&redis, "a").await, Ok(Value::Int(4)));
}

#[tokio::test]
async fn a_connection_that_is_cut_is_made_anew() {
    let server = RedisServer::start();
    let redis = Redis::open(&settings(server.address())).expect("settings");
    answers(&redis).await;
    for _ in 0..5 {
        server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
        answers(&redis).await;
    }
}

#[tokio::test]
async fn an_address_that_swallows_everything_delays_nobody_for_long() {
    let hole = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = hole.local_addr().expect("an address").to_string();
    let redis = Redis::open(&settings(address)).expect("settings");
    fails(&redis, 50).await;
    // It takes the connection and says nothing.
    let (_held, _) = hole.accept().await.expect("a connection");
    fails(&redis, 50).await;
}

#[tokio::test]
async fn what_answers_nonsense_is_no_redis() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.writable().await;
            let _ = stream.try_write(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let redis = Redis::open(&settings(address)).expect("settings");
    fails(&redis, 50).await;
}

#[tokio::test]
async fn a_name_that_leads_nowhere_is_down() {
    let short = Settings {
        timeout: "10ms".to_owned().try_into().expect("a period"),
        wait_timeout: "5ms".to_owned().try_into().expect("a period"),
        ..settings("nobody.invalid:6379".to_owned())
    };
    let redis = Redis::open(&short).expect("settings");
    fails(&redis, 50).await;
}
