//! The top of the page: what it is about, what has just been done, and the figures that are asked for first.

use maud::{Markup, html};

use crate::admin::action::Done;
use crate::admin::page::parts::{Tone, section, state, table, tone_of_use};
use crate::admin::page::view::View;
use crate::admin::page::words::{count, lasting, moment, percent};
use crate::admin::status::Status;

/// What the list of contents leads to, in the page's order.
const CONTENTS: [(&str, &str); 10] = [
    ("refusals", "Refusals"),
    ("links", "Links"),
    ("store", "Store"),
    ("clients", "Clients"),
    ("services", "Services"),
    ("limits", "Limits"),
    ("certificates", "Certificates"),
    ("keys", "Keys"),
    ("configuration", "Configuration"),
    ("journal", "Done here"),
];

/// How often a page that loads itself anew does so, in seconds.
const EVERY: u8 = 10;

/// Name, state, and the ways around the page.
pub(super) fn head(status: &Status, view: &View) -> Markup {
    let (tone, word) = match (status.readiness.ready, status.readiness.degraded.is_empty()) {
        (false, _) => (Tone::Bad, "Not ready"),
        (true, false) => (Tone::Warn, "Ready, with trouble"),
        (true, true) => (Tone::Good, "Ready"),
    };
    html! {
        a.skip href="#content" { "Skip to content" }
        header.top {
            div.brand { strong { "hookgate" } " " span { (status.version) } }
            h1 { (status.public_url) }
            p.standing {
                (state(tone, word))
                span { "up " (lasting(status.now.since(status.started).as_secs())) }
                span { "as of " (moment_exact(status)) }
                span.refresh { (refresh(view)) }
            }
            nav aria-label="Contents" {
                ul { @for (id, name) in CONTENTS { li { a href={ "#" (id) } { (name) } } } }
            }
        }
    }
}

/// Off unless asked for: a page that loads itself anew takes the keyboard's place away from whoever reads.
fn refresh(view: &View) -> Markup {
    html! {
        @match view.every {
            None => {
                a href="/" { "Refresh" } " · "
                a href={ "/?every=" (EVERY) } { "every " (EVERY) " s" }
            }
            Some(every) => {
                "refreshing every " (every) " s · " a href="/" { "Stop" }
            }
        }
    }
}

fn moment_exact(status: &Status) -> Markup {
    let full = status.now.to_string();
    let short = full.replace('T', " ").replace('Z', " UTC");
    html! { time datetime=(full) { (short) } }
}

/// What became of the button that led here.
pub(super) fn done(view: &View) -> Markup {
    let latest = view.journal.iter().find(|done| Some(done.number) == view.done);
    html! {
        @if let Some(done) = latest {
            div.notice.(if done.outcome.good { "good" } else { "bad" }) id="done" role="status" tabindex="-1" {
                strong { (done.action) ": " @if done.outcome.good { "done" } @else { "not done" } }
                (lines(done))
            }
        }
    }
}

fn lines(done: &Done) -> Markup {
    html! { @for line in done.outcome.said.lines() { p { (line) } } }
}

/// A handful of figures.
pub(super) fn vitals(status: &Status) -> Markup {
    let requests: u64 = status.refusals.requests.iter().sum();
    let refused: u64 = status.refusals.reasons.iter().flat_map(|r| r.minutes.iter()).sum();
    let usable = status.clients.iter().filter(|client| client.usable).count();
    let (entries, capacity) = (status.store.entries, status.store.capacity);
    let fill = percent(entries, capacity);
    let days = status.certificates.iter().filter_map(|certificate| certificate.days_left).min();
    let tone_of_days = match days {
        None => Tone::Plain,
        Some(0..3) => Tone::Bad,
        Some(3..21) => Tone::Warn,
        Some(_) => Tone::Good,
    };
    let nearest = status.limits.nearest.first().map(|near| near.used_percent);
    let tone_of_clients = if usable == status.clients.len() { Tone::Good } else { Tone::Bad };
    html! {
        dl.vitals {
            (vital("Clients with keys", &format!("{usable} of {}", status.clients.len()), tone_of_clients))
            (vital("Requests, last hour", &count(requests), Tone::Plain))
            (vital("Refused, last hour", &count(refused), Tone::Plain))
            (vital("Nearest limit", &nearest.map_or_else(|| "below half".to_owned(), |used| format!("{used} %")),
                tone_of_use(nearest.unwrap_or_default().into())))
            (vital("Store", &format!("{fill} %"), if status.store.nearly_full { Tone::Warn } else { Tone::Good }))
            (vital("Certificate", &days.map_or_else(|| "none".to_owned(), |days| format!("{days} d")), tone_of_days))
        }
    }
}

fn vital(name: &str, value: &str, tone: Tone) -> Markup {
    html! { div class=(tone.class()) { dt { (name) } dd { (value) } } }
}

/// What was done from the page.
pub(super) fn journal(view: &View) -> Markup {
    let rows = view.journal.iter().map(|done| {
        let (tone, word) =
            if done.outcome.good { (Tone::Good, "done") } else { (Tone::Bad, "not done") };
        vec![moment(done.at), html! { (done.action) }, state(tone, word), lines(done)]
    });
    let rows: Vec<_> = rows.collect();
    let content = html! {
        @if rows.is_empty() {
            p.faint { "No button has been pressed since the process began." }
        } @else {
            (table("The latest actions from this page", &["When", "Action", "Outcome", "What happened"], rows))
        }
    };
    section("journal", "Done here", "wide", &content)
}
