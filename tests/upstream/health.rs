//! Addresses that are asked whether they are well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use hookgate::gateway::upstream::{AddressState, Health, Settings};

use crate::rig::{Gateway, OK, Server, at, nobody, until};

/// Answers hooks well, and questions after its health with a status that can be set.
async fn moody() -> (Server, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let said = Arc::clone(&status);
    let server = Server::start(move |mut peer| {
        let said = Arc::clone(&said);
        async move {
            while let Some(seen) = peer.request().await {
                if seen.line.starts_with("GET /healthz?deep=1 ") {
                    let status = said.load(Ordering::SeqCst);
                    peer.send(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n")).await;
                } else {
                    peer.send(OK).await;
                }
            }
        }
    })
    .await;
    (server, status)
}

fn asked(addresses: &[std::net::SocketAddr], more: &str) -> Settings {
    let health: Health =
        toml::from_str(&format!("path = \"/healthz?deep=1\"\ntimeout = \"1m\"\n{more}")).unwrap();
    Settings { health: Some(health), ..at(addresses) }
}

/// Lets time pass until the addresses are as said.
async fn comes_to(gateway: &Gateway, states: &[AddressState]) {
    until(&format!("{states:?}"), || {
        gateway.clock.advance(Duration::from_secs(5));
        gateway.states() == states
    })
    .await;
}

fn hooks(server: &Server) -> usize {
    server.seen().iter().filter(|seen| seen.line.starts_with("POST ")).count()
}

#[tokio::test]
async fn one_that_is_not_well_gets_no_calls_until_it_is() {
    let ((one, mood), (other, _)) = (moody().await, moody().await);
    let gateway = Gateway::with(&[asked(&[one.address, other.address], "")], None);
    let running = gateway.start();
    mood.store(500, Ordering::SeqCst);
    comes_to(&gateway, &[AddressState::Unhealthy, AddressState::Closed]).await;
    let question = one.seen().into_iter().find(|seen| seen.line.starts_with("GET ")).unwrap();
    assert_eq!(question.one("host"), "cds.example:8443");
    for _ in 0..10 {
        gateway.hook().await.unwrap();
    }
    assert_eq!((hooks(&one), hooks(&other)), (0, 10));
    let checks = "hookgate_upstream_checks_total{upstream=\"legacy\",address";
    let line = format!("{checks}=\"{}\",outcome=\"failed\"}} 0", other.address);
    assert!(gateway.metrics().contains(&line), "{}", gateway.metrics());

    mood.store(204, Ordering::SeqCst);
    comes_to(&gateway, &[AddressState::Closed, AddressState::Closed]).await;
    // Nobody is asked any more.
    drop(running);
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    let asked = one.seen().len();
    gateway.clock.advance(Duration::from_secs(3600));
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(one.seen().len(), asked);
    for _ in 0..10 {
        gateway.hook().await.unwrap();
    }
    assert_eq!(hooks(&one), 5);
}

#[tokio::test]
async fn an_answer_too_few_changes_nothing() {
    let ((one, mood), (other, _)) = (moody().await, moody().await);
    let settings = asked(&[one.address, other.address], "unhealthy_after = 3");
    let gateway = Gateway::with(&[settings], None);
    let _running = gateway.start();
    // With the last answer of a round the next one is waited for already.
    let answers = || -> usize {
        let metrics = gateway.metrics();
        let lines = metrics.lines().filter(|l| l.starts_with("hookgate_upstream_checks_total{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum()
    };
    let rounds = async |count: usize| {
        for _ in 0..count {
            let before = answers();
            gateway.clock.advance(Duration::from_secs(5));
            until("both have answered", || answers() == before + 2).await;
        }
    };
    until("both have answered", || answers() == 2).await;
    mood.store(500, Ordering::SeqCst);
    rounds(2).await;
    mood.store(200, Ordering::SeqCst);
    rounds(1).await;
    mood.store(500, Ordering::SeqCst);
    rounds(2).await;
    assert_eq!(gateway.states()[0], AddressState::Closed);
    comes_to(&gateway, &[AddressState::Unhealthy, AddressState::Closed]).await;
}

#[tokio::test]
async fn questions_that_nobody_answers_well_shut_nobody_out() {
    let ((one, mood), (_held, away)) = (moody().await, nobody());
    mood.store(404, Ordering::SeqCst);
    let gateway = Gateway::with(&[asked(&[one.address, away], "")], None);
    let _running = gateway.start();
    comes_to(&gateway, &[AddressState::Unhealthy, AddressState::Unhealthy]).await;
    for _ in 0..10 {
        gateway.hook().await.unwrap();
    }
    assert_eq!(hooks(&one), 10);
    assert!(!gateway.states().contains(&AddressState::Closed), "{:?}", gateway.states());
}

#[tokio::test]
async fn which_statuses_are_good_can_be_said() {
    let ((one, mood), (other, _)) = (moody().await, moody().await);
    mood.store(401, Ordering::SeqCst);
    let gateway = Gateway::with(&[asked(&[one.address, other.address], "statuses = [401]")], None);
    let _running = gateway.start();
    comes_to(&gateway, &[AddressState::Closed, AddressState::Unhealthy]).await;
}
