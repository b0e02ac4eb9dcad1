//! The steps that compute, each by itself.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput};
use futures_util::FutureExt;
use hookgate::clock::{Clock, SystemClock};
use hookgate::entropy::SystemEntropy;
use hookgate::gateway::auth;
use hookgate::gateway::auth::{Authenticator, Called, KeySettings};
use hookgate::gateway::cards::answer::{Cards, IdEdits};
use hookgate::gateway::cards::policy::Policy;
use hookgate::gateway::inspect;
use hookgate::gateway::tokens::{Binding, CardIds, Kind, KnownNames, LinkTokens};
use hookgate::keyring::{Keyring, LiveKeyring};
use hookgate::names::{ClientId, HookInstance, ServiceId};
use hookgate::store::Incarnation;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use prometheus_client::registry::Registry;
use url::Url;
use uuid::Uuid;

use crate::tokens;

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

/// From the header fields to a verified token, the key held. A token's use is not noted here.
pub(crate) fn verify(criterion: &mut Criterion) {
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let authenticator = Authenticator::new(
        vec![serde_json::from_value(tokens::client()).unwrap()],
        KeySettings::default(),
        &Url::parse(tokens::PUBLIC_URL).unwrap(),
        None,
        Arc::new(SystemClock::new()),
        Arc::new(SystemEntropy::default()),
        auth::Metrics::register(&mut Registry::default()),
    )
    .unwrap();
    let service = ServiceId::new(tokens::SERVICE).unwrap();
    let mut group = criterion.benchmark_group("verify");
    for alg in ["RS384", "ES384", "ES256"] {
        let mut headers = HeaderMap::new();
        let bearer = || HeaderValue::try_from(format!("Bearer {}", tokens::fresh(alg))).unwrap();
        group.bench_function(alg, |bencher| {
            headers.insert(AUTHORIZATION, bearer());
            bencher.iter(|| {
                let called = Called::Service(&service);
                authenticator.authenticate(&headers, &called, None).now_or_never().unwrap().unwrap()
            });
        });
    }
    group.finish();
}

/// A request's body read in one pass, where its client's FHIR servers are checked and where not.
pub(crate) fn inspect(criterion: &mut Criterion) {
    let policy = |settings: serde_json::Value| {
        inspect::policy::Policy::new(serde_json::from_value(settings).unwrap()).unwrap()
    };
    let policies = [
        (
            "checked",
            policy(
                serde_json::json!({"fhir_servers": ["http://localhost:29111/fhir", "http://localhost:29110/fhir"]}),
            ),
        ),
        ("unchecked", policy(serde_json::json!({}))),
    ];
    let mut group = criterion.benchmark_group("inspect");
    for (size, body) in tokens::requests() {
        group.throughput(Throughput::Bytes(body.len() as u64));
        for (checked, policy) in &policies {
            group.bench_function(format!("{size} {checked}"), |bencher| {
                bencher.iter(|| inspect::request::inspect(black_box(&body), policy).unwrap());
            });
        }
    }
    group.finish();
}

/// An answer read into a plan and rendered with replacements that are at hand.
pub(crate) fn rewrite(criterion: &mut Criterion) {
    let published = [
        (
            "markdown links",
            include_str!(
                "../../tests/data/responses/berther-patient-education-markdown-links.body"
            ),
        ),
        (
            "absolute link",
            include_str!(
                "../../tests/data/responses/cerner-patient-view-texthtml-absolute-link.body"
            ),
        ),
        (
            "smart link",
            include_str!(
                "../../tests/data/responses/sbx-pama-smart-link-appcontext-systemactions.body"
            ),
        ),
        ("suggestion", include_str!("../../tests/data/responses/sbx-price-check-suggestion.body")),
    ];
    let large = tokens::cards((1 << 20) / tokens::cards(1).len());
    let policy = Policy::default();
    let expires = SystemClock::new().now().plus(HOUR);
    let mut group = criterion.benchmark_group("rewrite");
    for (name, answer) in published.into_iter().chain([("1 MiB", large.as_str())]) {
        let cards = Cards::read(answer.as_bytes(), &policy).unwrap();
        let links =
            vec![format!("{}/open/{}", tokens::PUBLIC_URL, "x".repeat(200)); cards.links().len()];
        let ids = vec![Uuid::nil().to_string(); cards.ids().len()];
        group.throughput(Throughput::Bytes(answer.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let cards = Cards::read(black_box(answer.as_bytes()), &policy).unwrap();
                cards.render(&links, IdEdits::Replace(&ids), Some(expires)).unwrap()
            });
        });
    }
    group.finish();
}

struct Issuer {
    keyring: Arc<LiveKeyring>,
    url: Url,
    binding: Binding,
    clock: SystemClock,
    incarnation: Incarnation,
}

fn issuer() -> Issuer {
    let clock = SystemClock::new();
    let keyring = Keyring::generate(&SystemEntropy::default(), &clock).unwrap();
    Issuer {
        keyring: Arc::new(LiveKeyring::new(keyring, clock.now())),
        url: Url::parse(tokens::PUBLIC_URL).unwrap(),
        binding: Binding {
            client: ClientId::new("ehr").unwrap(),
            tenant: None,
            service: ServiceId::new(tokens::SERVICE).unwrap(),
            hook_instance: HookInstance(Uuid::from_u128(7)),
        },
        incarnation: Incarnation { mark: [7; 8], since: clock.now() },
        clock,
    }
}

/// One link sealed, and one opened; its use is not noted here.
pub(crate) fn links(criterion: &mut Criterion) {
    const TARGET: &str = "https://greeter.example.org/app?session=s3cr3t-4711#greeting";
    let Issuer { keyring, url, binding, clock, incarnation } = issuer();
    let names = KnownNames::new([binding.client.clone()], [binding.service.clone()]).unwrap();
    let links = LinkTokens::new(keyring, &url, names, Arc::new(SystemEntropy::default()));
    let (now, expires) = (clock.now(), clock.now().plus(HOUR));
    let seal = || links.seal(&binding, 0, black_box(TARGET), expires, incarnation).unwrap();
    let sealed = seal().url;
    let token = sealed.rsplit('/').next().unwrap();
    let mut group = criterion.benchmark_group("link");
    group.bench_function("seal", |bencher| bencher.iter(seal));
    group.bench_function("open", |bencher| {
        bencher.iter(|| links.open(black_box(token), now, incarnation).unwrap());
    });
    group.finish();
}

/// The ids of an answer with one card and two suggestions issued, and one of them read.
pub(crate) fn ids(criterion: &mut Criterion) {
    const ORIGINALS: [(Kind, &str); 3] = [
        (Kind::Card, "7cdad318-9995-40b9-b5c7-e0caf1656146"),
        (Kind::Suggestion, "bd37e682-4110-44be-b4b7-cf28d7ea258f"),
        (Kind::Suggestion, "bd37e682-4110-44be-b4b7-cf28d7ea2590"),
    ];
    let Issuer { keyring, url, binding, clock, incarnation } = issuer();
    let ids = CardIds::new(keyring, &url, Arc::new(SystemEntropy::default()));
    let (now, expires) = (clock.now(), clock.now().plus(HOUR));
    let issue = || ids.issue(&binding, black_box(&ORIGINALS), expires, incarnation).unwrap();
    let substitute = issue().substitutes[0].clone();
    let mut group = criterion.benchmark_group("ids");
    group.bench_function("issue", |bencher| bencher.iter(issue));
    group.bench_function("parse", |bencher| {
        bencher.iter(|| ids.parse(black_box(&substitute), now, incarnation).unwrap());
    });
    group.finish();
}
