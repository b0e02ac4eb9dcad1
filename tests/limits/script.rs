//! The script says what governor says, and leaves alone what it refuses.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, FakeRelativeClock};
use governor::middleware::StateInformationMiddleware;
use governor::{Quota, RateLimiter};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis::{Client, Connection, Script};

use crate::server::RedisServer;

const GCRA: &str = include_str!("../../src/gateway/limit/gcra.lua");
/// 2026-11-23T18:00:00Z.
const NOW: u64 = 1_795_456_800_000_000;

/// The script on a clock that the test sets: the last argument, in microseconds.
struct Gcra {
    connection: Connection,
    script: Script,
}

#[derive(Clone, Copy, Debug)]
struct Ask<'a> {
    key: &'a str,
    quota: Quota,
    draws: bool,
}

impl Gcra {
    fn new(server: &RedisServer) -> Self {
        Self::changed(server, &[("redis.call('TIME')", "{0, tonumber(ARGV[#ARGV])}")])
    }

    /// The same with keys that outlive the test: they end on the real clock, which runs meanwhile.
    fn lasting(server: &RedisServer) -> Self {
        Self::changed(
            server,
            &[
                ("redis.call('TIME')", "{0, tonumber(ARGV[#ARGV])}"),
                ("math.ceil(owed / 1000000)", "3600000"),
            ],
        )
    }

    fn changed(server: &RedisServer, changes: &[(&str, &str)]) -> Self {
        let mut script = GCRA.to_owned();
        for (real, set) in changes {
            assert_eq!(script.matches(real).count(), 1, "{real}");
            script = script.replace(real, set);
        }
        let client = Client::open(format!("redis://{}", server.address())).unwrap();
        let connection = client.get_connection().unwrap();
        Self { connection, script: Script::new(&script) }
    }

    fn ask(&mut self, at: u64, draws: &str, asks: &[Ask<'_>]) -> Vec<(u64, u32)> {
        let mut call = self.script.prepare_invoke();
        call.arg(draws);
        for ask in asks {
            let every = ask.quota.replenish_interval();
            let slack = every * (ask.quota.burst_size().get() - 1);
            call.key(ask.key).arg(every.as_nanos().to_string()).arg(slack.as_nanos().to_string());
            call.arg(if ask.draws { "draw" } else { "look" });
        }
        call.arg(at).invoke(&mut self.connection).unwrap()
    }

    fn draw(&mut self, at: u64, key: &str, quota: Quota) -> (u64, u32) {
        self.ask(at, "all", &[Ask { key, quota, draws: true }])[0]
    }

    fn expiry(&mut self, key: &str) -> i64 {
        redis::cmd("PTTL").arg(key).query(&mut self.connection).unwrap()
    }
}

fn quota(count: u32, per_minute: bool, burst: u32) -> Quota {
    let count = NonZeroU32::new(count).unwrap();
    let quota = if per_minute { Quota::per_minute(count) } else { Quota::per_second(count) };
    quota.allow_burst(NonZeroU32::new(burst).unwrap())
}

fn any_quota() -> impl Strategy<Value = Quota> {
    let figure = prop_oneof![1_u32..20, 1_u32..1000, 1_u32..=1_000_000];
    (figure.clone(), any::<bool>(), figure)
        .prop_map(|(count, per_minute, burst)| quota(count, per_minute, burst))
}

/// Steps of time in shares of what one draw weighs, in microseconds, or long.
fn any_steps() -> impl Strategy<Value = Vec<(u64, u32)>> {
    let step = prop_oneof![
        3 => Just((0, 0)),
        3 => (0_u64..5).prop_map(|micros| (micros, 0)),
        4 => (1_u32..300).prop_map(|percent| (0, percent)),
        1 => (0_u64..100_000_000).prop_map(|micros| (micros, 0)),
    ];
    prop::collection::vec(step, 1..60)
}

#[test]
fn the_script_says_what_governor_says() {
    let server = RedisServer::start();
    let gcra = RefCell::new(Gcra::lasting(&server));
    let case = Cell::new(0);
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    let sequences = (any_quota(), any_steps());
    let compared = TestRunner::new(config).run(&sequences, |(quota, steps)| {
        let (key, clock) = (case.replace(case.get() + 1).to_string(), FakeRelativeClock::default());
        let governor = RateLimiter::dashmap_with_clock(quota, clock.clone())
            .with_middleware::<StateInformationMiddleware>();
        let mut at = NOW;
        for (micros, percent) in steps {
            let share = quota.replenish_interval() * percent / 100;
            let micros = micros + u64::try_from(share.as_micros()).unwrap();
            at += micros;
            clock.advance(Duration::from_micros(micros));
            let said = gcra.borrow_mut().draw(at, &key, quota);
            let expected = match governor.check_key(&0) {
                Ok(state) => (0, state.remaining_burst_capacity()),
                Err(until) => {
                    let wait = until.wait_time_from(clock.now());
                    (u64::try_from(wait.as_nanos()).unwrap(), 0)
                }
            };
            prop_assert_eq!(said, expected);
        }
        Ok(())
    });
    compared.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn what_one_refuses_uses_up_none() {
    let server = RedisServer::start();
    let mut gcra = Gcra::new(&server);
    let (small, large) = (quota(1, true, 1), quota(1, true, 5));
    let draw = |key, quota| Ask { key, quota, draws: true };
    let both = [draw("{a}small", small), draw("{a}large", large)];
    assert_eq!(gcra.ask(NOW, "all", &both), [(0, 0), (0, 4)]);
    for _ in 0..9 {
        assert_eq!(gcra.ask(NOW, "all", &both), [(60_000_000_000, 0), (0, 3)]);
        let turned = [both[1], both[0]];
        assert_eq!(gcra.ask(NOW, "all", &turned), [(0, 3), (60_000_000_000, 0)]);
    }
    assert_eq!(gcra.ask(NOW, "each", &both), [(60_000_000_000, 0), (0, 3)]);
    assert_eq!(gcra.ask(NOW, "each", &both), [(60_000_000_000, 0), (0, 2)], "it was drawn on");
}

#[test]
fn looking_draws_nothing_and_holds_nothing() {
    let server = RedisServer::start();
    let mut gcra = Gcra::new(&server);
    let look = [Ask { key: "a", quota: quota(1, true, 2), draws: false }];
    for _ in 0..5 {
        assert_eq!(gcra.ask(NOW, "all", &look), [(0, 1)]);
    }
    assert_eq!(server.command(&["DBSIZE"]), "0");
    for left in [1, 0] {
        assert_eq!(gcra.draw(NOW, "a", quota(1, true, 2)), (0, left));
    }
    assert_eq!(gcra.ask(NOW + 1, "all", &look), [(59_999_999_000, 0)]);
}

/// With the textbook's arrival time everybody would be out for the hour by which the clock went back.
#[test]
fn a_clock_that_is_set_back_locks_nobody_out() {
    const HOUR: u64 = 3_600_000_000;
    let server = RedisServer::start();
    let mut gcra = Gcra::new(&server);
    let two = quota(1, true, 2);
    let look = [Ask { key: "a", quota: two, draws: false }];
    assert_eq!(gcra.draw(NOW, "a", two), (0, 1));
    assert_eq!(gcra.draw(NOW, "a", two), (0, 0));
    // Owed from now on; a look is enough to notice, since who is refused draws nothing.
    assert_eq!(gcra.ask(NOW - HOUR, "all", &look), [(60_000_000_000, 0)]);
    assert_eq!(gcra.draw(NOW - HOUR + 59_999_999, "a", two), (1_000, 0));
    assert_eq!(gcra.draw(NOW - HOUR + 60_000_000, "a", two), (0, 0));
    // Set right again, what was owed is long paid.
    assert_eq!(gcra.draw(NOW, "a", two), (0, 1));
}

#[test]
fn a_bucket_is_held_until_it_is_full_again() {
    let server = RedisServer::start();
    let mut gcra = Gcra::new(&server);
    let slow = quota(1, true, 10);
    for drawn in 1..=3 {
        assert_eq!(gcra.draw(NOW, "a", slow).0, 0);
        let expiry = gcra.expiry("a");
        let most = 60_000 * drawn;
        assert!((most - 30_000..=most).contains(&expiry), "{expiry} after {drawn}");
    }
    // Less than a millisecond is still held.
    assert_eq!(gcra.draw(NOW, "b", quota(1_000_000, false, 1)), (0, 0));
}

/// One a minute and a million at once: a bucket that takes almost two years to fill.
#[test]
fn the_largest_figures_are_counted() {
    const MINUTE: u64 = 60_000_000;
    let server = RedisServer::start();
    let mut gcra = Gcra::new(&server);
    let large = quota(1, true, 1_000_000);
    assert_eq!(gcra.draw(NOW, "a", large), (0, 999_999));
    let owed = 999_999 * MINUTE * 1_000;
    assert_eq!(server.command(&["SET", "a", &format!("{NOW} {owed}")]), "OK");
    assert_eq!(gcra.draw(NOW, "a", large), (0, 0), "the last of a million");
    assert_eq!(gcra.draw(NOW, "a", large), (60_000_000_000, 0));
    assert_eq!(gcra.draw(NOW + MINUTE - 1, "a", large), (1_000, 0));
    assert_eq!(gcra.draw(NOW + MINUTE, "a", large), (0, 0));
    assert_eq!(gcra.draw(NOW + 500_001 * MINUTE, "a", large), (0, 499_999));
}

/// A value that no draw can have left, on a key without an end.
#[test]
fn nobody_is_locked_out_for_longer_than_a_bucket_takes_to_fill() {
    let server = RedisServer::start();
    let mut gcra = Gcra::new(&server);
    let (two, late) = (quota(1, true, 2), NOW + 3_600_000_000);
    for (held, said) in [
        (format!("{NOW} 1000000000000000000"), (60_000_000_000, 0)),
        (format!("{NOW} 99999999999999999999999999"), (60_000_000_000, 0)),
        (format!("{late} 99999999999999999999999999"), (60_000_000_000, 0)),
        ("99999999999999999999999999 30000000000".to_owned(), (0, 0)),
        (format!("{late} 0"), (0, 1)),
    ] {
        assert_eq!(server.command(&["SET", "a", &held]), "OK");
        let asks = [Ask { key: "a", quota: two, draws: false }];
        let looked = gcra.ask(NOW, "all", &asks)[0];
        assert_eq!(looked.0, said.0, "{held:?}");
        assert_eq!(gcra.draw(NOW, "a", two), said, "{held:?}");
        assert_eq!(gcra.draw(NOW + 120_000_000, "a", two), (0, 1), "{held:?}");
        assert!(gcra.expiry("a") > 0, "{held:?}");
    }
}

/// Somebody else's data under such a name is no reason to lose the limit.
#[test]
fn what_is_no_bucket_counts_as_a_full_one() {
    let server = RedisServer::start();
    let mut gcra = Gcra::new(&server);
    for held in ["", "x", "1", "1 2 3", "-1 5", "1e3 7", " 1 2"] {
        assert_eq!(server.command(&["SET", "a", held]), "OK");
        assert_eq!(gcra.draw(NOW, "a", quota(1, true, 2)), (0, 1), "{held:?}");
        assert_eq!(gcra.draw(NOW, "a", quota(1, true, 2)), (0, 0), "{held:?}");
    }
}
