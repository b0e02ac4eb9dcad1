//! Other settings, while calls go on.

use std::sync::Arc;

use hookgate::gateway::upstream::{AddressState, Settings, UpstreamError};
use hookgate::units::Period;
use tokio::sync::Notify;

use crate::rig::{Gateway, OK, Server, at, id, nobody, settings, until};

#[tokio::test]
async fn what_is_not_changed_goes_on_with_its_connections_and_what_is_known() {
    let server = Server::answering(OK, false).await;
    let (_held, away) = nobody();
    let own = at(&[away, server.address]);
    let mut gateway = Gateway::with(std::slice::from_ref(&own), None);
    for _ in 0..20 {
        gateway.hook().await.unwrap();
    }
    assert_eq!(gateway.states(), [AddressState::Open, AddressState::Closed]);
    let calls = gateway.metrics().lines().find(|it| it.contains("\"success\"")).unwrap().to_owned();
    let other = Settings { id: id("other"), ..settings(&server.url()) };
    drop(gateway.renew(&[own.clone(), other.clone()]));
    assert_eq!(gateway.states(), [AddressState::Open, AddressState::Closed]);
    gateway.hook().await.unwrap();
    assert_eq!(server.connections(), 1);
    assert_ne!(gateway.metrics().lines().find(|it| it.contains("\"success\"")).unwrap(), calls);
    assert!(gateway.metrics().contains("upstream=\"other\""));

    // What is made and not taken up changes nothing that is seen.
    let changed = Settings { slow_start: Period::secs(1), ..own };
    let before = gateway.metrics();
    drop(gateway.upstreams.renewed(std::slice::from_ref(&changed), &url()).unwrap());
    assert_eq!(gateway.metrics(), before);
    // Changed, it begins anew; gone, it leaves nothing behind.
    drop(gateway.renew(&[changed]));
    let _running = gateway.start();
    assert_eq!(gateway.states(), [AddressState::Closed, AddressState::Closed]);
    assert!(!gateway.metrics().contains("upstream=\"other\""));
    let states: Vec<String> = gateway
        .metrics()
        .lines()
        .filter(|line| line.starts_with("hookgate_upstream_address_state") && line.ends_with(" 1"))
        .map(str::to_owned)
        .collect();
    assert_eq!(states.len(), 2, "{states:?}");
    assert!(states.iter().all(|line| line.contains("\"closed\"")), "{states:?}");
}

#[tokio::test]
async fn a_call_under_way_ends_where_it_began_and_counts_against_the_cap() {
    let go = Arc::new(Notify::new());
    let server = Server::holding(&go).await;
    let own = Settings { max_concurrent: 1, max_queued: 0, ..settings(&server.url()) };
    let mut gateway = Gateway::with(std::slice::from_ref(&own), None);
    let under_way = gateway.upstreams.renewed(std::slice::from_ref(&own), &url()).unwrap();
    let call = tokio::spawn(async move { crate::rig::hook(&under_way).await });
    until("it has arrived", || server.seen().len() == 1).await;
    assert_eq!(gateway.upstreams.status()[0].in_flight, 1);
    assert!(matches!(gateway.hook().await, Err(UpstreamError::Overloaded)));
    // Even out of the configuration.
    let elsewhere = Server::answering(OK, false).await;
    drop(gateway.renew(&[Settings { id: id("other"), ..settings(&elsewhere.url()) }]));
    go.notify_one();
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
}

fn url() -> url::Url {
    "https://gw.example/".parse().unwrap()
}

#[tokio::test]
async fn another_certificate_in_the_same_file_is_taken_up() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    let write = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
    };
    write("one");
    let (_held, away) = nobody();
    let own = Settings {
        url: "https://cds.example/".parse().unwrap(),
        ca_file: Some(file.clone()),
        ..at(&[away])
    };
    let mut gateway = Gateway::with(std::slice::from_ref(&own), None);
    for _ in 0..5 {
        assert!(gateway.hook().await.is_err());
    }
    drop(gateway.renew(std::slice::from_ref(&own)));
    assert_eq!(gateway.states(), [AddressState::Open], "the same file, read again");
    write("two");
    drop(gateway.renew(std::slice::from_ref(&own)));
    assert_eq!(gateway.states(), [AddressState::Closed]);
}
