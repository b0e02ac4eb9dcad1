//! A real Redis Cluster: three masters that share the slots.

use crate::port::free_port;
use crate::server::{RedisServer, cli, eventually};

/// Three running masters.
pub(crate) struct Cluster {
    nodes: Vec<RedisServer>,
}

impl Cluster {
    /// Starts them and waits until each knows all of the slots.
    pub(crate) fn start() -> Self {
        let nodes: Vec<RedisServer> = (0..3).map(|_| node()).collect();
        let addresses: Vec<String> = nodes.iter().map(RedisServer::address).collect();
        let mut words = vec!["--cluster", "create"];
        words.extend(addresses.iter().map(String::as_str));
        words.push("--cluster-yes");
        let said = cli(&words);
        assert!(said.contains("All 16384 slots covered"), "{said}");
        let cluster = Self { nodes };
        eventually("every node says that the cluster is whole", || {
            cluster.nodes.iter().all(|node| {
                let state = node.command(&["CLUSTER", "INFO"]);
                state.contains("cluster_state:ok") && state.contains("cluster_known_nodes:3")
            })
        });
        cluster
    }

    /// `host:port` of each node.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::address).collect()
    }

    /// One of them; it may be killed, and restarted.
    pub(crate) fn node(&mut self, number: usize) -> &mut RedisServer {
        self.nodes.get_mut(number).expect("a node")
    }

    /// The slot of a key.
    pub(crate) fn slot(&self, key: &str) -> u16 {
        let first = self.nodes.first().expect("a node");
        first.command(&["CLUSTER", "KEYSLOT", key]).parse().expect("a slot")
    }

    /// Which node has a slot, by its own word.
    pub(crate) fn owner(&self, slot: u16) -> usize {
        let has = |node: &RedisServer| {
            let own = node.command(&["CLUSTER", "NODES"]);
            let own = own.lines().find(|line| line.contains("myself")).unwrap_or_default();
            own.split(' ').skip(8).filter(|range| !range.starts_with('[')).any(|range| {
                let (from, to) = range.split_once('-').unwrap_or((range, range));
                let bound = |text: &str| text.parse::<u16>().expect("a slot");
                (bound(from)..=bound(to)).contains(&slot)
            })
        };
        self.nodes.iter().position(has).expect("an owner")
    }

    /// Begins to move a slot: its owner sends those who ask for keys it has not to the other (ASK).
    pub(crate) fn begin_move(&self, slot: u16, to: usize) {
        let from = self.owner(slot);
        let slot = slot.to_string();
        self.set_slot(to, &[&slot, "IMPORTING", &self.id(from)]);
        self.set_slot(from, &[&slot, "MIGRATING", &self.id(to)]);
    }

    /// Moves the keys and the slot; whoever asks the former owner is sent on (MOVED).
    pub(crate) fn finish_move(&self, slot: u16, to: usize) {
        let from = self.owner(slot);
        let slot = slot.to_string();
        let (source, target) = (self.at(from), self.at(to));
        let address = target.address();
        let (host, port) = address.split_once(':').expect("host:port");
        loop {
            let keys = source.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            let keys: Vec<&str> = keys.lines().collect();
            if keys.is_empty() {
                break;
            }
            let head = ["MIGRATE", host, port, "", "0", "5000", "KEYS"];
            assert_eq!(source.command(&[&head, keys.as_slice()].concat()), "OK");
        }
        let owner = self.id(to);
        for node in [to, from] {
            self.set_slot(node, &[&slot, "NODE", &owner]);
        }
    }

    fn at(&self, number: usize) -> &RedisServer {
        self.nodes.get(number).expect("a node")
    }

    fn id(&self, number: usize) -> String {
        self.at(number).command(&["CLUSTER", "MYID"])
    }

    fn set_slot(&self, node: usize, words: &[&str]) {
        let words = [&["CLUSTER", "SETSLOT"], words].concat();
        assert_eq!(self.at(node).command(&words), "OK", "{words:?}");
    }
}

fn node() -> RedisServer {
    let bus = free_port().to_string();
    RedisServer::start_with(&[
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        &bus,
        "--cluster-node-timeout",
        "15000",
        "--cluster-require-full-coverage",
        "yes",
    ])
}
