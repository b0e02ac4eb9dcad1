//! A link's story: browsers open it, together and one after the other, at any gateway.

use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Method, Response};

use crate::dice::Dice;
use crate::door::Came;
use crate::judgement::{Outcome, Spend, Verdict, is_lost, judge};
use crate::ledger::Row;
use crate::site::BRIEF_SECS;
use crate::world::{CLOCK_OFF, Span, World, described};

/// A link as the EHR shows it.
pub(crate) struct Link {
    pub(crate) url: String,
    pub(crate) target: String,
    /// Whether it ends soon.
    pub(crate) brief: bool,
    /// The call that it came with.
    pub(crate) minted: Span,
}

/// A browser with what it keeps between two clicks: its cookie, and the number that it is judged by.
#[derive(Default)]
struct Browser(Mutex<Option<(String, u64)>>);

/// Opens a link in all ways, and judges what was told.
pub(crate) async fn follow(world: &World, dice: &Dice, link: &Link) {
    let browsers: [Browser; 3] = std::array::from_fn(|_| Browser::default());
    let mut spends = Vec::new();
    for _ in 0..=dice.below(4) {
        let most = if link.brief { 14_000 } else { 9_000 };
        world.pause(dice.millis(0, most)).await;
        if dice.once_in(4) {
            spends.extend(look(world, dice, link).await);
        }
        let together = (0..=dice.below(3)).map(|n| click(world, dice, link, &browsers[n]));
        spends.extend(join_all(together).await);
    }
    close(world, &spends);
}

fn close(world: &World, spends: &[Spend]) {
    let ledger = &world.ledger;
    let mut winners: Vec<u64> =
        spends.iter().filter(|s| s.outcome == Outcome::Won).map(|s| s.who).collect();
    let wins = winners.len();
    winners.dedup();
    ledger.add(Row::LinksOpened, usize::from(wins > 0));
    ledger.add(Row::CameAgain, wins - winners.len());
    ledger.add(Row::LinksLost, usize::from(is_lost(spends)));
    if let Some(verdict) = judge(spends) {
        let row = if verdict == Verdict::DoubleWin { Row::DoubleWins } else { Row::Impossible };
        let answers = spends.iter().map(Spend::to_string).collect::<String>();
        ledger.complain(row, format!("{verdict:?}\n{answers}{}", world.logged(&answers)));
    }
}

/// A person clicks.
async fn click(world: &World, dice: &Dice, link: &Link, browser: &Browser) -> Spend {
    let known = browser.0.lock().unwrap().clone();
    let (span, came) = world
        .send(world.door(dice), dice, |client| {
            let click = client.get(&link.url).header("sec-fetch-mode", "navigate");
            match &known {
                Some((cookie, _)) => click.header("cookie", cookie),
                None => click,
            }
        })
        .await;
    let who = known.map_or_else(|| world.ehr.number(), |(_, who)| who);
    world.ledger.add(Row::Clicks, 1);
    let Came::Answer(answer) = came else { return unanswered(world, who, span, &came) };
    let text = described(&span, &answer);
    let outcome = match answer.status().as_u16() {
        303 => {
            opened(world, link, &answer, &span);
            Outcome::Won
        }
        status => refused(world, status, &text),
    };
    // Also who was told to try later gets one: the link may be his.
    if let Some(cookie) = answer.headers().get("set-cookie") {
        let cookie = cookie.to_str().unwrap().split(';').next().unwrap_or_default();
        *browser.0.lock().unwrap() = Some((cookie.to_owned(), who));
    }
    spend(link, who, span, outcome, text)
}

/// Something looks at the link and must not spend it: a scanner, or an old browser.
async fn look(world: &World, dice: &Dice, link: &Link) -> Option<Spend> {
    let method = if dice.once_in(2) { Method::GET } else { Method::HEAD };
    let (span, came) =
        world.send(world.door(dice), dice, |client| client.request(method, &link.url)).await;
    let Came::Answer(answer) = came else { return None };
    let text = described(&span, &answer);
    let status = answer.status().as_u16();
    let outcome = if status == 200 { Outcome::Nothing } else { refused(world, status, &text) };
    // It may tell that the link is spent; it has spent nothing itself.
    let told = outcome == Outcome::Refused;
    told.then(|| spend(link, world.ehr.number(), span, outcome, text))
}

/// Looks where an answer leads, and whether it may still.
fn opened(world: &World, link: &Link, answer: &Response, span: &Span) {
    let location = answer.headers()["location"].to_str().unwrap();
    if location != link.target {
        let what = format!("{location} instead of {}", link.target);
        world.ledger.complain(Row::Impossible, what);
    }
    // Made by a clock that was ahead, and opened by one that is behind by then.
    let end = link.minted.end + Duration::from_secs(BRIEF_SECS + 2 * CLOCK_OFF + 1);
    if link.brief && span.start > end {
        let what = described(span, answer);
        world.ledger.complain(Row::Impossible, format!("opened after its end: {what}"));
    }
}

fn refused(world: &World, status: u16, text: &str) -> Outcome {
    match status {
        410 => {
            world.ledger.add(Row::ClicksRefused, 1);
            Outcome::Refused
        }
        503 => {
            world.ledger.add(Row::ClicksUnanswered, 1);
            Outcome::Maybe
        }
        _ => {
            let lines = world.logged(text);
            world.ledger.complain(Row::Impossible, format!("a click: {text}\n{lines}"));
            Outcome::Maybe
        }
    }
}

fn unanswered(world: &World, who: u64, span: Span, came: &Came) -> Spend {
    world.ledger.add(Row::ClicksUnanswered, 1);
    let (outcome, text) = match came {
        Came::NotSent => (Outcome::Nothing, "no connection"),
        Came::Lost | Came::Answer(_) => (Outcome::Maybe, "no answer"),
    };
    let Span { gateway, start, end } = span;
    Spend { who, start, end, outcome, excused: false, answer: format!("gateway {gateway}: {text}") }
}

/// A link that ends soon may have ended by the clock of whoever was asked, which can be off by more than
/// the link lives.
fn spend(link: &Link, who: u64, span: Span, outcome: Outcome, answer: String) -> Spend {
    Spend { who, start: span.start, end: span.end, outcome, excused: link.brief, answer }
}
