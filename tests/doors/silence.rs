//! Clients that say too little, too slowly, or nothing: each is cut off, and counted for what it did.

use std::time::Duration;

use hookgate::doors::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Gate, PATIENCE, Wire, number, settings, short};

/// No patience with an idle connection. What a test is not about has all the time it needs.
fn no_idling() -> Settings {
    Settings { idle_timeout: short(), ..settings() }
}

/// None with a head that does not come. HTTP/2 looks at its other deadlines once that of its preface is
/// over.
fn quick_heads() -> Settings {
    Settings { header_timeout: short(), ..settings() }
}

/// Waits for the end of the connection, and gives what came before it.
async fn rest<S: AsyncReadExt + Unpin>(stream: &mut S) -> Vec<u8> {
    let mut all = Vec::new();
    // A reset is an end too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("still open");
    all
}

#[tokio::test]
async fn nothing_at_all() {
    let gate = Gate::plain(no_idling()).await;
    assert_eq!(rest(&mut gate.connect().await.stream).await, b"");
    gate.closed_for("idle").await;
}

#[tokio::test]
async fn half_a_head() {
    let gate = Gate::plain(quick_heads()).await;
    let mut wire = gate.connect().await;
    wire.send("GET / HTTP/1.1\r\nHost: a\r\n").await;
    let answer = wire.answer().await.unwrap();
    assert_eq!(answer.status, 408);
    assert!(answer.is_last());
    assert!(wire.answer().await.is_none());
    drop(wire);
    gate.closed_for("header_timeout").await;
    gate.counts("hookgate_request_faults_total{fault=\"head_timeout\"} 1").await;
}

/// A byte now and then does not buy more time than a head may take.
#[tokio::test]
async fn a_head_that_trickles() {
    let gate = Gate::plain(quick_heads()).await;
    let mut wire = gate.connect().await;
    assert_eq!(wire.get("/first").await.unwrap().status, 200);
    let trickle = async {
        wire.stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").await.unwrap();
        while wire.stream.write_all(b"X: y\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    let metrics = gate.counts("hookgate_request_faults_total{fault=\"head_timeout\"} 1");
    tokio::select! {
        () = trickle => {}
        () = metrics => {}
    }
    drop(wire);
    gate.closed_for("header_timeout").await;
    assert_eq!(gate.lines(), ["GET /first"]);
}

#[tokio::test]
async fn idle_after_an_answer() {
    let gate = Gate::plain(no_idling()).await;
    let mut wire = gate.connect().await;
    assert_eq!(wire.get("/first").await.unwrap().status, 200);
    assert!(wire.answer().await.is_none(), "closed without a word");
    gate.closed_for("idle").await;
}

/// Neither the idle nor the header timeout is about the time that the handler takes.
#[tokio::test]
async fn a_slow_handler_is_not_an_idle_client() {
    let gate = Gate::plain(Settings { header_timeout: short(), ..no_idling() }).await;
    let mut wire = gate.connect().await;
    wire.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    gate.log.begun.acquire().await.unwrap().forget();
    let early = timeout(2 * short().get(), wire.stream.peek(&mut [0])).await;
    assert!(early.is_err(), "an answer or an end before the handler was done");
    gate.log.go.add_permits(1);
    assert_eq!(wire.answer().await.unwrap().status, 200);
}

#[tokio::test]
async fn an_answer_that_nobody_reads() {
    let gate = Gate::plain(no_idling()).await;
    let mut wire = gate.connect().await;
    wire.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await;
    gate.closed_for("write_stalled").await;
}

#[tokio::test]
async fn a_connection_that_is_too_old() {
    let max_connection_age = short();
    let gate = Gate::plain(Settings { max_connection_age, ..settings() }).await;
    let mut wire = gate.connect().await;
    wire.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    gate.log.begun.acquire().await.unwrap().forget();
    tokio::time::sleep(2 * short().get()).await;
    gate.log.go.add_permits(1);
    let answer = wire.answer().await.unwrap();
    assert!(answer.status == 200 && answer.is_last(), "{answer:?}");
    assert!(wire.answer().await.is_none());
    gate.closed_for("age").await;
}

#[tokio::test]
async fn no_handshake_or_half_of_one() {
    for bytes in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let gate = Gate::tls(Settings { handshake_timeout: short(), ..settings() }).await;
        let mut stream = TcpStream::connect(gate.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        assert_eq!(rest(&mut stream).await, b"");
        gate.closed_for("handshake_timeout").await;
    }
}

#[tokio::test]
async fn no_tls_where_it_belongs() {
    let gate = Gate::tls(settings()).await;
    let mut stream = TcpStream::connect(gate.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    rest(&mut stream).await;
    gate.closed_for("handshake_failed").await;
}

/// Stalled handshakes hold no place, so that others get through.
#[tokio::test]
async fn stalled_handshakes_do_not_block() {
    let gate = Gate::tls(Settings { max_handshakes: number(1), ..settings() }).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(gate.address).await.unwrap());
    }
    let mut wire = Wire::new(gate.connect_tls(gate.client_config(&[])).await.unwrap());
    assert_eq!(wire.get("/").await.unwrap().status, 200);
}

#[tokio::test]
async fn http2_without_a_word_or_with_half_a_preface() {
    for bytes in [&b""[..], b"PRI * HTTP/2.0\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let gate = Gate::tls(quick_heads()).await;
        let mut stream = gate.connect_tls(gate.client_config(&["h2"])).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        rest(&mut stream).await;
        gate.closed_for("header_timeout").await;
    }
}

/// The h2 client answers SETTINGS and PINGs by itself, and asks nothing.
#[tokio::test]
async fn http2_that_only_answers_pings() {
    let gate = Gate::tls(Settings { idle_timeout: short(), ..quick_heads() }).await;
    let stream = gate.connect_tls(gate.client_config(&["h2"])).await.unwrap();
    let (_client, connection) = h2::client::handshake(stream).await.unwrap();
    let end = timeout(PATIENCE, connection).await.expect("still open");
    assert!(end.is_ok(), "{end:?}");
    gate.closed_for("idle").await;
}

#[tokio::test]
async fn http2_with_half_a_header_block() {
    let (idle_timeout, drain_timeout) = (short(), short());
    let gate = Gate::tls(Settings { idle_timeout, drain_timeout, ..quick_heads() }).await;
    let mut stream = gate.connect_tls(gate.client_config(&["h2"])).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    // HEADERS without END_HEADERS: `:method: GET` and no more.
    stream.write_all(b"\0\0\x01\x01\x01\0\0\0\x01\x82").await.unwrap();
    rest(&mut stream).await;
    gate.closed_for("idle").await;
}

#[tokio::test]
async fn http2_that_is_too_old() {
    let max_connection_age = short();
    let gate = Gate::tls(Settings { max_connection_age, ..quick_heads() }).await;
    let client = gate.client().build().unwrap();
    let url = gate.url("/wait");
    let answer = tokio::spawn(async move { client.get(url).send().await.unwrap().status() });
    gate.log.begun.acquire().await.unwrap().forget();
    tokio::time::sleep(2 * short().get()).await;
    gate.log.go.add_permits(1);
    assert_eq!(answer.await.unwrap(), 200);
    gate.closed_for("age").await;
}

#[tokio::test]
async fn more_connections_than_allowed() {
    let caps = [("full", number(2), number(9)), ("address_full", number(9), number(2))];
    for (reason, max_connections, max_connections_per_address) in caps {
        let gate =
            Gate::plain(Settings { max_connections, max_connections_per_address, ..settings() })
                .await;
        let (mut first, mut second) = (gate.connect().await, gate.connect().await);
        assert_eq!(first.get("/1").await.unwrap().status, 200);
        assert_eq!(second.get("/2").await.unwrap().status, 200);
        assert_eq!(rest(&mut gate.connect().await.stream).await, b"");
        gate.counts(&format!("hookgate_connections_closed_total{{reason=\"{reason}\"}} 1")).await;
        assert_eq!(first.get("/3").await.unwrap().status, 200, "the established are served");
        drop(second);
        gate.counts("hookgate_connections_open 1").await;
        assert_eq!(gate.connect().await.get("/4").await.unwrap().status, 200);
    }
}
