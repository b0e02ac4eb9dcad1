//! What HTTP/2 refuses before a handler sees it (RFC 9113 section 8), on the bare wire.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::harness::{Gate, PATIENCE, settings};

const HEADERS: u8 = 1;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// RFC 7541 section 6.2.2: literal, not indexed, new name, no Huffman.
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            out.push(u8::try_from(text.len()).unwrap());
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

const GOOD: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", "/h2")];

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<u8> {
    fields(&[&GOOD[..], more].concat())
}

fn without(name: &str) -> Vec<u8> {
    let kept = GOOD.into_iter().filter(|(found, _)| *found != name).collect::<Vec<_>>();
    fields(&kept)
}

/// What became of the stream.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    Reset,
    Gone,
}

async fn fate(stream: &mut TlsStream<TcpStream>) -> Fate {
    loop {
        let mut head = [0; 9];
        if timeout(PATIENCE, stream.read_exact(&mut head)).await.expect("silence").is_err() {
            return Fate::Gone;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await.unwrap();
        match head[3] {
            // `:status: 200` is entry 8 of the static table.
            1 if payload.first() == Some(&0x88) => return Fate::Answered,
            1 | 3 => return Fate::Reset,
            7 => return Fate::Gone,
            _ => {}
        }
    }
}

async fn send(gate: &Gate, frames: &[u8]) -> Fate {
    let mut stream = gate.connect_tls(gate.client_config(&["h2"])).await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(&[preface, frames].concat()).await.unwrap();
    stream.flush().await.unwrap();
    fate(&mut stream).await
}

#[tokio::test]
async fn refuses_malformed_messages() {
    let gate = Gate::tls(settings()).await;
    let whole = END_STREAM | END_HEADERS;
    let post = |block: &[u8], body: &[u8]| {
        [frame(HEADERS, END_HEADERS, block), frame(DATA, END_STREAM, body)].concat()
    };
    assert_eq!(send(&gate, &frame(HEADERS, whole, &with(&[]))).await, Fate::Answered);
    assert_eq!(send(&gate, &post(&with(&[("content-length", "2")]), b"hi")).await, Fate::Answered);
    let accepted = gate.lines().len();
    for (name, frames) in [
        ("no method", frame(HEADERS, whole, &without(":method"))),
        ("no scheme", frame(HEADERS, whole, &without(":scheme"))),
        ("no path", frame(HEADERS, whole, &without(":path"))),
        ("empty path", frame(HEADERS, whole, &fields(&[GOOD[0], GOOD[1], GOOD[2], (":path", "")]))),
        ("two paths", frame(HEADERS, whole, &with(&[(":path", "/x")]))),
        ("unknown pseudo-header", frame(HEADERS, whole, &with(&[(":x", "y")]))),
        ("response pseudo-header", frame(HEADERS, whole, &with(&[(":status", "200")]))),
        (
            "late pseudo-header",
            frame(HEADERS, whole, &fields(&[GOOD[0], GOOD[1], ("x", "y"), GOOD[3]])),
        ),
        ("upper case", frame(HEADERS, whole, &with(&[("X-Y", "z")]))),
        ("line end in a value", frame(HEADERS, whole, &with(&[("x", "y\r\nz: a")]))),
        ("nul in a value", frame(HEADERS, whole, &with(&[("x", "y\0z")]))),
        ("blank in a name", frame(HEADERS, whole, &with(&[("x y", "z")]))),
        (
            "blank in the path",
            frame(HEADERS, whole, &fields(&[GOOD[0], GOOD[1], GOOD[2], (":path", "/a b")])),
        ),
        ("connection", frame(HEADERS, whole, &with(&[("connection", "close")]))),
        ("keep-alive", frame(HEADERS, whole, &with(&[("keep-alive", "x")]))),
        ("proxy-connection", frame(HEADERS, whole, &with(&[("proxy-connection", "x")]))),
        ("transfer-encoding", frame(HEADERS, whole, &with(&[("transfer-encoding", "chunked")]))),
        ("upgrade", frame(HEADERS, whole, &with(&[("upgrade", "h2c")]))),
        ("te", frame(HEADERS, whole, &with(&[("te", "gzip")]))),
        (
            "differing lengths",
            post(&with(&[("content-length", "2"), ("content-length", "3")]), b"hi"),
        ),
        ("too short", post(&with(&[("content-length", "3")]), b"hi")),
        ("too long", post(&with(&[("content-length", "1")]), b"hi")),
        ("length without body", frame(HEADERS, whole, &with(&[("content-length", "2")]))),
        ("no number", post(&with(&[("content-length", "+2")]), b"hi")),
    ] {
        let fate = send(&gate, &frames).await;
        assert_ne!(fate, Fate::Answered, "{name}");
    }
    assert_eq!(gate.lines().len(), accepted);
}

/// h2 drops what RFC 9113 section 8.1 forbids there, and does not say so: the request stays as its head
/// made it.
#[tokio::test]
async fn a_pseudo_header_in_trailers_changes_nothing() {
    let gate = Gate::tls(settings()).await;
    let frames = [
        frame(HEADERS, END_HEADERS, &with(&[])),
        frame(DATA, 0, b"hi"),
        frame(HEADERS, END_STREAM | END_HEADERS, &fields(&[(":path", "/other")])),
    ];
    assert_eq!(send(&gate, &frames.concat()).await, Fate::Answered);
    assert_eq!(gate.lines(), ["POST /h2"]);
}
