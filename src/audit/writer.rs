//! The thread that writes events, so that no call waits for a disk unless it wants to.
//!
//! It takes whatever is waiting and writes it in one go. What cannot be written is kept, up to a bound, and tried
//! again every second.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::audit::event::{About, Event, Stamp, What};
use crate::audit::line;
use crate::audit::metrics::Metrics;
use crate::audit::output::Output;
use crate::audit::settings::Format;
use crate::clock::{Clock, UnixTime};

/// Messages that are written in one go.
const AT_ONCE: usize = 1024;
/// Text that is kept while it cannot be written: some ten thousand events.
const ROOM: usize = 4 * 1024 * 1024;
/// How soon a place that failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What the thread is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// Events of one moment.
    Events {
        /// The number of the first of them.
        number: u64,
        /// When they happened.
        at: UnixTime,
        /// In which request.
        about: Option<Box<About>>,
        /// What happened.
        events: Vec<Event>,
        /// To whom to say whether they are written.
        waiting: Option<oneshot::Sender<bool>>,
    },
    /// Write what is there and end.
    Close(oneshot::Sender<()>),
}

/// Why events cannot be written now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    /// The reason, where there is one.
    pub(crate) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn is_there(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn set(&self, to: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }
}

/// What the thread has.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) messages: Receiver<Message>,
    pub(crate) output: Output,
    pub(crate) format: Format,
    pub(crate) durable: bool,
    pub(crate) run: Uuid,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) trouble: Trouble,
    pub(crate) metrics: Metrics,
}

/// What waits to be written.
#[derive(Debug, Default)]
struct Batch {
    text: Vec<u8>,
    events: u64,
    waiting: Vec<oneshot::Sender<bool>>,
    lost: u64,
    closing: Option<oneshot::Sender<()>>,
}

impl Writer {
    /// Writes until it is told to close, or nobody is left who could tell it anything.
    pub(crate) fn run(mut self) {
        let mut batch = Batch::default();
        loop {
            let first = if batch.text.is_empty() {
                self.messages.recv().map_err(RecvTimeoutError::from)
            } else {
                self.messages.recv_timeout(PAUSE)
            };
            match first {
                Ok(message) => self.collect(message, &mut batch),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.write(&mut batch);
            if let Some(closed) = batch.closing.take() {
                self.leave(&batch);
                // Whoever wanted it closed may have gone.
                let _ = closed.send(());
                return;
            }
        }
        self.write(&mut batch);
        self.leave(&batch);
    }

    fn collect(&self, first: Message, batch: &mut Batch) {
        let others = self.messages.try_iter().take(AT_ONCE);
        for message in std::iter::once(first).chain(others) {
            match message {
                Message::Events { number, at, about, events, waiting } => {
                    batch.waiting.extend(waiting);
                    for (number, event) in (number..).zip(&events) {
                        let stamp = Stamp { run: self.run, number, at };
                        self.add(stamp, about.as_deref(), event, batch);
                    }
                }
                Message::Close(closed) => {
                    batch.closing = Some(closed);
                    return;
                }
            }
        }
    }

    fn add(&self, stamp: Stamp, about: Option<&About>, event: &Event, batch: &mut Batch) {
        if batch.text.len() >= ROOM {
            batch.lost += 1;
            self.metrics.lost(1);
            return;
        }
        line::append(&mut batch.text, self.format, stamp, about, event);
        batch.events += 1;
    }

    fn write(&mut self, batch: &mut Batch) {
        if batch.text.is_empty() {
            return;
        }
        let result = self.output.append(&batch.text, self.durable);
        let written = result.is_ok();
        match result {
            Ok(()) => {
                self.metrics.written(batch.events);
                (batch.events, batch.text) = (0, Vec::new());
                self.recover(batch);
            }
            Err((whole, error)) => {
                batch.text.drain(..whole);
                self.fail(&error.to_string());
            }
        }
        for waiting in batch.waiting.drain(..) {
            // Whoever waited may have given up.
            let _ = waiting.send(written);
        }
    }

    fn fail(&self, error: &str) {
        if !self.trouble.is_there() {
            tracing::error!(error, "audit events cannot be written");
        }
        self.metrics.trouble.set(1);
        self.trouble.set(Some(error.to_owned()));
    }

    /// It works again: what is missing is said in its place.
    fn recover(&mut self, batch: &mut Batch) {
        if !self.trouble.is_there() {
            return;
        }
        if batch.lost > 0 {
            let stamp = Stamp { run: self.run, number: 0, at: self.clock.now() };
            let lost = Event::new(What::EventsLost(batch.lost));
            let mut text = Vec::new();
            line::append(&mut text, self.format, stamp, None, &lost);
            let told = self.output.append(&text, self.durable);
            // It is told, or stands in what is written next: those lost meanwhile are counted anew.
            batch.lost = 0;
            if let Err((whole, error)) = told {
                text.drain(..whole);
                batch.text = text;
                self.fail(&error.to_string());
                return;
            }
        }
        tracing::info!("audit events are written again");
        self.metrics.trouble.set(0);
        self.trouble.set(None);
    }

    fn leave(&self, batch: &Batch) {
        if batch.events > 0 {
            tracing::error!(events = batch.events, "audit events are lost: they cannot be written");
            self.metrics.lost(batch.events);
        }
        if let Err(error) = self.output.sync() {
            tracing::error!(%error, "the last audit events may not be on disk");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    use crate::audit::output::LogFile;
    use crate::clock::ManualClock;

    #[test]
    fn what_is_lost_is_told_once_also_where_telling_it_fails() {
        let folder = tempfile::tempdir().unwrap();
        let (logs, away) = (folder.path().join("logs"), folder.path().join("away"));
        fs::create_dir(&logs).unwrap();
        let path = logs.join("audit");
        let (_tell, messages) = std::sync::mpsc::channel();
        let mut writer = Writer {
            messages,
            output: Output::File(LogFile::open(&path).unwrap()),
            format: Format::Ndjson,
            durable: true,
            run: Uuid::nil(),
            clock: Arc::new(ManualClock::new(UnixTime::from_millis(1_795_456_800_123))),
            trouble: Trouble::default(),
            metrics: Metrics::default(),
        };
        writer.fail("the disk is full");
        let mut batch = Batch { lost: 3, ..Batch::default() };
        fs::rename(&logs, &away).unwrap();
        writer.recover(&mut batch);
        assert!(writer.trouble.is_there());
        // Meanwhile another is lost.
        batch.lost += 1;
        fs::rename(&away, &logs).unwrap();
        writer.write(&mut batch);
        assert!(!writer.trouble.is_there() && batch.text.is_empty() && batch.lost == 0);
        let told: Vec<u64> = fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| line["events"].as_u64().unwrap())
            .collect();
        assert_eq!(told, [3, 1]);
    }
}
