//! The audit: one event for each security decision.
//!
//! Whoever decides something says so to an [`Audit`], which costs a place in a queue; a thread writes. By
//! default nothing waits for it, and what cannot be written is lost after a while, counted and told. Where the
//! operator wants no decision without its event, an answer waits until its events are on disk, and while they cannot
//! be written nothing is decided.

mod event;
mod settings;
mod metrics;
mod fhir;
mod line;
mod output;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::audit::output::{LogFile, Output};
use crate::audit::writer::{Message, Trouble, Writer};
use crate::clock::Clock;
use crate::entropy::{Entropy, draw};

pub use crate::audit::event::{About, Event, Outcome, Print, What};
pub use crate::audit::metrics::Metrics;
pub use crate::audit::settings::{AuditError, Format, Settings};

/// Messages that wait for the thread. It is far behind when they are so many.
const QUEUE: usize = 8 * 1024;
/// How long an answer waits for a disk that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The events could not be written, and have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("audit events cannot be written, and audit.required is set")]
pub struct Unaudited;

/// Where decisions are told. Clones write to one place.
#[derive(Clone, Debug, Default)]
pub struct Audit(Option<Arc<Line>>);

#[derive(Debug)]
struct Line {
    queue: SyncSender<Message>,
    next: AtomicU64,
    required: bool,
    clock: Arc<dyn Clock>,
    trouble: Trouble,
    metrics: Metrics,
}

impl Audit {
    /// Nothing is written.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Opens what `settings` name, and starts the thread. Nothing where they name nothing.
    ///
    /// # Errors
    /// [`AuditError`]
    pub fn open(
        settings: &Settings,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
        metrics: Metrics,
    ) -> Result<Self, AuditError> {
        settings.check()?;
        let output = match &settings.file {
            Some(path) => Output::File(LogFile::open(path)?),
            None if settings.stdout => Output::Stdout,
            None => return Ok(Self::off()),
        };
        let random = draw(entropy).map_err(|error| AuditError::System(error.to_string()))?;
        let (queue, messages) = sync_channel(QUEUE);
        let trouble = Trouble::default();
        let writer = Writer {
            messages,
            output,
            format: settings.format,
            durable: settings.required,
            run: uuid::Builder::from_random_bytes(random).into_uuid(),
            clock: Arc::clone(&clock),
            trouble: trouble.clone(),
            metrics: metrics.clone(),
        };
        thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| AuditError::System(error.to_string()))?;
        let (required, next) = (settings.required, AtomicU64::new(1));
        Ok(Self(Some(Arc::new(Line { queue, next, required, clock, trouble, metrics }))))
    }

    /// Says what is wrong with `settings` and the file they name, and makes nothing.
    ///
    /// # Errors
    /// [`AuditError`]
    pub fn check(settings: &Settings) -> Result<(), AuditError> {
        settings.check()?;
        settings.file.as_deref().map_or(Ok(()), output::check)
    }

    /// Whether anything is written. Where not, nothing need be gathered.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether decisions may be taken now.
    ///
    /// # Errors
    /// [`Unaudited`] where they have to be written and cannot be.
    pub fn ready(&self) -> Result<(), Unaudited> {
        match &self.0 {
            Some(line) if line.required && line.trouble.is_there() => Err(Unaudited),
            Some(_) | None => Ok(()),
        }
    }

    /// Why events cannot be written now, where that is so. `true` says that nothing is decided therefore.
    pub fn trouble(&self) -> Option<(String, bool)> {
        let line = self.0.as_ref()?;
        Some((format!("audit: {}", line.trouble.get()?), line.required))
    }

    /// Tells something that is in no request.
    pub fn note(&self, event: Event) {
        if let Some(line) = &self.0 {
            // Counted as lost where it is.
            let _ = line.send(None, vec![event], None);
        }
    }

    /// Tells what was decided in a request whose answer is ready. The answer may go out when this has returned.
    ///
    /// # Errors
    /// [`Unaudited`] where the events have to be written and are not.
    pub async fn note_all(&self, about: About, events: Vec<Event>) -> Result<(), Unaudited> {
        let Some(line) = self.0.as_ref().filter(|_| !events.is_empty()) else { return Ok(()) };
        let about = Some(Box::new(about));
        if !line.required {
            let _ = line.send(about, events, None);
            return Ok(());
        }
        let (tell, told) = oneshot::channel();
        line.send(about, events, Some(tell))?;
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false) | Err(_)) | Err(_) => Err(Unaudited),
        }
    }

    /// Writes what is waiting, and ends. What comes later is lost.
    pub async fn close(&self) {
        let Some(line) = self.0.as_ref() else { return };
        let (tell, told) = oneshot::channel();
        let queue = line.queue.clone();
        // The queue may be full, and its place slow: neither must keep the runtime.
        let closing = tokio::task::spawn_blocking(move || queue.send(Message::Close(tell)));
        let _ = closing.await;
        let _ = told.await;
    }
}

impl Line {
    fn send(
        &self,
        about: Option<Box<About>>,
        events: Vec<Event>,
        waiting: Option<oneshot::Sender<bool>>,
    ) -> Result<(), Unaudited> {
        let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
        let number = self.next.fetch_add(count, Ordering::Relaxed);
        let message = Message::Events { number, at: self.clock.now(), about, events, waiting };
        self.queue.try_send(message).map_err(|_full_or_closed| {
            self.metrics.lost(count);
            Unaudited
        })
    }
}

#[cfg(test)]
mod tests;
