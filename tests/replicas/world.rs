//! All that EHRs, browsers and the service share in one run.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dice::Dice;
use crate::door::{Came, Door, send};
use crate::ehr::Ehr;
use crate::ledger::Ledger;
use crate::legacy::Legacy;
use crate::told::Told;

/// By how many seconds a gateway's clock is ever off. Below the skew that is allowed to EHRs.
pub(crate) const CLOCK_OFF: u64 = 20;

/// What everybody can reach.
pub(crate) struct World {
    pub(crate) ehr: Ehr,
    pub(crate) doors: Vec<Door>,
    pub(crate) told: Vec<Arc<Told>>,
    pub(crate) legacy: Legacy,
    pub(crate) ledger: Ledger,
    /// Trouble is over: what is under way comes to its end without further pauses.
    pub(crate) closing: CancellationToken,
}

/// When something was sent, where to, and when its answer came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) gateway: usize,
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

impl World {
    /// Lets time pass, as long as there is any.
    pub(crate) async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.closing.cancelled() => {}
        }
    }

    /// The way to any gateway.
    pub(crate) fn door(&self, dice: &Dice) -> &Door {
        &self.doors[dice.below(self.doors.len())]
    }

    /// Sends to one gateway what `make` makes.
    pub(crate) async fn send(
        &self,
        door: &Door,
        dice: &Dice,
        make: impl FnOnce(&Client) -> RequestBuilder,
    ) -> (Span, Came) {
        let request = make(door.client(dice));
        let start = Instant::now();
        let came = send(request).await;
        (Span { gateway: door.gateway, start, end: Instant::now() }, came)
    }

    /// Everything that was logged about a request whose answer is described so.
    pub(crate) fn logged(&self, answers: &str) -> String {
        let ids = answers.split_whitespace().filter_map(|word| word.strip_prefix("id="));
        let lines = ids.flat_map(|id| self.told.iter().flat_map(|told| told.about(id)));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// An answer for a person who reads: its gateway, its status and the id of its lines in the log.
pub(crate) fn described(span: &Span, answer: &reqwest::Response) -> String {
    let id = answer.headers().get("x-request-id").and_then(|id| id.to_str().ok());
    format!("gateway {} answered {} id={}", span.gateway, answer.status(), id.unwrap_or("none"))
}
