//! `hookgate serve`: from the first line in the log to the exit code.

use hookgate::demo::server::Server;
use serde_json::Value;

use crate::home::{Home, Running, cards};

#[tokio::test]
async fn answers_probes_and_calls_and_logs_one_line_for_each() {
    let home = Home::new();
    let service = Server::start(|_| async { cards() }).await.unwrap();
    let running = home.serve(&home.config(&service.url()));
    assert_eq!(running.health("/livez").await.unwrap(), (200, "live\n".to_owned()));
    let (status, ready) = running.health("/readyz").await.unwrap();
    assert_eq!((status, ready.as_str()), (200, r#"{"pending":[],"ready":true}"#));

    let client = home.http().build().unwrap();
    assert_eq!(home.call(&client).await.unwrap().status(), 200);
    assert_eq!(client.get(home.url()).send().await.unwrap().status(), 404);
    let link = home.link().await;
    assert_eq!(home.click(&link).await, 303);
    let nameless = client.post(home.endpoint()).send().await.unwrap();
    assert_eq!(nameless.status(), 401);
    let id = nameless.headers()["x-request-id"].to_str().unwrap().to_owned();

    let metrics = running.health("/metrics").await.unwrap().1;
    assert!(
        metrics.contains("hookgate_requests_total{way=\"hook\",status=\"200\"} 2"),
        "{metrics}"
    );
    running.signal("TERM");
    let (status, log, complaint) = running.end();
    assert_eq!((status.code(), complaint.as_str()), (Some(0), ""));
    let access: Vec<&Value> = log.iter().filter(|l| l["target"] == "hookgate::access").collect();
    let statuses: Vec<u64> = access.iter().filter_map(|line| line["status"].as_u64()).collect();
    assert_eq!(statuses, [200, 404, 200, 303, 401]);
    assert_eq!(access[4]["reason"], "token-missing");
    assert_eq!(access[4]["code"], "unauthorized");
    assert_eq!(access[4]["request"], id);
    let all = serde_json::to_string(&log).unwrap();
    let token = link.rsplit('/').next().unwrap();
    assert!(!all.contains("4711") && !all.contains(token) && !all.contains("app.example"), "{all}");
}

#[tokio::test]
async fn either_signal_ends_it_well() {
    for signal in ["TERM", "INT"] {
        let home = Home::new();
        let running = home.serve(&home.config("http://127.0.0.1:8080"));
        running.signal(signal);
        let (status, log, complaint) = running.end();
        assert_eq!((status.code(), complaint.as_str()), (Some(0), ""), "{signal}");
        assert!(log.iter().any(|line| line["message"] == "stopped"), "{log:?}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let good = home.config("http://127.0.0.1:8080");
    let listener = good.replace(&home.url().replace("https://localhost:", ""), &port.to_string());
    // The first of them; the admin listener's own is free.
    let health = good.replacen("127.0.0.1:0", &address, 1);
    for (config, prefix) in [(listener, "cannot listen on "), (health, "health: cannot listen on ")]
    {
        let (status, _, complaint) = Running::start(&home.write("taken.toml", &config)).end();
        assert_eq!(status.code(), Some(70), "{complaint}");
        let expected = format!("{prefix}{address}: Address already in use");
        assert!(complaint.contains(&expected), "{complaint}");
    }
}
