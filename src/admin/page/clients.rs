//! The EHRs and their keys.

use maud::{Markup, html};

use crate::admin::page::parts::{Button, Tone, section, state, table};
use crate::admin::page::words::{lasting, moment};
use crate::admin::status::{Client, Status};

const HEADS: [&str; 6] = ["Client", "Calls", "Keys held", "Read", "Next reading", "Now"];

/// A row for each client.
pub(super) fn clients(status: &Status, mark: &str) -> Markup {
    let rows = status.clients.iter().map(|client| row(client, mark)).collect();
    let content =
        table("The clients, and the keys that their tokens are verified with", &HEADS, rows);
    section("clients", "Clients", "wide", &content)
}

fn row(client: &Client, mark: &str) -> Vec<Markup> {
    let calls = if client.usable {
        state(Tone::Good, "verified")
    } else {
        state(Tone::Bad, "503: no keys")
    };
    vec![
        html! { (client.id) },
        calls,
        kids(client),
        read(client),
        next(client),
        button(client, mark),
    ]
}

fn kids(client: &Client) -> Markup {
    html! {
        @if client.kids.is_empty() {
            span.faint { "none" }
        } @else {
            ul.plain { @for kid in &client.kids { li { code { (kid) } } } }
        }
        @if !client.refused.is_empty() {
            p.note { (client.refused.len()) " not used: " (client.refused.join(", ")) }
        }
    }
}

fn read(client: &Client) -> Markup {
    html! {
        @match (client.age_seconds, client.last_success) {
            (Some(age), Some(at)) => { (lasting(age)) " ago" p.note { (moment(at)) } }
            _ => { span.faint { "not yet" } }
        }
        @if let Some(error) = client.last_error {
            p { (state(Tone::Bad, &format!("failed: {error}"))) }
        }
    }
}

fn next(client: &Client) -> Markup {
    html! {
        @match (client.fetchable, client.next_refresh_seconds) {
            (false, _) => { span.faint { "keys stand in the configuration" } }
            (true, Some(left)) => { "in " (lasting(left)) }
            (true, None) => { "under way" }
        }
        p.note { "from " code { (client.source) } }
    }
}

fn button(client: &Client, mark: &str) -> Markup {
    if !client.fetchable {
        return html! { span.faint { "–" } };
    }
    let label = format!("Fetch the keys of {} now", client.id);
    let button = Button {
        path: "/clients/fetch-keys",
        fields: &[("client", &client.id)],
        text: "Fetch keys now",
        label: &label,
        mark,
    };
    button.markup()
}
