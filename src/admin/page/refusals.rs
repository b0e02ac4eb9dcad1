//! Who was refused in the last hour, by reason.

use maud::{Markup, html};

use crate::admin::page::chart::{KINDS, Kind, chart};
use crate::admin::page::parts::{section, table};
use crate::admin::page::words::count;
use crate::admin::status::{Reason, Refusals};

/// Minutes in a row of the table that says what the chart shows.
const SLOT: usize = 5;

/// The chart, what its colours mean, and the same in figures.
pub(super) fn refusals(refusals: &Refusals) -> Markup {
    let total: u64 = refusals.reasons.iter().map(|reason| reason.minutes.iter().sum::<u64>()).sum();
    let requests: u64 = refusals.requests.iter().sum();
    let content = html! {
        @if total == 0 {
            p { "Nobody was refused in the last hour; " (count(requests)) " requests came." }
        } @else {
            @let kinds = kinds(&refusals.reasons);
            p { (count(total)) " of " (count(requests)) " requests in the last hour were refused." }
            (chart("Refusals in the last hour", &described(&kinds), &kinds))
            (legend(&kinds))
            details {
                summary { "The same as a table" }
                (in_figures(&kinds))
            }
        }
    };
    section("refusals", "Refusals", "two tall", &content)
}

/// The most frequent reasons, and one kind for all others.
fn kinds(reasons: &[Reason]) -> Vec<Kind<'_>> {
    let named = reasons.iter().take(KINDS);
    let mut kinds: Vec<Kind<'_>> =
        named.map(|reason| Kind { name: reason.reason, minutes: reason.minutes.clone() }).collect();
    let mut others: Vec<u64> = Vec::new();
    for reason in reasons.iter().skip(KINDS) {
        others.resize(others.len().max(reason.minutes.len()), 0);
        for (sum, counted) in others.iter_mut().zip(&reason.minutes) {
            *sum = sum.saturating_add(*counted);
        }
    }
    if !others.is_empty() {
        kinds.push(Kind { name: "all others", minutes: others });
    }
    kinds
}

fn described(kinds: &[Kind<'_>]) -> String {
    let each =
        kinds.iter().map(|kind| format!("{} for {}", count(kind.minutes.iter().sum()), kind.name));
    let each: Vec<String> = each.collect();
    format!("Bars for each minute, by reason: {}.", each.join(", "))
}

/// How many came in the last `minutes`.
fn last(kind: &Kind<'_>, minutes: usize) -> u64 {
    kind.minutes.iter().rev().take(minutes).sum()
}

fn legend(kinds: &[Kind<'_>]) -> Markup {
    let rows = kinds.iter().enumerate().map(|(place, kind)| {
        vec![
            html! { span class={ "swatch c" (place.min(KINDS)) } aria-hidden="true" {} code { (kind.name) } },
            html! { (count(last(kind, 5))) },
            html! { (count(last(kind, 15))) },
            html! { (count(last(kind, 60))) },
        ]
    });
    html! {
        div.legend {
            (table("Refusals by reason", &["Reason", "5 min", "15 min", "60 min"], rows.collect()))
        }
    }
}

fn in_figures(kinds: &[Kind<'_>]) -> Markup {
    let minutes = kinds.iter().map(|kind| kind.minutes.len()).max().unwrap_or_default();
    let mut heads = vec!["Minutes ago"];
    heads.extend(kinds.iter().map(|kind| kind.name));
    let rows = (0..minutes.div_ceil(SLOT)).rev().map(|slot| {
        let from = slot.saturating_mul(SLOT);
        let to = from.saturating_add(SLOT).min(minutes);
        let ago = format!("{} to {}", minutes.saturating_sub(from), minutes.saturating_sub(to));
        let mut row = vec![html! { (ago) }];
        row.extend(kinds.iter().map(|kind| {
            let counted: u64 = kind.minutes.iter().skip(from).take(SLOT).sum();
            html! { (count(counted)) }
        }));
        row
    });
    table("Refusals by reason in each five minutes", &heads, rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rare_ones_are_put_together() {
        let reasons: Vec<Reason> = ["a", "b", "c", "d", "e", "f", "g"]
            .map(|reason| Reason { reason, minutes: vec![1; 60] })
            .into();
        let kinds = kinds(&reasons);
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
        assert_eq!(names, ["a", "b", "c", "d", "e", "all others"]);
        assert_eq!(kinds[5].minutes, vec![2; 60]);
        assert_eq!([last(&kinds[0], 5), last(&kinds[0], 15), last(&kinds[5], 60)], [5, 15, 120]);
        let page = refusals(&Refusals { requests: vec![100; 60], reasons }).into_string();
        assert!(page.contains("420 of 6,000 requests"), "{page}");
        assert!(page.contains("60 for a, ") && page.contains("120 for all others."), "{page}");
        let table = page.split("<details>").nth(1).unwrap();
        assert_eq!(table.matches("<tr").count(), 13, "{table}");
        assert!(table.contains("5 to 0") && table.contains("60 to 55"), "{table}");
    }

    #[test]
    fn an_hour_without_refusals_needs_no_chart() {
        let none = Refusals { requests: vec![0; 60], reasons: Vec::new() };
        let page = refusals(&none).into_string();
        assert!(page.contains("Nobody was refused") && !page.contains("<svg"), "{page}");
    }
}
