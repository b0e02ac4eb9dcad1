//! That the servers do what the other tests take for granted.

use std::io::{Read, Write};
use std::net::TcpStream;

use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::port::free_port;
use crate::sentinel::Sentinels;
use crate::server::{RedisServer, eventually};

#[test]
fn what_was_answered_is_there_after_a_kill() {
    let mut server = RedisServer::start();
    assert_eq!(server.command(&["SET", "a", "1"]), "OK");
    server.kill();
    assert!(server.command(&["GET", "a"]).is_empty(), "nobody answers");
    server.restart();
    assert_eq!(server.command(&["GET", "a"]), "1");
    assert_eq!(server.calls("get"), 1);
    server.flush();
    assert_eq!(server.command(&["DBSIZE"]), "0");
}

#[test]
fn a_paused_server_answers_once_it_goes_on() {
    let server = RedisServer::start_in(
        TempDir::new().expect("a folder"),
        free_port(),
        &["--maxmemory", "16mb"],
    );
    assert_eq!(server.command(&["CONFIG", "GET", "maxmemory"]), "maxmemory\n16777216");
    server.pause();
    let mut stream = TcpStream::connect(server.address()).expect("a connection");
    stream.write_all(b"PING\r\n").expect("a question");
    stream.set_nonblocking(true).expect("a socket that does not wait");
    assert!(stream.read(&mut [0; 1]).is_err(), "an answer though it is paused");
    stream.set_nonblocking(false).expect("a socket that waits");
    server.resume();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"+PONG\r\n");
}

#[test]
fn a_cluster_shares_its_slots_and_moves_them() {
    let mut cluster = Cluster::start();
    assert_eq!(cluster.addresses().len(), 3);
    let slot = cluster.slot("{a}");
    let from = cluster.owner(slot);
    let to = (from + 1) % 3;
    assert_eq!(cluster.node(from).command(&["SET", "{a}", "1"]), "OK");
    cluster.begin_move(slot, to);
    let sent_on = cluster.node(from).command(&["GET", "other{a}"]);
    assert!(sent_on.starts_with("ASK "), "{sent_on}");
    cluster.finish_move(slot, to);
    assert_eq!(cluster.owner(slot), to);
    assert_eq!(cluster.node(to).command(&["GET", "{a}"]), "1");
    let sent_on = cluster.node(from).command(&["GET", "{a}"]);
    assert!(sent_on.starts_with("MOVED "), "{sent_on}");
}

#[test]
fn sentinels_promote_the_replica() {
    let mut fleet = Sentinels::start();
    assert_eq!(fleet.addresses().len(), 3);
    assert_eq!(fleet.master().command(&["SET", "a", "1"]), "OK");
    eventually("the replica has it", || fleet.replica().command(&["GET", "a"]) == "1");
    let replica = fleet.replica().address();
    fleet.sentinel(0).kill();
    fleet.fail_over();
    assert_eq!(fleet.master().address(), replica);
    assert_eq!(fleet.master().command(&["GET", "a"]), "1");
}
