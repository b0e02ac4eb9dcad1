//! What listeners share: why the system refuses an address, said so that somebody can mend it, and the answering of
//! those that serve a few, one request on each connection.

use std::convert::Infallible;
use std::future::Future;
use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long to leave the system alone after it had no connection to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a listener for a few takes on.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections open at once; one more is closed as soon as it is accepted.
    pub connections: usize,
    /// The most fields in a request's head.
    pub headers: usize,
    /// What is read of a request at a time, and so the largest head, in bytes.
    pub buffer: usize,
    /// How long a connection has for its head, and for all of it.
    pub deadline: Duration,
}

/// Answers one request on each connection, until `stop` is cancelled. Open connections are dropped then.
pub async fn answer_each<H, F>(
    listener: TcpListener,
    bounds: Bounds,
    handle: H,
    stop: CancellationToken,
) where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let free = Arc::new(Semaphore::new(bounds.connections));
    let accept = async {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let Ok(place) = Arc::clone(&free).try_acquire_owned() else { continue };
            let (handle, stop) = (handle.clone(), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = converse(stream, bounds, handle) => {}
                    () = stop.cancelled() => {}
                }
                drop(place);
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = stop.cancelled() => {}
    }
}

async fn converse<H, F>(stream: TcpStream, bounds: Bounds, handle: H)
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    let serve = service_fn(|request| {
        let answer = handle(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.deadline)
        .max_buf_size(bounds.buffer)
        .max_headers(bounds.headers)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), serve);
    // Whoever went away has nothing to be told.
    let _ = timeout(bounds.deadline, connection).await;
}

/// What is wrong, and what to do about it.
pub fn why(refusal: &Error) -> String {
    let advice = [
        (ErrorKind::AddrInUse, "`ss -ltnp` says who has it: stop that, or write another port"),
        (
            ErrorKind::PermissionDenied,
            "ports below 1024 are for root: let systemd's socket open it, give CAP_NET_BIND_SERVICE, or write \
             another port",
        ),
        (
            ErrorKind::AddrNotAvailable,
            "no interface of this machine has that address: write one that is its own, or 0.0.0.0 for all",
        ),
    ];
    let known = advice.iter().find(|(kind, _)| *kind == refusal.kind());
    known.map_or_else(|| refusal.to_string(), |(_, advice)| format!("{refusal}; {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn says_what_to_do() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = TcpListener::bind(holder.local_addr().unwrap()).unwrap_err();
        assert!(why(&taken).contains("`ss -ltnp`"), "{}", why(&taken));
        // TEST-NET-1 (RFC 5737): nobody's.
        let foreign = TcpListener::bind("192.0.2.1:0").unwrap_err();
        assert!(why(&foreign).contains("0.0.0.0"), "{}", why(&foreign));
        assert!(why(&Error::from(ErrorKind::PermissionDenied)).contains("CAP_NET_BIND_SERVICE"));
        assert_eq!(why(&Error::other("else")), "else");
    }
}
