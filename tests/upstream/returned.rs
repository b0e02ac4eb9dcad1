//! HTTP/2 upstreams that give a request back: unread it is sent again, and otherwise not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hookgate::gateway::upstream::{AddressState, Settings, UpstreamError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{Gateway, settings};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END: u8 = 5;
const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn go_away(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

/// Reads frames until a request begins, and gives its stream.
async fn request(stream: &mut TcpStream) -> Option<u32> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length.try_into().unwrap()];
        stream.read_exact(&mut payload).await.ok()?;
        if head[3] == HEADERS {
            return Some(u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
        }
    }
}

/// Answers the first request with what `first` makes of its stream and closes; the later ones with 200.
async fn upstream(first: fn(u32) -> Vec<u8>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut preface = [0; 24];
                stream.read_exact(&mut preface).await.unwrap();
                stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
                while let Some(id) = request(&mut stream).await {
                    // 0x88 is ":status: 200" (RFC 7541, appendix A).
                    let ok = frame(HEADERS, END, id, &[0x88]);
                    let was_first = count.fetch_add(1, Ordering::SeqCst) == 0;
                    let answer = if was_first { first(id) } else { ok };
                    stream.write_all(&answer).await.unwrap();
                    if was_first {
                        break;
                    }
                }
                // Reads on, so that what was sent is not lost in a reset.
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    (url, requests)
}

#[tokio::test]
async fn what_was_given_back_unread_is_sent_again_and_is_no_failure() {
    let unread: [fn(u32) -> Vec<u8>; 3] = [
        |_| go_away(0, NO_ERROR),
        |_| go_away(0, CANCEL),
        |id| frame(RST_STREAM, 0, id, &REFUSED_STREAM.to_be_bytes()),
    ];
    for first in unread {
        let (url, requests) = upstream(first).await;
        let gateway = Gateway::with(&[Settings { http2: true, ..settings(&url) }], None);
        assert_eq!(gateway.hook().await.unwrap().status(), 200);
        assert_eq!(requests.load(Ordering::SeqCst), 2);
        let status = gateway.addresses().remove(0);
        assert_eq!((status.failures, status.state), (0, AddressState::Closed));
    }
}

#[tokio::test]
async fn what_may_have_been_read_is_not_sent_again() {
    let taken: [fn(u32) -> Vec<u8>; 4] = [
        |id| go_away(id, NO_ERROR),
        |id| go_away(id, REFUSED_STREAM),
        |id| frame(RST_STREAM, 0, id, &CANCEL.to_be_bytes()),
        |_| Vec::new(),
    ];
    for (number, first) in taken.into_iter().enumerate() {
        let (url, requests) = upstream(first).await;
        let gateway = Gateway::with(&[Settings { http2: true, ..settings(&url) }], None);
        let error = gateway.hook().await.unwrap_err();
        assert!(matches!(error, UpstreamError::Broken(_)), "{number}: {error}");
        assert_eq!(requests.load(Ordering::SeqCst), 1, "{number}");
    }
}
