//! Shutting down loses no request that was accepted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hookgate::doors::{Drained, Settings};
use tokio::net::TcpStream;

use crate::harness::{Gate, settings, short};

#[tokio::test]
async fn an_answer_in_the_drain_is_the_last_and_a_late_request_is_still_served() {
    let gate = Gate::plain(settings()).await;
    let (mut busy, mut used, mut fresh) =
        (gate.connect().await, gate.connect().await, gate.connect().await);
    assert!(!used.get("/used").await.unwrap().is_last());
    busy.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    gate.log.begun.acquire_many(2).await.unwrap().forget();
    gate.shutdown.cancel();
    while TcpStream::connect(gate.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    // Both were connected before: what they had on the way is answered.
    let answer = used.get("/late").await.unwrap();
    assert!(answer.status == 200 && answer.is_last(), "{answer:?}");
    let answer = fresh.get("/first").await.unwrap();
    assert!(answer.status == 200 && answer.is_last(), "{answer:?}");
    gate.log.go.add_permits(1);
    let answer = busy.answer().await.unwrap();
    assert!(answer.status == 200 && answer.is_last(), "{answer:?}");
    assert_eq!(gate.stop().await, Drained::Complete);
}

#[tokio::test]
async fn idle_connections_do_not_hold_it_up() {
    let gate = Gate::tls(settings()).await;
    let client = gate.client().build().unwrap();
    assert_eq!(client.get(gate.url("/")).send().await.unwrap().status(), 200);
    let _silent = gate.connect_tls(gate.client_config(&[])).await.unwrap();
    assert_eq!(gate.stop().await, Drained::Complete);
}

#[tokio::test]
async fn the_deadline_ends_what_does_not_end() {
    let gate = Gate::plain(Settings { drain_timeout: short(), ..settings() }).await;
    let mut wire = gate.connect().await;
    wire.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    gate.log.begun.acquire().await.unwrap().forget();
    // The connection, and its request.
    assert_eq!(gate.stop().await, Drained::Cut { unfinished: 2 });
    assert!(wire.answer().await.is_none());
}

/// What the clients of one protocol saw while the listener went down.
async fn under_load(gate: Gate, clients: usize, http2: bool) {
    let (answered, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let load = (0..clients).map(|_| {
        let builder = gate.client();
        // One connection each; a retry would hide what was lost.
        let client = if http2 { builder } else { builder.http1_only() };
        let client = client.retry(reqwest::retry::never()).build().unwrap();
        let (url, answered, lost) = (gate.url("/load"), Arc::clone(&answered), Arc::clone(&lost));
        tokio::spawn(async move {
            loop {
                let answer = match client.get(&url).send().await {
                    Ok(answer) => answer.text().await,
                    Err(error) => Err(error),
                };
                match answer {
                    Ok(text) if text == "GET /load" => {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(_) => {
                        lost.fetch_add(1, Ordering::Relaxed);
                    }
                    // No request was sent.
                    Err(error) if error.is_connect() => return None,
                    Err(error) => match format!("{error:?}") {
                        // The client had seen GOAWAY and kept the request to itself.
                        error if http2 && error.contains("NO_ERROR, Remote") => return None,
                        error => return Some(error),
                    },
                }
            }
        })
    });
    let load = load.collect::<Vec<_>>();
    while answered.load(Ordering::Relaxed) < clients * 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let log = Arc::clone(&gate.log);
    assert_eq!(gate.stop().await, Drained::Complete);
    let mut errors = Vec::new();
    for client in load {
        errors.extend(client.await.unwrap());
    }
    assert_eq!(errors, [""; 0], "{} of {clients}", errors.len());
    assert_eq!(lost.load(Ordering::Relaxed), 0);
    assert_eq!(log.seen.lock().unwrap().len(), answered.load(Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_http1() {
    under_load(Gate::plain(settings()).await, 200, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_http2() {
    under_load(Gate::tls(settings()).await, 50, true).await;
}
