//! What became of a report: told to several gateways, told again, and delivered once.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout};

use crate::dice::Dice;
use crate::door::Came;
use crate::ehr::{Entry, Good, report};
use crate::ledger::Row;
use crate::legacy::{Seen, Taking};
use crate::world::{Span, World, described};

/// A gateway that died in the middle of a delivery keeps others from it for 120 s, and the clock of the
/// one that claimed it may have been ahead.
const LEASE: Duration = Duration::from_secs(150);
/// How long a call whose EHR has hung up may go on.
const UNSEEN: Duration = Duration::from_secs(40);
/// How late a line of a gateway's log may be read.
const LAG: Duration = Duration::from_secs(5);
/// Attempts after everything works again.
const TRIES: usize = 50;

/// What the EHR knows of one attempt.
struct Attempt {
    number: u64,
    span: Span,
    outcome: Told,
    answer: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Success,
    /// Another delivery of it is under way.
    Busy,
    /// Try again.
    Later,
    /// The answer was lost.
    Lost,
    /// The EHR itself hung up.
    HungUp,
    /// No connection was to be had.
    NotSent,
}

/// A report and all attempts to tell it.
pub(crate) struct Story {
    entry: Entry,
    attempts: Vec<Attempt>,
}

/// Reports until somebody says that it was taken, and then now and then again.
pub(crate) async fn tell(
    world: &World,
    dice: &Dice,
    (case, service): (u64, &str),
    entry: Entry,
) -> Story {
    let mut story = Story { entry, attempts: Vec::new() };
    let (mut tries, mut repeats) = (0, dice.below(3));
    loop {
        world.pause(dice.millis(0, 3000)).await;
        let entry = &story.entry;
        let together = (0..=dice.below(3)).map(|_| attempt(world, dice, (case, service), entry));
        let before = story.is_told();
        let attempts = join_all(together).await;
        if before {
            let absorbed = attempts.iter().filter(|a| a.outcome == Told::Success).count();
            world.ledger.add(Row::RepeatsAbsorbed, absorbed);
        }
        story.attempts.extend(attempts);
        if story.is_told() {
            if repeats == 0 {
                return story;
            }
            repeats -= 1;
        } else if world.closing.is_cancelled() {
            if tries == TRIES {
                return story;
            }
            tries += 1;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn attempt(
    world: &World,
    dice: &Dice,
    (case, service): (u64, &str),
    entry: &Entry,
) -> Attempt {
    let number = world.ehr.number();
    let token = world.ehr.token(service, Good::Long);
    let (start, door) = (Instant::now(), world.door(dice));
    let sending =
        world.send(door, dice, |client| report(client, service, &token, entry, (case, number)));
    let hangs_up = !world.closing.is_cancelled() && dice.once_in(12);
    let patience = if hangs_up { dice.millis(0, 40) } else { UNSEEN * 2 };
    let Ok((span, came)) = timeout(patience, sending).await else {
        let span = Span { gateway: door.gateway, start, end: Instant::now() };
        world.ledger.add(Row::ReportsUnanswered, 1);
        return Attempt { number, span, outcome: Told::HungUp, answer: "hung up".to_owned() };
    };
    let (outcome, answer) = match came {
        Came::NotSent => (Told::NotSent, "no connection".to_owned()),
        Came::Lost => (Told::Lost, "no answer".to_owned()),
        Came::Answer(answer) => {
            let text = described(&span, &answer);
            match answer.status().as_u16() {
                200 => (Told::Success, text),
                503 => {
                    let body = answer.text().await.unwrap_or_default();
                    let busy = body.contains("\"overloaded\"");
                    (if busy { Told::Busy } else { Told::Later }, text)
                }
                _ => {
                    let lines = world.logged(&text);
                    world.ledger.complain(Row::Impossible, format!("a report: {text}\n{lines}"));
                    (Told::Later, text)
                }
            }
        }
    };
    if outcome != Told::Success {
        world.ledger.add(Row::ReportsUnanswered, 1);
    }
    Attempt { number, span, outcome, answer }
}

impl Story {
    fn is_told(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.outcome == Told::Success)
    }

    /// Compares what was told with what the service took.
    pub(crate) fn close(&self, world: &World, seen: &Seen) {
        let ledger = &world.ledger;
        let number = self.entry.number();
        let takings: Vec<&Taking> = seen.takings.iter().filter(|t| t.entry == number).collect();
        ledger.add(Row::EntriesDelivered, usize::from(!takings.is_empty()));
        if self.is_told() {
            ledger.add(Row::EntriesAnswered, 1);
            if takings.is_empty() {
                self.complain(world, Row::EntriesLost, &takings);
            }
        } else {
            ledger.add(Row::EntriesUnanswered, usize::from(!takings.is_empty()));
            if self.may_be_leased() {
                ledger.add(Row::StillLeased, 1);
            } else {
                self.complain(world, Row::Impossible, &takings);
            }
        }
        // All but the last one were delivered again: each of them needs an excuse of its own.
        for taking in takings.iter().rev().skip(1) {
            match self.excuse(world, taking) {
                Some(row) => ledger.add(row, 1),
                None => self.complain(world, Row::EntriesTwice, &takings),
            }
        }
    }

    /// Why what was taken could not be noted: the gateway was killed before it could, or said that its
    /// store was away.
    fn excuse(&self, world: &World, taking: &Taking) -> Option<Row> {
        let attempt = self.attempts.iter().find(|a| a.number == taking.attempt)?;
        let until = match attempt.outcome {
            Told::HungUp => taking.at + UNSEEN,
            Told::Success | Told::Busy | Told::Later | Told::Lost | Told::NotSent => {
                attempt.span.end
            }
        };
        let told = &world.told[attempt.span.gateway];
        let unanswered = matches!(attempt.outcome, Told::Lost | Told::HungUp);
        // The service may have taken it from a gateway that was dead by then.
        if unanswered && told.was_killed(attempt.span.start, until) {
            return Some(Row::InterruptedByKill);
        }
        told.take_not_noted(taking.at, until + LAG, LEASE).then_some(Row::InterruptedByStore)
    }

    /// Whether somebody may have claimed it and neither settled nor given it back.
    fn may_be_leased(&self) -> bool {
        let now = Instant::now();
        self.attempts.iter().any(|attempt| {
            let unclear = matches!(attempt.outcome, Told::Lost | Told::HungUp | Told::Later);
            unclear && now - attempt.span.end < LEASE
        })
    }

    fn complain(&self, world: &World, row: Row, takings: &[&Taking]) {
        let attempts: String = self
            .attempts
            .iter()
            .map(|a| format!("{} {:?} {}\n", a.number, a.span, a.answer))
            .collect();
        let lines = world.logged(&attempts);
        let entry = &self.entry;
        world.ledger.complain(row, format!("{entry:?} {takings:#?}\n{attempts}{lines}"));
    }
}
