//! The gateway's own keys, and its certificates.

use maud::{Markup, html};

use crate::admin::page::parts::{Button, Tone, facts, section, state, table};
use crate::admin::page::words::{lasting, moment, moment_or};
use crate::admin::status::{Certificate, Key, Keys, NextStep};
use crate::clock::UnixTime;

const HEADS: [&str; 6] = ["Key", "State", "Made", "In use since", "Until", "May be dropped"];

/// The keys, and the steps of a rotation.
pub(super) fn keys(keys: &Keys, now: UnixTime, mark: &str) -> Markup {
    let rows = keys.held.iter().map(row).collect();
    let file = match &keys.file {
        Some(file) => html! { code { (file) } },
        None => html! { "in memory: gone with the process" },
    };
    let content = html! {
        (table("Keys that seal links and ids, and that sign", &HEADS, rows))
        (facts(vec![
            ("File", file),
            ("Taken up", moment(keys.loaded)),
            ("Fingerprint", html! { code { (keys.fingerprint) } }),
        ]))
        @if keys.file.is_some() { (rotation(keys, now, mark)) }
    };
    section("keys", "Keys", "wide", &content)
}

fn row(key: &Key) -> Vec<Markup> {
    let tone = match key.state {
        "current" => Tone::Good,
        _ => Tone::Plain,
    };
    vec![
        html! { (key.kind) " " code { (key.kid) } },
        state(tone, key.state),
        moment(key.created),
        moment_or(key.current_since, "–"),
        moment_or(key.superseded, "–"),
        moment_or(key.retirable_from, "–"),
    ]
}

/// The three steps, in their order, each with its button. What cannot be done yet says why when it is pressed, as
/// `hookgate keys` does.
fn rotation(keys: &Keys, now: UnixTime, mark: &str) -> Markup {
    let button = |path, text, label| Button { path, fields: &[], text, label, mark }.markup();
    let said = match keys.next_step {
        NextStep::None => "Keys in memory are not rotated.".to_owned(),
        NextStep::Add => "No rotation is under way.".to_owned(),
        NextStep::Rotate { from } if now < from => {
            let left = lasting(from.since(now).as_secs().max(1));
            format!(
                "The next keys may become current in {left}, when every replica and verifier has them."
            )
        }
        NextStep::Rotate { .. } => "The next keys may become current.".to_owned(),
    };
    html! {
        h3 { "Rotation" }
        p { (said) }
        ol.steps {
            li {
                (button("/keys/new", "Add next keys", "Step 1: add next keys"))
                p.note { "They open and are published; nothing is sealed or signed with them yet." }
            }
            li {
                (button("/keys/rotate", "Make them current", "Step 2: make the next keys current"))
                p.note { "From ten minutes on after they were added. The ones before go on opening." }
            }
            li {
                (button("/keys/retire", "Drop earlier keys", "Step 3: drop earlier keys"))
                p.note { "Only those of whose work nothing can be alive." }
            }
        }
        p.note { "A key that has leaked: " code { "hookgate keys rotate --now" } ", then " code { "retire --force" } "." }
    }
}

/// How long they are good.
pub(super) fn certificates(certificates: &[Certificate]) -> Markup {
    let rows: Vec<_> = certificates.iter().map(certificate).collect();
    let content = html! {
        @if rows.is_empty() {
            p { "There are none: the public listener speaks without TLS, for a terminator in the same pod." }
        } @else {
            (table("The certificates that hookgate shows", &["Shown to", "Good for", "Until", "File"], rows))
        }
    };
    section("certificates", "Certificates", "wide", &content)
}

fn certificate(certificate: &Certificate) -> Vec<Markup> {
    let left = match (certificate.days_left, &certificate.trouble) {
        (_, Some(trouble)) => state(Tone::Bad, trouble),
        (Some(days @ 0..3), None) => state(Tone::Bad, &format!("{days} days")),
        (Some(days @ 3..21), None) => state(Tone::Warn, &format!("{days} days")),
        (Some(days), None) => state(Tone::Good, &format!("{days} days")),
        (None, None) => state(Tone::Plain, "unknown"),
    };
    vec![
        html! { (certificate.shown_to) p.note { (certificate.names.join(", ")) } },
        left,
        moment_or(certificate.not_after, "–"),
        html! { code { (certificate.file) } },
    ]
}
