//! The page as a whole, on a day on which a good deal goes on.

#[cfg(test)]
use super::*;

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;

use crate::admin::action::{Done, Outcome};
use crate::admin::status::{
    Address, Bypass, Certificate, Client, Configuration, Key, Keys, Limits, Links, NearLimit,
    NextStep, Readiness, Reason, Refusals, Reload, Service, Store, Upstream,
};
use crate::clock::UnixTime;
use crate::gateway::upstream::AddressState;

const NOW: UnixTime = UnixTime::from_secs(1_795_456_800);
const MARK: &str = "the-mark";

fn client(id: &str) -> Client {
    Client {
        id: id.to_owned(),
        source: "jwks_url",
        usable: true,
        kids: vec!["2026-11".to_owned()],
        refused: Vec::new(),
        age_seconds: Some(420),
        last_success: Some(UnixTime::from_secs(NOW.secs() - 420)),
        last_error: None,
        next_refresh_seconds: Some(300),
        fetchable: true,
    }
}

fn key(kind: &'static str, kid: &str, state: &'static str) -> Key {
    Key {
        kind,
        kid: kid.to_owned(),
        state,
        created: UnixTime::from_secs(NOW.secs() - 86_400),
        current_since: None,
        superseded: None,
        retirable_from: None,
    }
}

fn address(address: &str, state: AddressState) -> Address {
    Address {
        address: address.to_owned(),
        state,
        since: UnixTime::from_secs(NOW.secs() - 600),
        next_try: None,
        p50_millis: Some(21),
        p95_millis: Some(84),
        calls: 812,
        failures: 3,
        last_error: None,
        last_error_at: None,
    }
}

fn status() -> Status {
    Status {
        version: "0.1.0",
        public_url: "https://cds.example.org/".to_owned(),
        now: NOW,
        started: UnixTime::from_secs(NOW.secs() - 273_600),
        readiness: Readiness {
            ready: true,
            pending: Vec::new(),
            degraded: vec!["store: the store is full".to_owned()],
        },
        configuration: Configuration {
            since: UnixTime::from_secs(NOW.secs() - 3600),
            replaced: 2,
            latest: Some(Reload {
                at: NOW,
                cause: "changed",
                problems: vec!["client.issuer: <is> missing".to_owned()],
            }),
            effective: "public_url = \"https://cds.example.org\"".to_owned(),
        },
        clients: vec![
            client("epic-prod"),
            Client {
                last_error: Some("timeout"),
                refused: vec!["no-kid"],
                ..client("cerner-test")
            },
            Client {
                source: "jwks",
                fetchable: false,
                next_refresh_seconds: None,
                ..client("lab")
            },
        ],
        services: vec![Service {
            id: "patient-greeting".to_owned(),
            upstream: "legacy".to_owned(),
            requests: 4210,
            calls: 4102,
            errors: 12,
            mean_millis: Some(31),
        }],
        upstreams: vec![Upstream {
            id: "legacy".to_owned(),
            url: "http://10.0.0.7:8080/".to_owned(),
            in_flight: 2,
            max_concurrent: 256,
            addresses: vec![
                address("10.0.0.7:8080", AddressState::Closed),
                Address {
                    next_try: Some(NOW.plus(std::time::Duration::from_secs(12))),
                    last_error: Some("unreachable"),
                    last_error_at: Some(NOW),
                    ..address("10.0.0.8:8080", AddressState::Open)
                },
            ],
        }],
        bypass: vec![Bypass {
            upstream: "legacy".to_owned(),
            answers: vec!["10.0.0.7:8080".parse().unwrap()],
            checked_at: NOW,
        }],
        refusals: Refusals {
            requests: vec![90; 60],
            reasons: vec![
                Reason { reason: "expired", minutes: (0..60).map(|m| m % 7).collect() },
                Reason {
                    reason: "kid-unknown",
                    minutes: (0..60).map(|m| u64::from(m > 40)).collect(),
                },
            ],
        },
        limits: Limits {
            mode: "enforce",
            nearest: vec![NearLimit {
                limit: "failing_address",
                who: "2001:db8:1:2::/64".to_owned(),
                used_percent: 100,
                left: 0,
                wait_millis: Some(1400),
                burst: 20,
            }],
        },
        links: Links { minted: 5120, opened: 318, expired: 14, refused_twice: 2 },
        store: Store {
            backend: "redis",
            entries: 812_345,
            capacity: 1_000_000,
            memory_used: Some(161_061_273),
            memory_limit: Some(1_073_741_824),
            nearly_full: true,
            history_since: Some(UnixTime::from_secs(NOW.secs() - 9_000_000)),
        },
        keys: Keys {
            file: Some("/var/lib/hookgate/keys.json".to_owned()),
            loaded: UnixTime::from_secs(NOW.secs() - 273_600),
            fingerprint: "0123456789abcdef/fedcba9876543210".to_owned(),
            held: vec![key("seal", "1", "current"), key("sign", "hv2a", "next")],
            next_step: NextStep::Rotate { from: NOW.plus(std::time::Duration::from_secs(240)) },
        },
        certificates: vec![Certificate {
            shown_to: "EHRs and browsers".to_owned(),
            file: "/etc/hookgate/tls.crt".to_owned(),
            names: vec!["cds.example.org".to_owned()],
            not_after: Some(NOW.plus(std::time::Duration::from_secs(12 * 86_400))),
            days_left: Some(12),
            trouble: None,
        }],
    }
}

fn shown(status: &Status, query: &str) -> String {
    let outcome = Outcome::refused("first line\n<b>second</b>".to_owned());
    let done = Done { number: 4, at: NOW, action: "Drop earlier keys".to_owned(), outcome };
    whole(status, &View::read(Some(query), vec![Arc::new(done)]), MARK)
}

#[test]
fn everything_is_there_and_nothing_comes_from_elsewhere() {
    let page = shown(&status(), "");
    assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">") && page.ends_with("</html>"));
    for id in [
        "clients",
        "services",
        "refusals",
        "links",
        "limits",
        "store",
        "certificates",
        "keys",
        "configuration",
        "journal",
    ] {
        assert!(page.contains(&format!("<a href=\"#{id}\">")), "no way to {id}");
        assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
    }
    for never in ["<script", "javascript:", " src=", "http-equiv", "@import", "url(", " style="] {
        assert!(!page.contains(never), "{never}");
    }
    assert!(page.split(" href=\"").skip(1).all(|link| link.starts_with(['#', '/'])), "{page}");
}

#[test]
fn every_form_has_the_mark_and_every_button_says_what_it_is_for() {
    let page = shown(&status(), "");
    let forms: Vec<&str> = page.split("<form method=\"post\"").skip(1).collect();
    assert_eq!(forms.len(), 5, "two clients and three steps");
    let mark = format!("<input type=\"hidden\" name=\"mark\" value=\"{MARK}\">");
    let mut labels = Vec::new();
    for form in forms {
        let form = form.split("</form>").next().unwrap();
        assert!(form.contains(&mark), "{form}");
        labels.push(form.split("aria-label=\"").nth(1).unwrap().split('"').next().unwrap());
    }
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), 5, "{labels:?}");
    let in_memory = Status {
        keys: Keys { file: None, next_step: NextStep::None, ..status().keys },
        ..status()
    };
    assert_eq!(shown(&in_memory, "").matches("<form").count(), 2);
}

#[test]
fn what_is_wrong_stands_at_the_top() {
    let page = shown(&status(), "");
    let top = page.split("<dl class=\"vitals\">").next().unwrap();
    for expected in [
        "Ready, with trouble",
        "store: the store is full.",
        "A changed configuration is refused: client.issuer: &lt;is&gt; missing",
        "The keys of cerner-test could not be read (timeout); those in use are 7 min old.",
        "The store is nearly full",
        "The certificate shown to EHRs and browsers ends in 12 days.",
        "legacy: 10.0.0.8:8080 is left alone (unreachable).",
    ] {
        assert!(top.contains(expected), "{expected}\n{top}");
    }
    let calm = Status {
        readiness: Readiness { ready: true, pending: Vec::new(), degraded: Vec::new() },
        configuration: Configuration { latest: None, ..status().configuration },
        clients: vec![client("epic-prod")],
        upstreams: Vec::new(),
        certificates: Vec::new(),
        store: Store { nearly_full: false, ..status().store },
        ..status()
    };
    assert!(shown(&calm, "").contains("Nothing"), "{}", shown(&calm, ""));
}

#[test]
fn what_was_done_is_told_once_and_kept_in_the_list() {
    let told = "<strong>Drop earlier keys: not done</strong><p>first line</p><p>&lt;b&gt;second&lt;/b&gt;</p>";
    assert!(shown(&status(), "done=4").contains(told));
    let later = shown(&status(), "done=3");
    assert!(!later.contains("role=\"status\"") && later.contains("&lt;b&gt;second"), "{later}");
    assert!(shown(&status(), "every=10").contains("<meta http-equiv=\"refresh\" content=\"10\">"));
    assert!(!shown(&status(), "").contains("http-equiv"));
}

#[test]
fn the_policy_allows_exactly_the_style_that_is_sent() {
    let policy = policy();
    let policy = policy.to_str().unwrap();
    for page in [shown(&status(), ""), refusal(StatusCode::FORBIDDEN, "no & never")] {
        let sent = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
        let hash = STANDARD.encode(digest::digest(&digest::SHA256, sent.as_bytes()));
        assert!(policy.contains(&format!("style-src 'sha256-{hash}'")), "{policy}");
    }
    assert!(
        policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'")
    );
    assert!(!policy.contains("unsafe") && !policy.contains("script-src"));
}
