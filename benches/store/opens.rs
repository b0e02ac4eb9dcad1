//! A link opened, from the request to the 303, through the whole gateway and in process: no listener's cost.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hookgate::app::{Ambient, App};
use hookgate::demo::server;
use hookgate::demo::server::Server;
use hookgate::gateway::Gateway;
use hookgate::peer::{Peer, Protocol};
use http::Request;
use http_body_util::{BodyExt, Empty, Full};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::backends::Stand;
use crate::callers;
use crate::figures::{Effort, Times, ms, ratio};
use crate::sync;
use crate::tokens;

const PEER: Peer = Peer {
    address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4711),
    protocol: Protocol::Http2,
    tls: true,
    certificate: None,
};
/// Links in one answer.
const CARDS: u64 = 400;
const TURNS: u64 = 3;

pub(crate) fn measure(effort: Effort) {
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let runtime = Runtime::new().unwrap();
    let answer = |_| async { server::json(200, tokens::cards(CARDS as usize)) };
    let service = runtime.block_on(Server::start(answer)).unwrap();
    let mut in_memory = Vec::new();
    for stand in Stand::all() {
        let gateway = runtime.block_on(gateway(&service.url(), &stand));
        for (at, count) in [1, 64].into_iter().enumerate() {
            let (mut opens, mut syncs) = (Times::default(), Times::default());
            for _ in 0..TURNS {
                let each = effort.of(6_400).div_ceil(count).min(effort.of(1_000));
                let links = runtime.block_on(links(&gateway, count * each));
                syncs.add(sync::append(effort.of(200)));
                opens.add(run(&runtime, &gateway, links, count, each));
            }
            let least = in_memory.get(at).copied().unwrap_or_else(|| opens.p50());
            in_memory.push(opens.p50());
            println!(
                "{:<7}{count:>3} at once   {}   more than in memory {}   fdatasync {}   ratio {:.2}",
                stand.name,
                opens.line(),
                ms(opens.p50().saturating_sub(least)),
                ms(syncs.p50()),
                ratio(opens.p50(), syncs.p50()),
            );
        }
    }
}

fn run(
    runtime: &Runtime,
    gateway: &Arc<Gateway>,
    links: Vec<String>,
    count: u64,
    each: u64,
) -> Times {
    let (gateway, links) = (Arc::clone(gateway), Arc::new(Mutex::new(links)));
    callers::run(runtime, count, each, move |_| {
        let (gateway, link) = (Arc::clone(&gateway), links.lock().unwrap().pop().unwrap());
        async move {
            let click = Request::get(link.strip_prefix(tokens::PUBLIC_URL).unwrap())
                .header("host", "hookgate.example.org")
                .header("accept", "text/html,application/xhtml+xml")
                .header("user-agent", "Mozilla/5.0")
                .header("sec-fetch-mode", "navigate")
                .header("sec-fetch-dest", "document")
                .body(Empty::<Bytes>::new())
                .unwrap();
            assert_eq!(gateway.handle(click, PEER).await.status(), 303);
        }
    })
}

/// So many links that nobody has opened, from cards that went through the gateway.
async fn links(gateway: &Gateway, count: u64) -> Vec<String> {
    let mut links = Vec::new();
    while (links.len() as u64) < count {
        let [(_, body), ..] = tokens::requests();
        let call = Request::post("/cds-services/patient-greeting")
            .header("host", "hookgate.example.org")
            .header("authorization", format!("Bearer {}", tokens::fresh("RS384")))
            .header("content-type", "application/json")
            .body(Full::new(body))
            .unwrap();
        let answer = gateway.handle(call, PEER).await;
        assert_eq!(answer.status(), 200);
        let answer = answer.into_body().collect().await.unwrap().to_bytes();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let url = |card: &Value| card["links"][0]["url"].as_str().unwrap().to_owned();
        links.extend(answer["cards"].as_array().unwrap().iter().map(url));
    }
    links
}

async fn gateway(upstream: &str, stand: &Stand) -> Arc<Gateway> {
    let often = json!({"per_second": 1_000_000});
    let config = json!({
        "public_url": tokens::PUBLIC_URL,
        "listener": {"address": "127.0.0.1:0", "plaintext": true},
        "health": {"address": "127.0.0.1:0"},
        "state": stand.state,
        "keyring": stand.keyring,
        "limits": {
            "address": often, "open_address": often, "client": often, "client_service": often,
        },
        "client": [tokens::client()],
        "upstream": [{"id": "legacy", "url": upstream}],
    });
    let config = serde_json::from_value(config).unwrap();
    App::bind(config, Ambient::system()).await.unwrap().gateway()
}
