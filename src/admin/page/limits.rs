//! Who is near a limit.

use maud::{Markup, html};

use crate::admin::page::parts::{bar, section, table, tone_of_use};
use crate::admin::page::words::{count, lasting_millis};
use crate::admin::status::{Limits, NearLimit};

/// The nearest first.
pub(super) fn limits(limits: &Limits) -> Markup {
    let rows: Vec<_> = limits.nearest.iter().map(row).collect();
    let content = html! {
        @if limits.mode != "enforce" {
            p { "Limits are not held: " code { "limits.mode = \"" (limits.mode) "\"" } "." }
        }
        @if rows.is_empty() {
            p { "Nobody has used half of what they may." }
        } @else {
            (table("Those nearest to a limit, at this replica", &["Who", "Limit", "Used", "Left now"], rows))
        }
    };
    section("limits", "Limits", "wide", &content)
}

fn row(near: &NearLimit) -> Vec<Markup> {
    let used = u64::from(near.used_percent);
    vec![
        html! { code { (near.who) } },
        html! { (near.limit) },
        html! { div.measure { (bar(used, tone_of_use(used))) span { (used) " %" } } },
        html! {
            @match near.wait_millis {
                Some(wait) => { "none for " (lasting_millis(wait)) }
                None => { (count(near.left.into())) " of " (count(near.burst.into())) }
            }
        },
    ]
}
