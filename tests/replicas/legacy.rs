//! The service behind the gateways: it gives cards, takes reports, and notes for each case what came.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hookgate::demo::server::{Server, json as answer};
use http::{Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::dice::Dice;
use crate::ehr::hook_instance;

/// A report that the service took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taking {
    pub(crate) entry: u64,
    pub(crate) attempt: u64,
    pub(crate) at: Instant,
}

/// What came about one case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// How often each token let a call in.
    pub(crate) calls: HashMap<u64, u32>,
    pub(crate) takings: Vec<Taking>,
    /// What was about something else than it said.
    pub(crate) wrong: Vec<String>,
}

/// All that is noted.
struct Notes {
    cases: Mutex<HashMap<u64, Seen>>,
    strays: AtomicU64,
    dice: Dice,
}

/// The running service.
pub(crate) struct Legacy {
    server: Server,
    notes: Arc<Notes>,
}

impl Legacy {
    pub(crate) async fn start(dice: Dice) -> Self {
        let notes = Arc::new(Notes { cases: Mutex::default(), strays: AtomicU64::new(0), dice });
        let noting = Arc::clone(&notes);
        let server = Server::start(move |request| serve(Arc::clone(&noting), request));
        Self { server: server.await.unwrap(), notes }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// From now on it is noted what comes about this case.
    pub(crate) fn open(&self, case: u64) {
        self.notes.cases.lock().unwrap().insert(case, Seen::default());
    }

    /// What has come so far.
    pub(crate) fn seen(&self, case: u64) -> Seen {
        self.notes.cases.lock().unwrap()[&case].clone()
    }

    /// Ends the notes. What comes about this case from now on is a stray.
    pub(crate) fn close(&self, case: u64) -> Seen {
        self.notes.cases.lock().unwrap().remove(&case).unwrap()
    }

    /// What came about cases that were closed, or never were.
    pub(crate) fn strays(&self) -> u64 {
        self.notes.strays.load(Ordering::Relaxed)
    }
}

impl Notes {
    fn note(&self, case: &Value, noting: impl FnOnce(&mut Seen)) {
        let mut cases = self.cases.lock().unwrap();
        match case.as_u64().and_then(|case| cases.get_mut(&case)) {
            Some(seen) => noting(seen),
            None => {
                self.strays.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// It does something for a while, so that others can do something meanwhile.
    async fn work(&self) {
        let time = if self.dice.once_in(4) { self.dice.millis(0, 40) } else { Duration::ZERO };
        tokio::time::sleep(time).await;
    }
}

async fn serve(notes: Arc<Notes>, request: Request<Bytes>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let instance = request.headers().get("x-hookgate-hook-instance").cloned();
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    notes.work().await;
    if path.ends_with("/feedback") || path.contains("/analytics/") {
        // Now and then it is too busy for reports, and takes nothing.
        if notes.dice.once_in(20) {
            return answer(503, "{}".to_owned());
        }
        notes.note(&body["case"], |seen| {
            let case = body["case"].as_u64().unwrap();
            let (given, asked) = subject(&path, &body, case);
            let instance = instance.and_then(|i| i.to_str().map(str::to_owned).ok());
            if given != asked || instance.as_deref() != Some(&hook_instance(case)) {
                seen.wrong.push(format!("{path} of {instance:?}: {body}"));
            }
            let entry = &body["feedback"][0]["number"];
            let entry = entry.as_u64().or_else(|| body["number"].as_u64()).unwrap();
            let attempt = body["attempt"].as_u64().unwrap();
            seen.takings.push(Taking { entry, attempt, at: Instant::now() });
        });
        notes.work().await;
        return answer(200, "{}".to_owned());
    }
    let (case, token) = (&body["context"]["case"], &body["context"]["token"]);
    notes.note(case, |seen| *seen.calls.entry(token.as_u64().unwrap()).or_default() += 1);
    notes.work().await;
    answer(200, cards(case.as_u64().unwrap()))
}

/// The id that a report is about, and the one that it should be about.
fn subject(path: &str, body: &Value, case: u64) -> (String, String) {
    match body["feedback"][0]["card"].as_str() {
        Some(card) => (card.to_owned(), format!("card-{case}")),
        None => {
            let id = path.rsplit('/').next().unwrap_or_default().to_owned();
            (id, format!("suggestion-{case}"))
        }
    }
}

/// Where the links of a case lead. The second one is too long for a link of any kind to hold it.
pub(crate) fn targets(case: u64) -> [String; 2] {
    let long = "x".repeat(2500);
    [format!("https://app.example/{case}"), format!("https://app.example/{case}?long={long}")]
}

fn cards(case: u64) -> String {
    let links = targets(case).map(|url| json!({"label": "open", "url": url, "type": "absolute"}));
    json!({"cards": [{
        "uuid": format!("card-{case}"), "summary": "s", "indicator": "info",
        "source": {"label": "l"}, "links": links,
        "suggestions": [{"label": "a", "uuid": format!("suggestion-{case}")}],
    }]})
    .to_string()
}
