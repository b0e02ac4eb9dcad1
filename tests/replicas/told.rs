//! What the processes said and what was done to them, for as long as it may explain something.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::leaks::credentials_in;

/// Lines of a log that are kept.
const LINES: usize = 20_000;
/// How long kills and notes are kept: longer than any case lives.
const MEMORY: Duration = Duration::from_secs(900);
/// What a gateway logs when it delivered and its store was away when it had to note so.
const NOT_NOTED: &str = "a delivery is done and could not be noted";
/// The same, and that it will try again as long as it lives.
const NOT_NOTED_YET: &str = "the end of a delivery could not be noted yet";

/// About one gateway, over all of its lives.
#[derive(Default)]
pub(crate) struct Told {
    lines: Mutex<VecDeque<String>>,
    kills: Mutex<VecDeque<Instant>>,
    ends: Mutex<VecDeque<Instant>>,
    not_noted: Mutex<VecDeque<Instant>>,
    not_noted_yet: Mutex<VecDeque<Instant>>,
    serving: Mutex<bool>,
    leaked: Mutex<Vec<String>>,
}

impl Told {
    pub(crate) fn line(&self, line: String) {
        self.leaked.lock().unwrap().extend(credentials_in(&line));
        if line.contains("\"message\":\"serving\"") {
            *self.serving.lock().unwrap() = true;
        }
        if line.contains(NOT_NOTED) {
            remember(&self.not_noted);
        }
        if line.contains(NOT_NOTED_YET) {
            remember(&self.not_noted_yet);
        }
        let mut lines = self.lines.lock().unwrap();
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// What it said and looks like a credential.
    pub(crate) fn leaked(&self) -> Vec<String> {
        self.leaked.lock().unwrap().clone()
    }

    /// Before each start.
    pub(crate) fn starts(&self) {
        *self.serving.lock().unwrap() = false;
    }

    pub(crate) fn is_serving(&self) -> bool {
        *self.serving.lock().unwrap()
    }

    /// It is about to be killed.
    pub(crate) fn killed(&self) {
        remember(&self.kills);
        remember(&self.ends);
    }

    /// It is about to be asked to end.
    pub(crate) fn terminated(&self) {
        remember(&self.ends);
    }

    /// Whether it was killed in this span.
    pub(crate) fn was_killed(&self, from: Instant, to: Instant) -> bool {
        any(&self.kills, from, to)
    }

    /// Whether it said in this span that a delivery could not be noted, or could not be noted yet and then
    /// ended within `patience`. Each line explains one.
    pub(crate) fn take_not_noted(&self, from: Instant, to: Instant, patience: Duration) -> bool {
        take(&self.not_noted, from, to + patience)
            || any(&self.ends, from, to + patience) && take(&self.not_noted_yet, from, to)
    }

    /// The last lines that have `part` in them.
    pub(crate) fn about(&self, part: &str) -> Vec<String> {
        self.lines.lock().unwrap().iter().filter(|line| line.contains(part)).cloned().collect()
    }

    /// The last lines of all.
    pub(crate) fn tail(&self, count: usize) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        lines.iter().skip(lines.len().saturating_sub(count)).cloned().collect()
    }
}

fn any(moments: &Mutex<VecDeque<Instant>>, from: Instant, to: Instant) -> bool {
    moments.lock().unwrap().iter().any(|moment| (from..=to).contains(moment))
}

fn take(moments: &Mutex<VecDeque<Instant>>, from: Instant, to: Instant) -> bool {
    let mut moments = moments.lock().unwrap();
    let found = moments.iter().position(|moment| (from..=to).contains(moment));
    found.and_then(|place| moments.remove(place)).is_some()
}

fn remember(moments: &Mutex<VecDeque<Instant>>) {
    let now = Instant::now();
    let mut moments = moments.lock().unwrap();
    while moments.front().is_some_and(|first| now - *first > MEMORY) {
        moments.pop_front();
    }
    moments.push_back(now);
}
