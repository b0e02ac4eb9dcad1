//! Several gateways behind one public URL, with one Redis: what is spent at one is spent at all, and one
//! that cannot read the others' links gets no calls.

use std::time::Duration;

use hookgate::clock::Clock;
use hookgate::demo::server::json;
use serde_json::json;

use crate::harness::{
    Extra, HOOK_INSTANCE, NO_LIMITS, Scene, ahead_of_redis, gone, hook_body, opened, refused_as,
};
use crate::server::RedisServer;

const TARGET: &str = "https://app.example/?session=4711";
/// Longer than replicas and stores are looked at.
const A_LOOK: Duration = Duration::from_secs(6);

fn shared(redis: &RedisServer, tables: &str) -> Extra {
    Extra { redis: Some(redis.address()), tables: tables.to_owned(), ..Extra::default() }
}

#[tokio::test]
async fn what_is_spent_at_one_is_spent_at_all() {
    let redis = RedisServer::start();
    let one = Scene::new(&shared(&redis, NO_LIMITS)).await;
    one.until_pending(&[]).await;
    let two = one.replica(2, &[]).await;
    two.until_pending(&[]).await;

    let token = one.token(&one.endpoint());
    assert_eq!(one.post_with(&one.endpoint(), &token, hook_body()).await.status(), 200);
    refused_as(two.post_with(&two.endpoint(), &token, hook_body()).await, 401, "unauthorized")
        .await;

    let link = one.link().await;
    opened(&two.click(&link).send().await.unwrap(), TARGET);
    gone(&one.click(&link).send().await.unwrap());

    one.service.plays(|arrival| {
        let ids = json!({"cards": [{
            "uuid": "card-1", "summary": "s", "indicator": "info", "source": {"label": "l"},
            "suggestions": [{"label": "a", "uuid": "suggestion-1"}],
        }]});
        if arrival.target.ends_with("/feedback") {
            json(200, String::new())
        } else {
            json(200, ids.to_string())
        }
    });
    let ids = one.ids_of(HOOK_INSTANCE).await;
    let report = json!({"feedback": [{
        "card": ids.card, "outcome": "accepted", "outcomeTimestamp": "2026-11-24T10:00:00Z",
        "acceptedSuggestions": [{"id": ids.suggestions[0]}],
    }]});
    for gateway in [&two, &one, &two] {
        assert_eq!(gateway.report(report.to_string()).await.status(), 200);
    }
    assert_eq!(one.reports().len(), 1, "delivered once, whoever was told");
}

#[tokio::test]
async fn a_limit_is_that_of_all_together() {
    let redis = RedisServer::start();
    let limits = "[limits]\nclient = { per_minute = 1, burst = 4 }\nshared_timeout = \"60s\"\n";
    let one = Scene::new(&shared(&redis, limits)).await;
    one.until_pending(&[]).await;
    let two = one.replica(2, &[]).await;
    two.until_pending(&[]).await;
    let mut passed = 0;
    for _ in 0..4 {
        for gateway in [&one, &two] {
            let status = gateway.post(&gateway.endpoint(), hook_body()).await.status();
            // A store that is too slow for the token comes after the limit.
            assert!([200, 429, 503].contains(&status.as_u16()), "{status}");
            passed += usize::from(status != 429);
        }
    }
    // Redis' clock goes on meanwhile: within a minute there is one more.
    assert!((4..=5).contains(&passed), "{passed}");
}

#[tokio::test]
async fn a_replica_with_other_keys_stands_back_until_it_has_the_same() {
    let redis = RedisServer::start();
    let one = Scene::new(&shared(&redis, NO_LIMITS)).await;
    one.until_pending(&[]).await;
    let other = one.replica(2, &[("keys.json", "others.json")]).await;
    other.until_pending(&["replicas: 1 of 2 hold other keys than this one"]).await;
    one.advance(A_LOOK);
    until_sample(&one, "hookgate_replicas_apart", 1).await;
    one.until_pending(&[]).await;
    assert_eq!(other.sample("hookgate_replicas_seen").await, 2);

    let keys = |name: &str| one.directory().join(name);
    std::fs::copy(keys("keys.json"), keys("others.json")).unwrap();
    until_ready(&other).await;
    opened(&other.click(&one.link().await).send().await.unwrap(), TARGET);
}

#[tokio::test]
async fn a_gateway_waits_for_a_redis_that_is_away_at_its_start() {
    let mut redis = RedisServer::start();
    redis.kill();
    let one = Scene::new(&shared(&redis, NO_LIMITS)).await;
    refused_as(one.post(&one.endpoint(), hook_body()).await, 503, "store").await;
    let (status, pending) = one.pending().await;
    assert_eq!(status, 503);
    assert!(pending.iter().any(|reason| reason.starts_with("store: ")), "{pending:?}");
    redis.restart();
    until_ready(&one).await;
    one.link().await;
}

/// Whoever looks late lets others take steps on a server that lacks what only he knows.
#[tokio::test]
async fn a_redis_that_comes_back_is_looked_at_at_once() {
    let mut redis = RedisServer::start();
    let one = Scene::new(&shared(&redis, NO_LIMITS)).await;
    one.until_pending(&[]).await;
    redis.restart();
    // No time passes by which it would look anyway, and nobody calls.
    for _ in 0..1000 {
        let (_, pending) = one.pending().await;
        if pending.iter().any(|reason| reason.contains("it is another server")) {
            until_ready(&one).await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nobody looks: {:?}", one.pending().await.1);
}

/// Lets time pass until nothing is pending: a few looks, or the clock would be too far from Redis', and
/// never less than passes there.
async fn until_ready(scene: &Scene) {
    for _ in 0..20 {
        scene.advance(A_LOOK.max(ahead_of_redis().since(scene.clock.now())));
        for _ in 0..100 {
            if scene.pending().await.1.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    panic!("never ready, but {:?}", scene.pending().await.1);
}

/// Waits until a task in the background has brought a gauge to `value`.
async fn until_sample(scene: &Scene, sample: &str, value: u64) {
    for _ in 0..1000 {
        if scene.sample(sample).await == value {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{sample} never became {value}");
}
