//! The store of what was spent.

use maud::{Markup, html};

use crate::admin::page::parts::{Tone, bar, facts, section, state, tone_of_use};
use crate::admin::page::words::{count, lasting, moment, percent, size};
use crate::admin::status::Store;
use crate::clock::UnixTime;

/// How full it is, and since when it remembers.
pub(super) fn store(store: &Store, now: UnixTime) -> Markup {
    let fill = percent(store.entries, store.capacity);
    let mut pairs = vec![
        ("Backend", html! { code { (store.backend) } }),
        (
            "Entries",
            html! {
                div.measure { (bar(fill, tone_of_use(fill))) span { (fill) " %" } }
                p.note { (count(store.entries)) " of " (count(store.capacity)) }
            },
        ),
    ];
    if let (Some(used), Some(limit)) = (store.memory_used, store.memory_limit) {
        let fill = percent(used, limit);
        pairs.push((
            "Memory of Redis",
            html! {
                div.measure { (bar(fill, tone_of_use(fill))) span { (fill) " %" } }
                p.note { (size(used)) " of " (size(limit)) }
            },
        ));
    }
    pairs.push((
        "Remembers since",
        match store.history_since {
            Some(since) => html! {
                (moment(since)) p.note { (lasting(now.since(since).as_secs())) }
            },
            None => state(Tone::Bad, "not reached yet"),
        },
    ));
    section("store", "Store", "third", &facts(pairs))
}
