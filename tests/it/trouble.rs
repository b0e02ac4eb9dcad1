//! What everybody meets while the store is in trouble, and that nothing is lost or done twice by it.

use crate::harness::{
    Extra, HOOK_INSTANCE, Ids, NO_LIMITS, Scene, Trouble, gone, hook_body, outcome, page, problem,
    refused, status,
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
const LATE: (u16, &str, &str) = (503, "store", "store-late");

#[tokio::test]
async fn links_wait_for_the_store_and_open_when_it_is_back() {
    for (trouble, (status, code, reason)) in [
        (Trouble::Down, DOWN),
        (Trouble::Unreached, DOWN),
        (Trouble::Full, FULL),
        (Trouble::Late, LATE),
    ] {
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

#[tokio::test]
async fn calls_are_told_to_come_again_by_default() {
    for (trouble, (status, code, reason)) in
        [(Trouble::Down, DOWN), (Trouble::Unreached, DOWN), (Trouble::Full, FULL)]
    {
        let what = format!("{trouble:?}");
        let scene = Scene::new(&troubled(trouble)).await;
        let token = scene.token(&scene.endpoint());
        let none = "{\"feedback\":[]}".to_owned();
        for (url, body) in [(scene.endpoint(), hook_body()), (scene.feedback(), none)] {
            let response = scene.post_with(&url, &token, body).await;
            refused(response, outcome(status, code, reason), &what).await;
        }
        assert!(scene.service.arrivals().is_empty(), "{what}");
        scene.store().gets(Trouble::None);
        let response = scene.post_with(&scene.endpoint(), &token, hook_body()).await;
        assert_eq!(response.status(), 200, "{what}: nothing had spent it");
    }
}

#[tokio::test]
async fn a_lost_answer_costs_nobody_anything() {
    let scene = Scene::new(&troubled(Trouble::None)).await;
    let lost = |after| scene.store().gets(Trouble::RepliesLost { after, lost: 1 });
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
    assert_eq!(asked().await, 2, "it worked a moment ago");
}
