//! The soak: everybody at work at random while everything breaks, and a ledger at the end.
//!
//! `HOOKGATE_SOAK` says how long ("2m", "24h"), `HOOKGATE_SOAK_SEED` which run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use hookgate::units::Period;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::case::live;
use crate::chaos::Chaos;
use crate::dice::Dice;
use crate::ehr::Ehr;
use crate::fleet::{Fleet, Trouble};
use crate::ledger::{Ledger, Row};
use crate::legacy::Legacy;
use crate::recovery::await_recovery;
use crate::world::World;

/// How many cases there are at one time.
const CASES: u64 = 120;
/// A run that lasts longer than this says now and then how it goes.
const LONG: Duration = Duration::from_secs(600);
/// How much longer a run goes on where too little has happened for it to mean something.
const OVERTIME: u32 = 300;
/// Streams of choices that are no case's.
const OF_THE_SERVICE: u64 = u64::MAX;
const OF_THE_TROUBLE: u64 = u64::MAX - 1;
const OF_THE_RECOVERY: u64 = u64::MAX - 2;

#[tokio::test(flavor = "multi_thread")]
async fn one_gateway_on_its_disk() {
    soak("one gateway on its disk", Fleet::on_disk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_gateways_on_one_redis() {
    soak("three gateways on one Redis", |upstream| Fleet::on_redis(upstream, 3)).await;
}

async fn soak(name: &str, start: impl FnOnce(&str) -> Fleet) {
    let (seed, length) = (seed(), length());
    println!("{name}: HOOKGATE_SOAK_SEED={seed} for {length:?}");
    let legacy = Legacy::start(Dice::new(seed, OF_THE_SERVICE)).await;
    let fleet = tokio::task::block_in_place(|| start(&legacy.url()));
    let world = Arc::new(World {
        ehr: Ehr::new(fleet.site.key()),
        doors: fleet.doors(),
        told: fleet.gateways.iter().map(|gateway| gateway.told()).collect(),
        legacy,
        ledger: Ledger::default(),
        closing: CancellationToken::new(),
    });
    let wanted = wanted(&fleet.troubles(), length);
    let calm = CancellationToken::new();
    let mut trouble = {
        let (world, calm) = (Arc::clone(&world), calm.clone());
        tokio::task::spawn_blocking(move || {
            Chaos::new(fleet, Dice::new(seed, OF_THE_TROUBLE)).rage(&world, &calm)
        })
    };
    let cases = work(&world, seed, &calm);
    let mut left = length;
    while left > Duration::ZERO {
        let step = left.min(LONG);
        tokio::select! {
            () = tokio::time::sleep(step) => left -= step,
            ended = &mut trouble => panic!("trouble ended by itself: {:?}", ended.err()),
        }
        if left > Duration::ZERO {
            println!("{name}:\n{}", world.ledger);
        }
    }
    for _ in 0..OVERTIME {
        if world.ledger.has(&wanted) {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    calm.cancel();
    // Trouble ends first, then what is under way is brought to its end.
    let mut fleet = trouble.await.unwrap();
    await_recovery(&world, &Dice::new(seed, OF_THE_RECOVERY)).await;
    world.closing.cancel();
    cases.join_all().await;
    tokio::task::block_in_place(|| fleet.gateways.iter_mut().for_each(|g| g.terminate()));
    world.ledger.add(Row::Strays, usize::try_from(world.legacy.strays()).unwrap());
    println!("{name}, {length:?}, seed {seed}:\n{}", world.ledger);
    world.ledger.close(&wanted);
}

/// How much must have happened at least, on a slow machine too.
fn wanted(troubles: &[Trouble], length: Duration) -> Vec<(Row, u64)> {
    let work = [
        Row::CallsAnswered,
        Row::CallsReplayed,
        Row::LinksOpened,
        Row::ClicksRefused,
        Row::EntriesAnswered,
    ];
    let troubles = troubles.iter().map(|kind| (kind.row(), 1));
    troubles.chain(work.map(|row| (row, length.as_secs()))).collect()
}

/// Everybody at work, case after case, until it is calm.
fn work(world: &Arc<World>, seed: u64, calm: &CancellationToken) -> JoinSet<()> {
    let next = Arc::new(AtomicU64::new(0));
    let mut cases = JoinSet::new();
    for _ in 0..CASES {
        let (world, calm, next) = (Arc::clone(world), calm.clone(), Arc::clone(&next));
        cases.spawn(async move {
            while !calm.is_cancelled() {
                let case = next.fetch_add(1, Ordering::Relaxed);
                let dice = Dice::new(seed, case);
                // They do not all begin at once.
                world.pause(dice.millis(0, 3000)).await;
                live(&world, case, &dice).await;
            }
        });
    }
    cases
}

fn length() -> Duration {
    let text = std::env::var_os("HOOKGATE_SOAK").map(|text| text.into_string().unwrap());
    Period::try_from(text.unwrap_or_else(|| "50s".to_owned())).unwrap().get()
}

fn seed() -> u64 {
    match std::env::var_os("HOOKGATE_SOAK_SEED") {
        Some(text) => text.to_str().unwrap().parse().unwrap(),
        None => u64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap(),
    }
}
