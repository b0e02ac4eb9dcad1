//! Several addresses of one upstream: which is called, and what goes to another.

use std::sync::Arc;

use hookgate::gateway::upstream::{AddressState, UpstreamError};
use tokio::sync::Notify;

use crate::rig::{Gateway, OK, Server, at, nobody, until};

const FAILURES: usize = 5;

#[tokio::test]
async fn what_the_url_says_stays_wherever_it_is_called() {
    let (one, other) = (Server::answering(OK, false).await, Server::answering(OK, false).await);
    let gateway = Gateway::with(&[at(&[one.address, other.address])], None);
    for _ in 0..10 {
        gateway.hook().await.unwrap();
    }
    for server in [&one, &other] {
        assert_eq!(server.seen().len(), 5, "those that are idle have their turns");
        assert_eq!(server.connections(), 1);
        assert_eq!(server.last().one("host"), "cds.example:8443");
        assert_eq!(server.last().line, "POST /r4/cds-services/patient-greeting HTTP/1.1");
    }
    let calls = "hookgate_upstream_address_calls_total{upstream=\"legacy\",address";
    let line = format!("{calls}=\"{}\",outcome=\"passed\"}} 5", other.address);
    assert!(gateway.metrics().contains(&line), "{line}\n{}", gateway.metrics());
    let status = gateway.addresses();
    assert_eq!((status[0].calls, status[0].failures, status[0].in_flight), (5, 0, 0));
    assert!(status[0].p50.is_some());
}

#[tokio::test]
async fn calls_go_where_the_fewest_are_under_way() {
    let go = Arc::new(Notify::new());
    let slow = Server::holding(&go).await;
    let quick = Server::answering(OK, false).await;
    let patient = at(&[slow.address, quick.address]);
    let gateway = Arc::new(Gateway::with(&[patient], None));
    let caller = Arc::clone(&gateway);
    let stuck = tokio::spawn(async move { caller.hook().await.map(|answer| answer.status()) });
    until("the first call has arrived", || slow.seen().len() == 1).await;
    for _ in 0..20 {
        gateway.hook().await.unwrap();
    }
    assert_eq!((slow.seen().len(), quick.seen().len()), (1, 20));
    assert_eq!(gateway.addresses()[0].in_flight, 1);
    go.notify_one();
    assert_eq!(stuck.await.unwrap().unwrap(), 200);
    assert_eq!(gateway.addresses()[0].in_flight, 0);
}

#[tokio::test]
async fn what_was_not_processed_goes_to_another_address_and_arrives_once() {
    let (_held, away) = nobody();
    let server = Server::answering(OK, false).await;
    let gateway = Gateway::with(&[at(&[away, server.address])], None);
    for done in 1..=30 {
        gateway.hook().await.unwrap();
        assert_eq!(server.seen().len(), done, "once each");
    }
    assert_eq!(gateway.states(), [AddressState::Open, AddressState::Closed]);
    let repeats = format!("hookgate_upstream_repeats_total{{upstream=\"legacy\"}} {FAILURES}");
    assert!(gateway.metrics().contains(&repeats), "{}", gateway.metrics());
    assert_eq!(gateway.addresses()[0].last_error.unwrap().1, "unreachable");
}

#[tokio::test]
async fn what_may_have_been_processed_goes_nowhere_else() {
    let reads_and_closes = || Server::start(|mut peer| async move { drop(peer.request().await) });
    let (one, other) = (reads_and_closes().await, reads_and_closes().await);
    let gateway = Gateway::with(&[at(&[one.address, other.address])], None);
    for done in 1..=4 {
        let error = gateway.hook().await.unwrap_err();
        assert!(matches!(error, UpstreamError::Broken(_)), "{error}");
        assert_eq!(one.seen().len() + other.seen().len(), done);
    }
    // What only asks may be asked of the other.
    let good = Server::answering(OK, false).await;
    let gateway = Gateway::with(&[at(&[one.address, good.address])], None);
    for _ in 0..2 {
        gateway.discover().await.unwrap();
    }
    assert_eq!(good.seen().len(), 2);
}

#[tokio::test]
async fn one_that_answers_500_is_left_out_and_the_other_has_all() {
    const BROKEN: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
    let (broken, good) =
        (Server::answering(BROKEN, false).await, Server::answering(OK, false).await);
    let gateway = Gateway::with(&[at(&[broken.address, good.address])], None);
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(gateway.hook().await.unwrap().status().as_u16());
    }
    assert_eq!(answers.iter().filter(|status| **status == 500).count(), FAILURES, "{answers:?}");
    assert_eq!((broken.seen().len(), good.seen().len()), (FAILURES, 30 - FAILURES));
    let state = format!("address=\"{}\",state=\"open\"}} 1", broken.address);
    assert!(gateway.metrics().contains(&state), "{}", gateway.metrics());
}
