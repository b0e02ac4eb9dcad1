//! Sentinels: the master dies, or is replaced, and calls follow.

use hookgate::redis::{Redis, Settings, Topology};
use redis::Value;
use tempfile::TempDir;

use crate::rig::{answers, count, file, says, settings, soon};
use crate::sentinel::{MASTER, Sentinels};
use crate::server::eventually;

fn watched(fleet: &Sentinels) -> Settings {
    Settings {
        topology: Topology::Sentinel,
        addresses: fleet.addresses(),
        master: Some(MASTER.to_owned()),
        ..settings(String::new())
    }
}

#[tokio::test]
async fn calls_go_on_with_the_promoted_replica() {
    let user = "user gate on >s3cret -@all +sentinel|get-master-addr-by-name";
    let mut fleet = Sentinels::start_with(&[user]);
    let folder = TempDir::new().expect("a folder");
    let with_login = Settings {
        sentinel_username: Some("gate".to_owned()),
        sentinel_password_file: Some(file(&folder, "password", "s3cret\n")),
        ..watched(&fleet)
    };
    let redis = Redis::open(&with_login).expect("settings");
    assert_eq!(count(&redis, "a").await, Ok(Value::Int(1)));
    eventually("the replica has it", || {
        fleet.replica().command(&["HGET", "hookgate:a", "n"]) == "1"
    });
    fleet.sentinel(0).kill();
    fleet.fail_over();
    answers(&redis).await;
    assert_eq!(count(&redis, "a").await, Ok(Value::Int(2)));
    let [master] = redis.masters().try_into().expect("one master");
    assert_eq!(master.address, fleet.master().address());
}

#[tokio::test]
async fn calls_leave_a_master_that_was_replaced_alive() {
    let mut fleet = Sentinels::start();
    let unknown = Settings { master: Some("another".to_owned()), ..watched(&fleet) };
    says(
        &Redis::open(&unknown).expect("settings"),
        "no majority of the sentinels names the master",
    )
    .await;

    let redis = Redis::open(&watched(&fleet)).expect("settings");
    answers(&redis).await;
    let former = fleet.master().address();
    assert_eq!(fleet.sentinel(0).command(&["SENTINEL", "FAILOVER", MASTER]), "OK");
    soon("the calls have left it", async || {
        redis.masters().first().is_some_and(|master| master.address != former)
    })
    .await;
    answers(&redis).await;
}

/// One that was cut off from the others may name a master that was replaced.
#[tokio::test]
async fn one_sentinel_of_three_names_no_master() {
    let mut fleet = Sentinels::start();
    let all = watched(&fleet);
    fleet.sentinel(0).kill();
    answers(&Redis::open(&all).expect("settings")).await;
    let connected = Redis::open(&all).expect("settings");
    answers(&connected).await;
    fleet.sentinel(1).kill();
    let refused = "no majority of the sentinels names the master";
    says(&Redis::open(&all).expect("settings"), refused).await;
    // Nor is one believed any longer that is connected: the others may have replaced it.
    says(&connected, refused).await;
    assert!(count(&connected, "a").await.is_err());
    fleet.sentinel(1).restart();
    answers(&connected).await;
}
