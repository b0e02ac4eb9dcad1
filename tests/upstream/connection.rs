//! Connections that fail, hang, close and crowd.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hookgate::gateway::upstream::{Breaker, Settings, Stage, UpstreamError};
use hookgate::units::Period;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::rig::{Gateway, OK, Server, settings};

/// Long enough for what does come on a busy machine, short enough to wait for what does not.
const SOON: Period = Period::secs(2);

fn impatient(url: &str) -> Settings {
    Settings { connect_timeout: SOON, response_timeout: SOON, ..settings(url) }
}

/// A port that nobody listens on.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn nobody_listens() {
    let gateway = Gateway::new(&nobody().await);
    let error = gateway.hook().await.unwrap_err();
    assert!(matches!(error, UpstreamError::Unreachable(_)), "{error}");
    assert!(error.surely_not_processed());
    assert!(
        gateway.metrics().contains(
            "hookgate_upstream_calls_total{upstream=\"legacy\",outcome=\"unreachable\"} 1"
        )
    );
}

#[tokio::test]
async fn no_such_host() {
    let error = Gateway::new("http://nowhere.invalid").hook().await.unwrap_err();
    let unreachable = matches!(error, UpstreamError::Unreachable(_));
    // A resolver that does not answer at all is late instead.
    assert!(unreachable || matches!(error, UpstreamError::Late(Stage::Connect)), "{error}");
    assert!(error.surely_not_processed());
}

#[tokio::test]
async fn each_wait_has_its_own_end() {
    let mute = Server::start(|mut peer| async move { peer.closed().await }).await;
    let half_head = Server::start(|mut peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-le").await;
        peer.closed().await;
    })
    .await;
    let half_body = Server::start(|mut peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{").await;
        peer.closed().await;
    })
    .await;
    let drip = Server::start(|mut peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
        loop {
            peer.send("x").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // To https a server that takes the connection and says nothing is still connecting.
    let tls = format!("https://{}", mute.address);
    let waits = [
        (mute.url(), Stage::Head),
        (half_head.url(), Stage::Head),
        (half_body.url(), Stage::Body),
        (drip.url(), Stage::Body),
        (tls, Stage::Connect),
    ];
    join_all(waits.map(async |(url, stage)| {
        let gateway = Gateway::with(&[impatient(&url)], None);
        let error = gateway.hook().await.unwrap_err();
        assert!(matches!(error, UpstreamError::Late(s) if s == stage), "{stage}: {error}");
        assert_eq!(error.surely_not_processed(), stage == Stage::Connect, "{stage}");
    }))
    .await;
    assert_eq!(half_head.seen().len(), 1, "what was late is not sent again");
}

#[tokio::test]
async fn a_call_that_was_over_before_it_was_connected_says_so() {
    let mute = Server::start(|mut peer| async move { peer.closed().await }).await;
    let at_once = Period::millis(25);
    let tie = Settings {
        connect_timeout: at_once,
        response_timeout: at_once,
        breaker: Breaker { failures: 0, ..Breaker::default() },
        ..settings(&format!("https://{}", mute.address))
    };
    let gateway = Gateway::with(&[tie], None);
    // Which of the two times ends first is chance.
    for _ in 0..40 {
        let error = gateway.hook().await.unwrap_err();
        assert!(matches!(error, UpstreamError::Late(Stage::Connect)), "{error}");
    }
}

#[tokio::test]
async fn a_reset_is_told_from_a_refusal() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.stream.set_zero_linger().unwrap();
    })
    .await;
    let gateway = Gateway::new(&server.url());
    let error = gateway.hook().await.unwrap_err();
    assert!(matches!(error, UpstreamError::Broken(_)), "{error}");
    assert!(!error.surely_not_processed());
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn calls_share_connections_while_they_are_open() {
    let server = Server::start(|mut peer| async move {
        for _ in 0..2 {
            peer.request().await;
            peer.send(OK).await;
        }
    })
    .await;
    let gateway = Gateway::new(&server.url());
    gateway.hook().await.unwrap();
    gateway.hook().await.unwrap();
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_idle_connection_is_not_kept_longer_than_it_says() {
    let server = Server::answering(OK, false).await;
    let own = Settings { idle_timeout: Period::millis(20), ..settings(&server.url()) };
    let gateway = Gateway::with(&[own], None);
    gateway.hook().await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    gateway.hook().await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn two_upstreams_share_nothing() {
    let server = Server::answering(OK, false).await;
    let other = Settings { id: crate::rig::id("other"), ..settings(&server.url()) };
    let gateway = Gateway::with(&[settings(&server.url()), other], None);
    gateway.hook().await.unwrap();
    let headers = crate::rig::json();
    let way = hookgate::gateway::upstream::Way::Discovery;
    gateway.call_with("other", way, &headers, bytes::Bytes::new()).await.unwrap();
    assert_eq!(server.connections(), 2);
}

/// The upstream closes a kept connection just as the next call has taken it from the pool. The server
/// runs on a thread of its own, so that the test decides how much the gateway has noticed: one turn
/// is enough to learn of the end, and not enough to act on it before the request is queued.
#[tokio::test]
async fn what_was_never_written_is_sent_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (close, may_close) = std::sync::mpsc::channel();
    let (closed, has_closed) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        let mut requests = 0;
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            requests += read_request(&mut stream);
            std::io::Write::write_all(&mut stream, OK.as_bytes()).unwrap();
            may_close.recv().unwrap();
            stream.shutdown(std::net::Shutdown::Both).unwrap();
            drop(stream);
            closed.send(()).unwrap();
        }
        requests
    });
    let gateway = Gateway::new(&url);
    gateway.hook().await.unwrap();
    for _ in 0..50 {
        // The connection goes back to the pool.
        tokio::task::yield_now().await;
    }
    close.send(()).unwrap();
    has_closed.recv().unwrap();
    tokio::task::yield_now().await;
    gateway.hook().await.unwrap();
    close.send(()).unwrap();
    assert_eq!(server.join().unwrap(), 2);
    // The client saw to it itself, however many kept connections have gone stale.
    assert!(gateway.metrics().contains("hookgate_upstream_repeats_total{upstream=\"legacy\"} 0"));
}

fn read_request(stream: &mut std::net::TcpStream) -> usize {
    let mut all = Vec::new();
    while !all.ends_with(b"{\"hook\":\"patient-view\"}") {
        let mut chunk = [0; 4096];
        let read = std::io::Read::read(stream, &mut chunk).unwrap();
        all.extend_from_slice(&chunk[..read]);
    }
    1
}

/// Answers the first request on a connection and closes on the second, after having read it.
async fn reads_and_closes() -> Server {
    Server::start(|mut peer| async move {
        peer.request().await;
        peer.send(OK).await;
        peer.request().await;
    })
    .await
}

#[tokio::test]
async fn a_hook_that_was_written_is_not_sent_again() {
    let server = reads_and_closes().await;
    let gateway = Gateway::new(&server.url());
    gateway.hook().await.unwrap();
    let error = gateway.hook().await.unwrap_err();
    assert!(matches!(error, UpstreamError::Broken(_)), "{error}");
    assert_eq!(server.seen().len(), 2);
    assert!(gateway.metrics().contains("hookgate_upstream_repeats_total{upstream=\"legacy\"} 0"));
}

#[tokio::test]
async fn discovery_that_broke_off_is_asked_once_more() {
    let server = reads_and_closes().await;
    let gateway = Gateway::new(&server.url());
    gateway.discover().await.unwrap();
    gateway.discover().await.unwrap();
    assert_eq!(server.seen().len(), 3);
    assert!(gateway.metrics().contains("hookgate_upstream_repeats_total{upstream=\"legacy\"} 1"));

    let hopeless = Server::start(|mut peer| async move {
        peer.request().await;
    })
    .await;
    let error = Gateway::new(&hopeless.url()).discover().await.unwrap_err();
    assert!(matches!(error, UpstreamError::Broken(_)), "{error}");
    assert_eq!(hopeless.seen().len(), 2, "once more, not for ever");
}

/// Answers when told to.
async fn patient_server(go: &Arc<Notify>) -> Server {
    let go = Arc::clone(go);
    Server::start(move |mut peer| {
        let go = Arc::clone(&go);
        async move {
            while peer.request().await.is_some() {
                tokio::select! {
                    () = go.notified() => peer.send(OK).await,
                    () = peer.closed() => {}
                }
            }
        }
    })
    .await
}

const IN_FLIGHT: &str = "hookgate_upstream_in_flight{upstream=\"legacy\"}";

#[tokio::test]
async fn an_upstream_gets_no_more_than_it_takes() {
    let go = Arc::new(Notify::new());
    let server = patient_server(&go).await;
    let own = Settings { max_concurrent: 2, max_queued: 1, ..settings(&server.url()) };
    let gateway = Arc::new(Gateway::with(&[own], None));
    let call = || {
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move { gateway.hook().await.map(|answer| answer.status().as_u16()) })
    };
    let (first, second) = (call(), call());
    // In flight is also what has not arrived yet.
    while server.seen().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert!(gateway.metrics().contains(&format!("{IN_FLIGHT} 2")));
    let third = call();
    // One turn on this single thread puts the third into the queue.
    tokio::task::yield_now().await;
    let refused = gateway.hook().await.unwrap_err();
    assert!(matches!(refused, UpstreamError::Overloaded), "{refused}");
    assert_eq!(server.connections(), 2);
    let mut answered = Vec::new();
    for mut call in [first, second, third] {
        loop {
            tokio::select! {
                answer = &mut call => break answered.push(answer.unwrap().unwrap()),
                () = tokio::time::sleep(Duration::from_millis(5)) => go.notify_waiters(),
            }
        }
    }
    assert_eq!(answered, [200, 200, 200]);
    assert!(gateway.metrics().contains(&format!("{IN_FLIGHT} 0")));
    assert!(gateway.metrics().contains("outcome=\"overloaded\"} 1"));
}

#[tokio::test]
async fn who_waits_too_long_is_turned_away() {
    let go = Arc::new(Notify::new());
    let server = patient_server(&go).await;
    let own = Settings { max_concurrent: 1, ..settings(&server.url()) };
    let gateway = Arc::new(Gateway::with(&[own], None));
    let call = || {
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move { gateway.hook().await })
    };
    let first = call();
    while server.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    let mut second = call();
    let refused = loop {
        tokio::select! {
            refused = &mut second => break refused.unwrap().unwrap_err(),
            () = tokio::task::yield_now() => gateway.clock.advance(Duration::from_millis(50)),
        }
    };
    assert!(matches!(refused, UpstreamError::Overloaded), "{refused}");
    assert!(refused.surely_not_processed());
    assert_eq!(server.seen().len(), 1);
    first.abort();
}

#[tokio::test]
async fn an_abandoned_call_gives_back_its_place_and_its_connection() {
    let gone = Arc::new(Notify::new());
    let noticed = Arc::clone(&gone);
    let server = Server::start(move |mut peer| {
        let noticed = Arc::clone(&noticed);
        async move {
            peer.request().await;
            if peer.number == 0 {
                peer.closed().await;
                noticed.notify_one();
            } else {
                peer.send(OK).await;
            }
        }
    })
    .await;
    let own = Settings { max_concurrent: 1, max_queued: 0, ..settings(&server.url()) };
    let gateway = Arc::new(Gateway::with(&[own], None));
    let caller = Arc::clone(&gateway);
    let call = tokio::spawn(async move { caller.hook().await });
    while server.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    gone.notified().await;
    gateway.hook().await.unwrap();
    let metrics = gateway.metrics();
    assert!(metrics.contains("outcome=\"abandoned\"} 1"), "{metrics}");
    assert!(metrics.contains(&format!("{IN_FLIGHT} 0")), "{metrics}");
    assert!(metrics.contains("hookgate_upstream_seconds_count{upstream=\"legacy\"} 1"));
}
