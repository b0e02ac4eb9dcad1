//! Bars that stand on each other, one for each minute.
//!
//! The drawing is stretched to the width that there is, so it has no letters in it; they stand around it. Colours are
//! classes: the page's policy allows no style at an element.

use maud::{Markup, html};

use crate::admin::page::words::count;

/// How many kinds have a colour of their own.
pub(super) const KINDS: usize = 5;

/// One kind of thing that is counted.
pub(super) struct Kind<'a> {
    /// What.
    pub(super) name: &'a str,
    /// In each minute, the latest last.
    pub(super) minutes: Vec<u64>,
}

const HEIGHT: u64 = 160;
const STEP: usize = 10;

/// The drawing. At most [`KINDS`] and one more, which has the colour of the rest.
pub(super) fn chart(title: &str, description: &str, kinds: &[Kind<'_>]) -> Markup {
    let minutes = kinds.iter().map(|kind| kind.minutes.len()).max().unwrap_or_default();
    let sum =
        |minute: usize| -> u64 { kinds.iter().filter_map(|kind| kind.minutes.get(minute)).sum() };
    let top = round_up((0..minutes).map(sum).max().unwrap_or_default());
    let width = minutes.saturating_mul(STEP);
    html! {
        figure.chart {
            div.scale aria-hidden="true" { span { (count(top)) } span { (count(top / 2)) } span { "0" } }
            svg role="img" aria-labelledby="chart-title chart-desc" viewBox={ "0 0 " (width) " " (HEIGHT) }
                preserveAspectRatio="none" {
                title id="chart-title" { (title) }
                desc id="chart-desc" { (description) }
                @for y in [0, HEIGHT / 2, HEIGHT] {
                    line.grid x1="0" x2=(width) y1=(y) y2=(y) {}
                }
                @for minute in 0..minutes { (bar(minute, top, kinds)) }
            }
            div.axis aria-hidden="true" {
                span { (minutes) " min ago" } span { (minutes / 2) " min ago" } span { "now" }
            }
        }
    }
}

/// Each kind stands on the one before.
fn bar(minute: usize, top: u64, kinds: &[Kind<'_>]) -> Markup {
    let x = minute.saturating_mul(STEP).saturating_add(1);
    let mut below: u64 = 0;
    let stacked = kinds.iter().enumerate().filter_map(|(place, kind)| {
        let counted = kind.minutes.get(minute).copied().filter(|counted| *counted > 0)?;
        let from = scaled(below, top);
        below = below.saturating_add(counted);
        Some((place.min(KINDS), scaled(below, top), from))
    });
    let stacked: Vec<_> = stacked.collect();
    html! {
        @for (place, to, from) in stacked {
            rect class={ "c" (place) } x=(x) width=(STEP.saturating_sub(2))
                y=(HEIGHT.saturating_sub(to)) height=(to.saturating_sub(from).max(1)) {}
        }
    }
}

fn scaled(value: u64, top: u64) -> u64 {
    value.saturating_mul(HEIGHT).checked_div(top).unwrap_or_default()
}

/// The next of 2, 4, 10, 20, 40, 100, …: half of it is a whole number.
fn round_up(value: u64) -> u64 {
    let mut unit: u64 = 1;
    loop {
        for step in [2, 4, 10] {
            let top = unit.saturating_mul(step);
            if top >= value {
                return top;
            }
        }
        unit = unit.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_figures() {
        assert_eq!(
            [0, 1, 2, 3, 5, 11, 21, 41, 999].map(round_up),
            [2, 2, 2, 4, 10, 20, 40, 100, 1000]
        );
        assert_eq!(round_up(u64::MAX), u64::MAX);
    }

    #[test]
    fn bars_stand_on_each_other() {
        let kinds =
            [Kind { name: "a", minutes: vec![0, 1] }, Kind { name: "b", minutes: vec![0, 3] }];
        let drawn = chart("t", "d", &kinds).into_string();
        let rects: Vec<&str> = drawn.split("<rect").skip(1).collect();
        assert_eq!(rects.len(), 2, "{drawn}");
        assert!(rects[0].contains("c0") && rects[0].contains("y=\"120\" height=\"40\""), "{drawn}");
        assert!(rects[1].contains("c1") && rects[1].contains("y=\"0\" height=\"120\""), "{drawn}");
        assert!(!drawn.contains("style="));
    }
}
