//! What somebody should look at, in one list at the top.

use maud::{Markup, html};

use crate::admin::page::parts::{Tone, state};
use crate::admin::page::words::lasting;
use crate::admin::status::Status;
use crate::gateway::upstream::AddressState;

/// Days before its end from which a certificate is told.
const CERTIFICATE_SOON: u64 = 21;

/// One thing, and where on the page more of it stands.
struct Point {
    tone: Tone,
    text: String,
    at: &'static str,
}

/// Everything that is not as it should be.
pub(super) fn attention(status: &Status) -> Markup {
    let points = points(status);
    html! {
        section.attention aria-labelledby="attention-h" {
            h2 id="attention-h" { "Needs attention" }
            @if points.is_empty() {
                p { (state(Tone::Good, "Nothing")) }
            } @else {
                ul {
                    @for point in points {
                        li {
                            (state(point.tone, if point.tone == Tone::Bad { "Trouble" } else { "Warning" }))
                            span { (point.text) " " a href={ "#" (point.at) } { "Look" } }
                        }
                    }
                }
            }
        }
    }
}

fn points(status: &Status) -> Vec<Point> {
    let bad = |text: String, at| Point { tone: Tone::Bad, text, at };
    let warn = |text: String, at| Point { tone: Tone::Warn, text, at };
    let mut points: Vec<Point> = Vec::new();
    for pending in &status.readiness.pending {
        points.push(bad(format!("Not ready: {pending}."), section_of(pending)));
    }
    // What is wrong with a refused configuration is told in full below.
    let told = |degraded: &&String| !degraded.starts_with("reload:");
    for degraded in status.readiness.degraded.iter().filter(told) {
        points.push(warn(format!("{degraded}."), section_of(degraded)));
    }
    if let Some(reload) =
        status.configuration.latest.as_ref().filter(|latest| !latest.problems.is_empty())
    {
        let problems = reload.problems.join(" · ");
        points
            .push(bad(format!("A changed configuration is refused: {problems}"), "configuration"));
    }
    for client in &status.clients {
        if let Some(error) = client.last_error {
            let since = client.age_seconds.map(lasting);
            let since = since.map_or_else(
                || "there are none yet".to_owned(),
                |age| format!("those in use are {age} old"),
            );
            points.push(warn(
                format!("The keys of {} could not be read ({error}); {since}.", client.id),
                "clients",
            ));
        }
    }
    for (upstream, address) in
        status.upstreams.iter().flat_map(|u| u.addresses.iter().map(move |a| (u, a)))
    {
        let what = match address.state {
            AddressState::Closed => continue,
            AddressState::Open => "is left alone",
            AddressState::HalfOpen => "is being tried again",
            AddressState::Unhealthy => "fails its health check",
        };
        let why = address.last_error.map_or_else(String::new, |why| format!(" ({why})"));
        points.push(bad(format!("{}: {} {what}{why}.", upstream.id, address.address), "services"));
    }
    if status.store.nearly_full {
        points.push(warn("The store is nearly full: then it refuses.".to_owned(), "store"));
    }
    for certificate in &status.certificates {
        let whose = format!("The certificate shown to {}", certificate.shown_to);
        match certificate.days_left {
            Some(0) => {
                points.push(bad(format!("{whose} has ended, or ends today."), "certificates"))
            }
            Some(days) if days < CERTIFICATE_SOON => {
                points.push(warn(format!("{whose} ends in {days} days."), "certificates"));
            }
            Some(_) | None => {}
        }
        if let Some(trouble) = &certificate.trouble {
            points.push(warn(format!("{whose}: {trouble}."), "certificates"));
        }
    }
    points
}

/// Conditions begin with what they are about.
fn section_of(condition: &str) -> &'static str {
    match condition.split(':').next().unwrap_or_default() {
        "keys" => "clients",
        "bypass" => "services",
        "store" => "store",
        "keyring" | "replicas" => "keys",
        _ => "configuration",
    }
}
