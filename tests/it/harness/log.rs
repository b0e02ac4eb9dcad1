//! Everything that this process logs, at the level and in the form that is the default.

use std::io;
use std::sync::{Mutex, Once};

use serde_json::Value;

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Sink;

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps what is logged from now on, by every scene and thread.
pub(crate) fn capture() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let lines = tracing_subscriber::fmt().json().flatten_event(true).with_current_span(false);
        lines.with_writer(|| Sink).init();
    });
}

/// All lines so far, of all scenes.
pub(crate) fn all_lines() -> String {
    String::from_utf8(LINES.lock().unwrap().clone()).unwrap()
}

/// What was logged after the first `from` bytes, of all scenes.
pub(crate) fn logged_from(from: usize) -> String {
    String::from_utf8(LINES.lock().unwrap()[from..].to_vec()).unwrap()
}

/// The lines about one request.
pub(crate) fn lines_of(request: &str) -> Vec<Value> {
    let lines: Vec<Value> = all_lines()
        .lines()
        .filter(|line| line.contains(request))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    lines.into_iter().filter(|line| line["request"] == request).collect()
}

/// The id under which the gateway logged what it answered here.
pub(crate) fn request_id(response: &reqwest::Response) -> String {
    response.headers()["x-request-id"].to_str().unwrap().to_owned()
}
