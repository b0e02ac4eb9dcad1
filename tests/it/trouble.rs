//! What everybody meets while the store is in trouble, and that nothing is lost or done twice by it.

use std::time::Duration;

use hookgate::clock::Clock;
use hookgate::demo::server as demo;
use serde_json::{Value, json};

use crate::harness::{
    Extra, HOOK_INSTANCE, Ids, NO_LIMITS, Scene, Trouble, all_lines, cookie, gone, hook_body,
    outcome, page, problem, refused, status,
};

fn troubled(trouble: Trouble) -> Extra {
    let tables = NO_LIMITS.to_owned();
    Extra { trouble: Some(trouble), tables, ..Extra::default() }
}

fn report(ids: &Ids) -> String {
    serde_json::json!({"feedback": [{"card": ids.card, "outcome": "overridden"}]}).to_string()
}

const DOWN: (u16, &str, &str) = (503, "store", "store-down");
const FULL: (u16, &str, &str) = (503, "store", "store-full");

#[tokio::test]
async fn links_wait_for_the_store_and_open_when_it_is_back() {
    for (trouble, (status, code, reason)) in
        [(Trouble::Down, DOWN), (Trouble::Unreached, DOWN), (Trouble::Full, FULL)]
    {
        let what = format!("{trouble:?}");
        let scene = Scene::new(&troubled(Trouble::None)).await;
        let link = scene.link().await;
        scene.store().gets(trouble);
        for _ in 0..2 {
            let response = scene.click(&link).send().await.unwrap();
            refused(response, page(status, code, reason), &what).await;
            let response = scene.bare(reqwest::Method::POST, &link).send().await.unwrap();
            refused(response, problem(status, code, reason), &what).await;
        }
        scene.store().gets(Trouble::None);
        let response = scene.click(&link).send().await.unwrap();
        assert_eq!(response.status(), 303, "{what}");
    }
}

/// Every way that an EHR goes, with a token and, where the service opted in, without.
#[tokio::test]
async fn calls_are_told_to_come_again_by_default() {
    for (trouble, (code, name, reason)) in
        [(Trouble::Down, DOWN), (Trouble::Unreached, DOWN), (Trouble::Full, FULL)]
    {
        let what = format!("{trouble:?}");
        let tables = format!("{NO_LIMITS}[discovery]\nmode = \"authenticated\"\n");
        let lists = "[[service]]\nid = \"*\"\n[service.feedback]\nanalytics = \"uuid\"\n";
        let extra = Extra { tables, lists: lists.to_owned(), ..troubled(Trouble::None) };
        let scene = Scene::new(&extra).await;
        scene.answers_reports(|_| status(200));
        let ids = scene.ids_of(HOOK_INSTANCE).await;
        let list = format!("{}/cds-services", scene.public_url);
        let analytics = scene.analytics_url(&ids.suggestions[0]);
        let http = scene.http();
        let json = |url: &str| http.post(url).header("content-type", "application/json");
        let signed =
            |request: reqwest::RequestBuilder, url: &str| request.bearer_auth(scene.token(url));
        let (hook, feedback) = (scene.endpoint(), scene.feedback());
        let calls = [
            ("hook", signed(json(&hook).body(hook_body()), &hook)),
            ("discovery", signed(http.get(&list), &list)),
            ("feedback", signed(json(&feedback).body(report(&ids)), &feedback)),
            ("analytics", signed(json(&analytics).body("{}"), &analytics)),
            ("analytics by id", json(&analytics).body("{}")),
        ];
        scene.store().gets(trouble);
        let before = scene.service.arrivals().len();
        for (way, call) in &calls {
            let response = call.try_clone().unwrap().send().await.unwrap();
            refused(response, outcome(code, name, reason), &format!("{what} {way}")).await;
        }
        assert_eq!(scene.service.arrivals().len(), before, "{what}");
        let keys = format!("{}/.well-known/jwks.json", scene.public_url);
        assert_eq!(http.get(keys).send().await.unwrap().status(), 200, "{what}");
        scene.store().gets(Trouble::None);
        // What was not certain to be given back is so after a moment.
        scene.advance(Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(20)).await;
        scene.service.plays(|arrival| match arrival.target.as_str() {
            "/cds-services" => demo::json(200, "{\"services\":[]}".to_owned()),
            _ => demo::json(200, "{\"cards\":[]}".to_owned()),
        });
        for (way, call) in calls {
            let response = call.send().await.unwrap();
            assert_eq!(response.status(), 200, "{what} {way}: nothing had spent it");
        }
        // The second analytics call repeats the first.
        assert_eq!(scene.service.arrivals().len(), before + 4, "{what}");
    }
}

#[tokio::test]
async fn a_lost_answer_costs_nobody_anything() {
    let scene = Scene::new(&troubled(Trouble::None)).await;
    let lost = |after| scene.store().gets(Trouble::ReplyLost { after });
    // The token and the record of the ids.
    for after in 0..2 {
        lost(after);
        assert!(scene.cards().await["cards"][0]["uuid"].is_string(), "{after}");
    }
    let link = scene.link().await;
    lost(0);
    assert_eq!(scene.click(&link).send().await.unwrap().status(), 303, "its own spend");
    gone(&scene.click(&link).send().await.unwrap());
    // The token, the ids' record, the claim and the settling.
    scene.answers_reports(|_| status(200));
    for after in 0..4 {
        let (before, report) = (scene.reports().len(), report(&scene.ids_of(HOOK_INSTANCE).await));
        for _ in 0..2 {
            lost(after);
            assert_eq!(scene.report(report.clone()).await.status(), 200, "{after}");
        }
        assert_eq!(scene.reports().len(), before + 1, "{after}");
    }
}

/// However often it is asked for, the answer is lost after the link was spent: the page says that it cannot be opened
/// now, and the browser that was told so may come again as after any opening. Nobody else may.
#[tokio::test]
async fn a_browser_that_got_no_answer_may_come_again_and_no_other() {
    for (trouble, spent) in [(Trouble::StepLost { after: 0 }, true), (Trouble::Down, false)] {
        let what = format!("{trouble:?}");
        let scene = Scene::new(&troubled(Trouble::None)).await;
        let link = scene.link().await;
        scene.store().gets(trouble);
        let response = scene.click(&link).send().await.unwrap();
        let cookie = cookie(&response);
        refused(response, page(503, "store", "store-down"), &what).await;
        scene.store().gets(Trouble::None);
        scene.advance(Duration::from_secs(20));
        let stranger = scene.click(&link);
        if spent {
            gone(
                &stranger
                    .header("cookie", "__Host-hookgate=AAAAAAAAAAAAAAAAAAAAAA")
                    .send()
                    .await
                    .unwrap(),
            );
            gone(&scene.click(&link).send().await.unwrap());
        }
        let again = scene.click(&link).header("cookie", &cookie).send().await.unwrap();
        assert_eq!(again.status(), 303, "{what}");
        scene.advance(Duration::from_secs(30));
        gone(&scene.click(&link).header("cookie", &cookie).send().await.unwrap());
    }
}

#[tokio::test]
async fn while_it_does_not_answer_every_step_is_tried_once() {
    let scene = Scene::new(&troubled(Trouble::Down)).await;
    let asked = async || {
        let before = scene.store().asked();
        assert_eq!(scene.post(&scene.endpoint(), hook_body()).await.status(), 503);
        scene.store().asked() - before
    };
    asked().await;
    assert_eq!(asked().await, 1);
    scene.store().gets(Trouble::None);
    scene.cards().await;
    scene.store().gets(Trouble::Down);
    assert!(asked().await > 1, "it worked a moment ago");
}

#[tokio::test]
async fn readiness_tells_what_is_wrong_and_takes_away_only_what_helps() {
    for (client, trouble, ready, told) in [
        ("refuse", Trouble::Down, false, "store: the store does not answer: the line is cut"),
        ("refuse", Trouble::Unreached, false, "store: the store does not answer: the line is cut"),
        ("refuse", Trouble::Full, true, "store: the store is full"),
        ("local", Trouble::Down, true, "store: the store does not answer: the line is cut"),
        ("local", Trouble::Full, true, "store: the store is full"),
    ] {
        let client = format!("when_store_down = \"{client}\"");
        let what = format!("{client} {trouble:?}");
        let scene = Scene::new(&Extra { client, ..troubled(Trouble::None) }).await;
        let fine = (200, json!({"ready": true, "pending": []}));
        until_ready_says(&scene, &fine, &what).await;
        scene.store().gets(trouble);
        scene.advance(Duration::from_secs(5));
        let expected = if ready {
            (200, json!({"ready": true, "pending": [], "degraded": [told]}))
        } else {
            (503, json!({"ready": false, "pending": [told]}))
        };
        until_ready_says(&scene, &expected, &what).await;
        scene.store().gets(Trouble::None);
        // One that is down is looked at more often: nobody calls until it is ready.
        scene.advance(Duration::from_secs(if trouble == Trouble::Full { 5 } else { 1 }));
        until_ready_says(&scene, &fine, &what).await;
    }
}

/// Waits until `/readyz` answers so, which a task in the background brings about.
async fn until_ready_says(scene: &Scene, expected: &(u16, Value), what: &str) {
    let mut said = (0, Value::Null);
    for _ in 0..1000 {
        let answer = reqwest::get(format!("{}/readyz", scene.health())).await.unwrap();
        said = (answer.status().as_u16(), answer.json().await.unwrap());
        if said == *expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what}: never {expected:?}, but {said:?}");
}

#[tokio::test]
async fn long_before_it_is_full_the_store_says_so_and_full_it_refuses() {
    // These lines stand right below those of `[state]`.
    let tables = format!("max_entries = 10\n{NO_LIMITS}");
    let scene = Scene::new(&Extra { tables, ..Extra::default() }).await;
    let nearly = async || scene.sample("hookgate_store_nearly_full").await;
    // Each call keeps its token and the record of its ids.
    for (calls, is) in [(3, 0), (1, 1), (1, 1)] {
        for _ in 0..calls {
            assert!(scene.cards().await["cards"][0]["uuid"].is_string());
        }
        assert_eq!(nearly().await, is, "{}", scene.sample("hookgate_store_entries").await);
    }
    let response = scene.post(&scene.endpoint(), hook_body()).await;
    let (status, code, reason) = FULL;
    refused(response, outcome(status, code, reason), "full").await;
    assert_eq!(scene.service.arrivals().len(), 5, "what cannot be remembered is not done");
    // The tokens are over after five minutes and the skew, the records after a day.
    scene.advance(Duration::from_secs(330));
    assert!(scene.cards().await["cards"][0]["uuid"].is_string());
    scene.advance(Duration::from_secs(24 * 3600 + 600));
    // What has ended is swept where room is needed.
    for _ in 0..10 {
        scene.cards().await;
        if nearly().await == 0 {
            break;
        }
    }
    assert_eq!(nearly().await, 0);
    // No other scene has such a store.
    let lines = all_lines();
    let told = lines.lines().filter(|line| line.contains("\"capacity\":10,"));
    let told: Vec<&str> = told.filter(|line| line.contains("the store ")).collect();
    let words = ["the store is nearly full", "the store has room again"];
    assert!(told.len() >= 2 && told.len().is_multiple_of(2), "{told:?}");
    assert!(
        told.iter().zip(words.iter().cycle()).all(|(line, word)| line.contains(word)),
        "{told:?}"
    );
}

/// An EHR that reports again until its report is taken, as `Retry-After` asks it to.
async fn report_until_taken(scene: &Scene, report: &str) -> usize {
    for tries in 0..100 {
        let response = scene.report(report.to_owned()).await;
        if response.status() == 200 {
            return tries;
        }
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key("retry-after"));
        scene.store().gets(Trouble::None);
        scene.advance(Duration::from_secs(5));
        // Whoever waits for the clock has its turn.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never taken");
}

/// Wherever in a report the store goes away, the EHR's retry delivers it, and nothing comes twice.
#[tokio::test]
async fn a_report_is_delivered_once_whenever_the_store_goes_away() {
    // The steps of a report: its token, the ids' record, the claim, the settling.
    for (step, tries) in [(0, 1), (1, 1), (2, 2), (3, 0)] {
        for (trouble, tries) in
            [(Trouble::ReplyLost { after: step }, 0), (Trouble::StepLost { after: step }, tries)]
        {
            let what = format!("{trouble:?}");
            let scene = Scene::new(&troubled(Trouble::None)).await;
            scene.answers_reports(|_| status(200));
            let report = report(&scene.ids_of(HOOK_INSTANCE).await);
            scene.store().gets(trouble);
            let tried = report_until_taken(&scene, &report).await;
            assert!(tried <= tries, "{what}: {tried}");
            assert_eq!(scene.reports().len(), 1, "{what}");
            scene.store().gets(Trouble::None);
            report_until_taken(&scene, &report).await;
            assert_eq!(scene.reports().len(), 1, "{what}: a repeat");
        }
    }
}

/// The service took the report, and then the store is away for a while: it is told when it is back. A wall
/// clock that is wrong meanwhile ends no lease.
#[tokio::test]
async fn what_was_delivered_is_noted_when_the_store_is_back() {
    for (away, ahead, delivered) in [(5, 0, 1), (100, 0, 1), (125, 0, 2), (20, 600, 1)] {
        let scene = Scene::new(&troubled(Trouble::None)).await;
        let (store, clock) = (scene.store().clone(), scene.clock.clone());
        scene.answers_reports(move |_| {
            store.gets(Trouble::Down);
            status(200)
        });
        let report = report(&scene.ids_of(HOOK_INSTANCE).await);
        assert_eq!(scene.report(report.clone()).await.status(), 200, "the service has it");
        let ahead = Duration::from_secs(ahead);
        clock.set(clock.now().plus(ahead));
        for _ in 0..away / 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            clock.advance(Duration::from_secs(5));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        clock.set(clock.now().minus(ahead));
        scene.answers_reports(|_| status(200));
        scene.store().gets(Trouble::None);
        report_until_taken(&scene, &report).await;
        assert_eq!(scene.reports().len(), delivered, "away for {away} seconds, {ahead:?} ahead");
    }
}
