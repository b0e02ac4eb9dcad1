//! Two gateways, one store, and everybody at the same moment.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Response;
use serde_json::Value;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::dice::Dice;
use crate::door::Door;
use crate::ehr::{Ehr, Entry, Good, call, report};
use crate::fleet::Fleet;
use crate::ledger::Ledger;
use crate::legacy::{Legacy, targets};
use crate::recovery::await_recovery;
use crate::site::STEADY;
use crate::world::World;

const ROUNDS: u64 = 40;
/// How many come at once: half of them to each gateway.
const TOGETHER: usize = 8;

/// Between two attempts to report. A store that was too slow is told some seconds later what became of it.
const PAUSE: Duration = Duration::from_millis(100);

/// The scene of one race: who comes where.
struct Scene {
    world: Arc<World>,
    _fleet: Fleet,
}

impl Scene {
    async fn new() -> Self {
        let legacy = Legacy::start(Dice::new(0, 0)).await;
        // The most patience there is: a race whose end nobody knows shows nothing.
        let patience = "timeout = \"1s\"";
        let fleet =
            tokio::task::block_in_place(|| Fleet::on_redis_with(&legacy.url(), 2, patience));
        let world = World {
            ehr: Ehr::new(fleet.site.key()),
            doors: fleet.doors(),
            told: fleet.gateways.iter().map(|gateway| gateway.told()).collect(),
            legacy,
            ledger: Ledger::default(),
            closing: CancellationToken::new(),
        };
        // A gateway serves before it has reached its store.
        await_recovery(&world, &Dice::new(0, 1)).await;
        Self { world: Arc::new(world), _fleet: fleet }
    }

    /// A case with its cards.
    async fn cards(&self, case: u64) -> Value {
        self.world.legacy.open(case);
        loop {
            let (token, number) = (self.token(), self.world.ehr.number());
            let client = self.world.doors[0].client(&Dice::new(1, case));
            let answer = call(client, STEADY, &token, (case, number)).send().await.unwrap();
            // A busy machine may be too slow for the store.
            if answer.status() != 503 {
                assert_eq!(answer.status(), 200);
                return answer.json().await.unwrap();
            }
        }
    }

    fn token(&self) -> String {
        self.world.ehr.token(STEADY, Good::Long)
    }

    /// Everybody does `act` at the same moment, half of them at each gateway.
    async fn together<F>(&self, round: u64, act: impl Fn(usize, &Door, &Dice) -> F) -> Vec<Response>
    where
        F: Future<Output = reqwest::Result<Response>> + Send + 'static,
    {
        let start = Arc::new(Barrier::new(TOGETHER));
        let mut racing = JoinSet::new();
        for number in 0..TOGETHER {
            let door = &self.world.doors[number % self.world.doors.len()];
            let dice = Dice::new(round, u64::try_from(number).unwrap());
            let (acting, start) = (act(number, door, &dice), Arc::clone(&start));
            racing.spawn(async move {
                start.wait().await;
                acting.await.unwrap()
            });
        }
        racing.join_all().await
    }
}

fn count(answers: &[Response], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status() == status).count()
}

/// Asserts that one at most was told `yes`, and all others `no` or that nobody knows. Whether everybody
/// was told something.
fn judge(answers: &[Response], yes: u16, no: u16) -> bool {
    let (won, unsure) = (count(answers, yes), count(answers, 503));
    assert!(won <= 1, "{won} won");
    assert_eq!(won + unsure + count(answers, no), TOGETHER, "{answers:?}");
    assert!(won + unsure > 0, "all were refused");
    unsure == 0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_one_browsers_whichever_gateway_it_comes_to() {
    let scene = Scene::new().await;
    let mut clear = 0;
    for case in 0..ROUNDS {
        let cards = scene.cards(case).await;
        for (link, target) in targets(case).iter().enumerate() {
            let url = cards["cards"][0]["links"][link]["url"].as_str().unwrap();
            let answers = scene
                .together(case, |_, door, dice| {
                    door.client(dice).get(url).header("sec-fetch-mode", "navigate").send()
                })
                .await;
            clear += u64::from(judge(&answers, 303, 410));
            if let Some(winner) = answers.iter().find(|answer| answer.status() == 303) {
                assert_eq!(winner.headers()["location"], target.as_str());
            }
        }
    }
    assert!(clear > ROUNDS, "{clear} races of {} had an end", ROUNDS * 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_one_call_in_whichever_gateway_it_is_shown_to() {
    let scene = Scene::new().await;
    let mut clear = 0;
    for case in 0..ROUNDS {
        scene.world.legacy.open(case);
        let token = scene.token();
        let answers = scene
            .together(case, |_, door, dice| {
                call(door.client(dice), STEADY, &token, (case, 1)).send()
            })
            .await;
        clear += u64::from(judge(&answers, 200, 401));
        let calls = scene.world.legacy.close(case).calls;
        assert_eq!(calls.values().sum::<u32>(), u32::try_from(count(&answers, 200)).unwrap());
    }
    assert!(clear > ROUNDS / 2, "{clear} races of {ROUNDS} had an end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_reaches_the_service_once_whoever_delivers_it() {
    let scene = Scene::new().await;
    for case in 0..ROUNDS {
        let cards = scene.cards(case).await;
        let card = &cards["cards"][0];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let feedback = Entry::Feedback { card: text(&card["uuid"]), number: 1 };
        let suggestion = text(&card["suggestions"][0]["uuid"]);
        let analytics = Entry::Analytics { suggestion, number: 2 };
        for entry in [feedback, analytics] {
            deliver(&scene, case, &entry).await;
            let seen = scene.world.legacy.seen(case);
            let takings = seen.takings.iter().filter(|taking| taking.entry == entry.number());
            assert_eq!(takings.count(), 1, "{entry:?}");
            assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
        }
    }
}

/// All of them report it, again and again until each was told that it was taken.
async fn deliver(scene: &Scene, case: u64, entry: &Entry) {
    for _ in 0..100 {
        let answers = scene
            .together(case, |number, door, dice| {
                let about = (case, u64::try_from(number).unwrap());
                report(door.client(dice), STEADY, &scene.token(), entry, about).send()
            })
            .await;
        // Others are told to come again.
        assert_eq!(count(&answers, 200) + count(&answers, 503), TOGETHER);
        if count(&answers, 200) == TOGETHER {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("somebody was never told: {entry:?}");
}
