//! Sound requests come through, each once, in order, however TCP cuts them.

use std::time::Duration;

use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::harness::{Gate, settings};

/// One request and what the handler should see of it.
#[derive(Clone, Debug)]
struct Sample {
    bytes: Vec<u8>,
    line: String,
    body: Vec<u8>,
}

fn sample(number: usize, kind: u8) -> Sample {
    let line = format!("POST /{number}?k={kind}");
    let head = format!("{line} HTTP/1.1\r\nHost: a.example:8443\r\nX: y z\r\n");
    let (rest, body): (&[u8], &[u8]) = match kind {
        0 => (b"\r\n", b""),
        1 => (b"Content-Length: 0\r\n\r\n", b""),
        2 => (b"content-length: 12\r\n\r\n\r\n\r\nGET / HT", b"\r\n\r\nGET / HT"),
        3 => (b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
        4 => (
            b"transfer-encoding: Chunked\r\n\r\n5\r\nhello\r\n00b;x=\"y z\"\r\n\r\n0\r\n\r\nGET \r\n0\r\n\r\n",
            b"hello\r\n0\r\n\r\nGET ",
        ),
        5 => (
            b"Transfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0;end\r\nDigest: x\r\n\r\n",
            b"0123456789",
        ),
        // One empty line between requests is forgiven.
        _ => (b"Content-Length: 2\r\n\r\n\xff\x00\r\n", b"\xff\x00"),
    };
    Sample { bytes: [head.as_bytes(), rest].concat(), line, body: body.to_vec() }
}

/// Sends `samples` as one stream, cut at `cuts`, and checks what was seen and answered.
async fn passes(samples: &[Sample], cuts: &[usize]) {
    let gate = Gate::plain(settings()).await;
    let stream = samples.iter().flat_map(|sample| sample.bytes.clone()).collect::<Vec<_>>();
    let mut wire = gate.connect().await;
    wire.stream.set_nodelay(true).unwrap();
    let mut start = 0;
    for end in cuts.iter().copied().chain([stream.len()]) {
        let end = end.clamp(start, stream.len());
        wire.send(&stream[start..end]).await;
        tokio::task::yield_now().await;
        start = end;
    }
    for sample in samples {
        let answer = wire.answer().await.expect("an answer for each request");
        assert_eq!((answer.status, &answer.body), (200, &sample.line));
    }
    let seen = gate.log.seen.lock().unwrap().clone();
    let seen = seen.into_iter().map(|seen| (seen.line, seen.body)).collect::<Vec<_>>();
    let sent = samples.iter().map(|s| (s.line.clone(), s.body.clone())).collect::<Vec<_>>();
    assert_eq!(seen, sent);
}

#[tokio::test]
async fn twenty_requests_in_one_segment_and_byte_by_byte() {
    let samples = (0..20_u8).map(|n| sample(n.into(), n % 7)).collect::<Vec<_>>();
    passes(&samples, &[]).await;
    let length = samples.iter().map(|sample| sample.bytes.len()).sum();
    passes(&samples, &(0..length).collect::<Vec<_>>()).await;
}

#[test]
fn any_cut_gives_the_same_requests() {
    let runtime = Runtime::new().unwrap();
    let config =
        ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    let streams = (
        proptest::collection::vec(0..7_u8, 1..12),
        proptest::collection::vec(0..1500_usize, 0..40),
    );
    proptest!(config, |((kinds, mut cuts) in streams)| {
        cuts.sort_unstable();
        let samples = kinds.iter().enumerate().map(|(n, kind)| sample(n, *kind));
        runtime.block_on(passes(&samples.collect::<Vec<_>>(), &cuts));
    });
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let gate = Gate::plain(settings()).await;
    let body = (0..3_000_000_u32).map(|n| n.to_be_bytes()[3]).collect::<Vec<_>>();
    let chunked = body.chunks(70_000).fold(Vec::new(), |mut out, chunk| {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
        out
    });
    let mut wire = gate.connect().await;
    wire.send(format!("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()))
        .await;
    wire.send(&body).await;
    assert_eq!(wire.answer().await.unwrap().status, 200);
    wire.send("POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    wire.send(&chunked).await;
    wire.send("0\r\n\r\n").await;
    assert_eq!(wire.answer().await.unwrap().status, 200);
    assert_eq!(wire.get("/3").await.unwrap().status, 200);
    let seen = gate.log.seen.lock().unwrap().clone();
    assert!(seen[0].body == body && seen[1].body == body && seen[2].body.is_empty());
}

#[tokio::test]
async fn the_expectation_of_a_go_ahead_is_met() {
    let gate = Gate::plain(settings()).await;
    let mut wire = gate.connect().await;
    wire.send("POST /1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        .await;
    assert_eq!(wire.answer().await.unwrap().status, 100);
    wire.send("hi").await;
    assert_eq!(wire.answer().await.unwrap().body, "POST /1");
}

#[tokio::test]
async fn http_1_0_is_served_without_a_host() {
    let gate = Gate::plain(settings()).await;
    let mut wire = gate.connect().await;
    wire.send("GET /old HTTP/1.0\r\n\r\n").await;
    assert_eq!(wire.answer().await.unwrap().status, 200);
    assert!(wire.answer().await.is_none());
}

/// The answer reaches a client that is still sending when it comes.
#[tokio::test]
async fn an_early_answer_is_not_lost() {
    let gate = Gate::plain(settings()).await;
    let mut wire = gate.connect().await;
    let head = format!("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 4 << 20);
    wire.send(head).await;
    for _ in 0..64 {
        wire.send(vec![0; 64 * 1024]).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(wire.answer().await.unwrap().body, "early");
}
