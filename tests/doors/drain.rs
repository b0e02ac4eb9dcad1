//! Shutting down loses no request that was accepted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hookgate::doors::{Drained, Settings};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{Gate, Wire, settings, short};

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

/// One thread, and no turn for the listener between the clients' requests and the shutdown.
#[tokio::test]
async fn what_the_system_has_queued_is_served() {
    let gate = Gate::plain(settings()).await;
    tokio::task::yield_now().await;
    let queued = (0..20).map(|_| {
        let mut stream = std::net::TcpStream::connect(gate.address).unwrap();
        std::io::Write::write_all(&mut stream, b"GET /queued HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    });
    let queued = queued.collect::<Vec<_>>();
    gate.shutdown.cancel();
    for stream in queued {
        let mut wire = Wire::new(TcpStream::from_std(stream).unwrap());
        assert_eq!(wire.answer().await.expect("lost in the queue").status, 200);
    }
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

/// Clients that ask as fast as they are answered, on a connection that they keep.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_http1() {
    const CLIENTS: usize = 200;
    let gate = Gate::plain(settings()).await;
    let address = gate.address;
    let answered = Arc::new(AtomicUsize::new(0));
    let load = (0..CLIENTS).map(|_| {
        let answered = Arc::clone(&answered);
        tokio::spawn(async move {
            // Refused is not lost: another replica takes it.
            while let Ok(stream) = TcpStream::connect(address).await {
                let (mut wire, mut is_fresh) = (Wire::new(stream), true);
                loop {
                    let sent =
                        wire.stream.write_all(b"GET /load HTTP/1.1\r\nHost: a\r\n\r\n").await;
                    let answer = wire.answer().await;
                    if is_fresh && (sent.is_err() || answer.is_none()) {
                        // The system's queue went with the listener: the connection was never ours.
                        return;
                    }
                    is_fresh = false;
                    let answer = answer.expect("a lost request");
                    assert_eq!((answer.status, answer.body.as_str()), (200, "GET /load"));
                    answered.fetch_add(1, Ordering::Relaxed);
                    if answer.is_last() {
                        break;
                    }
                }
            }
        })
    });
    let load = load.collect::<Vec<_>>();
    while answered.load(Ordering::Relaxed) < CLIENTS * 5 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let log = Arc::clone(&gate.log);
    assert_eq!(gate.stop().await, Drained::Complete);
    for client in load {
        client.await.unwrap();
    }
    assert_eq!(log.seen.lock().unwrap().len(), answered.load(Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_http2() {
    const CLIENTS: usize = 50;
    let gate = Gate::tls(settings()).await;
    let (answered, address) = (Arc::new(AtomicUsize::new(0)), gate.url("/load"));
    let mut load = Vec::new();
    for _ in 0..CLIENTS {
        let stream = gate.connect_tls(gate.client_config(&["h2"])).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let (url, answered) = (address.clone(), Arc::clone(&answered));
        load.push(tokio::spawn(async move {
            let mut client = client;
            // Not ready any more is GOAWAY seen: nothing was sent.
            while let Ok(mut ready) = client.ready().await {
                let request = http::Request::get(&url).body(()).unwrap();
                let Ok((answer, _)) = ready.send_request(request, true) else { break };
                match answer.await {
                    Ok(answer) => assert_eq!(answer.status(), 200),
                    // Or the connection is closed, where it came behind a GOAWAY not read yet.
                    Err(error) if error.is_go_away() || error.is_io() => break,
                    Err(error) => panic!("a lost request: {error:?}"),
                }
                answered.fetch_add(1, Ordering::Relaxed);
                client = ready;
            }
        }));
    }
    while answered.load(Ordering::Relaxed) < CLIENTS * 5 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let log = Arc::clone(&gate.log);
    assert_eq!(gate.stop().await, Drained::Complete);
    for client in load {
        client.await.unwrap();
    }
    // What GOAWAY turned away was not served either.
    assert_eq!(log.seen.lock().unwrap().len(), answered.load(Ordering::Relaxed));
}
