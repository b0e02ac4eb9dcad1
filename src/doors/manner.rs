//! How connections are met: what a reload can change while the listener goes on.
//!
//! A connection is met in the manner of the moment in which it is accepted, and keeps to it; but whose
//! client would not be let in any more is asked to end.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::doors::admission::Bounds;
use crate::doors::connection::Rules;
use crate::doors::error::BindError;
use crate::doors::metrics::Metrics;
use crate::doors::settings::Settings;
use crate::doors::tls::Tls;
use crate::peer::TrustedProxies;

const SMALLEST_HEAD: usize = 1024;
const LARGEST_HEAD: usize = 1024 * 1024;

/// One manner of meeting connections.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// Nothing where there is no TLS.
    pub(crate) tls: Option<Tls>,
    /// Who says in a header where its client is.
    pub(crate) proxies: TrustedProxies,
    /// How long everything before the first request may take.
    pub(crate) handshake_timeout: Duration,
    pub(crate) rules: Rules,
    pub(crate) bounds: Bounds,
    /// How long accepted requests may take at the end.
    pub(crate) drain_timeout: Duration,
}

impl Manner {
    /// Loads what `settings` name. Handshakes in flight are counted on from `before`.
    ///
    /// # Errors
    /// [`BindError`]: everything that can be wrong with the settings by themselves.
    pub(crate) fn new(
        settings: &Settings,
        clock: &Arc<dyn Clock>,
        before: Option<&Self>,
    ) -> Result<Self, BindError> {
        let head = settings.max_header_bytes.bytes();
        if !(SMALLEST_HEAD..=LARGEST_HEAD).contains(&head) {
            return Err(BindError::HeaderBytes(head));
        }
        Ok(Self {
            tls: Tls::new(settings, clock, before.and_then(|before| before.tls.as_ref()))?,
            proxies: settings.proxy_protocol_from.clone(),
            handshake_timeout: settings.handshake_timeout.get(),
            rules: Rules::new(settings),
            bounds: Bounds {
                all: settings.max_connections.get(),
                per_address: settings.max_connections_per_address.get(),
            },
            drain_timeout: settings.drain_timeout.get(),
        })
    }

    /// Tells until when the certificate is good, which revocation lists are heeded, and which of them say
    /// nothing any more.
    fn tell(&self, clock: &dyn Clock, metrics: &Metrics) {
        if let Some(shown) = self.tls.as_ref().and_then(Tls::shown) {
            metrics.shown(&shown.file, shown.not_after);
        }
        let lists = self.tls.as_ref().map_or(&[][..], Tls::lists);
        metrics.lists(lists);
        for list in lists.iter().filter(|list| list.next_update <= clock.now()) {
            tracing::warn!(
                file = %list.file.display(),
                authority = %list.issuer,
                ended = %list.next_update,
                "a revocation list has ended: certificates of its authority are refused until there is a newer one"
            );
        }
    }
}

/// How a listener meets connections from now on. Clones are of the same listener.
#[derive(Clone, Debug)]
pub struct Manners {
    present: watch::Sender<Arc<Manner>>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

/// What is ready to be put in the present manner's place.
#[derive(Debug)]
#[must_use = "nothing changes until it is put in place"]
pub struct Next(Manner);

impl Manners {
    /// Begins with this one.
    pub(crate) fn new(first: Manner, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        first.tell(clock.as_ref(), &metrics);
        Self { present: watch::Sender::new(Arc::new(first)), clock, metrics }
    }

    /// The present one.
    pub(crate) fn now(&self) -> Arc<Manner> {
        Arc::clone(&self.present.borrow())
    }

    /// Loads certificate, key and what client certificates are judged by anew. `listener.address` is not
    /// looked at: the listener stays.
    ///
    /// # Errors
    /// [`BindError`] says what to change.
    pub fn read(&self, settings: &Settings) -> Result<Next, BindError> {
        Manner::new(settings, &self.clock, Some(self.now().as_ref())).map(Next)
    }

    /// Meets connections in this manner from now on. Those that are open go on in theirs, except for those
    /// of clients whose certificates would not be taken any more: they are asked to end.
    pub fn put(&self, next: Next) {
        next.0.tell(self.clock.as_ref(), &self.metrics);
        self.present.send_replace(Arc::new(next.0));
    }

    /// The present one, and word of each that follows it.
    pub(crate) fn follow(&self) -> (Arc<Manner>, Following) {
        let mut later = self.present.subscribe();
        let present = Arc::clone(&later.borrow_and_update());
        (present, Following { later, clock: Arc::clone(&self.clock) })
    }
}

/// The manners that come after one.
#[derive(Debug)]
pub(crate) struct Following {
    later: watch::Receiver<Arc<Manner>>,
    clock: Arc<dyn Clock>,
}

impl Following {
    /// Returns once a manner comes in which a client with this chain would not be let in.
    pub(crate) async fn distrusts(mut self, chain: &[CertificateDer<'_>]) {
        while self.later.changed().await.is_ok() {
            let manner = Arc::clone(&self.later.borrow_and_update());
            let believes = |tls: &Tls| tls.believes(chain, self.clock.as_ref());
            if !manner.tls.as_ref().is_some_and(believes) {
                return;
            }
        }
        // The listener is gone, and nothing changes any more.
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::clock::SystemClock;
    use prometheus_client::registry::Registry;

    #[test]
    fn metrics_say_until_when_the_certificate_is_good_that_is_shown_now() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let write = |year| {
            let mut params = rcgen::CertificateParams::new(["gate.example".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let key = rcgen::KeyPair::generate().unwrap();
            std::fs::write(at("tls.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
            std::fs::write(at("tls.key"), key.serialize_pem()).unwrap();
        };
        write(2040);
        let settings = Settings {
            certificate_file: Some(at("tls.crt")),
            key_file: Some(at("tls.key")),
            ..Settings::default()
        };
        let (clock, mut registry): (Arc<dyn Clock>, _) =
            (Arc::new(SystemClock::new()), Registry::default());
        let metrics = Metrics::register(&mut registry);
        let shown = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            let series = "hookgate_certificate_not_after_timestamp_seconds{";
            let lines: Vec<_> = text.lines().filter(|line| line.starts_with(series)).collect();
            let [line] = lines.as_slice() else { panic!("{text}") };
            line.rsplit(' ').next().unwrap().to_owned()
        };
        let first = Manner::new(&settings, &clock, None).unwrap();
        let manners = Manners::new(first, clock, metrics);
        assert_eq!(shown(), "2208988800");
        write(2041);
        let next = manners.read(&settings).unwrap();
        assert_eq!(shown(), "2208988800", "the one from before is still shown");
        manners.put(next);
        assert_eq!(shown(), "2240611200");
    }
}
