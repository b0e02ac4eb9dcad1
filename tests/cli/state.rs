//! What a restart, a kill and a second program find.

use hookgate::demo::server::Server;

use crate::home::{Home, Running, cards};

async fn scene() -> (Home, Server, String) {
    let home = Home::new();
    let service = Server::start(|_| async { cards() }).await.unwrap();
    let config = home.config(&service.url());
    (home, service, config)
}

#[tokio::test]
async fn keys_and_spends_outlive_a_restart() {
    let (home, _service, config) = scene().await;
    let jwks = async || {
        let url = format!("{}/.well-known/jwks.json", home.url());
        home.http().build().unwrap().get(url).send().await.unwrap().text().await.unwrap()
    };
    let running = home.serve(&config);
    let (before, spent, fresh) = (jwks().await, home.link().await, home.link().await);
    assert_eq!(home.click(&spent).await, 303);
    running.signal("TERM");
    assert!(running.end().0.success());

    let _running = home.serve(&config);
    assert_eq!(jwks().await, before);
    assert_eq!(home.click(&spent).await, 410);
    assert_eq!(home.click(&fresh).await, 303);
    assert_eq!(home.click(&fresh).await, 410);
}

#[tokio::test]
async fn a_kill_between_two_clicks_leaves_one_winner() {
    let (home, _service, config) = scene().await;
    let running = home.serve(&config);
    let (spent, fresh) = (home.link().await, home.link().await);
    assert_eq!(home.click(&spent).await, 303);
    running.signal("KILL");
    assert!(!running.end().0.success());

    let _running = home.serve(&config);
    assert_eq!(home.click(&spent).await, 410);
    assert_eq!(home.click(&fresh).await, 303);
    assert_eq!(home.click(&fresh).await, 410);
}

#[tokio::test]
async fn one_folder_serves_one_program() {
    let (home, _service, config) = scene().await;
    let running = home.serve(&config);
    let elsewhere = config.replace("address = \"127.0.0.1:", "address = \"127.0.0.2:");
    let (status, _, complaint) = Running::start(&home.write("second.toml", &elsewhere)).end();
    assert_eq!(status.code(), Some(70), "{complaint}");
    assert!(complaint.contains("is already in use by another hookgate"), "{complaint}");
    assert_eq!(running.health("/livez").await.unwrap().0, 200);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_told() {
    let (home, _service, config) = scene().await;
    let config = config.replace("/state\"", "/ehr.jwks/state\"");
    let (status, _, complaint) = Running::start(&home.write("c.toml", &config)).end();
    assert_eq!(status.code(), Some(70), "{complaint}");
    assert!(complaint.contains("/ehr.jwks/state cannot be used: "), "{complaint}");
}
