//! The limits, held to their figures.

#[cfg(test)]
use super::*;

use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::FutureExt;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use crate::clock::{ManualClock, UnixTime};
use crate::units::Period;

const MS: Duration = Duration::from_millis(1);

struct Bench {
    limits: Limits,
    clock: ManualClock,
    registry: Registry,
}

fn bench_with(settings: &Settings, overrides: &[(ClientId, ClientSettings)]) -> Bench {
    let clock = ManualClock::new(UnixTime::from_secs(1_700_000_000));
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let limits = Limits::new(settings, overrides, None, Arc::new(clock.clone()), metrics).unwrap();
    Bench { limits, clock, registry }
}

fn bench(settings: &Settings) -> Bench {
    bench_with(settings, &[])
}

impl Bench {
    fn metrics(&self) -> String {
        let mut text = String::new();
        text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

fn v4(last: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + last))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn client(text: &str) -> ClientId {
    ClientId::new(text).unwrap()
}

fn service(text: &str) -> ServiceId {
    ServiceId::new(text).unwrap()
}

/// Without Redis no check waits.
fn now<T>(check: impl Future<Output = T>) -> T {
    check.now_or_never().unwrap()
}

fn passes(times: u32, mut ask: impl FnMut() -> Result<Passed, Limited>) -> u32 {
    let mut passed = 0;
    for _ in 0..times {
        passed += u32::from(ask().is_ok());
    }
    passed
}

#[test]
fn a_burst_is_exact_and_refills_at_the_rate() {
    let bench = bench(&Settings { address: Rate::per_second(50, 100), ..Settings::default() });
    let ask = || now(bench.limits.admit_address(v4(1)));
    assert_eq!(passes(300, ask), 100);
    let refused = ask().unwrap_err();
    assert_eq!(refused.which(), Limit::Address);
    assert_eq!(refused.retry_after(), 20 * MS);
    assert_eq!(refused.retry_after_secs(), 1);
    assert_eq!(refused.policy(), Policy { quota: 100, window: Duration::from_secs(2) });
    bench.clock.advance(19 * MS);
    assert_eq!(ask().unwrap_err().retry_after(), MS);
    bench.clock.advance(MS);
    assert_eq!(passes(10, ask), 1);
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(passes(300, ask), 50);
    bench.clock.advance(Duration::from_secs(3600));
    assert_eq!(passes(300, ask), 100);
}

#[test]
fn the_wall_clock_has_no_say() {
    let bench = bench(&Settings { address: Rate::per_second(1, 1), ..Settings::default() });
    assert!(now(bench.limits.admit_address(v4(1))).is_ok());
    bench.clock.set(UnixTime::from_secs(1_900_000_000));
    assert!(now(bench.limits.admit_address(v4(1))).is_err());
    bench.clock.set(UnixTime::from_secs(0));
    bench.clock.advance(Duration::from_secs(1));
    assert!(now(bench.limits.admit_address(v4(1))).is_ok());
}

#[test]
fn remaining_counts_down() {
    let bench = bench(&Settings { address: Rate::per_second(1, 3), ..Settings::default() });
    let left = || now(bench.limits.admit_address(v4(1))).unwrap().standing().unwrap().remaining;
    assert_eq!([left(), left(), left()], [2, 1, 0]);
}

#[test]
fn retry_after_is_rounded_up() {
    for (millis, secs) in [(1, 1), (999, 1), (1000, 1), (1001, 2), (59_500, 60)] {
        let policy = Policy { quota: 1, window: MS };
        let limited = Limited::new(Limit::Address, millis * MS, policy);
        assert_eq!(limited.retry_after_secs(), secs, "{millis} ms");
    }
}

#[test]
fn only_failures_draw_on_the_limit_for_failures() {
    let settings = Settings { failing_address: Rate::per_minute(30, 20), ..Settings::default() };
    let bench = bench(&settings);
    assert_eq!(passes(90, || now(bench.limits.admit_address(v4(1)))), 90);
    for failure in 0..20 {
        assert_ne!(
            now(bench.limits.admit_address(v4(1))).map_err(|e| e.which()),
            Err(Limit::FailingAddress),
            "after {failure} failures"
        );
        now(bench.limits.note_failure(v4(1)));
        bench.clock.advance(Duration::from_micros(1));
    }
    let refused = now(bench.limits.admit_address(v4(1))).unwrap_err();
    assert_eq!(refused.which(), Limit::FailingAddress);
    assert_eq!(refused.retry_after(), Duration::from_secs(2) - Duration::from_micros(20));
    assert!(now(bench.limits.admit_address(v4(2))).is_ok(), "another address is not touched");

    // Refusals do not draw; one failure's worth of time lets one more through, and looking spends
    // nothing of it.
    bench.clock.advance(Duration::from_secs(2));
    assert_eq!(passes(50, || now(bench.limits.admit_address(v4(1)))), 50);
    now(bench.limits.note_failure(v4(1)));
    assert!(now(bench.limits.admit_address(v4(1))).is_err());
    bench.clock.advance(Duration::from_secs(60));
    assert!(now(bench.limits.admit_address(v4(1))).is_ok());
}

#[test]
fn looking_leaves_no_bucket_behind() {
    let settings = Settings { address: Rate::per_second(1, 1), ..Settings::default() };
    let bench = bench(&settings);
    for n in 0..100 {
        let _ = now(bench.limits.admit_address(v4(n)));
    }
    assert_eq!(bench.limits.failing_address.keys(), 0);
    assert_eq!(bench.limits.address.keys(), 100);
}

#[test]
fn an_ipv6_subscriber_is_one() {
    let settings = Settings { open_address: Rate::per_second(1, 2), ..Settings::default() };
    let same = [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
        ("192.0.2.1", "::ffff:192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
        ("::192.0.2.1", "192.0.2.1", false),
        ("fe80::1", "fe80::2", true),
    ];
    for (one, other, shared) in same {
        let bench = bench(&settings);
        assert_eq!(passes(9, || now(bench.limits.admit_open(ip(one)))), 2);
        let expected = if shared { 0 } else { 2 };
        assert_eq!(
            passes(9, || now(bench.limits.admit_open(ip(other)))),
            expected,
            "{one} {other}"
        );
    }
}

#[test]
fn kinds_of_limit_do_not_share() {
    let settings = Settings {
        address: Rate::per_second(1, 1),
        open_address: Rate::per_second(1, 1),
        ..Settings::default()
    };
    let bench = bench(&settings);
    assert_eq!(passes(5, || now(bench.limits.admit_address(v4(1)))), 1);
    assert_eq!(passes(5, || now(bench.limits.admit_open(v4(1)))), 1);
}

#[test]
fn a_busy_service_does_not_use_up_the_client() {
    let settings = Settings {
        client: Rate::per_second(1, 10),
        client_service: Rate::per_second(1, 4),
        ..Settings::default()
    };
    let bench = bench(&settings);
    let (ehr, other) = (client("ehr"), client("other"));
    let (a, b, c) = (service("a"), service("b"), service("c"));
    let ask = |who: &ClientId, what| passes(100, || now(bench.limits.admit_client(who, what)));
    assert_eq!(ask(&ehr, Some(&a)), 4);
    let refused = now(bench.limits.admit_client(&ehr, Some(&a))).unwrap_err();
    assert_eq!(refused.which(), Limit::ClientService);
    assert_eq!(ask(&ehr, Some(&b)), 4);
    assert_eq!(ask(&ehr, None), 2, "what the client has left");
    let refused = now(bench.limits.admit_client(&ehr, Some(&c))).unwrap_err();
    assert_eq!(refused.which(), Limit::Client);
    assert_eq!(ask(&other, Some(&a)), 4, "another client is not touched");
}

#[test]
fn a_busy_client_does_not_use_up_the_service() {
    let settings = Settings {
        client: Rate::per_second(100, 4),
        client_service: Rate::per_minute(1, 4),
        ..Settings::default()
    };
    let bench = bench(&settings);
    let (ehr, a) = (client("ehr"), service("a"));
    let ask = |what| passes(100, || now(bench.limits.admit_client(&ehr, what)));
    assert_eq!(ask(None), 4);
    assert_eq!(ask(Some(&a)), 0);
    bench.clock.advance(40 * MS);
    assert_eq!(ask(Some(&a)), 4, "what the client was refused did not draw on the service");
}

#[test]
fn a_client_may_have_its_own_figures() {
    let settings = Settings {
        client: Rate::per_second(1, 5),
        client_service: Rate::per_second(1, 5),
        ..Settings::default()
    };
    let large = ClientSettings {
        client: Some(Rate::per_second(1, 40)),
        client_service: Some(Rate::per_second(1, 30)),
    };
    let bench = bench_with(&settings, &[(client("large"), large)]);
    let ask = |who: &str| passes(100, || now(bench.limits.admit_client(&client(who), None)));
    assert_eq!((ask("large"), ask("small")), (30, 5));
}

#[test]
fn observing_refuses_nobody_and_counts_who_would_have_been() {
    let settings = Settings {
        mode: Mode::Observe,
        address: Rate::per_second(1, 3),
        failing_address: Rate::per_minute(1, 1),
        ..Settings::default()
    };
    let bench = bench(&settings);
    now(bench.limits.note_failure(v4(1)));
    assert_eq!(passes(10, || now(bench.limits.admit_address(v4(1)))), 10);
    let text = bench.metrics();
    for line in [
        "hookgate_limit_checks_total{limit=\"address\",outcome=\"observed\"} 7",
        "hookgate_limit_checks_total{limit=\"address\",outcome=\"passed\"} 3",
        "hookgate_limit_checks_total{limit=\"failing_address\",outcome=\"observed\"} 10",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("refused"), "{text}");
}

#[test]
fn off_is_off() {
    let settings =
        Settings { mode: Mode::Off, address: Rate::per_second(1, 1), ..Settings::default() };
    let bench = bench(&settings);
    now(bench.limits.note_failure(v4(1)));
    assert_eq!(passes(10, || now(bench.limits.admit_address(v4(1)))), 10);
    assert_eq!(bench.limits.address.keys() + bench.limits.failing_address.keys(), 0);
    assert!(!bench.metrics().contains("hookgate_limit_checks_total{"));
}

#[test]
fn a_million_addresses_are_held_in_bounded_memory_and_nobody_gets_in_free() {
    const MAX: usize = 5_000;
    let settings =
        Settings { address: Rate::per_minute(1, 2), max_keys: MAX, ..Settings::default() };
    let bench = bench(&settings);
    let mut passed: u64 = 0;
    for n in 0..1_000_000 {
        passed += u64::from(now(bench.limits.admit_address(v4(n))).is_ok());
    }
    assert!(bench.limits.address.keys() <= MAX + 1024, "{}", bench.limits.address.keys());
    // Every bucket of its own gave one to its own address; the shared ones gave their burst.
    assert_eq!(passed, 5_000 + 1024 * 2);

    // Who had a bucket keeps it, exactly.
    assert_eq!(passes(5, || now(bench.limits.admit_address(v4(7)))), 1);

    // When those are full again there is room for newcomers, without anybody calling sweep.
    bench.clock.advance(Duration::from_secs(600));
    let _ = now(bench.limits.admit_address(v4(2_000_000)));
    assert_eq!(passes(5, || now(bench.limits.admit_address(v4(2_000_001)))), 2);
    assert!(bench.limits.address.keys() < 10, "{}", bench.limits.address.keys());
}

#[test]
fn a_sweep_forgets_only_who_may_start_anew() {
    let settings = Settings { address: Rate::per_second(1, 10), ..Settings::default() };
    let bench = bench(&settings);
    for n in 0..50 {
        let _ = now(bench.limits.admit_address(v4(n)));
    }
    assert_eq!(passes(20, || now(bench.limits.admit_address(v4(99)))), 10);
    bench.clock.advance(Duration::from_secs(5));
    bench.limits.sweep();
    assert_eq!(bench.limits.address.keys(), 1);
    assert!(bench.metrics().contains("hookgate_limit_keys{limit=\"address\"} 1"));
    assert_eq!(passes(20, || now(bench.limits.admit_address(v4(99)))), 5);
}

#[test]
fn a_new_configuration_keeps_what_it_does_not_change() {
    let old = Settings {
        address: Rate::per_second(1, 3),
        open_address: Rate::per_second(1, 3),
        ..Settings::default()
    };
    let bench = bench(&old);
    assert_eq!(passes(9, || now(bench.limits.admit_address(v4(1)))), 3);
    assert_eq!(passes(9, || now(bench.limits.admit_open(v4(1)))), 3);
    let new = Settings { open_address: Rate::per_second(1, 5), ..old };
    let renewed = bench.limits.renewed(&new, &[]).unwrap();
    assert_eq!(passes(9, || now(renewed.admit_address(v4(1)))), 0);
    assert_eq!(passes(9, || now(renewed.admit_open(v4(1)))), 5);
}

#[test]
fn threads_share_one_bucket() {
    let bench = bench(&Settings { address: Rate::per_minute(1, 1000), ..Settings::default() });
    let passed: u32 = std::thread::scope(|scope| {
        let ask = || passes(1000, || now(bench.limits.admit_address(v4(1))));
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(passed, 1000);
}

#[test]
fn figures_that_cannot_be_held_to_are_all_named() {
    let none = Rate { per_second: None, per_minute: None, burst: None };
    let both = Rate { per_second: Some(1), per_minute: Some(1), burst: None };
    let settings = Settings {
        address: Rate::per_second(0, 10),
        failing_address: Rate::per_minute(30, 0),
        open_address: Rate::per_second(5, u32::MAX),
        client: none,
        client_service: both,
        max_keys: 0,
        shared_timeout: Period::millis(0),
        ..Settings::default()
    };
    let own = ClientSettings { client: Some(Rate::per_second(2_000_000, 1)), client_service: None };
    let error = settings::check(&settings, &[(client("x"), own)]).unwrap_err();
    assert_eq!(
        error.0.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "limits.address: has per_second = 0; write 1 to 1000000",
            "limits.failing_address: has burst = 0; write 1 to 1000000",
            "limits.open_address: has burst = 4294967295; write 1 to 1000000",
            "limits.client: says no rate; write per_second or per_minute",
            "limits.client_service: has both per_second and per_minute; write one of them",
            "client[\"x\"].limit.client: has per_second = 2000000; write 1 to 1000000",
            "limits.max_keys: is 0; write at least 1, such as 100000",
            "limits.shared_timeout: is 0; write at least \"1ms\", such as \"50ms\"",
        ]
    );
}

#[test]
fn the_largest_figures_do_not_overflow() {
    let settings = Settings { address: Rate::per_minute(1, 1_000_000), ..Settings::default() };
    let bench = bench(&settings);
    assert!(now(bench.limits.admit_address(v4(1))).is_ok());
}

#[test]
fn settings_read_from_toml_and_back() {
    let text = "mode = \"observe\"\nmax_keys = 7\n[address]\nper_minute = 9\n";
    let settings: Settings = toml::from_str(text).unwrap();
    let address = Rate { per_second: None, per_minute: Some(9), burst: None };
    let expected = Settings { mode: Mode::Observe, max_keys: 7, address, ..Settings::default() };
    assert_eq!(settings, expected);
    let printed = toml::to_string(&settings).unwrap();
    assert_eq!(toml::from_str::<Settings>(&printed).unwrap(), settings);
    for wrong in ["mode = \"on\"", "addres = {per_second = 1}", "address = {per_hour = 1}"] {
        assert!(toml::from_str::<Settings>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_defaults_hold() {
    assert!(settings::check(&Settings::default(), &[]).is_ok());
}

#[test]
fn whoever_has_used_half_is_near_and_forgotten_when_that_is_over() {
    let bench = bench_with(
        &Settings {
            address: Rate::per_second(1, 10),
            failing_address: Rate::per_minute(1, 2),
            client: Rate::per_second(1, 10),
            client_service: Rate::per_second(1, 4),
            ..Settings::default()
        },
        &[(
            client("big"),
            ClientSettings { client: Some(Rate::per_second(1, 100)), client_service: None },
        )],
    );
    let told = || -> Vec<String> {
        let near = bench.limits.nearest(10).into_iter();
        near.map(|near| format!("{} {} {}%", near.limit, near.who, near.used_percent())).collect()
    };
    assert_eq!(told(), [""; 0]);
    for _ in 0..4 {
        let _ = now(bench.limits.admit_address(ip("2001:db8:1:2::3"))).unwrap();
    }
    assert_eq!(told(), [""; 0], "more than half is left");
    let _ = now(bench.limits.admit_address(ip("2001:db8:1:2::4"))).unwrap();
    assert_eq!(told(), ["address 2001:db8:1:2::/64 50%"]);
    for _ in 0..3 {
        let greet = service("greet");
        let _ = now(bench.limits.admit_client(&client("big"), Some(&greet))).unwrap();
    }
    now(bench.limits.note_failure(v4(1)));
    now(bench.limits.note_failure(v4(1)));
    let expected = [
        "failing_address 10.0.0.1 100%",
        "client_service big → greet 75%",
        "address 2001:db8:1:2::/64 50%",
    ];
    assert_eq!(told(), expected, "the nearest first");
    let first = bench.limits.nearest(1);
    assert_eq!((first.len(), first[0].left, first[0].wait), (1, 0, Some(60_000 * MS)));
    let renewed = bench
        .limits
        .renewed(&Settings { address: Rate::per_second(1, 10), ..Settings::default() }, &[]);
    let kept: Vec<String> =
        renewed.unwrap().nearest(10).iter().map(|near| near.who.to_string()).collect();
    assert_eq!(kept, ["2001:db8:1:2::/64"], "of what has not changed");
    bench.clock.advance(Duration::from_secs(600));
    assert_eq!(told(), [""; 0]);
}

#[test]
fn a_crowd_near_its_limits_is_noted_in_bounded_memory() {
    let bench = bench(&Settings { address: Rate::per_second(1, 2), ..Settings::default() });
    for last in 0..20_000 {
        let _ = now(bench.limits.admit_address(v4(last)));
    }
    assert!((1..=1024).contains(&bench.limits.nearest(usize::MAX).len()));
}
