//! One connection, from its first byte to the reason for its end.
//!
//! hyper alone would keep several kinds of silent client for ever: one that sends nothing where HTTP/2
//! was agreed, half a preface, an idle HTTP/2 connection that answers pings. Each has an end here.

use std::convert::Infallible;
use std::error::Error as _;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::doors::exchanges::Exchanges;
use crate::doors::fault::Fault;
use crate::doors::framing::deadline::after;
use crate::doors::framing::guard::{Guard, Limits};
use crate::doors::framing::section::Bounds;
use crate::doors::metrics::Closed;
use crate::doors::preface::Preface;
use crate::doors::service::Service;
use crate::doors::settings::Settings;
use crate::peer::Peer;

/// How long an idle HTTP/1 connection may still bring a request once it should end. HTTP/1 has no
/// GOAWAY: a client in the middle of its work learns from the next answer, and only one that is
/// silent for this long can have a request cut off.
const FAREWELL: Duration = Duration::from_secs(1);
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// hyper's smallest is 8 KiB; the guard has bounded the head before.
const READ_BUFFER: usize = 64 * 1024;
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const SEND_BUFFER: usize = 256 * 1024;

/// How connections are served.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    limits: Limits,
    max_age: Duration,
    drain_timeout: Duration,
    max_streams: u32,
}

/// When the process wants connections to end.
#[derive(Clone, Debug)]
pub(crate) struct Endings {
    /// Finish what has begun.
    pub(crate) drain: CancellationToken,
    /// Now.
    pub(crate) kill: CancellationToken,
    /// The same as `drain`, because this connection's client is not believed any more.
    pub(crate) distrusted: CancellationToken,
}

impl Rules {
    /// The rules that `settings` state.
    pub(crate) fn new(settings: &Settings) -> Self {
        // The request line is a line, and no field.
        let lines = u16::from(settings.max_headers.get()).saturating_add(1);
        Self {
            limits: Limits {
                bounds: Bounds { bytes: settings.max_header_bytes.bytes(), lines },
                header_timeout: settings.header_timeout.get(),
                idle_timeout: settings.idle_timeout.get(),
            },
            max_age: settings.max_connection_age.get(),
            drain_timeout: settings.drain_timeout.get(),
            max_streams: settings.max_streams.get(),
        }
    }

    /// Serves HTTP/1 until the connection ends, and says why it did.
    pub(crate) async fn http1<S, H, F>(
        &self,
        io: S,
        peer: Peer,
        service: Service<H>,
        endings: Endings,
    ) -> Closed
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let exchanges = Exchanges::new();
        let guard = Guard::new(io, self.limits, Arc::clone(&exchanges));
        let metrics = service.metrics.clone();
        let mut builder = http1::Builder::new();
        // The guard has the head's deadline: hyper's would also run while a connection is idle.
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(READ_BUFFER.max(self.limits.bounds.bytes))
            .max_headers(usize::from(self.limits.bounds.lines));
        let serve = {
            let exchanges = Arc::clone(&exchanges);
            let distrusted = endings.distrusted.clone();
            service_fn(move |request| {
                let answer = service.answer(request, as_believed(&peer, &distrusted), &exchanges);
                async move { Ok::<_, Infallible>(answer.await) }
            })
        };
        let mut connection = pin!(builder.serve_connection(TokioIo::new(guard), serve));
        let mut age = pin!(sleep_until(after(Instant::now(), self.max_age)));
        // Both arms that end the connection only mark it: the next turn of the loop polls it, and the
        // guard acts on the mark.
        let end = loop {
            let leaving = exchanges.leaving().map(|(_, reason)| reason);
            tokio::select! {
                biased;
                end = connection.as_mut() => break Some(end),
                () = endings.kill.cancelled() => break None,
                () = endings.drain.cancelled(), if leaving.is_none() => {
                    exchanges.leave(after(Instant::now(), FAREWELL), Closed::Drain);
                }
                () = endings.distrusted.cancelled(), if leaving.is_none() => {
                    exchanges.leave(after(Instant::now(), FAREWELL), Closed::Distrusted);
                }
                () = age.as_mut(), if leaving.is_none() => {
                    exchanges.leave(after(Instant::now(), FAREWELL), Closed::Age);
                }
            }
        };
        if let Some(fault) = exchanges.fault() {
            metrics.fault(fault);
        }
        match (exchanges.fault(), exchanges.closed(), end) {
            (Some(Fault::HeadTimeout), _, _) => Closed::HeaderTimeout,
            (Some(Fault::Truncated), _, _) => Closed::Lost,
            (Some(_), _, _) => Closed::Malformed,
            (None, Some(reason), _) => reason,
            (None, None, None) => Closed::DrainTimeout,
            (None, None, Some(Err(error))) => why(&error),
            (None, None, Some(Ok(()))) => {
                exchanges.leaving().map_or(Closed::Peer, |(_, reason)| reason)
            }
        }
    }

    /// Serves HTTP/2 until the connection ends, and says why it did.
    pub(crate) async fn http2<S, H, F>(
        &self,
        io: S,
        peer: Peer,
        service: Service<H>,
        endings: Endings,
    ) -> Closed
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let exchanges = Exchanges::new();
        let greeted = CancellationToken::new();
        let io = Preface::watch(io, greeted.clone());
        let builder = self.http2_builder(service.work.clone());
        let serve = {
            let exchanges = Arc::clone(&exchanges);
            let distrusted = endings.distrusted.clone();
            service_fn(move |request| {
                let answer = service.answer(request, as_believed(&peer, &distrusted), &exchanges);
                async move { Ok::<_, Infallible>(answer.await) }
            })
        };
        let mut connection = pin!(builder.serve_connection(TokioIo::new(io), serve));
        let begun = Instant::now();
        let mut alarm = pin!(sleep_until(after(begun, self.limits.header_timeout)));
        let mut watch =
            Watch::Preface { greeted: greeted.clone(), until: after(begun, self.max_age) };
        // hyper would say goodbye before a request that comes right behind the preface, or wait for
        // a preface that never comes.
        let mut drain = pin!(async {
            greeted.cancelled().await;
            tokio::select! {
                () = endings.drain.cancelled() => Closed::Drain,
                () = endings.distrusted.cancelled() => Closed::Distrusted,
            }
        });
        loop {
            tokio::select! {
                biased;
                end = connection.as_mut() => return match (end, watch) {
                    (Ok(()), Watch::Preface { .. } | Watch::Idle { .. }) => Closed::Peer,
                    (Err(error), Watch::Preface { .. } | Watch::Idle { .. }) => why(&error),
                    // How the peer leaves when it was told to is its own affair.
                    (_, Watch::Leaving(reason)) => reason,
                },
                () = endings.kill.cancelled() => return Closed::DrainTimeout,
                reason = drain.as_mut(), if !watch.is_leaving() => {
                    watch = Watch::Leaving(reason);
                    connection.as_mut().graceful_shutdown();
                    alarm.as_mut().reset(after(Instant::now(), self.drain_timeout));
                }
                () = alarm.as_mut() => match watch.ring(&exchanges, self.limits.idle_timeout) {
                    Alarm::Wait(next, until) => {
                        watch = next;
                        alarm.as_mut().reset(until);
                    }
                    Alarm::Leave(reason) => {
                        watch = Watch::Leaving(reason);
                        connection.as_mut().graceful_shutdown();
                        alarm.as_mut().reset(after(Instant::now(), self.drain_timeout));
                    }
                    Alarm::Cut(reason) => return reason,
                },
            }
        }
    }

    fn http2_builder(&self, work: TaskTracker) -> http2::Builder<Tracked> {
        let mut builder = http2::Builder::new(Tracked(work));
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.max_streams)
            .max_header_list_size(u32::try_from(self.limits.bounds.bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(256)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        builder
    }
}

/// What an HTTP/2 connection's alarm is about.
#[derive(Clone, Debug)]
enum Watch {
    /// Whether the preface comes. The connection may live `until` then.
    Preface { greeted: CancellationToken, until: Instant },
    /// Whether requests come, and for how long it has lived.
    Idle { until: Instant },
    /// It said GOAWAY; whether the peer lets it go.
    Leaving(Closed),
}

/// What to do when the alarm rings.
enum Alarm {
    Wait(Watch, Instant),
    Leave(Closed),
    Cut(Closed),
}

impl Watch {
    const fn is_leaving(&self) -> bool {
        matches!(self, Self::Leaving(_))
    }

    fn ring(&self, exchanges: &Exchanges, idle_timeout: Duration) -> Alarm {
        let until = match self {
            Self::Leaving(reason) => return Alarm::Cut(*reason),
            Self::Preface { greeted, .. } if !greeted.is_cancelled() => {
                return Alarm::Cut(Closed::HeaderTimeout);
            }
            Self::Preface { until, .. } | Self::Idle { until } => *until,
        };
        let now = Instant::now();
        let idle_end = after(exchanges.idle_since().unwrap_or(now), idle_timeout);
        if until <= now {
            Alarm::Leave(Closed::Age)
        } else if idle_end <= now {
            Alarm::Leave(Closed::Idle)
        } else {
            Alarm::Wait(Self::Idle { until }, idle_end.min(until))
        }
    }
}

/// Runs HTTP/2's streams where the drain sees them.
#[derive(Clone, Debug)]
struct Tracked(TaskTracker);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tracked {
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

/// The peer, without its certificate once that is believed no longer: what is under way is answered, and what an ended
/// connection still brings is not let in by it.
fn as_believed(peer: &Peer, distrusted: &CancellationToken) -> Peer {
    let certificate = peer.certificate.clone().filter(|_| !distrusted.is_cancelled());
    Peer { certificate, ..peer.clone() }
}

fn why(error: &hyper::Error) -> Closed {
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.is::<io::Error>() {
            return Closed::Lost;
        }
        source = cause.source();
    }
    if error.is_timeout() {
        Closed::Unresponsive
    } else if error.is_parse() {
        Closed::Malformed
    } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        Closed::Lost
    } else {
        Closed::Protocol
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_certificate::ClientCertificate;
    use crate::peer::Protocol;

    #[test]
    fn whose_certificate_has_ended_comes_without_it() {
        let made = rcgen::generate_simple_self_signed(["ehr.example.org".to_owned()]).unwrap();
        let certificate = Arc::new(ClientCertificate::read(made.cert.der()).unwrap());
        let peer = Peer {
            address: "192.0.2.1:4711".parse().unwrap(),
            protocol: Protocol::Http2,
            tls: true,
            certificate: Some(certificate),
        };
        let distrusted = CancellationToken::new();
        assert!(as_believed(&peer, &distrusted).certificate.is_some());
        distrusted.cancel();
        let doubted = as_believed(&peer, &distrusted);
        assert!(doubted.certificate.is_none());
        assert_eq!((doubted.address, doubted.tls), (peer.address, true));
    }
}
