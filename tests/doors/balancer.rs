//! Connections that a load balancer passes on: PROXY protocol, version 2.

use std::net::SocketAddr;

use hookgate::doors::Settings;
use hookgate::peer::{Protocol, TrustedProxies};
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proxy_header::{ProxiedAddress, ProxyHeader};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::harness::{Gate, PATIENCE, Wire, number, settings, short};

/// Behind a balancer on this machine.
fn behind() -> Settings {
    Settings { proxy_protocol_from: from("127.0.0.0/8"), ..settings() }
}

fn from(network: &str) -> TrustedProxies {
    TrustedProxies::try_from(vec![network.to_owned()]).unwrap()
}

/// What a balancer says of a client at this address.
fn header(client: &str) -> Vec<u8> {
    let destination =
        if client.starts_with('[') { "[2001:db8::1]:443" } else { "198.51.100.1:443" };
    let about = ProxiedAddress::stream(client.parse().unwrap(), destination.parse().unwrap());
    encoded(&ProxyHeader::with_address(about))
}

fn encoded(header: &ProxyHeader<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    header.encode_v2(&mut bytes).unwrap();
    bytes
}

async fn dial(gate: &Gate, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(gate.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

fn addresses(gate: &Gate) -> Vec<SocketAddr> {
    gate.log.seen.lock().unwrap().iter().map(|seen| seen.address).collect()
}

#[tokio::test]
async fn the_client_is_where_the_balancer_says_before_tls_and_http2() {
    let gate = Gate::tls(behind()).await;
    for client in ["192.0.2.7:4660", "[2001:db8::7]:4660", "[::ffff:192.0.2.8]:1"] {
        for alpn in ["h2", "http/1.1"] {
            let mut stream = TcpStream::connect(gate.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            for byte in header(client) {
                stream.write_all(&[byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            let name = ServerName::try_from("localhost").unwrap();
            let connector = TlsConnector::from(std::sync::Arc::new(gate.client_config(&[alpn])));
            let stream = connector.connect(name, stream).await.unwrap();
            if alpn == "h2" {
                let (mut send, connection) =
                    http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                let request = http::Request::get("https://localhost/");
                let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
                assert_eq!(send.send_request(request).await.unwrap().status(), 200);
            } else {
                assert_eq!(Wire::new(stream).get("/").await.unwrap().status, 200);
            }
        }
    }
    let seen = gate.log.seen.lock().unwrap().clone();
    let seen: Vec<_> = seen.iter().map(|s| (s.address.to_string(), s.protocol)).collect();
    let expected = ["192.0.2.7:4660", "[2001:db8::7]:4660", "192.0.2.8:1"].map(str::to_owned);
    let both = |a: &String| [(a.clone(), Protocol::Http2), (a.clone(), Protocol::Http1)];
    assert_eq!(seen, expected.iter().flat_map(both).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_balancer_speaks_for_itself_where_it_has_no_client() {
    let gate = Gate::plain(behind()).await;
    let unix = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x31\x00\xd8"[..], &[b'/'; 216]].concat();
    let unknown = b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x00".to_vec();
    for bytes in [encoded(&ProxyHeader::with_local()), unix, unknown] {
        let stream = dial(&gate, &bytes).await;
        let own = stream.local_addr().unwrap();
        assert_eq!(Wire::new(stream).get("/").await.unwrap().status, 200);
        assert_eq!(addresses(&gate).last(), Some(&own));
    }
}

#[tokio::test]
async fn a_balancer_that_does_not_say_who_is_there_is_not_heard() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut bent = header("192.0.2.7:4660");
    bent[11] ^= 1;
    let mut huge = header("192.0.2.7:4660");
    huge[14] = 0xff;
    let mut short_address = header("192.0.2.7:4660");
    short_address[15] = 11;
    let mut datagram = header("192.0.2.7:4660");
    datagram[13] = 0x12;
    let v1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4660 443\r\n".to_vec();
    for first in [Vec::new(), v1, bent, huge, short_address, datagram] {
        let gate = Gate::plain(behind()).await;
        let mut stream = dial(&gate, &[first.as_slice(), request].concat()).await;
        // Closed with something unread: the end may be a reset.
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("silence");
        assert!(read.is_err() || answer.is_empty(), "{first:02x?}");
        gate.closed_for("proxy_header").await;
        assert!(gate.lines().is_empty(), "{first:02x?}");
    }
    let gate = Gate::tls(behind()).await;
    assert!(gate.connect_tls(gate.client_config(&["h2"])).await.is_err());
    gate.closed_for("proxy_header").await;
    // Cut short by the balancer.
    let gate = Gate::plain(behind()).await;
    drop(dial(&gate, &header("192.0.2.7:4660")[..20]).await);
    gate.closed_for("proxy_header").await;
}

#[tokio::test]
async fn a_header_that_does_not_come_is_not_waited_for() {
    for part in [0, 5, 16, 27] {
        let gate = Gate::plain(Settings { handshake_timeout: short(), ..behind() }).await;
        let _silent = dial(&gate, &header("192.0.2.7:4660")[..part]).await;
        gate.closed_for("handshake_timeout").await;
    }
}

#[tokio::test]
async fn a_header_from_anybody_else_is_no_header() {
    let elsewhere = Settings { proxy_protocol_from: from("10.0.0.0/8"), ..settings() };
    for settings in [elsewhere, settings()] {
        let gate = Gate::tls(settings.clone()).await;
        let stream = dial(&gate, &header("192.0.2.7:4660")).await;
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(std::sync::Arc::new(gate.client_config(&["h2"])));
        assert!(connector.connect(name, stream).await.is_err());
        gate.closed_for("handshake_failed").await;
        gate.counts("hookgate_handshakes_failed_total{reason=\"protocol\"} 1").await;

        let gate = Gate::plain(settings).await;
        let stream = dial(&gate, &header("192.0.2.7:4660")).await;
        let mut wire = Wire::new(stream);
        assert_eq!(wire.get("/").await.unwrap().status, 400);
        assert!(gate.lines().is_empty());
    }
}

#[tokio::test]
async fn each_client_behind_the_balancer_has_its_own_share() {
    let per_client = Settings { max_connections_per_address: number(1), ..behind() };
    let gate = Gate::plain(Settings { max_connections: number(3), ..per_client }).await;
    let mut one = Wire::new(dial(&gate, &header("192.0.2.7:1")).await);
    let mut two = Wire::new(dial(&gate, &header("192.0.2.8:1")).await);
    assert_eq!(one.get("/").await.unwrap().status, 200);
    assert_eq!(two.get("/").await.unwrap().status, 200);
    let mut again = dial(&gate, &header("192.0.2.7:2")).await;
    assert_eq!(timeout(PATIENCE, again.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);
    gate.counts("hookgate_connections_closed_total{reason=\"address_full\"} 1").await;
    // All together are counted when they are accepted, whoever they are.
    let _silent = dial(&gate, b"").await;
    gate.counts("hookgate_connections_open 3").await;
    let mut too_many = dial(&gate, b"").await;
    assert_eq!(timeout(PATIENCE, too_many.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);
    gate.counts("hookgate_connections_closed_total{reason=\"full\"} 1").await;
    // A place is given back to the client that had it.
    drop(one);
    gate.counts("hookgate_connections_open 2").await;
    let mut back = Wire::new(dial(&gate, &header("192.0.2.7:3")).await);
    assert_eq!(back.get("/").await.unwrap().status, 200);
}
