//! A real master with a replica, watched by three sentinels.

use tempfile::TempDir;

use crate::port::free_port;
use crate::server::{RedisServer, eventually};

/// What the sentinels call the master.
pub(crate) const MASTER: &str = "hookgate-tests";

/// A master, its replica and their sentinels.
pub(crate) struct Sentinels {
    servers: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
}

impl Sentinels {
    /// Starts them and waits until the sentinels know the replica and each other.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with further lines in the sentinels' configuration.
    pub(crate) fn start_with(lines: &[&str]) -> Self {
        let master = RedisServer::start();
        let address = master.address().replace(':', " ");
        let replica = RedisServer::start_with(&["--replicaof", &address]);
        eventually("the replica has the master's data", || {
            replica.command(&["INFO", "replication"]).contains("master_link_status:up")
        });
        let sentinels = (0..3).map(|_| sentinel(&address, lines)).collect();
        let fleet = Self { servers: vec![master, replica], sentinels };
        eventually("the sentinels know the replica and each other", || {
            fleet.sentinels.iter().all(|sentinel| {
                let known = sentinel.command(&["SENTINEL", "MASTER", MASTER]);
                let known: Vec<&str> = known.lines().collect();
                known.windows(2).any(|pair| pair == ["num-slaves", "1"])
                    && known.windows(2).any(|pair| pair == ["num-other-sentinels", "2"])
            })
        });
        fleet
    }

    /// `host:port` of each sentinel.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.sentinels.iter().map(RedisServer::address).collect()
    }

    /// One of the sentinels; it may be killed.
    pub(crate) fn sentinel(&mut self, number: usize) -> &mut RedisServer {
        self.sentinels.get_mut(number).expect("a sentinel")
    }

    /// The server that says it is the master.
    pub(crate) fn master(&mut self) -> &mut RedisServer {
        let is_master =
            |server: &RedisServer| server.command(&["INFO", "replication"]).contains("role:master");
        self.servers.iter_mut().find(|server| is_master(server)).expect("a master")
    }

    /// The server that says it is the replica.
    pub(crate) fn replica(&mut self) -> &mut RedisServer {
        let is_replica =
            |server: &RedisServer| server.command(&["INFO", "replication"]).contains("role:slave");
        self.servers.iter_mut().find(|server| is_replica(server)).expect("a replica")
    }

    /// Kills the master and waits until the sentinels have promoted the replica.
    pub(crate) fn fail_over(&mut self) {
        let master = self.master();
        let former = master.address();
        master.kill();
        eventually("the replica is promoted", || {
            self.servers.iter().any(|server| {
                server.address() != former
                    && server.command(&["INFO", "replication"]).contains("role:master")
            })
        });
    }
}

fn sentinel(master: &str, lines: &[&str]) -> RedisServer {
    let folder = TempDir::new().expect("a folder");
    let port = free_port();
    let path = folder.path().join("sentinel.conf");
    let mut text = format!(
        "port {port}\nbind 127.0.0.1\ndir {dir}\n\
         sentinel monitor {MASTER} {master} 2\n\
         sentinel down-after-milliseconds {MASTER} 3000\n\
         sentinel failover-timeout {MASTER} 5000\n",
        dir = folder.path().display(),
    );
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    std::fs::write(&path, text).expect("its configuration");
    let path = path.display().to_string();
    RedisServer::start_in(folder, port, &[&path, "--sentinel"])
}
