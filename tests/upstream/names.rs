//! Names that mean several addresses, and other ones later.

use std::net::SocketAddr;
use std::time::Duration;

use hookgate::gateway::upstream::AddressState;

use crate::rig::{Gateway, OK, Server, until};

fn labels(gateway: &Gateway) -> Vec<String> {
    gateway.addresses().into_iter().map(|address| address.address).collect()
}

#[tokio::test]
async fn each_address_behind_a_name_is_called_and_one_that_is_gone_is_not() {
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(Server::answering(OK, false).await);
    }
    servers.sort_by_key(|server| server.address);
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let gateway = Gateway::new("http://cds.internal:8080/");
    assert_eq!(labels(&gateway), ["cds.internal:8080"], "by its name, until it is looked up");
    gateway.names.mean(&addresses[..2]);
    let _running = gateway.start();
    until("the name is looked up", || gateway.names.asked() == 1).await;
    let text =
        |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(labels(&gateway), text(&addresses[..2]));
    for _ in 0..10 {
        gateway.hook().await.unwrap();
    }
    assert_eq!(servers[0].seen().len(), 5);
    assert_eq!(servers[1].seen().len(), 5);
    assert_eq!(servers[0].last().one("host"), "cds.internal:8080");
    assert!(!gateway.metrics().contains("address=\"cds.internal:8080\""), "{}", gateway.metrics());

    gateway.names.mean(&addresses[1..]);
    gateway.clock.advance(Duration::from_secs(10));
    until("it is looked up again", || gateway.names.asked() == 2).await;
    assert_eq!(labels(&gateway), text(&addresses[1..]));
    assert_eq!(gateway.addresses()[0].calls, 5, "what stays is known still");
    assert!(!gateway.metrics().contains(&addresses[0].to_string()), "no series of who is gone");
    // The new one warms up beside the other.
    for _ in 0..40 {
        gateway.hook().await.unwrap();
    }
    assert_eq!(servers[0].seen().len(), 5);
    let (old, new) = (servers[1].seen().len() - 5, servers[2].seen().len());
    assert_eq!(old + new, 40);
    assert!(new < 15, "{new} {old}");

    // Nobody who could tell: what was known holds.
    gateway.names.mean(&[]);
    gateway.clock.advance(Duration::from_secs(10));
    until("nobody can tell", || gateway.names.asked() == 3).await;
    assert_eq!(labels(&gateway).len(), 2);
    assert_eq!(gateway.states(), [AddressState::Closed, AddressState::Closed]);
}

#[tokio::test]
async fn one_address_is_dialled_by_its_name() {
    let server = Server::answering(OK, false).await;
    let gateway = Gateway::new(&format!("http://localhost:{}", server.address.port()));
    gateway.names.mean(&["[::1]:1".parse().unwrap(), "127.0.0.1:1".parse().unwrap()]);
    let _running = gateway.start();
    until("it is looked up", || gateway.names.asked() == 1).await;
    gateway.hook().await.unwrap();
    assert_eq!(labels(&gateway), [format!("localhost:{}", server.address.port())]);
}
