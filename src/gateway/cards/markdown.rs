//! Links in a card's `detail`, which is GitHub Flavored Markdown (CDS Hooks 2.0, Card Attributes).

use std::borrow::Cow;
use std::ops::Range;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use url::Url;

/// Rounds after which a text that still shows links is given up: each round takes one layer of links
/// that only appear once others are gone.
const MAX_ROUNDS: usize = 8;

/// How many web addresses a text holds, also one in which JSON escapes the slashes.
pub fn count(detail: &str) -> usize {
    let after = detail.match_indices(':').filter_map(|(at, colon)| detail.get(at + colon.len()..));
    after.filter(|rest| rest.starts_with("//") || rest.starts_with(r"\/\/")).count()
}

/// The text without links: a link or image leaves its text, a web address its host name, and an HTML
/// tag with attributes, or named `a`, nothing. Empty where links could not be told from text.
///
/// Only what Markdown, its GFM autolinks and HTML make a link is understood. Mail addresses stay.
pub fn strip(detail: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(detail);
    for _ in 0..MAX_ROUNDS {
        let mut cuts = marks(&text);
        if cuts.is_empty() {
            cuts = tags(&text);
        }
        if cuts.is_empty() {
            cuts = addresses(&text);
        }
        if cuts.is_empty() {
            return text;
        }
        text = Cow::Owned(cut(&text, &cuts));
    }
    Cow::Borrowed("")
}

/// A stretch to leave out, and what stands there instead.
type Cut = (Range<usize>, String);

fn cut(text: &str, cuts: &[Cut]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (range, instead) in cuts {
        out.push_str(text.get(done..range.start).unwrap_or_default());
        out.push_str(instead);
        done = range.end;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

/// The markup around the text of each link and image, `<autolinks>` included.
fn marks(text: &str) -> Vec<Cut> {
    let mut cuts = Vec::new();
    // Links and images that are open: where their text begins and, so far, ends.
    let mut open: Vec<Range<usize>> = Vec::new();
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
        if let Event::End(TagEnd::Link | TagEnd::Image) = event {
            let inside = open.pop().unwrap_or_else(|| range.clone());
            cuts.push((range.start..inside.start, String::new()));
            // The parser leaves the empty brackets of `[text][]` out of the link.
            let after = text.get(range.end..).unwrap_or_default();
            let collapsed = text.get(inside.end..range.end) == Some("]") && after.starts_with("[]");
            let brackets = if collapsed { "[]".len() } else { 0 };
            cuts.push((inside.end..range.end.saturating_add(brackets), String::new()));
            continue;
        }
        if let Some(inside) = open.last_mut() {
            inside.end = inside.end.max(range.end);
        }
        let mark = if matches!(event, Event::Start(Tag::Link { .. })) {
            "["
        } else if matches!(event, Event::Start(Tag::Image { .. })) {
            "!["
        } else {
            continue;
        };
        let start = range.start.saturating_add(mark.len());
        open.push(start..start);
    }
    cuts.sort_by_key(|(range, _)| (range.start, range.end));
    cuts
}

/// HTML tags that can lead elsewhere: those with an attribute, and anchors. Code is not spared, since
/// some clients take the whole text for HTML.
fn tags(text: &str) -> Vec<Cut> {
    let mut cuts = Vec::new();
    let mut done = 0;
    for (start, _) in text.match_indices('<') {
        let inside = text.get(start.saturating_add(1)..).unwrap_or_default();
        let Some(length) = inside.find('>') else { break };
        let inside = inside.get(..length).unwrap_or_default();
        let is_tag = inside.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
        let name = inside.trim_matches(['/', ' ', '\t', '\n', '\r']);
        if start >= done && is_tag && (inside.contains('=') || name.eq_ignore_ascii_case("a")) {
            done = start.saturating_add(length).saturating_add("<>".len());
            cuts.push((start..done, String::new()));
        }
    }
    cuts
}

/// Addresses that GFM makes links by themselves: with a scheme, or beginning with `www.`.
fn addresses(text: &str) -> Vec<Cut> {
    let lower = text.to_ascii_lowercase();
    let schemes = lower.match_indices("://").filter_map(|(at, _)| {
        let before = text.get(..at)?;
        let scheme = before
            .trim_end_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        (scheme.len() < at).then_some(scheme.len())
    });
    let hosts = lower
        .match_indices("www.")
        .map(|(at, _)| at)
        .filter(|at| !text.get(..*at).unwrap_or_default().ends_with(|c: char| c.is_alphanumeric()));
    let mut starts: Vec<usize> = schemes.chain(hosts).collect();
    starts.sort_unstable();
    let mut cuts: Vec<Cut> = Vec::new();
    for start in starts {
        if cuts.last().is_some_and(|(last, _)| start < last.end) {
            continue;
        }
        let rest = text.get(start..).unwrap_or_default();
        let ends = |c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"' | '`' | ')' | ']');
        let address = rest.split(ends).next().unwrap_or_default();
        let address = address.trim_end_matches(['.', ',', ':', ';', '!', '?', '*', '_', '~', '\'']);
        cuts.push((start..start.saturating_add(address.len()), host(address)));
    }
    cuts
}

/// An address's host name, without what would make it a link again.
fn host(address: &str) -> String {
    let parsed = if address.contains("://") {
        Url::parse(address)
    } else {
        Url::parse(&format!("http://{address}"))
    };
    let url = parsed.ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
    host.trim_start_matches("www.").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_the_text_of_links() {
        for (detail, left) in [
            ("no link, 2 < 3 > 1, a<b, *x*", "no link, 2 < 3 > 1, a<b, *x*"),
            ("see [the *guide*](https://x.example/a?t=1 \"title\").", "see the *guide*."),
            (
                "see [this][1] and [that][] and [1]\n\n[1]: https://x.example/a\n[that]: /b",
                "see this and that and 1\n\n[1]: x.example\n[that]: /b",
            ),
            ("![chart](https://x.example/a.png)", "chart"),
            ("[![chart](a.png) more](b)", "chart more"),
            ("[](https://x.example)", ""),
            ("[\\[1\\]](https://x.example)", "\\[1\\]"),
            ("mail <a@x.example>, open <https://x.example/a>", "mail a@x.example, open x.example"),
            (
                "at https://www.x.example:8443/a?b=c(d). Or www.x.example/a, WWW.y.example",
                "at x.example). Or x.example, y.example",
            ),
            ("**https://x.example/a**", "**x.example**"),
            ("<b>bold</b> <a href=\"https://x.example/\">text</a><br/>", "<b>bold</b> text<br/>"),
            (
                "<div>\n<A\nhref='javascript:x'>t</A>\n<img src=x onerror=y>\n</div>",
                "<div>\nt\n\n</div>",
            ),
            ("ALT<ULN or AST>2", "ALT<ULN or AST>2"),
            ("`<a href=x>`", "``"),
            ("| a |\n|---|\n| [b](c) |", "| a |\n|---|\n| b |"),
            ("> [b\n> c](d)", "> b\n> c"),
            ("[x](javascript:alert)", "x"),
            ("[x](y)[]", "x[]"),
            ("é [ü](ö) 😀", "é ü 😀"),
        ] {
            assert_eq!(strip(detail), left, "{detail:?}");
        }
    }

    #[test]
    fn what_is_left_shows_no_link() {
        let nested = |layers: usize| format!("{}x{}", "[".repeat(layers), "](y)".repeat(layers));
        assert_eq!(strip(&nested(3)), "x");
        assert_eq!(strip(&nested(30)), "");
        for detail in [
            "[a](b)[c](d)",
            "[<a href=x>](y)",
            "<a <b x=1> href=y>",
            "h[tt](x)ps://evil.test",
            "[a]<b=c>(https://x.example)",
            "www.www.x.example",
            "https://https://x.example",
            "<https://x.example/<b c=d>>",
        ] {
            let left = strip(detail);
            let events = Parser::new(&left);
            let links = events.filter(|e| matches!(e, Event::Start(Tag::Link { .. }))).count();
            assert_eq!((links, count(&left)), (0, 0), "{detail:?} -> {left:?}");
            assert!(!left.contains("www."), "{detail:?} -> {left:?}");
        }
    }
}
