//! An address that fails is left alone, and comes back by one call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use hookgate::gateway::upstream::{AddressState, Breaker, Settings, UpstreamError};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::rig::{Gateway, OK, Peer, Server, at, nobody, settings, until};

/// Longer than any first pause.
const A_PAUSE: Duration = Duration::from_secs(5);
/// Longer than any pause.
const LONGEST: Duration = Duration::from_secs(61);

const BROKEN: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// Fails until it is mended.
async fn mendable() -> (Server, Arc<AtomicBool>) {
    let mended = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&mended);
    let server = Server::start(move |mut peer| {
        let well = Arc::clone(&well);
        async move {
            while peer.request().await.is_some() {
                peer.send(if well.load(Ordering::SeqCst) { OK } else { BROKEN }).await;
            }
        }
    })
    .await;
    (server, mended)
}

/// Answers each request by its number, on whichever connection it comes; 1 for the first.
async fn numbered<F, S>(answer: F) -> Server
where
    F: Fn(Peer<TcpStream>, usize) -> S + Clone + Send + Sync + 'static,
    S: Future<Output = Peer<TcpStream>> + Send + 'static,
{
    let requests = Arc::new(AtomicUsize::new(0));
    Server::start(move |mut peer| {
        let (answer, requests) = (answer.clone(), Arc::clone(&requests));
        async move {
            while peer.request().await.is_some() {
                peer = answer(peer, requests.fetch_add(1, Ordering::SeqCst) + 1).await;
            }
        }
    })
    .await
}

fn pause(error: &UpstreamError) -> Duration {
    let UpstreamError::Open { again } = error else { panic!("{error}") };
    assert!(error.surely_not_processed());
    *again
}

#[tokio::test]
async fn nobody_waits_for_one_that_has_failed_and_it_is_tried_for_longer_and_longer() {
    let (server, mended) = mendable().await;
    let gateway = Gateway::new(&server.url());
    for _ in 0..5 {
        assert_eq!(gateway.hook().await.unwrap().status(), 503);
    }
    let first = pause(&gateway.hook().await.unwrap_err());
    assert!(first >= Duration::from_secs(2) && first <= Duration::from_secs(4), "{first:?}");
    assert_eq!(server.seen().len(), 5);
    assert!(gateway.metrics().contains("outcome=\"open\"} 1"));
    let status = gateway.addresses().remove(0);
    assert_eq!(status.state, AddressState::Open);
    assert_eq!(status.next_try, Some(crate::rig::NOW.plus(first)));

    gateway.clock.advance(first - Duration::from_millis(1));
    assert_eq!(pause(&gateway.hook().await.unwrap_err()), Duration::from_millis(1));
    gateway.clock.advance(Duration::from_millis(1));
    assert_eq!(gateway.hook().await.unwrap().status(), 503, "the one that tries");
    let second = pause(&gateway.hook().await.unwrap_err());
    assert!(second >= Duration::from_secs(4) && second <= Duration::from_secs(8), "{second:?}");

    // It is never given up.
    for _ in 0..10 {
        gateway.clock.advance(LONGEST);
        assert_eq!(gateway.hook().await.unwrap().status(), 503);
        assert!(pause(&gateway.hook().await.unwrap_err()) <= LONGEST);
    }
    mended.store(true, Ordering::SeqCst);
    gateway.clock.advance(LONGEST);
    for _ in 0..3 {
        assert_eq!(gateway.hook().await.unwrap().status(), 200);
    }
    assert_eq!(gateway.states(), [AddressState::Closed]);
    assert!(gateway.metrics().contains("state=\"half_open\"} 12"), "{}", gateway.metrics());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_callers_exactly_one_tries() {
    let go = Arc::new(Notify::new());
    let held = Arc::clone(&go);
    let server = numbered(move |mut peer, number| {
        let held = Arc::clone(&held);
        async move {
            if number <= 5 {
                peer.send(BROKEN).await;
            } else {
                held.notified().await;
                peer.send(OK).await;
            }
            peer
        }
    })
    .await;
    let own = settings(&server.url());
    let gateway = Arc::new(Gateway::with(&[own], None));
    for _ in 0..5 {
        gateway.hook().await.unwrap();
    }
    gateway.clock.advance(A_PAUSE);
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let gateway = Arc::clone(&gateway);
            tokio::spawn(async move { gateway.hook().await })
        })
        .collect();
    until("99 are turned away", || gateway.metrics().contains("outcome=\"open\"} 99")).await;
    until("one arrives", || server.seen().len() == 6).await;
    assert_eq!(gateway.states(), [AddressState::HalfOpen]);
    go.notify_one();
    let answers = join_all(callers).await.into_iter().map(Result::unwrap);
    let (passed, refused): (Vec<_>, Vec<_>) = answers.partition(Result::is_ok);
    assert_eq!((passed.len(), refused.len()), (1, 99));
    for refused in refused {
        assert_eq!(pause(&refused.unwrap_err()), Duration::ZERO);
    }
    assert_eq!(server.seen().len(), 6);
    assert_eq!(gateway.states(), [AddressState::Closed]);
}

#[tokio::test]
async fn a_caller_that_leaves_while_it_tries_lets_the_next_one_try() {
    let server = numbered(async |mut peer, number| {
        match number {
            1..=5 => peer.send(BROKEN).await,
            6 => peer.closed().await,
            _ => peer.send(OK).await,
        }
        peer
    })
    .await;
    let patient = settings(&server.url());
    let gateway = Arc::new(Gateway::with(&[patient], None));
    for _ in 0..5 {
        gateway.hook().await.unwrap();
    }
    gateway.clock.advance(A_PAUSE);
    let caller = Arc::clone(&gateway);
    let trying = tokio::spawn(async move { caller.hook().await });
    until("it tries", || server.seen().len() == 6).await;
    trying.abort();
    let _ = trying.await;
    assert_eq!(gateway.hook().await.unwrap().status(), 200);
    assert_eq!(gateway.states(), [AddressState::Closed]);
}

#[tokio::test]
async fn a_call_that_is_sent_twice_to_the_same_address_fails_once() {
    let (_held, away) = nobody();
    let gateway = Gateway::with(&[at(&[away])], None);
    for _ in 0..4 {
        assert!(matches!(gateway.hook().await, Err(UpstreamError::Unreachable(_))));
    }
    assert!(gateway.metrics().contains("hookgate_upstream_repeats_total{upstream=\"legacy\"} 4"));
    assert_eq!(gateway.states(), [AddressState::Closed]);
    assert!(matches!(gateway.hook().await, Err(UpstreamError::Unreachable(_))));
    assert_eq!(gateway.states(), [AddressState::Open]);
}

#[tokio::test]
async fn what_the_service_says_about_a_request_is_no_failure() {
    for status in ["400", "401", "404", "412", "422", "429", "501"] {
        let answer = format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n");
        let server = Server::answering(answer, false).await;
        let gateway = Gateway::new(&server.url());
        for _ in 0..12 {
            assert_eq!(gateway.hook().await.unwrap().status().as_str(), status);
        }
        assert_eq!(gateway.states(), [AddressState::Closed]);
    }
    let redirects =
        Server::answering("HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n", false).await;
    let gateway = Gateway::new(&redirects.url());
    for _ in 0..12 {
        assert!(matches!(gateway.hook().await, Err(UpstreamError::Redirect(_))));
    }
}

#[tokio::test]
async fn a_share_of_failures_is_enough_where_it_is_said() {
    let server = numbered(async |mut peer, number| {
        peer.send(if number % 2 == 1 { BROKEN } else { OK }).await;
        peer
    })
    .await;
    let breaker = Breaker { failure_percent: Some(50), min_calls: 10, ..Breaker::default() };
    let own = Settings { breaker, ..settings(&server.url()) };
    let gateway = Gateway::with(&[own], None);
    let mut calls = 0;
    while gateway.hook().await.is_ok() {
        calls += 1;
        assert!(calls < 100);
    }
    // The tenth is well, and the eleventh is not.
    assert_eq!(calls, 11);
}

#[tokio::test]
async fn one_that_comes_back_warms_up() {
    let (_held, away) = nobody();
    let steady = Server::answering(OK, false).await;
    let gateway = Gateway::with(&[at(&[away, steady.address])], None);
    for _ in 0..20 {
        gateway.hook().await.unwrap();
    }
    assert_eq!(gateway.states()[0], AddressState::Open);
    drop(_held);
    let back = Server::start_at(away, |mut peer| async move { peer.answer_all(OK).await }).await;
    gateway.clock.advance(LONGEST);
    let share = async || {
        let before = back.seen().len();
        for _ in 0..400 {
            gateway.hook().await.unwrap();
        }
        back.seen().len() - before
    };
    // A tenth of the choices at first, and half of these are won: the other is as idle.
    let cold = share().await;
    assert!((5..=70).contains(&cold), "{cold}");
    gateway.clock.advance(Duration::from_secs(5));
    let warmer = share().await;
    assert!((70..=199).contains(&warmer), "{warmer}");
    gateway.clock.advance(Duration::from_secs(5));
    assert_eq!(share().await, 200, "its whole share");
}
