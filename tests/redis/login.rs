//! Users, passwords, and the rights that are enough.

use hookgate::redis::{Redis, Settings};
use redis::{Script, Value};
use tempfile::TempDir;

use crate::rig::{answers, count, file, says, settings};
use crate::server::RedisServer;

/// What the documentation of `hookgate::redis` tells operators to write.
const RIGHTS: &str = "~hookgate:* resetchannels -@all +info +ping +dbsize +time +evalsha \
    +script|load +get +set +del +exists +hget +hmget +hgetall +hset +hdel +hincrby +pexpire \
    +pexpireat +pttl +cluster|slots +cluster|myid +asking +wait +select";

/// All that scripts may use.
const EVERYTHING: &str = "
    redis.call('TIME')
    redis.call('INFO', 'memory')
    redis.call('DBSIZE')
    redis.call('SET', KEYS[1], 'x', 'NX', 'PX', 60000)
    redis.call('GET', KEYS[1])
    redis.call('PTTL', KEYS[1])
    redis.call('PEXPIRE', KEYS[1], 60000)
    redis.call('PEXPIREAT', KEYS[1], 4102444800000)
    redis.call('EXISTS', KEYS[1])
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'a', '1')
    redis.call('HGET', KEYS[1], 'a')
    redis.call('HMGET', KEYS[1], 'a', 'b')
    redis.call('HGETALL', KEYS[1])
    redis.call('HDEL', KEYS[1], 'b')
    return redis.call('HINCRBY', KEYS[1], 'a', 1)";

fn set_user(server: &RedisServer, password: &str, rights: &str) {
    let password = format!(">{password}");
    let mut words = vec!["ACL", "SETUSER", "gate", "reset", "on", &password];
    words.extend(rights.split_whitespace());
    assert_eq!(server.command(&words), "OK");
}

#[tokio::test]
async fn the_rights_that_are_told_are_enough_and_no_more() {
    let server = RedisServer::start();
    set_user(&server, "s3cret", RIGHTS);
    let folder = TempDir::new().expect("a folder");
    let user = Settings {
        username: Some("gate".to_owned()),
        password_file: Some(file(&folder, "password", "s3cret\n")),
        ..settings(server.address())
    };
    for settings in [user.clone(), Settings { database: 2, ..user }] {
        let redis = Redis::open(&settings).expect("settings");
        let done = redis.run(&Script::new(EVERYTHING), &[b"hookgate:a"], &[]).await;
        assert_eq!(done, Ok(Value::Int(2)));
        assert_eq!(server.command(&["ACL", "LOG"]), "", "nothing was refused");
    }
    let redis = Redis::open(&settings(server.address())).expect("settings");
    answers(&redis).await;
    let narrower = RIGHTS.replace("+hincrby ", "");
    set_user(&server, "s3cret", &narrower);
    let user = Settings {
        username: Some("gate".to_owned()),
        password_file: Some(folder.path().join("password")),
        ..settings(server.address())
    };
    let redis = Redis::open(&user).expect("settings");
    let refused = redis.run(&Script::new(EVERYTHING), &[b"hookgate:b"], &[]).await;
    assert!(refused.is_err(), "{refused:?}");
    let reading = Script::new("return redis.call('GET', KEYS[1])");
    let told = redis.run(&reading, &[b"other"], &[]).await.expect_err("not ours").to_string();
    assert!(told.contains("NOPERM") && told.contains("ACL"), "{told}");
}

#[tokio::test]
async fn a_wrong_password_is_said_and_not_shown_and_a_rotated_one_is_taken_up() {
    let server = RedisServer::start();
    set_user(&server, "first", RIGHTS);
    let folder = TempDir::new().expect("a folder");
    let path = file(&folder, "password", "wr0ng");
    let user = Settings {
        username: Some("gate".to_owned()),
        password_file: Some(path),
        ..settings(server.address())
    };
    let redis = Redis::open(&user).expect("settings");
    says(&redis, "refuses the login").await;
    let told = format!("{redis:?} {:?} {:?}", count(&redis, "a").await, redis.ready());
    assert!(!told.contains("wr0ng"), "{told}");

    file(&folder, "password", "first\n");
    answers(&redis).await;
    set_user(&server, "second", RIGHTS);
    file(&folder, "password", "second\n");
    // Changing a user ends nobody's connection; being cut off does.
    server.command(&["CLIENT", "KILL", "USER", "gate"]);
    answers(&redis).await;

    std::fs::remove_file(folder.path().join("password")).expect("a file to remove");
    server.command(&["CLIENT", "KILL", "USER", "gate"]);
    says(&redis, "state.redis.password_file cannot be read").await;
    file(&folder, "password", "second\n");
    answers(&redis).await;
}

#[tokio::test]
async fn a_server_that_wants_a_login_says_so() {
    let server = RedisServer::start_with(&["--requirepass", "s3cret"]);
    let redis = Redis::open(&settings(server.address())).expect("settings");
    says(&redis, "state.redis.password_file").await;
    let folder = TempDir::new().expect("a folder");
    let password = Settings {
        password_file: Some(file(&folder, "password", "s3cret")),
        ..settings(server.address())
    };
    answers(&Redis::open(&password).expect("settings")).await;
}
