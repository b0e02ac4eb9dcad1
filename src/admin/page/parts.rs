//! What every section is made of.

use maud::{Markup, html};

use crate::admin::guard::MARK;

/// How good something is: by colour, and by a sign for whoever sees none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Something does not work.
    Bad,
    /// Neither.
    Plain,
}

impl Tone {
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Plain => "plain",
        }
    }
}

/// A word for a state.
pub(super) fn state(tone: Tone, word: &str) -> Markup {
    html! { span class={ "state " (tone.class()) } { (word) } }
}

/// A section of the page. `id` is where the list of contents leads.
pub(super) fn section(id: &str, heading: &str, width: &str, content: &Markup) -> Markup {
    html! {
        section class={ "panel " (width) } id=(id) aria-labelledby={ (id) "-h" } {
            h2 id={ (id) "-h" } { (heading) }
            (content)
        }
    }
}

/// A table whose rows become cards on a narrow screen. Roles are said once more, because a browser forgets them
/// where a style lays a table out as something else.
pub(super) fn table(caption: &str, heads: &[&str], rows: Vec<Vec<Markup>>) -> Markup {
    html! {
        table role="table" {
            caption { (caption) }
            thead role="rowgroup" {
                tr role="row" {
                    @for head in heads { th role="columnheader" scope="col" { (head) } }
                }
            }
            tbody role="rowgroup" {
                @for row in rows {
                    tr role="row" {
                        @for (place, (head, cell)) in heads.iter().zip(row).enumerate() {
                            @if place == 0 {
                                th role="rowheader" scope="row" { (cell) }
                            } @else {
                                td role="cell" data-label=(head) { div { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Names and what they are.
pub(super) fn facts(pairs: Vec<(&str, Markup)>) -> Markup {
    pairs_as("facts", pairs)
}

/// Names and figures, which stand at the right.
pub(super) fn figures(pairs: Vec<(&str, Markup)>) -> Markup {
    pairs_as("facts figures", pairs)
}

fn pairs_as(class: &str, pairs: Vec<(&str, Markup)>) -> Markup {
    html! {
        dl class=(class) {
            @for (name, value) in pairs { div { dt { (name) } dd { (value) } } }
        }
    }
}

/// How much of something is used. What stands beside it says the same in words.
pub(super) fn bar(used_percent: u64, tone: Tone) -> Markup {
    html! {
        svg class={ "bar " (tone.class()) } viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" {
            rect.trough width="100" height="6" {}
            rect.used width=(used_percent.min(100)) height="6" {}
        }
    }
}

/// From four fifths on a look, when nothing is left more.
pub(super) const fn tone_of_use(used_percent: u64) -> Tone {
    match used_percent {
        0..80 => Tone::Good,
        80..100 => Tone::Warn,
        _ => Tone::Bad,
    }
}

/// A button that does something. `label` is for whoever does not see where it stands.
pub(super) struct Button<'a> {
    pub(super) path: &'a str,
    pub(super) fields: &'a [(&'a str, &'a str)],
    pub(super) text: &'a str,
    pub(super) label: &'a str,
    pub(super) mark: &'a str,
}

impl Button<'_> {
    pub(super) fn markup(&self) -> Markup {
        html! {
            form method="post" action=(self.path) {
                input type="hidden" name=(MARK) value=(self.mark);
                @for (name, value) in self.fields {
                    input type="hidden" name=(name) value=(value);
                }
                button type="submit" aria-label=(self.label) { (self.text) }
            }
        }
    }
}
