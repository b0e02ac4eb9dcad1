//! What is away, and what goes on all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hookgate::demo::server::{Server, answer, json};

use crate::harness::{Ehr, Extra, Scene, hook_body};

#[tokio::test]
async fn a_key_server_that_is_down_at_start_is_no_bad_token_and_keeps_nobody_else_waiting() {
    let ehr = Ehr::new("late");
    let (up, keys) = (Arc::new(AtomicBool::new(false)), ehr.key.jwks());
    let is_up = Arc::clone(&up);
    let server = Server::start(move |_| {
        let reply = if is_up.load(Ordering::Relaxed) {
            json(200, keys.clone())
        } else {
            answer(500, "text/html", "<h1>down</h1>".to_owned())
        };
        async move { reply }
    })
    .await
    .unwrap();
    let lists = ehr.fetched(&format!("{}/jwks", server.url()));
    let scene = Scene::new(&Extra { lists, ..Extra::default() }).await;
    scene.until_pending(&["keys: late"]).await;

    let url = scene.endpoint();
    let refused = scene.post_with(&url, &ehr.token(&scene, &url), hook_body()).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    assert!(refused.text().await.unwrap().contains("keys-unavailable"));
    assert_eq!(scene.cards().await["cards"].as_array().unwrap().len(), 1);

    up.store(true, Ordering::Relaxed);
    scene.advance(Duration::from_secs(300));
    scene.until_pending(&[]).await;
    let taken = scene.post_with(&url, &ehr.token(&scene, &url), hook_body()).await;
    assert_eq!(taken.status(), 200);
}
