//! What happens to a handler, and what does not.

use crate::harness::{Gate, settings};

#[tokio::test]
async fn a_panic_is_an_answer_and_the_connection_goes_on() {
    let gate = Gate::plain(settings()).await;
    let mut wire = gate.connect().await;
    let answer = wire.get("/panic").await.unwrap();
    assert_eq!(answer.status, 500);
    assert!(answer.body.contains("\"code\":\"internal\""), "{answer:?}");
    assert!(!answer.body.contains("on request"), "what panicked stays inside");
    assert_eq!(wire.get("/next").await.unwrap().status, 200);
    gate.counts("hookgate_request_panics_total 1").await;

    let gate = Gate::tls(settings()).await;
    let client = gate.client().build().unwrap();
    assert_eq!(client.get(gate.url("/panic")).send().await.unwrap().status(), 500);
    assert_eq!(client.get(gate.url("/next")).send().await.unwrap().status(), 200);
    gate.counts("hookgate_connections_accepted_total 1").await;
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_stop_it() {
    let gate = Gate::plain(settings()).await;
    let mut wire = gate.connect().await;
    wire.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    gate.log.begun.acquire().await.unwrap().forget();
    drop(wire);
    gate.closed_for("lost").await;
    gate.log.go.add_permits(1);
    gate.log.is_done().await;
}

#[tokio::test]
async fn nor_does_one_that_resets_its_stream() {
    let gate = Gate::tls(settings()).await;
    let stream = gate.connect_tls(gate.client_config(&["h2"])).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request = http::Request::get(gate.url("/wait")).body(()).unwrap();
    let (answer, mut sender) = client.send_request(request, true).unwrap();
    gate.log.begun.acquire().await.unwrap().forget();
    sender.send_reset(h2::Reason::CANCEL);
    assert!(answer.await.is_err());
    drop((client, sender));
    connection.abort();
    gate.counts("hookgate_connections_open 0").await;
    gate.log.go.add_permits(1);
    gate.log.is_done().await;
}

/// The drain waits for a handler whose client has gone.
#[tokio::test]
async fn nor_does_the_end_of_the_process() {
    let gate = Gate::plain(settings()).await;
    let mut wire = gate.connect().await;
    wire.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    gate.log.begun.acquire().await.unwrap().forget();
    drop(wire);
    gate.counts("hookgate_connections_open 0").await;
    gate.shutdown.cancel();
    let log = std::sync::Arc::clone(&gate.log);
    let release = async {
        tokio::task::yield_now().await;
        log.go.add_permits(1);
    };
    let (drained, ()) = tokio::join!(gate.stop(), release);
    assert_eq!(drained, hookgate::doors::Drained::Complete);
    assert_eq!(log.done.available_permits(), 1);
}
