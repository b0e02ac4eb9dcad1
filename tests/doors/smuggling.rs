//! Requests that two readers could read in two ways: none gets through, nor does what follows it.

use crate::harness::{Answer, Gate, settings};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST /bad HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}").into_bytes()
}

fn raw(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

/// Content-Length and Transfer-Encoding against each other.
fn lengths() -> Vec<(Vec<u8>, u16)> {
    let chunked = "0\r\n\r\n";
    let mut rows: Vec<_> = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "content-length: 5\r\nX: y\r\ntransfer-encoding: chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: identity\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 0\r\n",
        "Content-Length: 0\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5,0\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 05\r\n",
        "Content-Length: 5.\r\n",
        "Content-Length: \r\n",
        "Content-Length:\r\n",
        "Content-Length: five\r\n",
        "Content-Length: 9223372036854775808\r\n",
        "Content-Length: 18446744073709551621\r\n",
        "Content-Length : 5\r\n",
        " Content-Length: 5\r\n",
        "Content-Length:\t5\r\n",
        "Content-Length: 5\x0b\r\n",
        "Content-Length\0: 5\r\n",
        "Content Length: 5\r\n",
        "Content_Length: 5\r\n",
        "X: y\r\n Content-Length: 5\r\n",
        "X: y\nContent-Length: 5\r\n",
        "X: y\rContent-Length: 5\r\n",
    ]
    .map(|fields| (post(fields, chunked), 400))
    .into();
    rows.extend(encodings().map(|fields| (post(fields, chunked), 400)));
    rows
}

/// Transfer-Encoding in disguise.
fn encodings() -> [&'static str; 36] {
    [
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\tchunked\r\n",
        "Transfer-Encoding: chunked\t\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "Transfer-Encoding:\x0cchunked\r\n",
        "Transfer-Encoding: \0chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: 'chunked'\r\n",
        "Transfer-Encoding: chunked,\r\n",
        "Transfer-Encoding: ,chunked\r\n",
        "Transfer-Encoding: chunk\r\n",
        "Transfer-Encoding: chun\u{212a}ed\r\n",
        "Transfer-Encoding: cow\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding\r\n: chunked\r\n",
        "Transfer_Encoding: chunked\r\n",
        "Transfer Encoding: chunked\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\n",
    ]
}

/// Request lines, hosts and bytes.
fn heads() -> Vec<(Vec<u8>, u16)> {
    let long = "x".repeat(8192);
    let many = "X: y\r\n".repeat(64);
    vec![
        (raw("GET /bad HTTP/1.1\r\n\r\n"), 400),
        (raw("GET /bad HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400),
        (raw("GET /bad HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n"), 400),
        (raw("GET /bad HTTP/1.1\r\nHost:\r\n\r\n"), 400),
        (raw("GET /bad HTTP/1.1\r\nHost: a b\r\n\r\n"), 400),
        (raw("GET /bad HTTP/1.1\r\nHost: u@a\r\n\r\n"), 400),
        (raw("GET /bad HTTP/1.1\r\nHost: a/x\r\n\r\n"), 400),
        (raw("GET /bad HTTP/1.1\nHost: a\n\n"), 400),
        (raw("GET /bad HTTP/1.1\r\nHost: a\n\r\n"), 400),
        (raw("GET /bad HTTP/1.1\r\nHost: a\r\n\n"), 400),
        (raw("GET /bad HTTP/1.1\nHost: a\r\n\r\n"), 400),
        (raw("GET /bad HTTP/1.1\rHost: a\r\n\r\n"), 400),
        (raw("\n\nGET /bad HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (raw("\r\n\r\nGET /bad HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (raw("GET /bad\r\n\r\n"), 400),
        (raw("GET /bad HTTP/0.9\r\n\r\n"), 400),
        (raw("GET /bad HTTP/1.2\r\nHost: a\r\n\r\n"), 400),
        (raw("GET /bad HTTP/11\r\nHost: a\r\n\r\n"), 400),
        (raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 400),
        (raw("GET  /bad HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (raw("GET /bad  HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (raw("GET /bad HTTP/1.1 \r\nHost: a\r\n\r\n"), 400),
        (raw(" GET /bad HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (raw("GET /b\tad HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (raw("GET /b\u{e4}d HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (raw("GET /b\0d HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (raw("GET /b\x7fd HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (raw("GET /bad#x HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (raw("G(T /bad HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (raw("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"), 400),
        (raw("GET /bad HTTP/1.1\r\nHost: a\r\nX: \u{e4}\r\n\r\n"), 400),
        (raw("GET /bad HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n"), 400),
        (raw("GET /bad HTTP/1.1\r\nHost: a\r\nX: \x1b[31m\r\n\r\n"), 400),
        (raw("GET /bad HTTP/1.1\r\nHost: a\r\nX y: z\r\n\r\n"), 400),
        (raw("GET /bad HTTP/1.1\r\nHost: a\r\n: z\r\n\r\n"), 400),
        (raw("GET /bad HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"), 400),
        (raw("GET /bad HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n"), 400),
        (raw("GET /bad HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n"), 400),
        (raw("POST /bad HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400),
        (raw(&format!("{} /bad HTTP/1.1\r\nHost: a\r\n\r\n", "G".repeat(33))), 400),
        (raw(&format!("{} /bad HTTP/1.1\r\nHost: a\r\n\r\n", "G".repeat(10_000))), 400),
        (raw(&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")), 414),
        (raw(&format!("GET /{long}{long}{long} HTTP/1.1\r\nHost: a\r\n\r\n")), 414),
        (raw(&format!("GET /bad HTTP/1.1\r\nHost: a\r\n{many}\r\n")), 431),
        (raw(&format!("GET /bad HTTP/1.1\r\nHost: a\r\nX: {long}{long}\r\n\r\n")), 431),
    ]
}

/// Chunked bodies.
fn chunks() -> Vec<(Vec<u8>, u16)> {
    [
        "\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\t\r\nhello\r\n0\r\n\r\n",
        "5 ;x\r\nhello\r\n0\r\n\r\n",
        "five\r\nhello\r\n0\r\n\r\n",
        "000000005\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\r\nhello\r\n0\r\n\r\n",
        "5;x\nhello\r\n0\r\n\r\n",
        "5;x\ry\r\nhello\r\n0\r\n\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        "5;x=\"\n\"\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhello\rX0\r\n\r\n",
        "5\r\nhelloX\n0\r\n\r\n",
        "5\r\nhello world\r\n0\r\n\r\n",
        "5\r\nhi\r\n0\r\n\r\n",
        "5\r\nhello\r\n\r\n0\r\n\r\n",
        "0\n\n",
        "0\r\n\n",
        "0\r\nX: y\n\r\n",
        "0\r\nX: y\r\n\n",
        "0\r\nX\r\n\r\n",
        "0\r\nX: \u{e4}\r\n\r\n",
        "0\r\nAuthorization: Bearer x\r\n\r\n",
        "0\r\nHost: b\r\n\r\n",
        "0\r\nContent-Length: 5\r\n\r\n",
        "0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "0\r\nX-Hookgate-Client: other\r\n\r\n",
        "0\r\nDigest: x\r\n folded\r\n\r\n",
    ]
    .map(|body| (post("Transfer-Encoding: chunked\r\n", body), 400))
    .into()
}

async fn refuses(rows: Vec<(Vec<u8>, u16)>) {
    let gate = Gate::plain(settings()).await;
    let mut expected = Vec::new();
    let refused = rows.len() * 2;
    for (number, (bad, status)) in rows.into_iter().enumerate() {
        let shown = String::from_utf8_lossy(&bad).chars().take(200).collect::<String>();
        // Once behind an answer, once in the same segment as the good one before it.
        for together in [false, true] {
            let good = format!("/good-{number}-{together}");
            expected.push(format!("GET {good}"));
            let good = format!("GET {good} HTTP/1.1\r\nHost: a\r\n\r\n");
            let tail = [bad.as_slice(), SMUGGLED.as_bytes()].concat();
            let mut wire = gate.connect().await;
            let first: Answer;
            if together {
                wire.send([good.as_bytes(), &tail].concat()).await;
                first = wire.answer().await.expect(&shown);
            } else {
                wire.send(good).await;
                first = wire.answer().await.expect(&shown);
                wire.send(tail).await;
            }
            assert_eq!(first.status, 200, "{shown:?}");
            let answer = wire.answer().await.unwrap_or_else(|| panic!("no answer to {shown:?}"));
            assert_eq!(answer.status, status, "{shown:?}");
            assert!(answer.is_last(), "{shown:?}: {answer:?}");
            assert!(answer.body.contains("\"code\":\"malformed\""), "{answer:?}");
            assert!(wire.answer().await.is_none(), "goes on after {shown:?}");
        }
    }
    assert_eq!(gate.lines(), expected);
    gate.counts(&format!("hookgate_connections_closed_total{{reason=\"malformed\"}} {refused}"))
        .await;
}

#[tokio::test]
async fn ambiguous_lengths() {
    refuses(lengths()).await;
}

#[tokio::test]
async fn malformed_heads() {
    refuses(heads()).await;
}

#[tokio::test]
async fn broken_chunks() {
    refuses(chunks()).await;
}

#[tokio::test]
async fn no_rows_went_missing() {
    assert!(lengths().len() + heads().len() + chunks().len() > 140);
}

/// CL.0: a handler that does not read a body leaves it where the next request would stand.
#[tokio::test]
async fn a_body_nobody_reads_is_no_request() {
    let gate = Gate::plain(settings()).await;
    for method in ["POST", "GET", "HEAD", "DELETE", "OPTIONS"] {
        for framing in [
            format!("Content-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len()),
            format!(
                "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n",
                SMUGGLED.len()
            ),
            format!("Transfer-Encoding: chunked\r\n\r\nbroken\r\n{SMUGGLED}"),
        ] {
            let mut wire = gate.connect().await;
            wire.send(format!("{method} /early HTTP/1.1\r\nHost: a\r\n{framing}")).await;
            // Whether it goes on is hyper's choice; what it takes for the next request is not.
            let _ = wire.stream.readable().await;
            drop(wire);
        }
    }
    gate.counts("hookgate_connections_open 0").await;
    assert_eq!(gate.lines(), [""; 0]);
}

#[tokio::test]
async fn a_truncated_body_is_no_body() {
    use tokio::io::AsyncWriteExt;
    let gate = Gate::plain(settings()).await;
    for body in
        ["Content-Length: 9\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"]
    {
        let mut wire = gate.connect().await;
        wire.send(format!("POST /bad HTTP/1.1\r\nHost: a\r\n{body}")).await;
        wire.stream.shutdown().await.unwrap();
        assert_eq!(wire.answer().await.unwrap().status, 400);
    }
    gate.counts("hookgate_request_faults_total{fault=\"truncated\"} 2").await;
    assert_eq!(gate.lines(), [""; 0]);
}
