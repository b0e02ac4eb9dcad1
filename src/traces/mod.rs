//! Traces: which part of a request's time went where, told to a collector by OTLP.
//!
//! A request that is answered costs a place in a queue and nothing else; a task beside the calls sends. When
//! the collector is away, spans are dropped and counted.

mod settings;
mod metrics;
mod otlp;
mod finished;
mod collector;

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use http::StatusCode;
use prost::Message;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::Clock;
use crate::entropy::{Entropy, draw};
use crate::record::Record;
use crate::trace::{Sampling, Trace};
use crate::traces::collector::{Collector, ExportError};
use crate::traces::finished::Finished;
use crate::traces::metrics::Fate;
use crate::traces::otlp::{Request, Resource, ResourceSpans, Scope, ScopeSpans, text};

pub use crate::traces::metrics::Metrics;
pub use crate::traces::settings::{Settings, TracesError};

/// Requests that wait to be sent.
const QUEUE: usize = 2048;
/// Requests that are sent at once.
const AT_ONCE: usize = 256;
/// How long the first of them waits for others.
const GATHER: Duration = Duration::from_secs(5);
/// How often a collector that is away is tried before its spans are dropped.
const TRIES: usize = 5;
/// How long all that is left may take at the end.
const LAST_TRY: Duration = Duration::from_secs(2);

/// Where requests that are answered are told. Clones tell one collector.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Line>>);

#[derive(Debug)]
struct Line {
    queue: Sender<Finished>,
    sampling: Sampling,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

/// Sends what is told.
#[derive(Debug)]
pub struct Exporter {
    queue: Receiver<Finished>,
    collector: Collector,
    resource: Resource,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    metrics: Metrics,
    away: bool,
}

impl Traces {
    /// Nothing is recorded.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Gets ready to tell the collector that `settings` name, and gives who does it.
    ///
    /// # Errors
    /// [`TracesError`]
    pub fn open(
        settings: &Settings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        metrics: Metrics,
    ) -> Result<(Self, Option<Exporter>), TracesError> {
        settings.check()?;
        let Some(endpoint) = &settings.endpoint else { return Ok((Self::off(), None)) };
        let collector = Collector::new(settings, endpoint)?;
        let random =
            draw(entropy.as_ref()).map_err(|error| TracesError::System(error.to_string()))?;
        let instance = uuid::Builder::from_random_bytes(random).into_uuid();
        let (queue, waiting) = channel(QUEUE);
        let exporter = Exporter {
            queue: waiting,
            collector,
            resource: resource(settings, instance),
            clock: Arc::clone(&clock),
            entropy,
            metrics: metrics.clone(),
            away: false,
        };
        let sampling = Sampling::new(settings.sample);
        Ok((Self(Some(Arc::new(Line { queue, sampling, clock, metrics }))), Some(exporter)))
    }

    /// Says what is wrong with `settings` and the files they name.
    ///
    /// # Errors
    /// [`TracesError`]
    pub fn check(settings: &Settings) -> Result<(), TracesError> {
        settings.check()?;
        match &settings.endpoint {
            Some(endpoint) => Collector::new(settings, endpoint).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Which of the traces that begin here are recorded.
    pub fn sampling(&self) -> Sampling {
        self.0.as_ref().map_or(Sampling::NEVER, |line| line.sampling)
    }

    /// Whether this trace is recorded.
    pub fn wants(&self, trace: &Trace) -> bool {
        self.0.is_some() && trace.is_sampled()
    }

    /// Tells the request of `record`, which is answered now, where its trace is recorded.
    pub fn finish(&self, record: &Record, status: StatusCode) {
        let Some(line) = &self.0 else { return };
        let Some(finished) = Finished::new(record, status, line.clock.as_ref()) else { return };
        let spans = finished.len();
        if line.queue.try_send(finished).is_err() {
            line.metrics.count(Fate::Dropped, spans);
        }
    }
}

/// A while after `stop`.
async fn after(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LAST_TRY).await;
}

fn resource(settings: &Settings, instance: Uuid) -> Resource {
    let mut attributes = vec![
        text("service.name", settings.service_name.as_str()),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", instance.to_string()),
    ];
    attributes.extend(settings.attributes.iter().map(|(key, value)| text(key, value.as_str())));
    Resource { attributes }
}

impl Exporter {
    /// Sends until `stop`, and then what is left.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(batch) = self.gather(&stop).await {
            self.send(batch, &stop).await;
            if stop.is_cancelled() {
                break;
            }
        }
        self.queue.close();
        let left = async {
            while let Some(batch) = self.gather(&stop).await {
                self.send(batch, &stop).await;
            }
        };
        if tokio::time::timeout(LAST_TRY, left).await.is_err() {
            let mut lost = 0;
            while let Ok(finished) = self.queue.try_recv() {
                lost += finished.len();
            }
            self.metrics.count(Fate::Failed, lost);
        }
    }

    /// The next requests to send; nothing where there are no more and the end has come.
    async fn gather(&mut self, stop: &CancellationToken) -> Option<Vec<Finished>> {
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            first = self.queue.recv() => batch.push(first?),
            () = stop.cancelled() => return None,
        }
        let clock = Arc::clone(&self.clock);
        let mut enough = clock.sleep(GATHER);
        while batch.len() < AT_ONCE {
            tokio::select! {
                biased;
                next = self.queue.recv() => match next {
                    Some(next) => batch.push(next),
                    None => break,
                },
                () = &mut enough => break,
                () = stop.cancelled() => break,
            }
        }
        Some(batch)
    }

    async fn send(&mut self, batch: Vec<Finished>, stop: &CancellationToken) {
        let all: usize = batch.iter().map(Finished::len).sum();
        let Some(body) = self.encode(&batch) else {
            self.metrics.count(Fate::Failed, all);
            return;
        };
        let mut pauses = ExponentialBuilder::new().with_max_times(TRIES - 1).build();
        loop {
            let taken = tokio::select! {
                taken = self.collector.take(body.clone()) => taken,
                () = after(stop) => Err(ExportError::Later("the collector does not answer".to_owned())),
            };
            let error = match taken {
                Ok(rejected) => {
                    self.metrics.count(Fate::Rejected, rejected);
                    self.metrics.count(Fate::Exported, all.saturating_sub(rejected));
                    self.tell(None);
                    return;
                }
                Err(error) => error,
            };
            self.tell(Some(&error));
            let pause = pauses.next().filter(|_| matches!(error, ExportError::Later(_)));
            let Some(pause) = pause.filter(|_| !stop.is_cancelled()) else {
                self.metrics.count(Fate::Failed, all);
                return;
            };
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    fn encode(&self, batch: &[Finished]) -> Option<Bytes> {
        let mut spans = Vec::new();
        for finished in batch {
            spans.extend(finished.spans(self.entropy.as_ref()).ok()?);
        }
        let scope =
            Scope { name: "hookgate".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
        let resource = Some(self.resource.clone());
        let request = Request { resource_spans: vec![ResourceSpans { resource, scope_spans }] };
        Some(request.encode_to_vec().into())
    }

    /// Says once that spans are not taken, and once that they are again.
    fn tell(&mut self, error: Option<&ExportError>) {
        match error {
            Some(error) if !self.away => tracing::warn!(%error, "traces are not taken"),
            None if self.away => tracing::info!("traces are taken again"),
            Some(_) | None => {}
        }
        self.away = error.is_some();
    }
}
