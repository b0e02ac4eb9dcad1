//! Once nothing is wrong any more, everything works again at every gateway, and soon.

use std::time::Duration;

use serde_json::Value;

use crate::dice::Dice;
use crate::door::{Came, Door, send};
use crate::ehr::{Entry, Good, call, report};
use crate::site::STEADY;
use crate::world::World;

const TRIES: usize = 300;
const PAUSE: Duration = Duration::from_millis(200);

/// Tries each gateway until a whole case goes well there: call, click and report.
pub(crate) async fn await_recovery(world: &World, dice: &Dice) {
    for door in &world.doors {
        let mut stages = Vec::new();
        loop {
            match whole(world, door, dice).await {
                Ok(()) => break,
                Err(stage) => stages.push(stage),
            }
            let said = || world.told[door.gateway].tail(20);
            assert!(stages.len() < TRIES, "gateway {}: {stages:?} {:#?}", door.gateway, said());
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// One case at one gateway; where it ended early.
async fn whole(world: &World, door: &Door, dice: &Dice) -> Result<(), String> {
    let case = world.ehr.number() + (1 << 40);
    world.legacy.open(case);
    let result = steps(world, door, dice, case).await;
    let _ = world.legacy.close(case);
    result
}

async fn steps(world: &World, door: &Door, dice: &Dice, case: u64) -> Result<(), String> {
    let (client, number) = (door.client(dice), world.ehr.number());
    let token = || world.ehr.token(STEADY, Good::Long);
    let answer = status(send(call(client, STEADY, &token(), (case, number))).await, 200)?;
    let cards: Value = answer.json().await.map_err(|_| "cards broke off".to_owned())?;
    let card = &cards["cards"][0];
    let url = card["links"][0]["url"].as_str().unwrap();
    status(send(client.get(url).header("sec-fetch-mode", "navigate")).await, 303)?;
    let uuid = card["uuid"].as_str().ok_or_else(|| "no ids".to_owned())?;
    let entry = Entry::Feedback { card: uuid.to_owned(), number };
    status(send(report(client, STEADY, &token(), &entry, (case, number))).await, 200)?;
    Ok(())
}

fn status(came: Came, expected: u16) -> Result<reqwest::Response, String> {
    match came {
        Came::Answer(answer) if answer.status() == expected => Ok(answer),
        Came::Answer(answer) => Err(format!("{} and not {expected}", answer.status())),
        Came::NotSent => Err("no connection".to_owned()),
        Came::Lost => Err("no answer".to_owned()),
    }
}
