//! One case: a hook call, and all that EHR and browsers do with its cards.

use std::time::Duration;

use futures_util::future::{join_all, join3};
use serde_json::Value;
use tokio::time::Instant;

use crate::dice::Dice;
use crate::door::Came;
use crate::ehr::{Entry, Good, call};
use crate::entries::{Story, tell};
use crate::judgement::{Outcome, Spend, Verdict, judge};
use crate::ledger::Row;
use crate::legacy::{Seen, targets};
use crate::links::{Link, follow};
use crate::site::{BRIEF, STEADY};
use crate::world::{Span, World, described};

/// How long the service is still listened to after the last word. What a gateway still does for somebody
/// who hung up is done by then.
const LINGER: Duration = Duration::from_secs(8);
/// Calls after everything works again.
const TRIES: usize = 25;

/// A token, and everybody who came with it.
struct Token {
    text: String,
    number: u64,
    signed: Instant,
    good: Good,
    spends: Vec<Spend>,
}

/// Lives through a case.
pub(crate) async fn live(world: &World, case: u64, dice: &Dice) {
    world.legacy.open(case);
    let service = if dice.once_in(3) { BRIEF } else { STEADY };
    let mut tokens = Vec::new();
    let cards = cards(world, dice, (case, service), &mut tokens).await;
    let mut stories = Vec::new();
    if let Some((minted, cards)) = cards {
        let links = links(case, service, minted, &cards);
        let follows = links.iter().map(|link| follow(world, dice, link));
        let entries = entries(world, &cards);
        let tells = entries.into_iter().map(|entry| tell(world, dice, (case, service), entry));
        let replays = replay(world, dice, (case, service), &mut tokens);
        (_, stories, ()) = join3(join_all(follows), join_all(tells), replays).await;
    }
    tokio::time::sleep(LINGER).await;
    let seen = world.legacy.close(case);
    close(world, &tokens, &stories, &seen);
}

fn close(world: &World, tokens: &[Token], stories: &[Story], seen: &Seen) {
    let ledger = &world.ledger;
    for what in &seen.wrong {
        ledger.complain(Row::Impossible, what.clone());
    }
    for story in stories {
        story.close(world, seen);
    }
    for token in tokens {
        let calls = seen.calls.get(&token.number).copied().unwrap_or(0);
        let verdict = judge(&token.spends);
        if calls <= 1 && verdict.is_none() {
            continue;
        }
        let twice = calls > 1 || verdict == Some(Verdict::DoubleWin);
        let row = if twice { Row::DoubleTokens } else { Row::Impossible };
        let answers: String = token.spends.iter().map(Spend::to_string).collect();
        let lines = world.logged(&answers);
        ledger.complain(row, format!("{calls} calls, {verdict:?}\n{answers}{lines}"));
    }
}

/// Calls with one token after the other until cards come.
async fn cards(
    world: &World,
    dice: &Dice,
    (case, service): (u64, &str),
    tokens: &mut Vec<Token>,
) -> Option<(Span, Value)> {
    let mut tries = 0;
    loop {
        let good = if dice.once_in(3) { Good::Short } else { Good::Long };
        let mut token = Token {
            text: world.ehr.token(service, good),
            number: world.ehr.number(),
            signed: Instant::now(),
            good,
            spends: Vec::new(),
        };
        world.ledger.add(Row::Tokens, 1);
        // Now and then somebody else has the token too, and comes at the same moment.
        let together = if dice.once_in(3) { 1 + dice.below(4) } else { 1 };
        let shows = (0..together).map(|_| show(world, dice, (case, service), &token));
        let (spends, answers): (Vec<_>, Vec<_>) = join_all(shows).await.into_iter().unzip();
        token.spends.extend(spends);
        tokens.push(token);
        if let Some(cards) = answers.into_iter().flatten().next() {
            return Some(cards);
        }
        if world.closing.is_cancelled() {
            tries += 1;
            if tries == TRIES {
                world.ledger.complain(Row::Impossible, "no cards, and nothing is wrong".to_owned());
                return None;
            }
        }
        tokio::time::sleep(dice.millis(50, 500)).await;
    }
}

/// Shows the tokens again: soon, and when those that were short have long ended.
async fn replay(world: &World, dice: &Dice, (case, service): (u64, &str), tokens: &mut [Token]) {
    for _ in 0..2 {
        world.pause(dice.millis(0, 25_000)).await;
        for token in &mut *tokens {
            let (spend, _) = show(world, dice, (case, service), token).await;
            token.spends.push(spend);
        }
    }
}

/// Shows a token to any gateway.
async fn show(
    world: &World,
    dice: &Dice,
    (case, service): (u64, &str),
    token: &Token,
) -> (Spend, Option<(Span, Value)>) {
    let about = (case, token.number);
    let make = |client: &reqwest::Client| call(client, service, &token.text, about);
    let (span, came) = world.send(world.door(dice), dice, make).await;
    let (mut text, mut cards) = ("no answer".to_owned(), None);
    let outcome = match came {
        Came::NotSent => Outcome::Nothing,
        Came::Lost => Outcome::Maybe,
        Came::Answer(answer) => {
            text = described(&span, &answer);
            match answer.status().as_u16() {
                200 => match answer.json().await {
                    Ok(body) => {
                        cards = Some((span, body));
                        Outcome::Won
                    }
                    // It was let in, and the answer broke off.
                    Err(_) => Outcome::Won,
                },
                401 => Outcome::Refused,
                503 => Outcome::Maybe,
                _ => {
                    let lines = world.logged(&text);
                    world.ledger.complain(Row::Impossible, format!("a call: {text}\n{lines}"));
                    Outcome::Maybe
                }
            }
        }
    };
    let row = match outcome {
        Outcome::Won => Row::CallsAnswered,
        Outcome::Refused => Row::CallsReplayed,
        Outcome::Maybe | Outcome::Nothing => Row::CallsUnanswered,
    };
    world.ledger.add(row, 1);
    // A token may also have ended.
    let excused = span.end >= token.signed + Duration::from_secs(token.good as u64);
    let Span { start, end, .. } = span;
    let who = world.ehr.number();
    if let Some((_, cards)) = &cards {
        world.ledger.add(Row::LinksMinted, links_of(cards).count());
    }
    (Spend { who, start, end, outcome, excused, answer: text }, cards)
}

fn links_of(cards: &Value) -> impl Iterator<Item = &str> {
    let links = cards["cards"][0]["links"].as_array().into_iter().flatten();
    links.filter_map(|link| link["url"].as_str())
}

fn links(case: u64, service: &str, minted: Span, cards: &Value) -> Vec<Link> {
    let link = |(url, target): (&str, String)| Link {
        url: url.to_owned(),
        target,
        brief: service == BRIEF,
        minted,
    };
    links_of(cards).zip(targets(case)).map(link).collect()
}

/// What the EHR will report: once for the card and once for the suggestion, where they have ids.
fn entries(world: &World, cards: &Value) -> Vec<Entry> {
    let card = &cards["cards"][0];
    let (uuid, suggestion) = (&card["uuid"], &card["suggestions"][0]["uuid"]);
    let (Some(uuid), Some(suggestion)) = (uuid.as_str(), suggestion.as_str()) else {
        world.ledger.add(Row::CardsWithoutIds, 1);
        return Vec::new();
    };
    vec![
        Entry::Feedback { card: uuid.to_owned(), number: world.ehr.number() },
        Entry::Analytics { suggestion: suggestion.to_owned(), number: world.ehr.number() },
    ]
}
