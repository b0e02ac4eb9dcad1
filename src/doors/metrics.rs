//! What the listener counts.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::clock::UnixTime;
use crate::doors::client_trust::List;
use crate::doors::fault::Fault;
use crate::doors::handshake::Failure;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Closed {
    /// The peer ended it, or asked for its end, in an orderly way.
    Peer,
    /// The network ended it, or the peer did so in the middle of something.
    Lost,
    /// No request for too long.
    Idle,
    /// It was open for as long as a connection may be.
    Age,
    /// The process is shutting down.
    Drain,
    /// The process is shutting down, and this one did not finish in time.
    DrainTimeout,
    /// The listener holds as many connections as it may.
    Full,
    /// The peer's address holds as many connections as it may.
    AddressFull,
    /// The TLS handshake took too long.
    HandshakeTimeout,
    /// The TLS handshake failed.
    HandshakeFailed,
    /// A balancer's connection did not begin with a usable PROXY protocol header.
    ProxyHeader,
    /// The certificate that its client showed is not believed any more.
    Distrusted,
    /// A request's head, or HTTP/2's preface, took too long.
    HeaderTimeout,
    /// The peer did not read its answer.
    WriteStalled,
    /// The peer did not answer HTTP/2 pings.
    Unresponsive,
    /// An HTTP/1 request could not be read in exactly one way.
    Malformed,
    /// The peer broke the protocol in another way.
    Protocol,
}

impl Closed {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Lost => "lost",
            Self::Idle => "idle",
            Self::Age => "age",
            Self::Drain => "drain",
            Self::DrainTimeout => "drain_timeout",
            Self::Full => "full",
            Self::AddressFull => "address_full",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::HandshakeFailed => "handshake_failed",
            Self::ProxyHeader => "proxy_header",
            Self::Distrusted => "distrusted",
            Self::HeaderTimeout => "header_timeout",
            Self::WriteStalled => "write_stalled",
            Self::Unresponsive => "unresponsive",
            Self::Malformed => "malformed",
            Self::Protocol => "protocol",
        }
    }
}

impl EncodeLabelValue for Closed {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.as_str().encode(encoder)
    }
}

impl EncodeLabelValue for Failure {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.as_str().encode(encoder)
    }
}

impl EncodeLabelValue for Fault {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.as_str().encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClosedLabels {
    reason: Closed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabels {
    fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    reason: Failure,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FileLabels {
    file: String,
}

impl FileLabels {
    fn of(file: &Path) -> Self {
        Self { file: file.display().to_string() }
    }
}

fn moment(time: UnixTime) -> i64 {
    i64::try_from(time.secs()).unwrap_or(i64::MAX)
}

/// The listener's counters. Clones count into the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    open: Gauge,
    accepted: Counter,
    accept_errors: Counter,
    closed: Family<ClosedLabels, Counter>,
    handshakes_failed: Family<FailureLabels, Counter>,
    shown: Family<FileLabels, Gauge>,
    lists: Family<FileLabels, Gauge>,
    faults: Family<FaultLabels, Counter>,
    panics: Counter,
}

impl Metrics {
    /// Adds the listener's families to `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "hookgate_connections_open",
            "Connections open now",
            metrics.open.clone(),
        );
        registry.register(
            "hookgate_connections_accepted",
            "Connections accepted, those closed at once included",
            metrics.accepted.clone(),
        );
        registry.register(
            "hookgate_accept_errors",
            "Times the system could not hand over a connection, for want of file descriptors mostly",
            metrics.accept_errors.clone(),
        );
        registry.register(
            "hookgate_connections_closed",
            "Connections ended, by reason",
            metrics.closed.clone(),
        );
        registry.register(
            "hookgate_handshakes_failed",
            "TLS handshakes that failed, by reason",
            metrics.handshakes_failed.clone(),
        );
        registry.register(
            "hookgate_certificate_not_after_timestamp_seconds",
            "When the listener's certificate, or one of those that vouch for it, ends, in Unix time",
            metrics.shown.clone(),
        );
        registry.register(
            "hookgate_client_crl_next_update_timestamp_seconds",
            "When the revocation lists of a file end, the earliest of them, in Unix time",
            metrics.lists.clone(),
        );
        registry.register(
            "hookgate_request_faults",
            "HTTP/1 requests refused for their framing, by fault",
            metrics.faults.clone(),
        );
        registry.register(
            "hookgate_request_panics",
            "Requests whose processing panicked: each is a defect",
            metrics.panics.clone(),
        );
        metrics
    }

    /// A connection was accepted.
    pub(crate) fn accepted(&self) {
        self.accepted.inc();
        self.open.inc();
    }

    /// A connection that was [`accepted`](Self::accepted) ended.
    pub(crate) fn closed(&self, reason: Closed) {
        self.open.dec();
        self.closed.get_or_create(&ClosedLabels { reason }).inc();
    }

    /// A TLS handshake failed.
    pub(crate) fn handshake_failed(&self, reason: Failure) {
        self.handshakes_failed.get_or_create(&FailureLabels { reason }).inc();
    }

    /// These revocation lists are in use, and no others.
    pub(crate) fn lists(&self, lists: &[List]) {
        self.lists.clear();
        let mut ends = BTreeMap::new();
        for list in lists {
            let end = ends.entry(&list.file).or_insert(list.next_update);
            *end = list.next_update.min(*end);
        }
        for (file, end) in ends {
            self.lists.get_or_create(&FileLabels::of(file)).set(moment(end));
        }
    }

    /// This certificate is shown, and no other.
    pub(crate) fn shown(&self, file: &Path, not_after: UnixTime) {
        self.shown.clear();
        self.shown.get_or_create(&FileLabels::of(file)).set(moment(not_after));
    }

    /// The system had no connection for us though it said so.
    pub(crate) fn accept_error(&self) {
        self.accept_errors.inc();
    }

    /// A request was refused.
    pub(crate) fn fault(&self, fault: Fault) {
        self.faults.get_or_create(&FaultLabels { fault }).inc();
    }

    /// A request's processing panicked.
    pub(crate) fn panicked(&self) {
        self.panics.inc();
    }
}
