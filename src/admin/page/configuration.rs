//! What the gateway goes by.

use maud::{Markup, html};

use crate::admin::page::parts::{Tone, facts, section, state};
use crate::admin::page::words::{count, lasting, moment};
use crate::admin::status::{Configuration, Reload};
use crate::clock::UnixTime;

/// Since when it holds, what became of the latest change, and all of it.
pub(super) fn configuration(configuration: &Configuration, now: UnixTime) -> Markup {
    let since = configuration.since;
    let content = html! {
        (facts(vec![
            ("Holds since", html! {
                (moment(since)) p.note { (lasting(now.since(since).as_secs())) ", " (count(configuration.replaced)) " before it in this process" }
            }),
            ("Latest change", latest(configuration.latest.as_ref())),
        ]))
        details {
            summary { "Effective configuration" }
            p.note { "Every key, defaults included. Secrets stand in files and are not shown; of keys that stand in \
                      the configuration only the names are." }
            pre tabindex="0" role="region" aria-label="Effective configuration" { code { (configuration.effective) } }
        }
    };
    section("configuration", "Configuration", "wide", &content)
}

fn latest(latest: Option<&Reload>) -> Markup {
    let Some(reload) = latest else { return html! { "none since the start" } };
    let why = match reload.cause {
        "asked" => "by SIGHUP",
        "changed" => "because a file changed",
        _ => "tried again",
    };
    html! {
        @if reload.problems.is_empty() {
            (state(Tone::Good, "taken up"))
        } @else {
            (state(Tone::Bad, "refused: the one from before holds"))
        }
        p.note { (moment(reload.at)) ", " (why) }
        @if !reload.problems.is_empty() {
            ul.problems { @for problem in &reload.problems { li { (problem) } } }
        }
    }
}
