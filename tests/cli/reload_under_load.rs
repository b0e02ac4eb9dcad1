//! Many reloads while everybody is at work: nobody notices.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hookgate::demo::server::Server;
use serde_json::Value;

use crate::home::{Home, cards, until};
use crate::reload::reloads;

const RELOADS: u64 = 50;

/// What one of those at work has met.
#[derive(Debug, Default)]
struct Met {
    good: u64,
    bad: Vec<String>,
}

impl Met {
    fn note(&mut self, what: &str, wanted: u16, answer: reqwest::Result<u16>) {
        match answer {
            Ok(status) if status == wanted => self.good += 1,
            Ok(status) => self.bad.push(format!("{what}: {status}")),
            Err(error) => self.bad.push(format!("{what}: {error:?}")),
        }
    }
}

/// One who calls again and again, and opens the link on every fourth card, all on one connection.
async fn works(home: &Home, client: &reqwest::Client, stop: &AtomicBool) -> Met {
    let mut met = Met::default();
    while !stop.load(Ordering::Relaxed) {
        let answer = match home.call(client).await {
            Ok(answer) => answer,
            Err(error) => {
                met.note("call", 200, Err(error));
                continue;
            }
        };
        let status = answer.status().as_u16();
        met.note("call", 200, Ok(status));
        let text = answer.text().await.unwrap();
        if status != 200 || met.good % 4 != 0 {
            continue;
        }
        let cards: Value = serde_json::from_str(&text).unwrap();
        let link = cards["cards"][0]["links"][0]["url"].as_str().unwrap();
        let click = client.get(link).header("sec-fetch-mode", "navigate").send().await;
        met.note("click", 303, click.map(|answer| answer.status().as_u16()));
    }
    met
}

/// The configuration in its `number`th shape. None of them says anything else about those who call.
fn shaped(good: &str, number: u64) -> String {
    let turn = number / 4 % 2;
    match number % 4 {
        // The certificate is another one, and the file is as it was first.
        0 => good.to_owned(),
        1 => format!(
            "{good}[[client]]\nid = \"other-{turn}\"\nissuer = \"https://other.example\"\n\
             jwks_url = \"http://127.0.0.1:1/\"\nallow_private_key_server = true\n"
        ),
        2 => format!(
            "{good}[[service]]\nid = \"greeting\"\n[service.links]\nlifetime = \"{}h\"\n",
            turn + 1
        ),
        _ => good.replace("burst = 100000", &format!("burst = {}", 200_000 + turn)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_reloads_cost_nobody_a_call_or_a_connection() {
    let mut home = Home::new();
    let server = Server::start(|_| async { cards() }).await.unwrap();
    let limits = "mode = \"enforce\"\nclient = { per_second = 100000, burst = 100000 }\n\
                  client_service = { per_second = 100000, burst = 100000 }\n\
                  address = { per_second = 100000, burst = 100000 }\n\
                  open_address = { per_second = 100000, burst = 100000 }";
    let good = home.config(&server.url()).replace("mode = \"off\"", limits);
    let running = home.serve(&good);
    let pair = |home: &Home| ["tls.crt", "tls.key"].map(|file| fs::read(home.path(file)).unwrap());
    let first_pair = pair(&home);
    let first = home.renew_certificate();
    let pairs = [first_pair, pair(&home)];
    let home = Arc::new(home);

    let stop = Arc::new(AtomicBool::new(false));
    let mut at_work = Vec::new();
    for number in 0..7 {
        let both = home.http().tls_certs_merge([reqwest::Certificate::from_der(&first).unwrap()]);
        let client = if number < 4 { both.http1_only() } else { both }.build().unwrap();
        let (home, stop) = (Arc::clone(&home), Arc::clone(&stop));
        at_work.push(tokio::spawn(async move { works(&home, &client, &stop).await }));
    }
    for number in 1..=RELOADS {
        let (before, _) = reloads(&running).await;
        home.write("hookgate.toml", &shaped(&good, number));
        if let Some([certificate, key]) = pairs.get(usize::try_from(number / 4 % 2).unwrap()) {
            fs::write(home.path("tls.crt"), certificate).unwrap();
            fs::write(home.path("tls.key"), key).unwrap();
        }
        if number % 2 == 0 {
            running.signal("HUP");
        }
        until("it is taken up", async || reloads(&running).await.0 > before).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut good = 0;
    for one in at_work {
        let met = one.await.unwrap();
        assert_eq!(met.bad, [""; 0]);
        good += met.good;
    }
    assert!(good > RELOADS, "{good}");
    // Connections ended where those who call ended them, and for no reason of the gateway's own. How many
    // there were is theirs to say: a client may dial once more than it needs.
    let metrics = running.health("/metrics").await.unwrap().1;
    let reasons = metrics.lines().filter_map(|line| {
        line.strip_prefix("hookgate_connections_closed_total{reason=\"")?.split('"').next()
    });
    let own: Vec<&str> =
        reasons.filter(|why| !["peer", "lost", "handshake_failed"].contains(why)).collect();
    assert_eq!(own, [""; 0], "{metrics}");
    let calls = metrics.lines().filter(|line| line.starts_with("hookgate_requests_total{"));
    let counted: u64 = calls.map(|l| l.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(counted, good, "every call is counted through all reloads: {metrics}");
    running.signal("TERM");
    assert_eq!(running.end().0.code(), Some(0));
}
