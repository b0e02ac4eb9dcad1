//! What became of the links.

use maud::{Markup, html};

use crate::admin::page::parts::{figures, section};
use crate::admin::page::words::count;
use crate::admin::status::Links;

/// How many were given out, opened and refused.
pub(super) fn links(links: &Links) -> Markup {
    let figure = |number: u64| html! { (count(number)) };
    let content = html! {
        (figures(vec![
            ("Sealed into cards", figure(links.minted)),
            ("Opened", figure(links.opened)),
            ("Expired", figure(links.expired)),
            ("Refused, opened before", figure(links.refused_twice)),
        ]))
        p.note { "At this replica, in the last hour." }
    };
    section("links", "Links", "third", &content)
}
