//! `hookgate healthcheck`, and the warning about services that can be reached past the gateway.

use std::net::{SocketAddr, TcpListener};

use hookgate::bypass::{Interfaces, SystemInterfaces};

use crate::home::{Home, run, until};
use crate::port::free_port;

const UPSTREAM: &str = "http://127.0.0.1:8080";

/// A home whose health listener has a port that is known before.
fn with_health(home: &Home, address: &str, upstream: &str) -> (String, SocketAddr) {
    let config = home.config(upstream);
    let address: SocketAddr = address.parse().unwrap();
    let health = format!("[health]\naddress = \"{address}\"");
    (config.replace("[health]\naddress = \"127.0.0.1:0\"", &health), address)
}

fn healthcheck(home: &Home, more: &[&str]) -> (i32, String, String) {
    let file = home.path("hookgate.toml");
    run(&[&["healthcheck", "--timeout", "60s", "--config", file.to_str().unwrap()], more].concat())
}

#[tokio::test]
async fn a_gateway_is_asked_where_its_configuration_says() {
    let home = Home::new();
    // A listener on all addresses is asked on the loopback.
    let (config, address) = with_health(&home, &format!("0.0.0.0:{}", free_port()), UPSTREAM);
    let running = home.serve(&config);
    assert_eq!(healthcheck(&home, &[]), (0, "ready\n".to_owned(), String::new()));
    assert_eq!(healthcheck(&home, &["--live"]), (0, "live\n".to_owned(), String::new()));

    // What serves goes on while somebody is at work on the file: only the one table counts.
    home.write("hookgate.toml", &config.replace("public_url", "publicurl"));
    assert_eq!(healthcheck(&home, &[]).0, 0);
    home.write("hookgate.toml", "[health");
    let there = format!("127.0.0.1:{}", address.port());
    let (code, out, _) = healthcheck(&home, &["--address", &there]);
    assert_eq!((code, out.as_str()), (0, "ready\n"));

    drop(running);
    let (code, out, complaint) = healthcheck(&home, &["--address", &there]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(complaint.contains(&there) && complaint.contains("does not listen"), "{complaint}");
}

#[tokio::test]
async fn what_is_missing_is_told_and_fails_the_check_but_not_of_life() {
    let home = Home::new();
    let (config, _) = with_health(&home, &format!("127.0.0.1:{}", free_port()), UPSTREAM);
    let unreachable = format!("jwks_url = \"http://127.0.0.1:{}/jwks\"", free_port());
    let jwks_file = format!("jwks_file = \"{}\"", home.path("ehr.jwks").display());
    let config =
        config.replace(&jwks_file, &format!("{unreachable}\nallow_private_key_server = true"));
    let _running = home.serve(&config);
    let (code, out, _) = healthcheck(&home, &[]);
    assert_eq!((code, out.as_str()), (1, "not ready\npending: keys: ehr\n"));
    assert_eq!(healthcheck(&home, &["--live"]).0, 0);
}

#[test]
fn what_is_no_health_listener_is_not_taken_for_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let hangs_up = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let (code, out, complaint) = run(&["healthcheck", "--address", &address]);
    assert_eq!((code, out.as_str()), (1, ""), "{complaint}");
    hangs_up.join().unwrap();

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let (code, _, complaint) = run(&["healthcheck", "--address", &address, "--timeout", "50ms"]);
    assert_eq!(code, 1);
    assert!(complaint.contains("no answer within the timeout"), "{complaint}");

    assert_eq!(run(&["healthcheck", "--address", "here"]).0, 64);
    assert_eq!(run(&["healthcheck", "--timeout", "5"]).0, 64);
}

#[tokio::test]
async fn a_service_that_answers_past_the_gateway_is_warned_of() {
    // On a machine with nothing but its loopback there is no way past, and so no warning.
    let others = SystemInterfaces.addresses().unwrap().iter().filter(|a| a.is_ipv4()).count();
    let service = TcpListener::bind("0.0.0.0:0").unwrap();
    let upstream = format!("http://127.0.0.1:{}", service.local_addr().unwrap().port());
    let home = Home::new();
    for (off, expected) in [("", others > 0), ("bypass_check = false\n", false)] {
        // One more that is looked at in any case, and told of last: they are told of by their ids.
        let config = format!(
            "{}{off}[[upstream]]\nid = \"watched\"\nurl = \"http://127.0.0.1:{}\"\n\
             [[service]]\nid = \"*\"\nupstream = \"legacy\"\n",
            home.config(&upstream),
            free_port(),
        );
        let running = home.serve(&config);
        let metrics = async || running.health("/metrics").await.unwrap().1;
        let last = "hookgate_upstream_bypass{upstream=\"watched\"}";
        until("it has looked", async || metrics().await.contains(last)).await;
        let looked_at = "hookgate_upstream_bypass{upstream=\"legacy\"}";
        assert_eq!(metrics().await.contains(looked_at), off.is_empty());
        // A line that comes later, so that a warning would have been read.
        running.signal("HUP");
        running.await_line(|line| line["message"] == "the configuration is taken up");
        let warned = running.log().iter().any(|line| {
            line["upstream"] == "legacy" && line.to_string().contains("past the gateway")
        });
        assert_eq!(warned, expected, "{:?}", running.log());
        let (status, said) = running.health("/readyz").await.unwrap();
        assert_eq!(status, 200);
        assert_eq!(said.contains("bypass: upstream legacy answers on"), expected, "{said}");
    }
}
